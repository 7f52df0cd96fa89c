"""Tables over sets of variables, labellings, and both as elimination takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.crf.nats import Nats, to_nats
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = [
    "Scopes",
    "Scores",
    "alike",
    "check_scores",
    "clamp",
    "constrain",
    "labels_score",
    "readable",
    "sizes_of",
]


@jax.tree_util.register_static
class Scopes(tuple):
    """Variables of each table: ``Scopes([(0, 1, 2), (2, 3)])``.

    No array, but a fact that programs are compiled for: another graph compiles another program.
    """

    def __new__(cls, scopes: Any) -> Scopes:
        return super().__new__(cls, (tuple(int(v) for v in scope) for scope in scopes))


class Scores(NamedTuple):
    """Scores of parts of a labelling, in nats; `marginals` come in the same container.

    The table ``tables[f][y_u, y_v, ..]`` scores the labels of the variables ``scopes[f] = (u, v,
    ..)``. How many labels a variable has is the size of its axes, which may differ from variable
    to variable. Variables count from 0, and each stands in some table. ``-inf`` forbids.
    """

    tables: Any  # a tuple of float arrays, of one axis or more each
    scopes: Any  # Scopes, or a list of tuples of variables

    __repr__ = shapes_repr


def sizes_of(scores: Scores) -> tuple[int, ...]:
    """How many labels each variable has, of scores that `check_scores` returns."""
    found: dict[int, int] = {}
    for table, scope in zip(scores.tables, scores.scopes, strict=True):
        found.update(zip(scope, table.shape, strict=True))
    return tuple(found[v] for v in range(len(found)))


def check_scores(scores: Scores, name: str = "scores") -> Scores:
    """The scores as arrays, scopes as `Scopes`.

    Args:
        scores: the container.
        name: of the argument, for messages.

    Returns:
        What the first line says.

    Raises:
        AssertionError: when a table's rank, shape or dtype does not match.
        ValueError: when scopes are traced, a variable stands in no table or twice in one.
    """
    try:
        scopes = Scopes(scores.scopes)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError):
        raise ValueError(f"{name}.scopes are traced: give Scopes([...])") from None
    if len(scopes) != len(scores.tables):
        raise ValueError(f"{name} has {len(scores.tables)} tables, but {len(scopes)} scopes")
    sizes: dict[str, int] = {}
    tables = []
    for f, (table, scope) in enumerate(zip(scores.tables, scopes, strict=True)):
        if not scope or len(set(scope)) < len(scope) or min(scope) < 0:
            raise ValueError(f"{name}.scopes[{f}] must be different variables, got {scope}")
        axes = " ".join(f"C{v}" for v in scope)
        tables.append(check(f"{name}.tables[{f}]", table, "float", axes, sizes))
    used = sorted({v for scope in scopes for v in scope})
    if used != list(range(len(used))):
        missing = next(v for v in range(used[-1]) if v not in used)
        raise ValueError(f"{name}.scopes: variable {missing} stands in no table")
    return Scores(tuple(tables), scopes)


def alike(scores: Scores, name: str, like: Scores) -> Scores:
    """Other scores, over the same variables.

    Args:
        scores: the container.
        name: of the argument, for messages.
        like: of `check_scores`.

    Returns:
        As `check_scores`.

    Raises:
        AssertionError: when a shape or dtype does not match.
        ValueError: when the scopes differ.
    """
    scores = check_scores(scores, name)
    if scores.scopes != like.scopes:
        raise ValueError(f"{name}.scopes must be {like.scopes}, got {scores.scopes}")
    for f, (table, own) in enumerate(zip(scores.tables, like.tables, strict=True)):
        check(f"{name}.tables[{f}]", table, "float", " ".join(map(str, own.shape)))
    return scores


def readable(scores: Scores, whole: bool = True) -> tuple[Nats, ...]:
    """Tables in at least float32.

    NaN anywhere makes everything NaN: it is never taken for a low score, and no maximum or ``-inf``
    hides it. Where ``whole`` is false, NaN stays where it is, as in the score of a labelling that
    does not read it.

    Args:
        scores: of `check_scores`.
        whole: whether NaN anywhere makes everything NaN.

    Returns:
        `Nats` of each table.
    """
    tables = vary_like(tuple(scores.tables))
    dtype = accumulator(*tables)
    tables = tuple(table.astype(dtype) for table in tables)
    if whole and tables:
        lost = jnp.stack([jnp.isnan(x).any() for x in tables]).any()
        # An addition, so that the gradient is NaN too.
        nothing = jnp.where(lost, jnp.nan, jnp.zeros((), dtype))
        tables = tuple(table + nothing for table in tables)
    return tuple(map(to_nats, tables))


def constrain(scores: Scores, allowed: Any) -> Scores:
    """Forbids entries of tables, by ``-inf``.

    So one learns from labellings of which only some labels are known: ``log_partition(constrain(
    scores, allowed)) - log_partition(scores)`` is ``ln P`` of all that it may be.

    Args:
        scores: of a graph.
        allowed: a bool array for each table, of its shape.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: as `check_scores`.

    Example:
        >>> scores = Scores((jnp.zeros((2, 3)),), Scopes([(0, 1)]))
        >>> constrain(scores, (jnp.array([[True, True, False], [True, False, True]]),)).tables[0]
        Array([[  0.,   0., -inf],
               [  0., -inf,   0.]], dtype=float32)
    """
    scores = check_scores(scores)
    if len(allowed) != len(scores.tables):
        raise ValueError(f"allowed must be {len(scores.tables)} arrays, got {len(allowed)}")
    tables = []
    for f, (table, own) in enumerate(zip(scores.tables, allowed, strict=True)):
        own = check(f"allowed[{f}]", own, "bool", " ".join(map(str, table.shape)))
        tables.append(jnp.where(own, table, -jnp.inf))
    return scores._replace(tables=tuple(tables))


def clamp(scores: Scores, labels: Mapping[int, Any]) -> Scores:
    """Evidence: every other label of the observed variables is forbidden.

    Args:
        scores: of a graph.
        labels: of observed variables, an integer each, which may be traced.

    Returns:
        The scores, ``-inf`` where a table's entry contradicts the evidence.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for variables that the graph does not have, and as `check_scores`.

    Example:
        >>> scores = Scores((jnp.zeros((2, 3)),), Scopes([(0, 1)]))
        >>> clamp(scores, {1: 2}).tables[0].tolist()
        [[-inf, -inf, 0.0], [-inf, -inf, 0.0]]
    """
    scores = check_scores(scores)
    known = len(sizes_of(scores))
    for v in labels:
        if not 0 <= v < known:
            raise ValueError(f"labels: there is no variable {v}, of {known}")
    tables = []
    for table, scope in zip(scores.tables, scores.scopes, strict=True):
        for axis, v in enumerate(scope):
            if v in labels:
                at = jax.lax.broadcasted_iota(jnp.int32, table.shape, axis)
                table = jnp.where(at == jnp.asarray(labels[v]), table, -jnp.inf)
        tables.append(table)
    return scores._replace(tables=tuple(tables))


def labels_score(tables: tuple[Nats, ...], scopes: Scopes, labels: jax.Array) -> Nats:
    """Score of one labelling; NaN where a label cannot be.

    Args:
        tables: of `readable`.
        scopes: their variables.
        labels: int ``[I]``.

    Returns:
        `Nats` ``[]``.
    """
    whole, fraction, legal = 0.0, 0.0, jnp.array(True)
    for table, scope in zip(tables, scopes, strict=True):
        at = []
        for v, size in zip(scope, table.whole.shape, strict=True):
            legal &= (labels[v] >= 0) & (labels[v] < size)
            at.append(jnp.clip(labels[v], 0, size - 1))
        whole, fraction = whole + table.whole[tuple(at)], fraction + table.fraction[tuple(at)]
    if not tables:
        return Nats(jnp.zeros(()), jnp.zeros(()))
    fraction = jnp.where(whole == -jnp.inf, 0, fraction)
    return Nats(jnp.where(legal, whole, jnp.nan), fraction)
