"""Every verb of every structure against enumeration, over dtypes, magnitudes, NaN and sizes.

A structure plugs in by a module beside this one with a list ``CASES``; see `case.Case`. One program
answers all verbs of a case of one size, so what costs is dtypes and sizes; magnitudes, `-inf` and
NaN are other numbers for the same program.

``pytest -s tests/crf/battery`` prints how many values were compared.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.crf import battery
from tests.crf.battery.case import (
    Case,
    Listed,
    exact,
    field_slice,
    fill,
    flatten,
    is_float,
    mean,
    total,
)
from tests.helpers import compilations, enable_x64

CASES: list[Case] = [
    case
    for found in sorted(pkgutil.iter_modules(battery.__path__), key=lambda m: m.name)
    for case in getattr(importlib.import_module(f"{battery.__name__}.{found.name}"), "CASES", [])
    if not found.name.startswith("test_")
]
K, SAMPLES = 3, 600
CHECKS: Counter[str] = Counter()  # of single values, by verb


def of_case(case: Case, *args: Any, slow: bool) -> Any:
    """A parameter of a test."""
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(case, *args, id=", ".join(map(str, (case, *args))), marks=marks)


def every_case(*quick: str) -> Any:
    """All cases, those not named under `slow`: they share most of their code with these."""
    found = {str(x) for x in CASES}
    assert found >= set(quick), sorted(found)
    return pytest.mark.parametrize("case", [of_case(x, slow=str(x) not in quick) for x in CASES])


@pytest.fixture(scope="module", autouse=True)
def report():
    """Says how much was compared."""
    yield
    for verb, count in sorted(CHECKS.items()):
        print(f"\n{count:9,d} values of {verb}", end="")
    print(f"\n{sum(CHECKS.values()):9,d} values in all")


def ask(case: Case, k: int, scores, other, labels, allowed, key) -> dict[str, Any]:
    """What all verbs say, in one program."""
    arguments = {
        "log_partition": (scores,),
        "score": (scores, labels),
        "log_prob": (scores, labels),
        "marginals": (scores,),
        "argmax": (scores,),
        "entropy": (scores,),
        "kl": (scores, other),
        "expected_score": (scores, other),
    }
    out = {verb: case.verb(verb, *args) for verb, args in arguments.items() if case.has(verb)}
    if case.has("top_k"):
        out["top_k"] = case.verb("top_k", scores, k=k)
    if case.has("sample"):
        out["sample"] = case.verb("sample", key, scores, num_samples=SAMPLES)
    if case.forbid is not None:
        out["allowed"] = case.verb("log_partition", case.forbid(scores, allowed))
    else:
        out["allowed"] = case.verb("log_partition", scores, allowed)
    return out


class Problem:
    """Scores of one case and size, in one dtype: what enumeration and what the verbs say."""

    def __init__(self, case: Case, size: tuple[int, ...], dtype: Any, seed: int = 0, k: int = K):
        self.case, self.dtype, self.k = case, dtype, k
        self.rng = np.random.default_rng(seed)
        self.scores = case.make(self.rng, *size)
        self.theta, self.other = flatten(self.scores), self.rng.normal(size=self.flat_size)
        self.listed: list[Listed] = case.listed(self.scores)
        field = getattr(self.scores, case.allowed)
        self.allowed = jax.tree.map(lambda x: self.rng.random(np.shape(x)) < 0.8, field)
        self.run = partial(ask, case, k)

    @property
    def flat_size(self) -> int:
        return len(flatten(self.scores))

    def cast(self, theta: np.ndarray) -> np.ndarray:
        """``theta`` as the dtype holds it."""
        return np.asarray(jnp.asarray(theta, self.dtype)).astype(np.float64)

    def check(self, theta: np.ndarray, what: str) -> None:
        """All verbs against enumeration, for one ``theta``."""
        case, theta, other = self.case, self.cast(theta), self.cast(self.other)
        scores, others = (fill(self.scores, x, self.dtype) for x in (theta, other))
        chosen = [self.rng.integers(max(len(x.answers), 1)) for x in self.listed]
        if all(len(x.answers) for x in self.listed):
            labels = case.pack(self.scores, [x.answers[i] for x, i in zip(self.listed, chosen)])
        else:  # there is no label: any will do
            labels, _ = case.verb("argmax", scores)
        key = jax.random.key(self.rng.integers(1000))
        got = self.run(scores, others, labels, self.allowed, key)
        got = jax.tree.map(lambda x: np.asarray(x, np.float64 if is_float(x) else x.dtype), got)
        self._compare(got, theta, other, chosen, what)

    def _compare(self, got, theta, other, chosen, what):
        case, rows = self.case, len(self.listed)
        double = self.dtype == np.float64
        largest = np.abs(theta, where=np.isfinite(theta), out=np.zeros_like(theta)).max(initial=1)
        # What rounding scores of this size costs, and no more.
        rounding = (1e-15 if double else 1.2e-7) * largest * 8
        nats = rounding + (1e-11 if double else 1e-5)
        stored = 0 if double or self.dtype == np.float32 else float(jnp.finfo(self.dtype).eps)

        def close(verb, actual, wanted, atol=nats, rtol=1e-11 if double else 1e-5):
            actual, wanted = np.ravel(actual), np.ravel(wanted)
            message = f"{case}, {what}, {np.dtype(self.dtype)}: {verb}"
            np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=atol, err_msg=message)
            CHECKS[verb] += wanted.size

        p_of = [exact(x.counts, theta) for x in self.listed]
        q_of = [exact(x.counts, other) for x in self.listed]
        close("log_partition", got["log_partition"], [x.log_z for x in p_of])
        forbidden = np.zeros(len(theta), bool)
        allowed = [x.ravel() for x in jax.tree.leaves(self.allowed)]
        forbidden[field_slice(self.scores, case.allowed)] = ~np.concatenate([*allowed, []]).astype(
            bool
        )
        allowed = np.ravel(got["allowed"])
        wanted = allowed.copy()
        for row, x in enumerate(self.listed):
            keep = (x.counts[:, forbidden] == 0).all(axis=1)
            lost = np.isnan(total(x.counts, np.where(forbidden, 0, theta)))
            if not lost[~keep].any():  # of what is not allowed NaN may be seen or not
                wanted[row] = exact(x.counts[keep], theta).log_z
        close("allowed", allowed, wanted)

        if all(len(x.s) for x in p_of):
            close("score", got["score"], [x.s[i] for x, i in zip(p_of, chosen)])
            wanted = [x.log_p[i] for x, i in zip(p_of, chosen)]
            close("log_prob", got["log_prob"], wanted)
        wanted = np.zeros(len(theta))
        for x, p in zip(self.listed, p_of):
            read = (x.counts != 0).any(axis=0)
            wanted[read] += p.p @ x.counts[:, read]
        tolerance = rounding + stored * np.maximum(np.nan_to_num(wanted), 1).max(initial=1)
        close("marginals", flatten(got["marginals"]), wanted, tolerance + 1e-6 * (not double))

        best, worth = got["argmax"]
        self._answers("argmax", best, worth, 0, p_of, close)
        if case.has("top_k"):
            top, worth = got["top_k"]
            worth = np.reshape(worth, (rows, self.k))
            seen = [[] for _ in range(rows)]
            for i in range(self.k):
                labels = case.best(self.scores, top, i)
                for row, found in enumerate(
                    self._answers("top_k", labels, worth[:, i], i, p_of, close)
                ):
                    seen[row].append(found)
            for found in seen:  # no answer twice
                found = [y for y in found if y is not None]
                assert len(set(found)) == len(found), (case, what, "top_k")
        if case.has("sample"):
            drawn = np.zeros((rows, SAMPLES), int)
            possible = [p.log_z > -np.inf for p in p_of]  # not NaN either
            for n in range(SAMPLES):
                one = jax.tree.map(lambda x: x[n], got["sample"])  # noqa: B023
                for row, answer in enumerate(case.unpack(self.scores, one)):
                    if possible[row]:
                        drawn[row, n] = self._index(row)[np.asarray(answer).astype(int).tobytes()]
            for row in np.flatnonzero(possible):
                p = p_of[row].p
                share = np.bincount(drawn[row], minlength=len(p)) / SAMPLES
                assert np.all(share[p == 0] == 0), (case, what, "sample")
                error = 5 * np.sqrt(p * (1 - p) / SAMPLES) + 5 / SAMPLES + rounding
                assert np.all(np.abs(share - p) <= error), (case, what, "sample")
                CHECKS["sample"] += len(p)

        values = [total(x.counts, other) for x in self.listed]
        kl, entropy, expected = [], [], []
        for p, q, v in zip(p_of, q_of, values):
            on = p.p > 0
            expected.append(np.nan if p.log_z == -np.inf else mean(p.p, v))
            with np.errstate(invalid="ignore"):
                entropy.append(np.nan if not on.any() else -mean(p.p, p.log_p))
                if q.log_z == -np.inf and on.any():  # there is no distribution to be close to
                    kl.append(np.inf)
                else:
                    kl.append(np.nan if not on.any() else mean(p.p, p.log_p - q.log_p))
        if case.has("entropy"):
            close("entropy", got["entropy"], entropy)
        if case.has("kl"):
            close("kl", got["kl"], kl)
        if case.has("expected_score"):
            close("expected_score", got["expected_score"], expected)

    def _index(self, row: int) -> dict[bytes, int]:
        """Place of each answer in the list."""
        if not hasattr(self, "indices"):
            self.indices = [
                {np.asarray(y).astype(int).tobytes(): i for i, y in enumerate(x.answers)}
                for x in self.listed
            ]
        return self.indices[row]

    def _answers(self, verb, labels, worth, rank, p_of, close) -> list[int | None]:
        """The answers found: each has the score that its rank has, and the one that is said."""
        found: list[int | None] = []
        wanted, own = [], []
        for row, answer in enumerate(self.case.unpack(self.scores, labels)):
            s = np.sort(p_of[row].s)[::-1]
            right = s[rank] if rank < len(s) else -np.inf
            right = np.nan if np.isnan(s).any() else right
            wanted.append(right)
            if not np.isfinite(right):
                found.append(None)
                own.append(right)
                continue
            found.append(self._index(row)[np.asarray(answer).astype(int).tobytes()])
            own.append(p_of[row].s[found[-1]])
        close(verb, worth, wanted)
        close(verb, own, wanted)
        return found


def check_all(problem: Problem) -> None:
    """All of `variants`; then with another distribution that forbids something, too."""
    for what, theta in variants(problem):
        problem.check(theta, what)
    rng = np.random.default_rng(2)
    for share in (0.05, 0.3):
        hit = rng.random((2, len(problem.theta))) < share
        problem.other = np.where(hit[0], -np.inf, problem.other)
        problem.check(problem.theta, f"{share:.0%} forbidden by the other")
        problem.check(np.where(hit.any(axis=0), -np.inf, problem.theta), "by both")


def variants(problem: Problem):
    """Scores of all magnitudes, forbidden, NaN."""
    rng, theta = np.random.default_rng(1), problem.theta
    for scale in (1.0, 30.0, 1e3, 1e4):
        yield f"scores of {scale:g}", scale * theta
        yield f"scores near {scale:g}", scale + theta
        yield f"scores near -{scale:g}", theta - scale
    for share in (0.1, 0.3, 0.6):
        for scale in (1.0, 1e4):
            hit = rng.random(len(theta)) < share
            yield f"{share:.0%} forbidden, of {scale:g}", np.where(hit, -np.inf, scale * theta)
    read = [np.flatnonzero((x.counts != 0).any(axis=0)) for x in problem.listed]
    field = field_slice(problem.scores, problem.case.allowed)
    own = [x[(x >= field.start) & (x < field.stop)] for x in read]
    for row in range(len(read)):
        if len(own[row]):
            dead = theta.copy()
            dead[own[row]] = -np.inf
            yield f"distribution {row} all forbidden", dead
        for entry in rng.permutation(read[row])[:4]:
            bad = theta.copy()
            bad[entry] = np.nan
            yield f"NaN at {entry}", bad
            bad[rng.random(len(theta)) < 0.2] = -np.inf
            bad[entry] = np.nan
            yield f"NaN at {entry}, others forbidden", bad


@pytest.mark.parametrize("case", [of_case(x, slow=x.slow == "all") for x in CASES])
@pytest.mark.parametrize(
    ("dtype", "x64"),
    [
        (jnp.float64, True),
        pytest.param(jnp.float32, False, marks=pytest.mark.slow),
        pytest.param(jnp.float16, False, marks=pytest.mark.slow),
        pytest.param(jnp.float32, True, marks=pytest.mark.slow),
        pytest.param(jnp.bfloat16, True, marks=pytest.mark.slow),
    ],
)
def test_all_verbs_are_those_of_enumeration(case, dtype, x64):
    with enable_x64(x64), jax.numpy_dtype_promotion("standard"):
        problem = Problem(case, case.sizes[0], dtype)
        problem.run = jax.jit(problem.run)
        check_all(problem)


@every_case("chain, shared edges")
def test_bfloat16_and_calls_without_jit_compile_once(case):
    """The same, as a notebook calls the verbs; new numbers of the same shapes compile nothing."""
    with enable_x64(False):
        problem = Problem(case, case.sizes[0], jnp.bfloat16)
        problem.check(problem.theta, "first call")
        with compilations() as compiled:
            check_all(problem)
        assert not compiled


SIZES = [(case, size) for case in CASES for size in case.sizes[1:]]
SLOW_SIZES = [(case, size) for case in CASES for size in case.slow_sizes]


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    ("case", "size"),
    [of_case(*x, slow=x[0].slow != "") for x in SIZES]
    + [of_case(*x, slow=True) for x in SLOW_SIZES],
)
def test_sizes_of_zero_and_one(case, size):
    problem = Problem(case, size, jnp.float32, k=1)
    problem.run = jax.jit(problem.run)
    problem.check(problem.theta, f"size {size}")
    problem.check(problem.theta + 1e4, f"size {size}, large")
    problem.check(np.full_like(problem.theta, np.nan), f"size {size}, NaN")


@every_case("chain, shared edges")
def test_gradients_and_second_order_under_vmap(case):
    """Of all verbs that have any; `marginals` among them: the rule is differentiated twice.

    Without `jit`, so that the second call shows that nothing is compiled again.
    """
    problem = Problem(case, case.sizes[0], np.float64)
    smooth = [v for v in ("log_partition", "entropy", "kl", "expected_score") if case.has(v)]
    other = jnp.asarray(np.nan_to_num(problem.other))
    weights = np.random.default_rng(2).normal(size=(len(smooth) + 1, len(problem.listed)))
    some = np.array([len(x.answers) > 0 for x in problem.listed])  # else nothing is possible
    slope = jnp.asarray(np.random.default_rng(3).normal(size=len(problem.theta)))

    def of_verbs(theta):
        scores, others = fill(problem.scores, theta), fill(problem.scores, other)
        value = 0.0
        for verb, w in zip(smooth, weights):
            args = (scores, others) if verb in ("kl", "expected_score") else (scores,)
            value += (jnp.where(some, jnp.ravel(case.verb(verb, *args)), 0) * w).sum()
        found = [jnp.ravel(x) for x in jax.tree.leaves(case.verb("marginals", scores))]
        found = [x for x in found if jnp.issubdtype(x.dtype, jnp.floating)]
        return value + jnp.concatenate(found) @ slope

    def of_table(theta):
        value = 0.0
        for row, x in enumerate(problem.listed):
            if not some[row]:
                continue
            read = (x.counts != 0).any(axis=0)
            counts = jnp.asarray(x.counts[:, read])
            s, v = counts @ theta[read], counts @ other[read]
            log_z = jax.nn.logsumexp(s)
            log_p, p = s - log_z, jnp.exp(s - log_z)
            right = {
                "log_partition": log_z,
                "entropy": -(p * log_p).sum(),
                "kl": (p * (log_p - jax.nn.log_softmax(v))).sum(),
                "expected_score": (p * v).sum(),
            }
            value += sum(w[row] * right[verb] for verb, w in zip(smooth, weights))
            value += (p @ counts) @ slope[read]
        return value

    ours = jax.vmap(jax.value_and_grad(of_verbs))
    theirs = jax.jit(jax.vmap(jax.value_and_grad(of_table)))
    theta = np.stack([problem.theta, 3 * problem.theta])
    ours(theta + 1)
    with compilations() as compiled:
        found = ours(theta)
    assert not compiled
    for left, right in zip(found, theirs(np.nan_to_num(theta))):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9, err_msg=repr(case))
        CHECKS["gradients"] += right.size
