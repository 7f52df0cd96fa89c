"""RNTN training: trees a second, peak memory, growth.

All systems train the same network by AdaGrad on the same minibatches: forward, backward and
update, host work included. They take turns within one run, so that the ratios hold even on a
machine that others use.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rntn_jax import data

__all__ = ["run"]

LEARNING_RATE = 0.01
Batch = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # ids, children, labels of each tree


class System(Protocol):
    """One way of training; `train` takes minibatches and returns their losses."""

    def train(self, batches: list[Batch]) -> list[float]: ...


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


class JaxSystem:
    """Our train step; ``autodiff=True`` differentiates the same forward sweep by JAX instead."""

    def __init__(self, initial: dict[str, np.ndarray], autodiff: bool, lanes: int | None = None):
        import jax
        import jax.numpy as jnp
        import optax

        from rntn_jax.models import rntn
        from rntn_jax.training import init_state, make_train_step

        p = {name: jnp.asarray(value) for name, value in initial.items()}
        params = rntn.Params(
            p["embedding"],
            rntn.Cell(p["v"], p["w"], p["b"]),
            rntn.Head(p["head_w"], p["head_b"]),
        )
        optimizer = optax.adagrad(LEARNING_RATE, initial_accumulator_value=0.1)
        loss = _autodiff_loss if autodiff else rntn.loss
        self._step = make_train_step(loss, optimizer)
        self._state = init_state(params, optimizer, jax.random.key(0))
        self._lanes, self._shapes = lanes, None
        self.compile_seconds = 0.0

    def train(self, batches: list[Batch]) -> list[float]:
        import jax

        from rntn_jax import trees
        from rntn_jax.training import RowBatch

        forest = [data.Tree(("w",) * len(ids), c, y) for batch in batches for ids, c, y in batch]
        bank = trees.encode(forest, _Ids(batches))
        ends = np.cumsum([len(batch) for batch in batches])
        members = [np.arange(end - len(b), end) for end, b in zip(ends, batches)]
        if self._shapes is None:  # one shape for all, as the training loop does
            needs = [f.shape for f in trees.pack_batches(bank, members, lanes=self._lanes)]
            self._shapes = [trees.Shape(*(max(sizes) for sizes in zip(*needs)))]
        losses = []
        for packed in trees.pack_batches(bank, members, shapes=self._shapes):
            batch = RowBatch(*trees.local_tokens(packed))
            self._state, metrics = self._step(self._state, batch)
            losses.append(metrics["loss"])
        return [float(loss) for loss in jax.block_until_ready(losses)]


class _Ids:
    """Stands in for a vocabulary: the trees are encoded already."""

    def __init__(self, batches: list[Batch]):
        self._ids = np.concatenate([ids for batch in batches for ids, _, _ in batch])

    def encode(self, tokens: Any) -> np.ndarray:
        return self._ids


def _autodiff_loss(params: Any, forest: Any) -> tuple[Any, None]:
    """The loss with the same fast forward sweep, left to autodiff: a scan that can be reversed."""
    import jax
    import jax.numpy as jnp

    from rntn_jax.ops import slice_products

    d = params.cell.b.shape[0]
    u = params.cell.v.transpose(1, 0, 2).reshape(2 * d, d * 2 * d)
    lanes, first = forest.shape.lanes, forest.shape.first
    leaves = jnp.tanh(params.embedding[forest.tokens])
    states = jnp.zeros((forest.shape.slots, d), leaves.dtype)
    states = jax.lax.dynamic_update_slice_in_dim(states, leaves, 1, axis=0)

    def step(states, at):
        i, children = at
        x = states[children.reshape(-1)].reshape(lanes, 2 * d)
        z = jnp.einsum("nkj,nj->nk", slice_products(x, u), x) + x @ params.cell.w + params.cell.b
        slot = first + i * lanes
        return jax.lax.dynamic_update_slice_in_dim(states, jnp.tanh(z), slot, axis=0), None

    states, _ = jax.lax.scan(step, states, (jnp.arange(forest.shape.steps), forest.children))
    log_y = jax.nn.log_softmax(states @ params.head.w + params.head.b)
    nats = -jnp.take_along_axis(log_y, forest.labels[:, None], axis=1)[:, 0]
    return jnp.where(forest.labelled, nats, 0).sum() / forest.num_trees, None


class TorchSystem:
    """A trainer of `torch_rntn`."""

    def __init__(self, name: str, initial: dict[str, np.ndarray], threads: int):
        from experiments.benchmark import torch_rntn

        torch_rntn.set_threads(threads)
        self._trainer = getattr(torch_rntn, name)(initial, LEARNING_RATE)

    def train(self, batches: list[Batch]) -> list[float]:
        return [self._trainer.step(batch) for batch in batches]


SYSTEMS = {
    "rntn_jax, hand rule": lambda initial, threads: JaxSystem(initial, autodiff=False),
    "JAX autodiff, same forward": lambda initial, threads: JaxSystem(initial, autodiff=True),
    "PyTorch, levels, hand rule": lambda i, t: TorchSystem("LevelHand", i, t),
    "PyTorch, levels, autograd": lambda i, t: TorchSystem("LevelAutograd", i, t),
    "PyTorch, node by node": lambda i, t: TorchSystem("NodeByNode", i, t),
}


def _load(corpus: str, data_dir: str | None) -> tuple[list[Any], int]:
    """Trees as (ids, children, labels), and the size of the vocabulary."""
    if corpus == "sst":
        forest = data.read_trees(data.corpora.find("sst", data_dir)["train"])
    else:
        forest = data.demo.sentiment_splits()["train"]
    vocabulary = data.Vocabulary.build(word for tree in forest for word in tree.tokens)
    return [(vocabulary.encode(t.tokens), t.children, t.labels) for t in forest], len(vocabulary)


def run(
    *,
    corpus: str,
    data_dir: str | None,
    dims: list[int],
    batch_sizes: list[int],
    rounds: int,
    threads: int,
    only: list[str],
    parts: list[str],
    output: str | None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures."""
    if "_RNTN_BENCHMARK_CHILD" not in os.environ:
        return _in_child(threads)
    corpus_trees, vocab_size = _load(corpus, data_dir)
    names = [name for name in SYSTEMS if not only or any(word in name for word in only)]
    figures: dict[str, Any] = {"corpus": corpus, "threads": threads, "cpu": _cpu(), "speed": []}
    if "speed" in parts:
        for dim in dims:
            for size in batch_sizes:
                rows = _speed(corpus_trees, vocab_size, dim, size, rounds, threads, names)
                figures["speed"] += rows
                _print_speed(rows)
    if "epoch" in parts:
        figures["epoch"] = _epoch(corpus_trees, vocab_size)
    if "growth" in parts:
        figures["growth"] = _growth(corpus_trees)
    if output:
        Path(output).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def _in_child(threads: int) -> dict[str, Any]:
    """Starts over with the thread count set before any library is loaded."""
    flags = os.environ.get("XLA_FLAGS", "")
    if threads == 1:
        flags += " --xla_cpu_multi_thread_eigen=false"
    child = {
        **os.environ,
        "_RNTN_BENCHMARK_CHILD": "1",
        "XLA_FLAGS": flags,
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-P", "-m", "experiments.benchmark.main", *sys.argv[1:]]
    if subprocess.run(command, env=child, check=False).returncode:
        raise ValueError("the benchmark failed")
    return {}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


def _minibatches(corpus_trees: list[Any], size: int, count: int) -> list[Batch]:
    order = np.random.default_rng(0).permutation(len(corpus_trees))
    return [
        [corpus_trees[order[(i * size + j) % len(order)]] for j in range(size)]
        for i in range(count)
    ]


def _speed(
    corpus_trees: list[Any],
    vocab_size: int,
    dim: int,
    size: int,
    rounds: int,
    threads: int,
    names: list[str],
) -> list[dict[str, Any]]:
    """Interleaved rounds of the same minibatches; medians over rounds."""
    count = max(1, min(8, 540 // size))
    batches = _minibatches(corpus_trees, size, count)
    initial = _initial(vocab_size, dim)
    systems: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = {"dim": dim, "batch_size": size, "system": name}
        mine = batches[:1] if name == "PyTorch, node by node" else batches
        before = _peak_mb()
        start = time.perf_counter()
        try:
            systems[name] = SYSTEMS[name](initial, threads)
            losses = systems[name].train(mine)
        except ImportError as error:
            rows[name]["missing"] = str(error)
            systems.pop(name, None)
            continue
        rows[name]["first_seconds"] = time.perf_counter() - start
        rows[name]["peak_mb_more"] = _peak_mb() - before
        rows[name]["first_losses"] = losses[:3]
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            mine = batches[:1] if name == "PyTorch, node by node" else batches
            start = time.perf_counter()
            losses = system.train(mine)
            times[name].append((time.perf_counter() - start) / len(mine))
            rows[name]["last_loss"] = losses[-1]
    for name, seconds in times.items():
        rows[name]["ms"] = 1e3 * float(np.median(seconds))
        rows[name]["ms_least"] = 1e3 * min(seconds)
        rows[name]["trees_per_second"] = size / float(np.median(seconds))
    ours = rows.get("rntn_jax, hand rule", {})
    for row in rows.values():
        if "ms" in row and "ms" in ours:
            row["times_ours"] = row["ms"] / ours["ms"]
    return list(rows.values())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _print_speed(rows: list[dict[str, Any]]) -> None:
    print(f"\nd = {rows[0]['dim']}, {rows[0]['batch_size']} trees a minibatch")
    print(f"{'':30}{'ms':>9}{'least':>9}{'trees/s':>9}{'ratio':>7}{'first s':>9}")
    for row in rows:
        if "ms" not in row:
            print(f"{row['system']:30} not measured: {row['missing']}")
            continue
        print(
            f"{row['system']:30}{row['ms']:9.2f}{row['ms_least']:9.2f}"
            f"{row['trees_per_second']:9.0f}{row.get('times_ours', float('nan')):7.2f}"
            f"{row['first_seconds']:9.2f}",
            flush=True,
        )


def _epoch(corpus_trees: list[Any], vocab_size: int) -> dict[str, Any]:
    """A whole epoch as the sentiment experiment trains it: packing overlapped, d = 25."""
    import jax
    import optax

    from experiments.sentiment.batches import EpochLoader
    from rntn_jax import trees
    from rntn_jax.models import rntn
    from rntn_jax.training import init_state, make_train_step

    forest = [data.Tree(("w",) * len(ids), c, y) for ids, c, y in corpus_trees]
    bank = trees.encode(forest, _Ids([corpus_trees]))
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
        forest = [data.Tree(("w",) * len(ids), c, y) for ids, c, y in chosen]
        packed = trees.pack(forest, _Ids([chosen]))
        measure(f"{len(chosen)} trees", packed, total, 10)
    for leaves in (500, 5_000):
        inner = np.arange(leaves, 2 * leaves - 1)
        children = np.stack([np.append(0, inner[:-1]), np.arange(1, leaves)], 1).astype(np.int32)
        chain = data.Tree(("w",) * leaves, children, np.full(2 * leaves - 1, 2, np.int32))
        ids = [[(np.full(leaves, 2, np.int32), children, chain.labels)]]
        measure(f"left chain, {leaves} leaves", trees.pack([chain], _Ids(ids)), 2 * leaves - 1, 10)
    return rows
