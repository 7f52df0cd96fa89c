"""The systems of the Tree-LSTM benchmark: ours, autodiff of the same sweep, other libraries'.

The binary Tree-LSTM of Tai et al. (2015), words at the leaves, a classifier at every node, AdaGrad.
Everything is counted: packing, graph building, gradients, the update. pytorch-tree-lstm has the
child-sum cell only, with one bias for leaves and internal nodes: it stands beside our child-sum.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.rntn import other_baselines
from experiments.benchmark.rntn.baselines import Train, jax_train

__all__ = ["SYSTEMS", "initial", "make"]

SYSTEMS = {
    "ours": "rntn_jax, hand rule",
    "autodiff": "JAX autodiff of the plain sweep",
    "torch_levels": "PyTorch, levels, autograd",
    "dynet": "DyNet, levels batched by hand",
    "dynet_autobatch": "DyNet, autobatch",
    "dgl": "DGL",
    "childsum": "rntn_jax, child-sum",
    "torch_package": "pytorch-tree-lstm, child-sum",
}


def initial(vocab_size: int, embed_dim: int, dim: int) -> dict[str, np.ndarray]:
    """Parameters for everybody; gates i, f_l, f_r, o, u side by side, of leaves i, o, u."""
    rng = np.random.default_rng(0)

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32) * np.float32(shape[0] ** -0.5)

    return {
        "embedding": 0.1 * rng.normal(size=(vocab_size, embed_dim)).astype(np.float32),
        "leaf_w": uniform(embed_dim, 3 * dim),
        "leaf_b": np.zeros(3 * dim, np.float32),
        "u": uniform(2 * dim, 5 * dim),
        "b": np.zeros(5 * dim, np.float32),
        "head_w": uniform(dim, 5),
        "head_b": np.zeros(5, np.float32),
    }


def _tied(params: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a child-sum cell, i, f, o, u: those of the left child."""
    d = params["head_w"].shape[0]
    i, f, _, o, u = np.split(params["u"][:d], 5, axis=1)
    return np.concatenate([i, f, o, u], axis=1), params["b"][: 4 * d]


def _ours(problem: other_baselines.Problem, system: str, threads: int) -> tuple[Train, str]:
    import jax.numpy as jnp

    from experiments.benchmark.rntn.cells import CELLS
    from rntn_jax.models import node_classifier, tree_lstm
    from rntn_jax.models.layers import Layer

    p = {name: jnp.asarray(value) for name, value in problem.params.items()}
    cell = tree_lstm.Cell(p["u"], p["b"])
    if system == "childsum":
        cell = tree_lstm.Cell(*map(jnp.asarray, _tied(problem.params)))
    params = tree_lstm.Params(
        p["embedding"],
        Layer(p["leaf_w"], p["leaf_b"]),
        cell,
        node_classifier.Head(p["head_w"], p["head_b"]),
    )
    if system == "autodiff":
        tree_lstm.sweep = CELLS["tree_lstm"].plain  # in this process, before anything is traced
    return jax_train(problem, params, tree_lstm.loss, threads)


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name, and the version of its library."""
    problem = other_baselines.load_problem(path)
    step: Callable[[other_baselines.Batch], float]
    if system in ("ours", "autodiff", "childsum"):
        train, version = _ours(problem, system, threads)
        return train, {"version": version}
    rates = problem.learning_rate, problem.initial_accumulator
    if system.startswith("dynet"):
        auto = system == "dynet_autobatch"
        step, version = _dynet(problem.params, *rates, auto)
    else:
        from experiments.benchmark.rntn import torch_tree_lstm

        step, version = torch_tree_lstm.make(system, problem.params, *rates, threads)
    return lambda: [step(batch) for batch in problem.batches], {"version": version}


def _dynet(
    params: dict[str, np.ndarray], learning_rate: float, initial_accumulator: float, auto: bool
) -> tuple[Callable[[other_baselines.Batch], float], str]:
    """DyNet, by levels or left to its autobatching."""
    import dynet_config  # pyright: ignore[reportMissingImports]

    dynet_config.set(mem=4096, autobatch=int(auto))
    import dynet as dy  # pyright: ignore[reportMissingImports]

    dim = params["head_w"].shape[0]
    model = dy.ParameterCollection()
    embedding = model.lookup_parameters_from_numpy(params["embedding"])
    weights = {
        name: model.parameters_from_numpy(np.ascontiguousarray(value.T))
        for name, value in params.items()
        if name != "embedding"
    }
    trainer = dy.AdagradTrainer(
        model, learning_rate=learning_rate, eps=initial_accumulator + other_baselines.EPSILON
    )
    trainer.set_clip_threshold(0)

    def part(z: Any, k: int) -> Any:
        return dy.pick_range(z, k * dim, (k + 1) * dim)

    def leaf(x: Any) -> tuple[Any, Any]:
        z = dy.affine_transform([weights["leaf_b"], weights["leaf_w"], x])
        c = dy.cmult(dy.logistic(part(z, 0)), dy.tanh(part(z, 2)))
        return dy.cmult(dy.logistic(part(z, 1)), dy.tanh(c)), c

    def cell(left: tuple[Any, Any], right: tuple[Any, Any]) -> tuple[Any, Any]:
        x = dy.concatenate([left[0], right[0]])
        z = dy.affine_transform([weights["b"], weights["u"], x])
        gates = dy.logistic(dy.pick_range(z, 0, 4 * dim))
        i, f_l, f_r, o = (part(gates, k) for k in range(4))
        c = dy.cmult(i, dy.tanh(part(z, 4)))
        c = c + dy.cmult(f_l, left[1]) + dy.cmult(f_r, right[1])
        return dy.cmult(o, dy.tanh(c)), c

    def node_by_node(batch: other_baselines.Batch) -> Any:
        losses = []
        for ids, children, labels in batch:
            states = [leaf(embedding[i]) for i in ids.tolist()]
            for left, right in children.tolist():
                states.append(cell(states[left], states[right]))
            for (h, _), label in zip(states, labels.tolist(), strict=True):
                if label >= 0:
                    logits = dy.affine_transform([weights["head_b"], weights["head_w"], h])
                    losses.append(dy.pickneglogsoftmax(logits, label))
        return dy.esum(losses)

    def by_level(batch: other_baselines.Batch) -> Any:
        ids, levels, labels = other_baselines.schedule(batch)
        states = leaf(dy.lookup_batch(embedding, ids.tolist()))
        for children in levels:
            left, right = (
                tuple(dy.pick_batch_elems(part, side.tolist()) for part in states)
                for side in children.T
            )
            states = tuple(
                dy.concatenate_to_batch([old, new]) for old, new in zip(states, cell(left, right))
            )
        h = states[0]
        (seen,) = np.nonzero(labels >= 0)
        if len(seen) < len(labels):
            h = dy.pick_batch_elems(h, seen.tolist())
        logits = dy.affine_transform([weights["head_b"], weights["head_w"], h])
        return dy.sum_batches(dy.pickneglogsoftmax_batch(logits, labels[seen].tolist()))

    def step(batch: other_baselines.Batch) -> float:
        assert model  # keeps it alive: DyNet's trainer does not
        dy.renew_cg()
        loss = (node_by_node if auto else by_level)(batch) * (1.0 / len(batch))
        value = loss.value()
        loss.backward()
        trainer.update()
        return value

    return step, dy.__version__
