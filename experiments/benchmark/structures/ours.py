"""The systems in JAX: ours, autodiff of the same recursions, and optax; float32, jitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.structures.problem import Problem
from rntn_jax import crf
from rntn_jax.crf.dependency import eisner
from rntn_jax.crf.nats import to_nats

__all__ = ["make"]


def make(system: str, problem: Problem) -> tuple[Callable[[], list[float]], dict[str, Any]]:
    """The task as a compiled program, and its temporary memory."""
    arrays = jax.tree.map(jnp.asarray, problem.arrays)
    call = TASKS[problem.task](system, arrays)
    compiled = jax.jit(call).lower(arrays).compile()
    analysis: Any = compiled.memory_analysis()

    def train() -> list[float]:
        out = [jax.block_until_ready(compiled(arrays))[0] for _ in range(problem.repeats)]
        return [float(value) for value in out]

    return train, {"version": jax.__version__, "temp_mb": analysis.temp_size_in_bytes / 2**20}


def _with_gradient(total: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``total`` and its gradient by all floating-point arrays."""
    return jax.value_and_grad(total, allow_int=True)


def _lengths(scores: Any) -> Any:
    return jnp.full(len(scores), scores.shape[1] - 1, jnp.int32)


def _projective(system: str, arrays: Any) -> Any:
    length = _lengths(arrays["scores"])

    def total(arrays):
        arc = arrays["scores"]
        if system == "autodiff":
            at = jnp.arange(arc.shape[1])
            read = (at[:, None] != at[None]) & (at > 0)[None]
            own = to_nats(jnp.where(read[None], arc, -jnp.inf))
            chart, _ = eisner.sweep(jax.tree.map(lambda x: x[None], own), False)
            return eisner.whole_sentences(chart, length).value.sum()
        kind = {"projective": True, "single_root": False}
        return crf.dependency.log_partition(crf.dependency.Scores(arc, length), **kind).sum()

    return _with_gradient(total)


def _nonprojective(system: str, arrays: Any) -> Any:
    length = _lengths(arrays["scores"])

    def total(arrays):
        arc = arrays["scores"]
        if system == "autodiff":  # Koo et al. 2007: the first row holds the roots
            weights = jnp.exp(arc)
            inner = weights[:, 1:, 1:] * (1 - jnp.eye(arc.shape[1] - 1))[None]
            laplacian = jax.vmap(jnp.diag)(inner.sum(1)) - inner
            laplacian = laplacian.at[:, 0].set(weights[:, 0, 1:])
            return jnp.linalg.slogdet(laplacian)[1].sum()
        kind = {"projective": False, "single_root": True}
        return crf.dependency.log_partition(crf.dependency.Scores(arc, length), **kind).sum()

    return _with_gradient(total)


def _best_tree(projective: bool) -> Any:
    def task(system: str, arrays: Any) -> Any:
        length = _lengths(arrays["scores"])
        kind = {"projective": projective, "single_root": not projective}

        def best(arrays):
            scores = crf.dependency.Scores(arrays["scores"], length)
            heads, score = crf.dependency.argmax(scores, **kind)
            return score.sum(), heads

        return best

    return task


def _semi_markov(system: str, arrays: Any) -> Any:
    def total(arrays):
        node, width, edge = (arrays[name] for name in ("node", "width", "edge"))
        sums, shifted = [node], node
        for _ in range(len(width) - 1):
            shifted = jnp.pad(shifted[:, 1:], ((0, 0), (0, 1), (0, 0)))
            sums.append(sums[-1] + shifted)
        span = jnp.stack(sums, axis=2) + width[None, None]
        # Any label may stand before the first segment, as in the other libraries.
        start = jax.nn.logsumexp(edge, axis=0)
        scores = crf.semi_markov.Scores(span, edge, start)
        if system == "autodiff":
            return plain_segments(span, edge, start).sum()
        return crf.semi_markov.log_partition(scores).sum()

    return _with_gradient(total)


def plain_segments(span: jax.Array, edge: jax.Array, start: jax.Array) -> jax.Array:
    """``ln Z [B]`` of a semi-Markov CRF as the textbook has it, a window of K steps as state."""
    rows, tokens, widest, labels = span.shape
    begin = np.arange(tokens)[:, None] - np.arange(widest)[None]
    ending = span[:, np.maximum(begin, 0), np.arange(widest)[None]]
    ending = jnp.where((begin >= 0)[None, :, :, None], ending, -1e30).swapaxes(0, 1)

    def step(window, own):
        a = jax.nn.logsumexp(window + own, axis=1)
        e = jax.nn.logsumexp(a[:, :, None] + edge[None], axis=1)
        return jnp.concatenate([e[:, None], window[:, :-1]], axis=1), a

    window = jnp.full((rows, widest, labels), -1e30).at[:, 0].set(start[None])
    _, a = jax.lax.scan(step, window, ending)
    return jax.nn.logsumexp(a[-1], axis=1)


def _ctc(system: str, arrays: Any) -> Any:
    targets = arrays["targets"]

    def total(node):
        paddings = jnp.zeros(node.shape[:2]), jnp.zeros(targets.shape)
        loss = crf.ctc.loss
        if system == "optax":
            import optax

            loss = optax.ctc_loss
        return loss(node, paddings[0], targets, paddings[1]).sum()

    return lambda arrays: jax.value_and_grad(total)(arrays["node"])


def _constituency(system: str, arrays: Any) -> Any:
    length = _lengths(arrays["scores"])

    def total(arrays):
        span = arrays["scores"]
        if system == "autodiff":
            from rntn_jax.crf.constituency import inside, queries

            own, n = queries.tabled(crf.constituency.Scores(span, length))
            plain: Any = inside.log_partition  # without its rule
            return plain.fun(own, n).value.sum()
        return crf.constituency.log_partition(crf.constituency.Scores(span, length)).sum()

    return _with_gradient(total)


def _hmm(system: str, arrays: Any) -> Any:
    def smooth(arrays):
        initial, transition = (jnp.log(arrays[name]) for name in ("initial", "transition"))
        scores = crf.chain.from_hmm(initial, transition, arrays["observed"])
        found = crf.chain.marginals(scores)
        return found.node[..., 0].sum(), (found.node, found.edge)

    return smooth


TASKS: dict[str, Any] = {
    "projective": _projective,
    "nonprojective": _nonprojective,
    "eisner": _best_tree(True),
    "arborescence": _best_tree(False),
    "semi_markov": _semi_markov,
    "ctc": _ctc,
    "constituency": _constituency,
    "hmm": _hmm,
}
