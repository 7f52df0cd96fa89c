"""Inside `jax.shard_map`, its checks on, every public function gives what it gives on one device.

Two devices call the examples of `tests.test_compilations`, some of the arrays being each device's
own (they vary) and others shared; gradients of what is shared are sums over devices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.benchmark.compiled.hlo import collectives
from rntn_jax.crf import chain, forest, graph
from rntn_jax.crf.chain import shared_edges
from rntn_jax.ops.varying import vary_like
from tests.compilation_examples.calls import KEY, C, Example, N
from tests.compilation_examples.crf import EDGES, PARENT
from tests.helpers import assert_close
from tests.test_compilations import EXAMPLES, total

# Which arrays are each device's own: of those of floating point, and the others.
PATTERNS: dict[str, Callable[[int, bool], bool]] = {
    "floats": lambda number, is_float: is_float,
    "even": lambda number, is_float: is_float and number % 2 == 0,
    "odd": lambda number, is_float: is_float and number % 2 == 1,
    "integers": lambda number, is_float: not is_float,
}


def mesh(kind: str = "auto") -> tuple[Mesh, dict[str, Any]]:
    """Two devices along ``data``, and which axes are manual; the other axes being of a kind."""
    devices = np.array(jax.devices("cpu")[:2])
    assert len(devices) == 2
    if kind == "auto":
        return Mesh(devices, ("data",)), {}
    types = (getattr(jax.sharding.AxisType, kind.removeprefix("beside ").capitalize()),)
    if kind.startswith("beside "):
        both = Mesh(devices[:, None], ("data", "model"), axis_types=2 * types)
        return both, {"axis_names": {"data"}}
    return Mesh(devices, ("data",), axis_types=types), {}


class Split:
    """An example as a function of its arrays, some of which are each device's own."""

    def __init__(self, example: Example, pattern: str):
        own = PATTERNS[pattern]
        leaves, self.structure = jax.tree.flatten(self.planned(example, 0))
        others = jax.tree.leaves(self.planned(example, 1))
        is_array = [isinstance(x, np.ndarray) for x in leaves]
        self.floats = [a and x.dtype.kind == "f" for a, x in zip(is_array, leaves)]
        numbers = np.cumsum(self.floats) - 1
        self.varying = [
            a and own(int(n), f) for a, f, n in zip(is_array, self.floats, numbers, strict=True)
        ]
        self.example, self.constants = example, leaves
        self.arrays = [i for i, a in enumerate(is_array) if self.varying[i] or self.floats[i]]
        self.of_device = [
            [(other if v else x) for x, other, v in zip(leaves, device, self.varying)]
            for device in (leaves, others)
        ]

    @staticmethod
    def planned(example: Example, seed: int) -> tuple[Any, ...]:
        """Arguments; forests with a plan, so that it may be traced."""

        def ready(x):
            if isinstance(x, forest.Scores):
                return x._replace(parent=forest.plan(PARENT))
            return x

        return tuple(map(ready, example.make(np.random.default_rng(seed))))

    def wrt(self) -> tuple[int, ...]:
        """Which of ``arrays`` are differentiated."""
        return tuple(k for k, i in enumerate(self.arrays) if self.floats[i])

    def values(self, *arrays: Any) -> Any:
        """The example's value and gradient."""

        def call(*arrays):
            full = list(self.constants)
            for i, x in zip(self.arrays, arrays, strict=True):
                full[i] = x
            return self.example.function(
                *jax.tree.unflatten(self.structure, full), **self.example.options
            )

        if not (self.example.gradient and self.wrt()):
            return call(*arrays), ()

        def loss(*arrays):
            out = call(*arrays)
            return self.summed(total(out)), out

        (_, out), grads = jax.value_and_grad(loss, self.wrt(), has_aux=True)(*arrays)
        return out, grads

    summed = staticmethod(lambda x: x)

    def on_two_devices(self, kind: str) -> tuple[Callable[..., Any], list[Any]]:
        """The function that `jax.shard_map` makes of it, and its arguments."""
        where, options = mesh(kind)
        # Each device's own loss, so that gradients of what is shared are those of the sum.
        self.summed = lambda x: vary_like(x, lax.axis_index("data"))
        specs = [P("data") if self.varying[i] else P() for i in self.arrays]

        def local(*arrays):
            split = [x[0] if self.varying[i] else x for i, x in zip(self.arrays, arrays)]
            out, grads = self.values(*split)
            at = [self.arrays[k] for k in self.wrt()]
            grads = [g[None] if self.varying[i] else g for i, g in zip(at, grads)]
            return jax.tree.map(lambda x: jax.numpy.asarray(x)[None], out), grads

        grads = [specs[k] for k in self.wrt()] if self.example.gradient else []
        of_both = jax.shard_map(
            local, mesh=where, in_specs=tuple(specs), out_specs=(P("data"), grads), **options
        )
        arrays = [
            np.stack([device[i] for device in self.of_device])
            if self.varying[i]
            else self.constants[i]
            for i in self.arrays
        ]
        if "explicit" in kind:  # there an array's type says how it lies
            arrays = [jax.device_put(x, NamedSharding(where, s)) for x, s in zip(arrays, specs)]
        return of_both, arrays

    def on_one_device(self) -> tuple[Any, list[Any]]:
        """What they should be: values side by side, and gradients side by side or summed."""
        self.summed = lambda x: x
        found = [self.values(*(own[i] for i in self.arrays)) for own in self.of_device]
        side_by_side = lambda *x: np.stack(x)
        at = [self.arrays[k] for k in self.wrt()] if self.example.gradient else []
        grads = [
            np.stack(both) if self.varying[i] else np.add(*both)
            for i, *both in zip(at, *(grads for _, grads in found))
        ]
        return jax.tree.map(side_by_side, *(out for out, _ in found)), grads


# Their verbs share a few recursions, each traced for seconds: a few stand for all.
MUCH_TO_TRACE = ("crf.dependency", "crf.semi_markov", "crf.ctc", "crf.alignment", "crf.grammar")


def cases(*quick: str) -> list[Any]:
    """Examples with patterns, of which the others are slow."""
    found, numbers = [], {}
    for example in EXAMPLES:
        module = example.function.__module__.removeprefix("rntn_jax.")
        name = f"{module}.{example.function.__name__}"
        numbers[name] = numbers.get(name, 0) + 1
        long = example.slow and module.startswith(MUCH_TO_TRACE)
        for pattern in PATTERNS:
            if pattern == "integers" and module.startswith("crf.graph"):
                continue  # plans of graphs are made of them before anything is traced
            marks = [] if pattern in quick and not long else [pytest.mark.slow]
            name_of_case = f"{name}-{numbers[name]}-{pattern}"
            found.append(pytest.param(example, pattern, id=name_of_case, marks=marks))
    return found


@pytest.mark.parametrize(("example", "pattern"), cases("even", "odd"))
def test_types_fit(example, pattern):
    sharded, arrays = Split(example, pattern).on_two_devices("auto")
    jax.eval_shape(sharded, *arrays)


@pytest.mark.parametrize(("example", "pattern"), cases())
def test_values_and_gradients_are_those_of_one_device(example, pattern):
    split = Split(example, pattern)
    sharded, arrays = split.on_two_devices("auto")
    # Beside 1: a sum of probabilities is constant, so that its gradient is rounding.
    beside_one = lambda out, grads: (out, [1 + np.asarray(g) for g in grads])
    assert_close(beside_one(*jax.jit(sharded)(*arrays)), beside_one(*split.on_one_device()), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["explicit", "beside auto", "beside explicit"])
@pytest.mark.parametrize(("example", "pattern"), cases())
def test_types_fit_whatever_the_axes_of_the_mesh_are(example, pattern, kind):
    sharded, arrays = Split(example, pattern).on_two_devices(kind)
    jax.eval_shape(sharded, *arrays)


@pytest.mark.parametrize("method", ["exact", "loopy", "mean_field", "gibbs"])
def test_each_device_may_have_a_graph_of_its_own(method):
    """Plans that vary: of the same sizes, for other edges."""
    where, _ = mesh()
    edges = np.stack([EDGES, np.array([[0, 2], [2, 1], [1, 3], [3, 0]], np.int32)])
    if method == "exact":
        sizes = zip(*(graph.plan(own, N, C).shape for own in edges))
        shape = graph.Shape(*map(max, sizes))
        plans = [graph.plan(own, N, C, shape=shape) for own in edges]
    else:
        plans = [graph.neighbours(own, N) for own in edges]
    node, edge = np.random.default_rng(0).normal(size=(N, C)), np.ones((4, C, C)) * np.eye(C)

    def ask(node, edges, plan):
        scores = graph.Scores(node, edge, edges)
        if method == "gibbs":
            return graph.gibbs(KEY, scores, np.zeros((2, N), int), 2, plan=plan)
        return graph.log_partition(scores, method=method, plan=plan)

    def local(node, edges, plan):
        own = jax.tree.map(lambda x: x[0], (edges, plan))
        return jax.tree.map(lambda x: x[None], ask(node, *own))

    stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *plans)
    split = P("data")
    of_both = jax.shard_map(local, mesh=where, in_specs=(P(), split, split), out_specs=split)
    found = jax.jit(of_both)(node, edges, stacked)
    assert_close(found, np.stack([ask(node, *own) for own in zip(edges, plans)]), 1e-10)


def test_under_plain_jit_rows_of_chains_stay_on_their_devices():
    """No array is gathered, and no loop waits for another device."""
    where, _ = mesh()
    rows, everywhere = (NamedSharding(where, spec) for spec in (P("data"), P()))
    shape = partial(jax.ShapeDtypeStruct, dtype=jax.numpy.float32)
    labels = jax.ShapeDtypeStruct((4, 7), jax.numpy.int32, sharding=rows)

    def loss(node, edge, labels):
        return -chain.log_prob(chain.Scores(node, edge), labels).mean()

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    program = step.lower(
        shape((4, 7, 3), sharding=rows), shape((3, 3), sharding=everywhere), labels
    ).compile()
    everywhere, in_loops = collectives(program)
    assert not in_loops and set(everywhere) == {"all-reduce"}


def test_sums_of_products_are_the_same_on_one_device(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(2, 5, 3, 2))
    found = []
    for count in (1, 4):
        monkeypatch.setattr(jax, "device_count", lambda count=count: count)
        found.append(shared_edges._sum_of_products(x, y))
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_outside_of_shard_map_nothing_is_added():
    args = {"x": np.ones(2), "none": None}, jax.numpy.ones(3)
    assert vary_like(args, KEY) is args
    grown = jax.make_jaxpr(lambda x: jax.grad(lambda x: vary_like(x, args).sum())(x))(np.ones(3))
    assert "psum" not in str(grown) and "pvary" not in str(grown)
