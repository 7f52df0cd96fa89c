"""What the loops of a traced program carry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax


def _is_jaxpr(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def loops(jaxpr: Any) -> Iterator[list[tuple[int, ...]]]:
    """The carried arrays' shapes of every loop in a jaxpr, loops within loops included."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            # What a step returns and the loop stacks gets an axis; what it carries does not.
            steps = zip(eqn.params["jaxpr"].out_avals, eqn.outvars, strict=True)
            yield [step.shape for step, out in steps if step.shape == out.aval.shape]
        elif eqn.primitive.name == "while":
            yield [x.shape for x in eqn.params["body_jaxpr"].out_avals]
        for value in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(value):
                yield from loops(getattr(value, "jaxpr", value))
