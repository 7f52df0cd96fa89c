"""How arrays vary over devices inside `jax.shard_map`, where that is part of their types.

Whoever writes loops and gradients by hand meets two rules there. What a loop carries must begin as
varying as it becomes; and a cotangent varies over the mesh axes that its primal varies over, so the
cotangents of weights that all devices share must be summed over them. Both hold where all that a
loop or a rule reads is made equally varying first: zeros made like it (`jax.numpy.zeros_like`) are
right to carry, and the transpose of the cast is the sum, taken once, after the sweep, and to any
order.

Outside of `jax.shard_map` nothing varies, and nothing is added to any program.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
from jax import lax

__all__ = ["mesh_axes", "vary_like"]

Tree = TypeVar("Tree")


def vary_like(tree: Tree, *others: Any) -> Tree:
    """Arrays that vary over every mesh axis over which any of them, or of the others, varies.

    Gradient: that of what was made to vary is summed over these axes.

    Args:
        tree: a pytree of arrays.
        others: pytrees of arrays, whose axes count, too.

    Returns:
        The same numbers; outside of `jax.shard_map`, the object that came.

    Example:
        >>> from jax.sharding import Mesh, PartitionSpec as P
        >>> def loss(w, x):  # w is shared by all devices, x their own
        ...     w, x = vary_like((w, x))
        ...     return (w * x).sum()
        >>> mesh = Mesh(jax.devices()[:1], ("data",))
        >>> specs = {"in_specs": (P(), P("data")), "out_specs": P()}
        >>> gradient = jax.shard_map(jax.grad(loss), mesh=mesh, **specs)
        >>> float(gradient(jax.numpy.ones(()), jax.numpy.arange(4.0)))
        6.0
    """
    axes = frozenset().union(*map(mesh_axes, jax.tree.leaves((tree, others))))
    if not axes:
        return tree

    def cast(x: Any) -> Any:
        missing = tuple(sorted(axes - mesh_axes(x)))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree)


def mesh_axes(x: Any) -> frozenset[str]:
    """Mesh axes that an array varies over: those of `jax.shard_map`; outside of it none."""
    own = jax.typeof(x)
    kind = getattr(own, "manual_axis_type", None)
    return getattr(own, "vma", frozenset()) if kind is None else kind.varying
