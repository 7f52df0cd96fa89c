"""Training on several devices: each takes its piece of every minibatch, gradients are summed.

A minibatch is cut into pieces of one shape, one for each device, which stand side by side along a
new first axis: rows of arrays (`split_rows`), or a forest for each device (`side_by_side`).
`data_parallel` makes a loss of such pieces out of a loss of one: each device runs the model on its
piece as if it were alone, so that no loop of the program waits for another device, and the sums of
losses, of what they are means over, and of gradients are taken once, at the end. The result is that
of one device with the whole minibatch, but for rounding.

Parameters may be sharded over a second axis of the mesh, which is left to XLA: the vocabulary of a
language model, by ``place(mesh, params, specs)`` with ``PartitionSpec("vocabulary")`` for the axes
of the embedding and the head that count words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rntn_jax.ops.varying import vary_like

__all__ = ["DATA", "data_mesh", "data_parallel", "place", "side_by_side", "split_rows"]

DATA = "data"  # the mesh axis along which minibatches are cut


def data_mesh(count: int, vocabulary: int = 1) -> Mesh:
    """The first devices as a mesh.

    Args:
        count: devices along the axis ``data``.
        vocabulary: devices along a second axis of that name, over which `place` may shard
            parameters; 1: there is no such axis.

    Returns:
        A mesh of ``count`` times ``vocabulary`` devices.

    Raises:
        ValueError: when there are not so many devices.

    Example:
        >>> data_mesh(1).axis_names
        ('data',)
    """
    needed, devices = count * vocabulary, jax.devices()
    if not 1 <= needed <= len(devices):
        raise ValueError(
            f"{needed} devices asked for, there are {len(devices)} ({devices[0].platform}); on a "
            "CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of it"
        )
    chosen = np.array(devices[:needed])
    if vocabulary == 1:
        return Mesh(chosen, (DATA,))
    return Mesh(chosen.reshape(count, vocabulary), (DATA, "vocabulary"))


def split_rows(batch: Any, count: int) -> Any:
    """Arrays ``[B, ..]`` as ``[count, B / count, ..]``: the rows of each device.

    Args:
        batch: a pytree of arrays with equal first axes; masked rows fill it up if need be.
        count: devices.

    Returns:
        The pytree, as NumPy or JAX arrays like those that came.

    Raises:
        ValueError: when the rows cannot be shared out equally.

    Example:
        >>> split_rows(np.arange(4), 2).tolist()
        [[0, 1], [2, 3]]
    """
    for x in jax.tree.leaves(batch):
        if x.shape[0] % count:
            raise ValueError(f"{x.shape[0]} rows cannot be shared out equally to {count} devices")
    return jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), batch)


def side_by_side(pieces: Sequence[Any]) -> Any:
    """Pieces of equal shapes, one for each device, along a new first axis.

    Args:
        pieces: pytrees of arrays, `rntn_jax.trees.Forest` of one `Shape` for example.

    Returns:
        A pytree of NumPy arrays.

    Example:
        >>> side_by_side([np.zeros(3), np.ones(3)]).shape
        (2, 3)
    """
    return jax.tree.map(lambda *arrays: np.stack(arrays), *pieces)


def place(mesh: Mesh, tree: Any, spec: Any = None) -> Any:
    """Puts arrays on the devices of a mesh.

    Args:
        mesh: of `data_mesh`.
        tree: a pytree of arrays.
        spec: a `PartitionSpec` for all of them, ``PartitionSpec("data")`` for pieces, or a pytree
            of these. None puts the whole of each on every device.

    Returns:
        The pytree of `jax.Array`.
    """
    if spec is None or isinstance(spec, PartitionSpec):
        spec = spec or PartitionSpec()
        return jax.device_put(tree, NamedSharding(mesh, spec))
    is_spec = lambda x: isinstance(x, PartitionSpec)
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), spec, is_leaf=is_spec)
    return jax.device_put(tree, shardings)


def data_parallel(
    loss: Callable[..., tuple[jax.Array, Any]],
    mesh: Mesh,
    count: Callable[[Any, Any], Any],
) -> Callable[..., tuple[jax.Array, Any]]:
    """A loss of pieces on all devices, out of a loss of one piece.

    Computes ``sum_d n_d loss_d / sum_d n_d`` over the devices, ``n_d`` being what the loss of piece
    ``d`` is the mean over: the loss of the whole minibatch. Its gradient with respect to the
    parameters is summed once, after all sweeps.

    Args:
        loss: ``loss(params, batch) -> (mean, aux)``, with ``key=`` too if it is given one.
        mesh: of `data_mesh`.
        count: ``count(batch, aux)``, how many tokens, trees or rows the mean is over.

    Returns:
        ``parallel(params, pieces, key=None) -> (mean, aux)``, to be used as ``loss`` is, by
        `make_train_step` for example. ``pieces`` and ``aux`` have a first axis of devices; each
        device draws random numbers of its own, from ``fold_in(key, device)``.

    Example:
        >>> def loss(w, x):
        ...     return jnp.square(w - x).mean(), x.sum()
        >>> parallel = data_parallel(loss, data_mesh(1), lambda x, aux: x.size)
        >>> value, sums = parallel(jnp.float32(1.0), split_rows(jnp.arange(4.0), 1))
        >>> float(value), sums.tolist()
        (1.5, [6.0])
    """

    def on_one(params, piece, key):
        device = lax.axis_index(DATA)
        params = vary_like(params, device)  # so that nothing is summed before the end
        options = {} if key is None else {"key": jax.random.fold_in(key, device)}
        mean, aux = loss(params, jax.tree.map(lambda x: x[0], piece), **options)
        weight = jnp.asarray(count(jax.tree.map(lambda x: x[0], piece), aux), mean.dtype)
        total, weights = lax.psum((weight * mean, vary_like(weight, device)), DATA)
        aux = jax.tree.map(lambda x: jnp.asarray(x)[None], aux)
        return total / jnp.maximum(weights, 1), vary_like(aux, device)

    split, whole = PartitionSpec(DATA), PartitionSpec()

    def parallel(params, pieces, key=None):
        on_all = jax.shard_map(
            on_one,
            mesh=mesh,
            in_specs=(whole, split, whole),
            out_specs=(whole, split),
            axis_names={DATA},
        )
        return on_all(params, pieces, key)

    return parallel
