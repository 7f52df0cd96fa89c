"""Labellings: the best one, the best few, and draws from the distribution."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf.graph import annealing, belief_propagation, exact_labels, sampling
from rntn_jax.crf.graph.fixed_point import Options
from rntn_jax.crf.graph.inputs import elimination_plan, neighbour_plan
from rntn_jax.crf.graph.scores import Scores, check, complete, has_nan, score_of
from rntn_jax.ops import accumulator

__all__ = ["argmax", "sample", "top_k"]

DEFAULT = Options()
_CHAINS = 16  # of simulated annealing


def argmax(
    scores: Scores,
    *,
    method: str = "exact",
    plan: Any = None,
    options: Options = DEFAULT,
    key: jax.Array | None = None,
    num_sweeps: int = 100,
) -> tuple[jax.Array, jax.Array]:
    """The best labelling, or a good one, and its score.

    Args:
        scores: the CRF.
        method: ``exact``; ``max_product`` messages (exact on trees where the best is unique);
            ``icm``, iterated conditional modes from each node's best label on;
            ``simulated_annealing``, Gibbs sampling at growing inverse temperatures, the best of
            16 chains. All but the first end with `icm`. Static.
        plan: as `log_partition` takes it: made by `plan` (exact) or `neighbours` (others).
        options: of max-product. Static.
        key: a PRNG key, for simulated annealing.
        num_sweeps: of iterated conditional modes or annealing; static.

    Returns:
        ``(labels int32 [I], score)``, labels 0 where masked. The score's gradient is the indicator
        of the labelling; it is NaN where any score is. Cost of the exact method: that of
        `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method; where the plan cannot be made; without a key to anneal.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> labels, best = argmax(scores)
        >>> labels.tolist(), float(best)
        ([1, 0], 3.0)
    """
    methods = ("exact", "max_product", "icm", "simulated_annealing")
    if method not in methods:
        raise ValueError(f"argmax knows no method {method!r}, only {', '.join(methods)}")
    if method == "simulated_annealing" and key is None:
        raise ValueError("simulated annealing needs a key")
    options.check()
    scores = check(scores)
    if method == "exact":
        return _argmax(scores, elimination_plan(scores, plan))
    plan = neighbour_plan(scores, plan, method=method)
    return _good_labelling(scores, plan, key, method, options, num_sweeps)


@jax.jit
def _argmax(scores: Scores, plan: Any) -> tuple[jax.Array, jax.Array]:
    parts = complete(scores)
    labels = exact_labels.best_labels(lax.stop_gradient(parts), plan)
    return labels, jnp.where(has_nan(parts), jnp.nan, score_of(parts, labels))


@partial(jax.jit, static_argnames=("method", "options", "num_sweeps"))
def _good_labelling(
    scores: Scores, plan: Any, key: Any, method: str, options: Options, num_sweeps: int
) -> tuple[jax.Array, jax.Array]:
    parts = complete(scores)
    fixed = lax.stop_gradient(parts)
    labels = jnp.argmax(fixed.node, axis=1).astype(jnp.int32)[None]
    if method == "max_product":
        labels, num_sweeps = belief_propagation.best_labels(options, fixed, plan)[None], 10
    if method == "simulated_annealing":
        dtype = accumulator(fixed.node, fixed.edge)
        betas = jnp.linspace(0.1, 5, num_sweeps, dtype=dtype)
        labels = jnp.tile(labels, (_CHAINS, 1))
        labels, num_sweeps = annealing.simulated_annealing(key, fixed, labels, betas, plan), 10
    labels = sampling.conditional_modes(fixed, labels, num_sweeps, plan)
    labels = labels[jax.vmap(partial(score_of, fixed))(labels).argmax()]
    return labels, jnp.where(has_nan(parts), jnp.nan, score_of(parts, labels))


def top_k(scores: Scores, k: int, *, plan: Any = None) -> tuple[jax.Array, jax.Array]:
    """The ``k`` best labellings, best first, exactly.

    By max-marginals, two computations of which find the next labelling (Nilsson 1998; Yanover and
    Weiss 2004); `argmax` has methods for graphs that are too wide for it.

    Args:
        scores: the CRF.
        k: how many; static.
        plan: made by `plan`; needed within jit.

    Returns:
        ``(labels int32 [k, I], score [k])``, labels 0 where masked. Where there are fewer than
        ``k`` labellings, the scores at the end are ``-inf`` and their labels mean nothing. The
        scores' gradients are the indicators of the labellings. Cost O(k I C^W), and ``k I C``
        memory.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: when ``k`` is not positive; where the plan cannot be made.

    Example:
        >>> scores = Scores(jnp.array([[0.0, 1.0], [3.0, 0.0]]), jnp.zeros((1, 2, 2)), [(0, 1)])
        >>> labels, best = top_k(scores, 2)
        >>> labels.tolist(), best.tolist()
        ([[1, 0], [0, 0]], [4.0, 3.0])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores = check(scores)
    return _top_k(scores, elimination_plan(scores, plan), k)


@partial(jax.jit, static_argnames="k")
def _top_k(scores: Scores, plan: Any, k: int) -> tuple[jax.Array, jax.Array]:
    parts = complete(scores)
    labels, there = exact_labels.top_k_labels(lax.stop_gradient(parts), plan, k)
    found = jax.vmap(partial(score_of, parts))(labels)
    found = jnp.where(there, found, -jnp.inf)
    order = jnp.argsort(-found)  # equal scores may have come in either order
    return labels[order], jnp.where(has_nan(parts), jnp.nan, found[order])


def sample(
    key: jax.Array,
    scores: Scores,
    num_samples: int,
    *,
    method: str = "exact",
    plan: Any = None,
    num_sweeps: int = 100,
) -> jax.Array:
    """Draws labellings from the distribution, independently.

    Args:
        key: a PRNG key.
        scores: the CRF.
        num_samples: labellings to draw; static.
        method: ``exact``, or ``gibbs``: where as many chains are after ``num_sweeps``, which is
            close to the distribution once they have mixed. Static.
        plan: as `log_partition` takes it: made by `plan` (exact) or `neighbours` (gibbs).
        num_sweeps: of Gibbs sampling; static.

    Returns:
        int32 ``[num_samples, I]``, 0 where masked.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for another method; where the plan cannot be made.

    Example:
        >>> node = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> sample(jax.random.key(0), Scores(node, jnp.zeros((1, 2, 2)), [(0, 1)]), 2).tolist()
        [[0, 1], [0, 1]]
    """
    if method not in ("exact", "gibbs"):
        raise ValueError(f"sample knows no method {method!r}, only exact, gibbs")
    scores = check(scores)
    if method == "exact":
        return _sample(key, scores, elimination_plan(scores, plan), num_samples)
    first, rest = jax.random.split(key)
    labels = sampling.independent_labels(first, scores, num_samples)
    return sampling.gibbs(rest, scores, labels, num_sweeps, plan=plan)


@partial(jax.jit, static_argnames="num_samples")
def _sample(key: jax.Array, scores: Scores, plan: Any, num_samples: int) -> jax.Array:
    parts = lax.stop_gradient(complete(scores))
    return exact_labels.sample_labels(key, parts, plan, num_samples)
