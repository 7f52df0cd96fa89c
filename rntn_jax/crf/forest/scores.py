"""Scores of a forest's labellings: the container, its checks, and its plan where none is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.crf.forest.plan import Plan, plan
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Parts", "Scores", "compiled", "complete", "planned"]

Verb = TypeVar("Verb", bound=Callable[..., Any])


class Scores(NamedTuple):
    """Scores of the parts of a labelling, in nats; `marginals` come in the same container.

    ``-inf`` forbids a label or a pair. Masked nodes drop out, with all their edges, and may hold
    anything, as may the edges of roots. A tree without real nodes has one labelling, of score 0.
    NaN that is not masked comes out as NaN of every query of its tree.
    """

    node: jax.Array  # [N, C]
    edge: jax.Array  # [C, C] or [N, C, C]: [n, i, j] for label i of n's parent and j of n
    parent: jax.Array | Plan  # int [N], -1 at roots; within jit the `plan` made of it
    mask: jax.Array | None = None  # bool [N]

    __repr__ = shapes_repr


class Parts(NamedTuple):
    """Scores, checked: what the sweeps take."""

    node: jax.Array  # [N, C], of what is allowed
    edge: jax.Array  # [C, C] or [N, C, C]
    mask: jax.Array  # bool [N], those that the plan leaves out being False
    plan: Plan


def planned(scores: Scores) -> Scores:
    """The scores with a plan: made here, on the host, or taken from an earlier call.

    Raises:
        ValueError: when ``parent`` is no forest, or traced.
    """
    if isinstance(scores.parent, Plan):
        return scores
    try:
        parent = np.asarray(scores.parent)
    except jax.errors.TracerArrayConversionError:
        problem = "scores.parent is traced: give Scores the plan(parent), made outside of jit"
        raise ValueError(problem) from None
    if parent.ndim != 1 or (parent.size and parent.dtype.kind not in "iu"):
        return scores._replace(parent=plan(parent))  # which says what is wrong
    return scores._replace(parent=_plan_of(parent.astype(np.int64).tobytes()))


@lru_cache(maxsize=16)
def _plan_of(parent: bytes) -> Plan:
    """The plan of these int64 parents. Its arrays are shared by all that ask: not to be changed."""
    made = plan(np.frombuffer(parent, np.int64))
    for array in made:
        array.flags.writeable = False
    return made


def complete(scores: Scores, allowed: jax.Array | None = None, name: str = "scores") -> Parts:
    """The checked parts.

    Args:
        scores: the CRF, with its plan, or with parents that are not traced.
        allowed: bool ``[N, C]``; other labels are forbidden.
        name: of the scores, for messages.

    Returns:
        `Parts`: what is allowed is in the node scores.

    Raises:
        AssertionError: when a shape or dtype does not fit; the message names the field.
        ValueError: as `planned` does.
    """
    sizes: dict[str, int] = {}
    node = check(f"{name}.node", scores.node, "float", "N C", sizes)
    axes = "C C" if jnp.ndim(scores.edge) == 2 else "N C C"
    edge = check(f"{name}.edge", scores.edge, "float", axes, sizes)
    tree = jax.tree.map(jnp.asarray, planned(scores).parent)
    check(f"{name}.parent", tree.parent, "int", "N", sizes)
    mask = tree.tree < len(tree.roots)
    if scores.mask is not None:
        mask = mask & check(f"{name}.mask", scores.mask, "bool", "N", sizes)
    if allowed is not None:
        permitted = check("allowed", allowed, "bool", "N C", sizes)
        node = jnp.where(permitted, node, -jnp.inf)
    return Parts(*vary_like((node, edge, mask, tree)))


def compiled(*static: str) -> Callable[[Verb], Verb]:
    """Compiles a verb once per shape; its plan is made before, on the host.

    All `Scores` of a call have the trees of the first.

    Args:
        static: names of arguments that are no arrays.
    """

    def decorate(verb: Verb) -> Verb:
        run = jax.jit(verb, static_argnames=static)

        @wraps(verb)
        def call(*args, **kwargs):
            trees = None

            def ready(x):
                nonlocal trees
                if not isinstance(x, Scores):
                    return x
                trees = planned(x).parent if trees is None else trees
                return x._replace(parent=trees)

            return run(*map(ready, args), **{name: ready(x) for name, x in kwargs.items()})

        return call  # type: ignore[return-value]

    return decorate
