"""The hand rule of every cell against autodiff of the same recursion, gradients of one sweep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.rntn import other_baselines
from rntn_jax import trees
from rntn_jax.recursive import mv_rnn, rntn, tree_lstm

__all__ = ["CELLS", "measure"]

Sweep = Callable[[Any, Any, Any], Any]  # weights, states of the leaves, forest -> all states


class _Cell(NamedTuple):
    make: Callable[..., Any]  # weights as its sweep takes them
    weights: Callable[[int], list[tuple[int, ...]]]  # shapes at a width of d
    width: Callable[[int], int]  # of a state
    rule: Sweep
    plain: Sweep  # the recursion as anybody would write it, for autodiff


def _plain_tree_lstm(cell: tree_lstm.Cell, leaves: Any, forest: Any) -> Any:
    if cell.b.shape[0] == 2 * leaves.shape[1]:  # child-sum: four gates, states of two parts
        cell = tree_lstm._as_binary(cell)
    return tree_lstm._sweep_reference(cell, leaves, forest)


def _plain_rntn(*args: Any) -> Any:
    return rntn._sweep_reference("tanh", *args)


CELLS = {
    "rntn": _Cell(
        rntn.Cell,
        lambda d: [(d, 2 * d, 2 * d), (2 * d, d), (d,)],
        lambda d: d,
        rntn.sweep,
        _plain_rntn,
    ),
    "rnn": _Cell(
        lambda *weights: rntn.Cell(None, *weights),
        lambda d: [(2 * d, d), (d,)],
        lambda d: d,
        rntn.sweep,
        _plain_rntn,
    ),
    "mv_rnn": _Cell(
        mv_rnn.Cell,
        lambda d: [(2 * d, d), (d,), (2 * d, d)],
        lambda d: d + d * d,
        mv_rnn.sweep,
        lambda *args: mv_rnn._sweep_reference("tanh", *args),
    ),
    "tree_lstm": _Cell(
        tree_lstm.Cell,
        lambda d: [(2 * d, 5 * d), (5 * d,)],
        lambda d: 2 * d,
        tree_lstm.sweep,
        _plain_tree_lstm,
    ),
    "child_sum": _Cell(
        tree_lstm.Cell,
        lambda d: [(d, 4 * d), (4 * d,)],
        lambda d: 2 * d,
        tree_lstm.sweep,
        _plain_tree_lstm,
    ),
}


def measure(
    name: str, batch: other_baselines.Batch, dim: int, rounds: int
) -> list[dict[str, float | str]]:
    """Gradients of one sweep over a minibatch, by the rule and by autodiff, in turn.

    Args:
        name: of `CELLS`.
        batch: trees.
        dim: width of the vectors.
        rounds: calls of each.

    Returns:
        A row each: ``ms`` (median), ``ratio`` and ``cpu_ratio`` to the rule's (medians over rounds
        of some 20 ms), ``temp_mb`` (XLA's temporary memory), and how far the gradients are from the
        rule's, relatively.
    """
    cell = CELLS[name]
    forest = jax.device_put(trees.pack(*other_baselines.as_corpus([batch]), lanes=16))
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return jnp.asarray(rng.normal(size=shape) * 0.3 / max(shape) ** 0.5, jnp.float32)

    weights = cell.make(*(normal(*shape) for shape in cell.weights(dim)))
    leaves = normal(forest.shape.leaves, cell.width(dim))
    cotangent = normal(forest.shape.slots, cell.width(dim))

    def compiled(sweep: Sweep) -> Any:
        def total(weights, leaves, forest):
            return (sweep(weights, leaves, forest) * cotangent).sum()

        return jax.jit(jax.grad(total, (0, 1))).lower(weights, leaves, forest).compile()

    programs = {"rule": compiled(cell.rule), "autodiff": compiled(cell.plain)}
    found = {key: program(weights, leaves, forest) for key, program in programs.items()}
    seconds: dict[str, list[float]] = {key: [] for key in programs}
    cpu: dict[str, list[float]] = {key: [] for key in programs}

    def timed(program: Any, calls: int) -> tuple[float, float]:
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            jax.block_until_ready(program(weights, leaves, forest))
        return (time.perf_counter() - start) / calls, (time.process_time() - start_cpu) / calls

    calls = {key: max(1, int(0.02 / timed(program, 1)[0])) for key, program in programs.items()}
    for _ in range(rounds):
        for key, program in programs.items():
            wall, own = timed(program, calls[key])
            seconds[key].append(wall)
            cpu[key].append(own)
    rows: list[dict[str, float | str]] = []
    for key, program in programs.items():
        analysis = program.memory_analysis()
        pairs = zip(jax.tree.leaves(found[key]), jax.tree.leaves(found["rule"]))
        far = max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs)
        rows.append(
            {
                "cell": name,
                "dim": dim,
                "batch_size": len(batch),
                "gradient": key,
                "ms": 1e3 * float(np.median(seconds[key])),
                "ratio": float(np.median(np.divide(seconds[key], seconds["rule"]))),
                "cpu_ratio": float(np.median(np.divide(cpu[key], cpu["rule"]))),
                "temp_mb": analysis.temp_size_in_bytes / 1e6 if analysis else float("nan"),
                "difference": far,
            }
        )
    return rows
