"""Training on several devices: each takes its piece of every minibatch, gradients are summed.

A minibatch is cut into pieces of one shape, one for each device, which stand side by side along a
new first axis: rows of arrays (`split_rows`), or a forest for each device (`side_by_side`).
`data_parallel` makes a loss of such pieces out of a loss of one: each device runs the model on its
piece as if it were alone, so that no loop of the program waits for another device, and the sums of
losses, of what they are means over, and of gradients are taken once, at the end. The result is that
of one device with the whole minibatch, but for rounding.

Parameters may be shared out over a second axis of the mesh, ``vocabulary``, by a loss that knows of
it: that of the language model with `rntn_jax.models.rnn_lm.vocabulary_specs`, of which each device
then has some words. What cannot be shared out equally is filled up with zeros.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rntn_jax.ops.varying import vary_like
from rntn_jax.training.keys import is_key

if TYPE_CHECKING:
    import optax

__all__ = [
    "DATA",
    "VOCABULARY",
    "Placement",
    "cut_like",
    "data_mesh",
    "data_parallel",
    "on_host",
    "place",
    "side_by_side",
    "split_rows",
]

DATA = "data"  # the mesh axis along which minibatches are cut
VOCABULARY = "vocabulary"  # that along which words are shared out


def data_mesh(count: int, vocabulary: int = 1) -> Mesh:
    """The first devices as a mesh; of several processes, the first devices of each.

    Args:
        count: devices along the axis ``data``, in each process.
        vocabulary: devices along a second axis of that name, over which parameters are shared out;
            1: there is no such axis.

    Returns:
        A mesh of ``count`` times ``vocabulary`` devices of each process.

    Raises:
        ValueError: when there are not so many devices.

    Example:
        >>> data_mesh(1).axis_names
        ('data',)
    """
    needed, devices = count * vocabulary, jax.local_devices()
    if not 1 <= needed <= len(devices):
        raise ValueError(
            f"{needed} devices asked for, there are {len(devices)} ({devices[0].platform}); on a "
            "CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of it"
        )
    everyone = range(jax.process_count())
    chosen = np.array([d for p in everyone for d in jax.local_devices(process_index=p)[:needed]])
    if vocabulary == 1:
        return Mesh(chosen, (DATA,))
    return Mesh(chosen.reshape(-1, vocabulary), (DATA, VOCABULARY))


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
        The pytree of `jax.Array`; axes that cannot be shared out equally end with zeros.
    """
    if spec is None or isinstance(spec, PartitionSpec):
        sharding = NamedSharding(mesh, spec or PartitionSpec())
        return jax.tree.map(lambda x: _put(_filled_up(x, sharding), sharding), tree)

    def put(own: PartitionSpec, x: Any) -> Any:
        return place(mesh, x, own)

    return jax.tree.map(put, spec, tree, is_leaf=lambda x: isinstance(x, PartitionSpec))


def _filled_up(x: Any, sharding: NamedSharding) -> Any:
    """An array whose axes can be shared out equally."""
    devices = sharding.mesh.shape
    counts = [1 if axis is None else devices[axis] for axis in sharding.spec]
    more = [-size % count for size, count in zip(np.shape(x), counts)]
    if not any(more):
        return x
    more += [0] * (np.ndim(x) - len(more))
    return np.pad(np.asarray(x), [(0, size) for size in more])


def cut_like(tree: Any, like: Any) -> Any:
    """The inverse of the filling up by `place`.

    Args:
        tree: a pytree of arrays.
        like: one of arrays, or of anything with a shape, whose shapes are taken.

    Returns:
        The pytree.

    Example:
        >>> cut_like(np.arange(4), np.zeros(3)).tolist()
        [0, 1, 2]
    """
    return jax.tree.map(
        lambda x, own: x if x.shape == own.shape else x[tuple(map(slice, own.shape))], tree, like
    )


def _put(x: Any, sharding: NamedSharding) -> Any:
    """An array on the devices of several processes, all of which have it."""
    if sharding.is_fully_addressable or not getattr(x, "is_fully_addressable", True):
        return jax.device_put(x, sharding)
    if is_key(x):
        data = _put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    array = np.asarray(x)
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def on_host(tree: Any) -> Any:
    """Copies of arrays, wherever they lie, as NumPy arrays; keys stay keys.

    Where parts lie with other processes, all processes must ask.

    Args:
        tree: a pytree of arrays.

    Returns:
        The pytree; what becomes of the arrays, donation for example, is nothing to it.

    Example:
        >>> on_host({"w": jnp.ones(2)})
        {'w': array([1., 1.], dtype=float32)}
    """

    def copied(x: Any) -> Any:
        if not isinstance(x, jax.Array):
            return x
        if is_key(x):
            data = copied(jax.random.key_data(x))
            return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(x))
        if x.is_fully_addressable or x.is_fully_replicated:
            return np.array(x)
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(copied, tree)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the arrays of a run lie: on one device, as they come, or on those of a mesh.

    Attributes:
        mesh: of `data_mesh`, or None.
        specs: a pytree of `PartitionSpec` like the parameters; None: each device has all of them.

    Example:
        >>> Placement(data_mesh(1)).rows(np.arange(2)).shape
        (1, 2)
    """

    mesh: Mesh | None = None
    specs: Any = None

    @property
    def count(self) -> int:
        """Pieces that a minibatch is cut into."""
        return 1 if self.mesh is None else self.mesh.shape[DATA]

    def loss(
        self, loss: Callable[..., tuple[jax.Array, Any]], count: Callable[[Any, Any], Any]
    ) -> Callable[..., tuple[jax.Array, Any]]:
        """`data_parallel` of a loss; on one device the loss itself.

        Args:
            loss: ``loss(params, batch) -> (mean, aux)``.
            count: ``count(batch, aux)``, what the mean is over.

        Returns:
            A loss, of what `rows` returns.
        """
        return loss if self.mesh is None else data_parallel(loss, self.mesh, count, self.specs)

    def whole(self, tree: Any) -> Any:
        """Arrays, whole, on every device."""
        return jax.device_put(tree) if self.mesh is None else place(self.mesh, tree)

    def state(self, state: Any, optimizer: optax.GradientTransformation) -> Any:
        """A `TrainState` on the devices; what is like the parameters lies as they do.

        Args:
            state: of a training.
            optimizer: whose state is in it.

        Returns:
            The same values, placed.
        """
        if self.mesh is None or self.specs is None:
            return self.whole(state)
        import optax  # whoever loads a model does without

        whole = PartitionSpec()
        of_optimizer = optax.tree.map_params(
            optimizer,
            lambda _, spec: spec,
            state.opt_state,
            self.specs,
            transform_non_params=lambda _: whole,
        )
        return place(self.mesh, state, type(state)(self.specs, of_optimizer, whole, whole))

    def params(self, params: Any) -> Any:
        """Arrays like the parameters, on the devices."""
        if self.mesh is None or self.specs is None:
            return self.whole(params)
        return place(self.mesh, params, self.specs)

    def rows(self, batch: Any) -> Any:
        """A minibatch, its rows shared out to the devices."""
        if self.mesh is None:
            return batch
        return place(self.mesh, split_rows(batch, self.count), PartitionSpec(DATA))

    def joined(self, tree: Any) -> Any:
        """The inverse of `rows`, on the host."""
        tree = on_host(tree)
        return (
            tree if self.mesh is None else jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
        )

    def local(self, tree: Any) -> Any:
        """Arrays as this process's first device has them, for what it computes by itself."""
        return tree if self.mesh is None else jax.device_put(on_host(tree), jax.local_devices()[0])


def data_parallel(
    loss: Callable[..., tuple[jax.Array, Any]],
    mesh: Mesh,
    count: Callable[[Any, Any], Any],
    specs: Any = None,
) -> Callable[..., tuple[jax.Array, Any]]:
    """A loss of pieces on all devices, out of a loss of one piece.

    Computes ``sum_d n_d loss_d / sum_d n_d`` over the devices, ``n_d`` being what the loss of piece
    ``d`` is the mean over: the loss of the whole minibatch. Its gradient with respect to the
    parameters is that sum's; each device sweeps its piece both ways by itself, and one all-reduce
    adds up losses, counts and gradients.

    Args:
        loss: ``loss(params, batch) -> (mean, aux)``, with ``key=`` too if it is given one.
        mesh: of `data_mesh`.
        count: ``count(batch, aux)``, how many tokens, trees or rows the mean is over.
        specs: a pytree of `PartitionSpec` like the parameters, of which each device of the mesh's
            other axes then has a share; the loss knows of these axes, and gives the same numbers
            on all of their devices. None: each device has the whole of all.

    Returns:
        ``parallel(params, pieces, key=None) -> (mean, aux)``, to be used as ``loss`` is, by
        `make_train_step` for example. ``pieces`` and ``aux`` have a first axis of devices; each
        device draws random numbers of its own, from ``fold_in(key, device)``. Of the mean alone
        there is a gradient, with respect to the parameters alone.

    Example:
        >>> def loss(w, x):
        ...     return jnp.square(w - x).mean(), x.sum()
        >>> parallel = data_parallel(loss, data_mesh(1), lambda x, aux: x.size)
        >>> value, sums = parallel(jnp.float32(1.0), split_rows(jnp.arange(4.0), 1))
        >>> float(value), sums.tolist()
        (1.5, [6.0])
    """
    split, whole = PartitionSpec(DATA), PartitionSpec()
    of_params = whole if specs is None else specs

    def on_one(differentiated, params, piece, key):
        device = lax.axis_index(DATA)
        own = lambda tree: jax.tree.map(lambda x: vary_like(x, device), tree)
        params = own(params)  # so that nothing is summed before the end
        piece = jax.tree.map(lambda x: x[0], piece)
        options = {} if key is None else {"key": jax.random.fold_in(key, device)}

        def weighted(params):
            mean, aux = loss(params, piece, **options)
            weight = jnp.asarray(count(piece, aux), mean.dtype)
            return weight * mean, (weight, aux)

        if differentiated:
            (total, (weight, aux)), grads = jax.value_and_grad(weighted, has_aux=True)(params)
        else:
            (total, (weight, aux)), grads = weighted(params), None
        total, weight, grads = lax.psum((total, own(weight), grads), DATA)
        scale = 1 / jnp.maximum(weight, 1)
        grads = jax.tree.map(lambda g: (g * scale).astype(g.dtype), grads)
        aux = jax.tree.map(lambda x: jnp.asarray(x)[None], aux)
        return total * scale, own(aux), grads

    def on_all(differentiated, params, pieces, key):
        return jax.shard_map(
            partial(on_one, differentiated),
            mesh=mesh,
            in_specs=(of_params, split, whole),
            out_specs=(whole, split, of_params if differentiated else whole),
            axis_names={DATA} if specs is None else set(mesh.axis_names),
        )(params, pieces, key)

    @jax.custom_vjp
    def valued(params, pieces, key):
        mean, aux, _ = on_all(False, params, pieces, key)
        return mean, aux

    def forward(params, pieces, key):
        mean, aux, grads = on_all(True, params, pieces, key)
        return (mean, aux), grads

    def backward(grads, cotangents):
        return jax.tree.map(lambda g: (g * cotangents[0]).astype(g.dtype), grads), None, None

    valued.defvjp(forward, backward)
    return lambda params, pieces, key=None: valued(params, pieces, key)
