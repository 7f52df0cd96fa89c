"""What a structure supplies to the battery, and what enumeration says about it.

A structure is a linear model of finitely many answers: the score of an answer is the sum of the
scores it reads, ``s(y) = sum_f counts[y, f] theta[f]``, ``theta`` being all floating point fields
of its `Scores` written one behind the other. So a list of the answers and their counts is all that
is needed for the right value of every verb, `marginals` included, which are expected counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = Any


class Listed(NamedTuple):
    """All answers of one distribution: of a row, a tree, a graph, a sentence."""

    answers: np.ndarray  # [M, ...], each as `Case.pack` takes it
    counts: np.ndarray  # [M, F], how often each answer reads each score


class Case(NamedTuple):
    """A structure to be tested. ``scores`` are its container, of NumPy arrays in float64.

    Entries that are masked, and so read by no answer, should be NaN in what ``make`` returns.
    """

    name: str
    module: ModuleType  # with the verbs
    make: Callable[..., Any]  # (rng, *size) -> scores, the floats drawn from a standard normal
    listed: Callable[[Any], list[Listed]]  # (scores) -> one of each distribution, in their order
    pack: Callable[[Any, list[np.ndarray]], Array]  # one answer of each -> what `score` takes
    unpack: Callable[[Any, Array], list[np.ndarray]]  # what `argmax` returns -> one answer of each
    sizes: Sequence[tuple[int, ...]]  # arguments of ``make``: the usual ones, then with 0 and 1
    slow_sizes: Sequence[tuple[int, ...]] = ()  # further ones
    best: Callable[[Any, Array, int], Array] = lambda scores, top, i: top[i]
    # ``labels`` of `top_k` -> those of its i-th answers, as `argmax` returns them
    allowed: str = "node"  # field of the scores that ``allowed``, and `forbid`, goes with
    forbid: Callable[[Any, Array], Any] | None = None
    # (scores, allowed) -> scores, where `log_partition` has no argument ``allowed``
    options: Mapping[str, dict[str, Any]] = MappingProxyType(
        {}
    )  # keyword arguments by verb, "*" for all
    without: frozenset[str] = frozenset()  # verbs that this case does not have
    slow: str = ""  # "most" of its tests, all but that of all verbs in float64; or "all"

    def __repr__(self) -> str:
        return self.name

    def verb(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a verb with this case's options."""
        options = {**self.options.get("*", {}), **self.options.get(name, {})}
        return getattr(self.module, name)(*args, **options, **kwargs)

    def has(self, name: str) -> bool:
        """Whether there is such a verb."""
        return hasattr(self.module, name) and name not in self.without


def is_float(x: Any) -> bool:
    """Whether an array's dtype is a floating point one, bfloat16 among them."""
    return jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)


def flatten(scores: Any) -> np.ndarray:
    """``theta``: all floating point entries, in float64, in the order of the fields."""
    parts = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(scores) if is_float(x)]
    return np.concatenate([np.zeros(0), *parts])


def fill(scores: Any, theta: Any, dtype: Any = None) -> Any:
    """The container with ``theta`` in it; `flatten` undone. By NumPy where that is."""
    at = 0

    def take(x):
        nonlocal at
        if not is_float(x):
            return x
        part = theta[at : at + np.size(x)].reshape(np.shape(x))
        at += np.size(x)
        return part if dtype is None else part.astype(dtype)

    return jax.tree.map(take, scores)


def field_slice(scores: Any, name: str) -> slice:
    """Where the entries of one field stand in ``theta``."""
    at = 0
    for field in scores._fields:
        size = sum(np.size(x) for x in jax.tree.leaves(getattr(scores, field)) if is_float(x))
        if field == name:
            return slice(at, at + size)
        at += size
    raise ValueError(name)


class Exact(NamedTuple):
    """One distribution by enumeration, in float64."""

    s: np.ndarray  # [M]
    log_z: float
    log_p: np.ndarray  # [M]
    p: np.ndarray  # [M]


def exact(counts: np.ndarray, theta: np.ndarray) -> Exact:
    """Scores and probabilities of all answers; NaN all where one score is NaN."""
    s = total(counts, theta)
    if np.isnan(s).any():
        nothing = np.full(len(s), np.nan)
        return Exact(s, np.nan, nothing, nothing)
    top = s.max(initial=-np.inf)
    if top == -np.inf:
        return Exact(s, -np.inf, np.full(len(s), -np.inf), np.zeros(len(s)))
    log_z = top + np.log(np.exp(s - top).sum())
    return Exact(s, log_z, s - log_z, np.exp(s - log_z))


def total(counts: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """``sum_f counts[y, f] theta[f]`` over what is read."""
    read = counts != 0
    return np.where(read, counts * np.where(read, theta, 0), 0).sum(axis=1)


def mean(p: np.ndarray, values: np.ndarray) -> float:
    """``sum p v`` over what has positive probability, NaN included."""
    on = ~(p == 0)
    return float((p[on] * values[on]).sum())
