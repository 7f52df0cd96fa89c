"""RNTN training: trees a second, peak memory, growth.

All systems train the same network by AdaGrad on the same minibatches: forward, backward and
update, host work included. Each has a process of its own (`worker.py`); they take turns, so that
the ratios hold even on a machine that others use.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark import interleave
from experiments.benchmark.rntn import other_baselines, tree_lstm_baselines
from experiments.benchmark.rntn.parts import CELLS
from rntn_jax import data

__all__ = ["run"]

LEARNING_RATE = 0.01

# Key for `--systems` and the worker, and what it is.
SYSTEMS = {
    "ours": "rntn_jax, hand rule",
    "autodiff": "JAX autodiff, same forward",
    "torch_hand": "PyTorch, levels, hand rule",
    "torch_levels": "PyTorch, levels, autograd",
    "torch_nodes": "PyTorch, node by node",
    "dynet": "DyNet, levels batched by hand",
    "dynet_autobatch": "DyNet, autobatch",
    "dgl": "DGL",
}


def _initial(vocab_size: int, dim: int) -> dict[str, np.ndarray]:
    """The same parameters for everybody."""
    rng = np.random.default_rng(0)

    def uniform(*shape: int, r: float) -> np.ndarray:
        return rng.uniform(-r, r, shape).astype(np.float32)

    return {
        "embedding": uniform(vocab_size, dim, r=0.1),
        "v": uniform(dim, 2 * dim, 2 * dim, r=0.1 / (4 * dim)),
        "w": uniform(2 * dim, dim, r=0.5 * dim**-0.5),
        "b": np.zeros(dim, np.float32),
        "head_w": uniform(dim, 5, r=dim**-0.5),
        "head_b": np.zeros(5, np.float32),
    }


def _load(corpus: str, data_dir: str | None) -> tuple[list[Any], int]:
    """Trees as (ids, children, labels), and the size of the vocabulary."""
    if corpus == "sst":
        forest = data.read_trees(data.corpora.find("sst", data_dir)["train"])
    else:
        forest = data.demo_sentiment.sentiment_splits()["train"]
    vocabulary = data.Vocabulary.build(word for tree in forest for word in tree.tokens)
    return [(vocabulary.encode(t.tokens), t.children, t.labels) for t in forest], len(vocabulary)


def run(
    *,
    corpus: str,
    data_dir: str | None,
    cell: str,
    dims: list[int],
    batch_sizes: list[int],
    rounds: int,
    threads: int,
    systems: list[str],
    parts: list[str],
    pythons: dict[str, str],
    output: str | None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Raises:
        ValueError: for an unknown system or part, or when a worker failed.
    """
    known = {"rntn": SYSTEMS, "tree_lstm": tree_lstm_baselines.SYSTEMS}.get(cell, {})
    interleave.check_words(parts, CELLS[cell])
    interleave.check_words(systems, list(known))
    corpus_trees, vocab_size = _load(corpus, data_dir)
    figures: dict[str, Any] = {
        "corpus": corpus,
        "threads": threads,
        "machine": interleave.machine(),
        "speed": [],
    }
    if "speed" in parts:
        for dim in dims:
            for size in batch_sizes:
                # Enough minibatches for their shapes to differ as in training; few of the costly.
                least = 2 if cell == "rntn" else 8  # as many as a call of the device trains on
                count = max(least, min(20, 540 // size) * 50**2 // max(50, dim) ** 2)
                batches = _minibatches(corpus_trees, size, count)
                initial = (
                    _initial(vocab_size, dim)
                    if cell == "rntn"
                    else tree_lstm_baselines.initial(vocab_size, 2 * dim, dim)  # as Tai et al.
                )
                problem = other_baselines.Problem(
                    batches, initial, LEARNING_RATE, initial_accumulator=0.1
                )
                rows = _speed(cell, problem, rounds, threads, systems or list(known), pythons)
                rows = [{"dim": dim, "batch_size": size, **row} for row in rows]
                figures["speed"] += rows
                _print_speed(rows, known)
                interleave.write(output, figures)
    if "rule" in parts:
        figures["rule"] = _rule(cell, corpus_trees, dims, batch_sizes, rounds)
    if "epoch" in parts:
        figures["epoch"] = _epoch(corpus_trees, vocab_size)
    if "growth" in parts:
        figures["growth"] = _growth(corpus_trees)
    interleave.write(output, figures)
    return figures


def _minibatches(corpus_trees: list[Any], size: int, count: int) -> list[other_baselines.Batch]:
    order = np.random.default_rng(0).permutation(len(corpus_trees))
    return [
        [corpus_trees[order[(i * size + j) % len(order)]] for j in range(size)]
        for i in range(count)
    ]


def _rule(
    cell: str, corpus_trees: list[Any], dims: list[int], batch_sizes: list[int], rounds: int
) -> list[dict[str, Any]]:
    """The hand rule against autodiff, gradients of one sweep."""
    from experiments.benchmark.rntn import cells

    found: list[dict[str, Any]] = []
    print(f"\ngradient of one sweep, {cell}")
    print(f"{'d':>5}{'trees':>7}  {'':10}{'ms':>9}{'ratio':>8}{'MB':>9}  difference")
    for dim in dims:
        for size in batch_sizes:
            rows = cells.measure(cell, _minibatches(corpus_trees, size, 1)[0], dim, rounds)
            found += rows
            for row in rows:
                print(
                    f"{dim:>5}{size:>7}  {row['gradient']:10}{row['ms']:9.2f}{row['ratio']:8.2f}"
                    f"{row['temp_mb']:9.2f}  {row['difference']:.1e}",
                    flush=True,
                )
    return found


def _speed(
    cell: str,
    problem: other_baselines.Problem,
    rounds: int,
    threads: int,
    systems: list[str],
    pythons: dict[str, str],
) -> list[dict[str, Any]]:
    """All systems on the same minibatches."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        other_baselines.save_problem(path, problem)
        rows = interleave.take_turns(
            f"experiments.benchmark.rntn.{'tree_lstm_' if cell == 'tree_lstm' else ''}baselines",
            systems,
            path,
            rounds=rounds,
            threads=threads,
            pythons=pythons,
        )
    for row in rows:
        if "ms" in row:
            row["trees_per_second"] = 1e3 * len(problem.batches[0]) / row["ms"]
    return rows


def _print_speed(rows: list[dict[str, Any]], titles: dict[str, str]) -> None:
    print(f"\nd = {rows[0]['dim']}, {rows[0]['batch_size']} trees a minibatch")
    columns: list[interleave.Column] = [
        ("ms", "9.2f", "ms"),
        ("least", "9.2f", "ms_least"),
        ("CPU ms", "9.2f", "cpu_ms"),
        ("trees/s", "9.0f", "trees_per_second"),
        ("ratio", "7.2f", "ratio"),
        ("first s", "9.2f", "first_seconds"),
        ("peak MB", "9.0f", "peak_mb"),
        ("more", "7.0f", "more_mb"),
    ]
    interleave.print_table(rows, titles, columns)


def _epoch(corpus_trees: list[Any], vocab_size: int) -> dict[str, Any]:
    """A whole epoch as the sentiment experiment trains it: packing overlapped, d = 25."""
    import jax
    import optax

    from experiments.sentiment.batches import EpochLoader
    from rntn_jax import trees
    from rntn_jax.models import rntn
    from rntn_jax.training import init_state, make_train_step

    bank = trees.encode(*other_baselines.as_corpus([corpus_trees]))
    loader = EpochLoader(bank, 27, 16, 8, seed=0)
    optimizer = optax.adagrad(LEARNING_RATE)
    step = make_train_step(rntn.loss, optimizer, several=True)
    params = rntn.init(jax.random.key(0), rntn.Config(vocab_size))
    state = init_state(params, optimizer, jax.random.key(0))
    start = time.perf_counter()
    loader._pack(1)
    packing = time.perf_counter() - start
    seconds = []
    for epoch in range(6):
        start, metrics = time.perf_counter(), None
        for dispatch in loader.epoch(epoch, last=epoch == 5):
            state, metrics = step(state, dispatch.batch)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    loader.close()
    print(
        f"\nepoch of {len(bank)} trees, d = 25, 27 a minibatch: "
        f"median {np.median(seconds[1:]):.2f} s, least {min(seconds):.2f} s, first "
        f"{seconds[0]:.2f} s with compilation; packing alone {packing:.2f} s"
    )
    return {"seconds": seconds, "packing_seconds": packing, "shapes": len(loader.shapes)}


def _growth(corpus_trees: list[Any]) -> list[dict[str, Any]]:
    """Time a node of one gradient, from 1,000 to 1,000,000 nodes, and for one long chain."""
    import jax

    from rntn_jax import trees
    from rntn_jax.models import rntn

    grad = jax.jit(jax.value_and_grad(rntn.loss, has_aux=True))
    rows = []

    def measure(what: str, forest: trees.Forest, nodes: int, dim: int) -> None:
        params = rntn.init(jax.random.key(0), rntn.Config(1000, dim, tensor_scale=0.1))
        forest = jax.device_put(forest._replace(tokens=forest.tokens % 1000))
        compiled = grad.lower(params, forest).compile()
        analysis = compiled.memory_analysis()
        memory = analysis.temp_size_in_bytes if analysis else float("nan")
        out = jax.block_until_ready(compiled(params, forest))
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            out = jax.block_until_ready(compiled(params, forest))
            seconds.append(time.perf_counter() - start)
        row = {
            "what": what,
            "nodes": nodes,
            "us_per_node": 1e6 * min(seconds) / nodes,
            "bytes_per_node": memory / nodes,
            "loss_is_finite": bool(np.isfinite(out[0][0])),
        }
        rows.append(row)
        print(
            f"{what:24}{nodes:>9} nodes {row['us_per_node']:8.2f} us a node "
            f"{row['bytes_per_node']:9.0f} bytes a node",
            flush=True,
        )

    print("\ngrowth, d = 10")
    for nodes in (1_000, 10_000, 100_000, 1_000_000):
        chosen, total, i = [], 0, 0
        while total < nodes:
            chosen.append(corpus_trees[i % len(corpus_trees)])
            total += len(chosen[-1][2])
            i += 1
        packed = trees.pack(*other_baselines.as_corpus([chosen]))
        measure(f"{len(chosen)} trees", packed, total, 10)
    for leaves in (500, 5_000):
        inner = np.arange(leaves, 2 * leaves - 1)
        children = np.stack([np.append(0, inner[:-1]), np.arange(1, leaves)], 1).astype(np.int32)
        labels = np.full(2 * leaves - 1, 2, np.int32)
        packed = trees.pack(
            *other_baselines.as_corpus([[(np.full(leaves, 2, np.int32), children, labels)]])
        )
        measure(f"left chain, {leaves} leaves", packed, 2 * leaves - 1, 10)
    return rows
