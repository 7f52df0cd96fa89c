"""What the RNTN benchmark gives its baselines, and the baselines DyNet and DGL.

They need not share an interpreter with this library (flags ``--dynet_python``, ``--dgl_python``).
Interpreters that work:

* DyNet: Python 3.11 with ``pip install dyNET38==2.2 "numpy<2"``;
* DGL: Python 3.11 with ``pip install torch==2.13.0 dgl==1.1.3 "setuptools<60" packaging``
  (DGL 2.x does not import with this PyTorch).

Model, loss and optimiser are those of `torch_rntn`; a step includes building graphs and the update.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Batch = Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
Step = Callable[[Batch], float]
EPSILON = 1e-7


class Problem(NamedTuple):
    """What all baselines are given."""

    batches: list[Batch]
    params: dict[str, np.ndarray]
    learning_rate: float
    initial_accumulator: float


def save_problem(path: pathlib.Path, problem: Problem) -> None:
    """Writes a problem for a worker, without pickling."""
    trees = [tree for batch in problem.batches for tree in batch]
    ids, children, labels = (np.concatenate(part) for part in zip(*trees, strict=True))
    np.savez(
        path,
        ids=ids,
        children=children,
        labels=labels,
        offsets=np.cumsum([0] + [len(tree[0]) for tree in trees]),  # of each tree's leaves
        batches=np.cumsum([0] + [len(batch) for batch in problem.batches]),  # of each batch's trees
        learning_rate=problem.learning_rate,
        initial_accumulator=problem.initial_accumulator,
        **problem.params,  # pyright: ignore[reportArgumentType]
    )


def load_problem(path: pathlib.Path) -> Problem:
    """Reads back what `save_problem` was given."""
    with np.load(path, allow_pickle=False) as data:
        arrays = dict(data)
    ids, children, labels = arrays["ids"], arrays["children"], arrays["labels"]
    trees = []
    for i, (lo, hi) in enumerate(itertools.pairwise(arrays["offsets"])):
        # Trees with L leaves have L - 1 internal nodes and 2 L - 1 nodes.
        trees.append(
            (ids[lo:hi], children[lo - i : hi - i - 1], labels[2 * lo - i : 2 * hi - i - 1])
        )
    batches: list[Batch] = [trees[lo:hi] for lo, hi in itertools.pairwise(arrays["batches"])]
    rates = float(arrays.pop("learning_rate")), float(arrays.pop("initial_accumulator"))
    others = ("ids", "children", "labels", "offsets", "batches")
    params = {name: array for name, array in arrays.items() if name not in others}
    return Problem(batches, params, *rates)


def as_corpus(batches: Sequence[Batch]) -> tuple[list[Any], Any]:
    """The trees as `rntn_jax.data.Tree`, and what stands in for a vocabulary."""
    from rntn_jax import data

    class Ids:
        def encode(self, tokens: Any) -> np.ndarray:
            return np.array([int(token) for token in tokens], np.int32)

    trees = [tree for batch in batches for tree in batch]
    return [data.Tree(tuple(map(str, ids.tolist())), c, y) for ids, c, y in trees], Ids()


def dynet_step(
    params: dict[str, np.ndarray], learning_rate: float, initial_accumulator: float, auto: bool
) -> tuple[Step, str]:
    """DyNet: `auto` writes trees node by node and leaves batching to DyNet's autobatching.

    Otherwise levels are batched by hand: faster, but for minibatches of one tree.
    """
    import dynet_config  # pyright: ignore[reportMissingImports]

    dynet_config.set(mem=4096, autobatch=int(auto))
    import dynet as dy  # pyright: ignore[reportMissingImports]

    dim = params["embedding"].shape[1]
    model = dy.ParameterCollection()
    embedding = model.lookup_parameters_from_numpy(params["embedding"])
    add = model.parameters_from_numpy
    # DyNet stores columns first, so that [d 2d] reshapes to [2d, d].
    v = add(params["v"].reshape(2 * dim * dim, 2 * dim))
    w, b, head_b = add(params["w"].T.copy()), add(params["b"]), add(params["head_b"])
    head_w = add(params["head_w"].T.copy())
    trainer = dy.AdagradTrainer(
        model, learning_rate=learning_rate, eps=initial_accumulator + EPSILON
    )
    trainer.set_clip_threshold(0)

    def cell(x: Any, nodes: int) -> Any:
        t = dy.reshape(v * x, (2 * dim, dim), nodes)
        return dy.tanh(
            dy.affine_transform([b, w, x]) + dy.reshape(dy.transpose(x) * t, (dim,), nodes)
        )

    def node_by_node(batch: Batch) -> Any:
        losses = []
        for ids, children, labels in batch:
            states = [dy.tanh(embedding[i]) for i in ids.tolist()]
            for left, right in children.tolist():
                states.append(cell(dy.concatenate([states[left], states[right]]), 1))
            for state, label in zip(states, labels.tolist(), strict=True):
                if label >= 0:
                    logits = dy.affine_transform([head_b, head_w, state])
                    losses.append(dy.pickneglogsoftmax(logits, label))
        return dy.esum(losses)

    def by_level(batch: Batch) -> Any:
        ids, levels, labels = schedule(batch)
        states = dy.tanh(dy.lookup_batch(embedding, ids.tolist()))
        for children in levels:
            left, right = (dy.pick_batch_elems(states, side.tolist()) for side in children.T)
            h = cell(dy.concatenate([left, right]), len(children))
            states = dy.concatenate_to_batch([states, h])
        (seen,) = np.nonzero(labels >= 0)
        if len(seen) < len(labels):
            states = dy.pick_batch_elems(states, seen.tolist())
        logits = dy.affine_transform([head_b, head_w, states])
        return dy.sum_batches(dy.pickneglogsoftmax_batch(logits, labels[seen].tolist()))

    def step(batch: Batch) -> float:
        assert model  # keeps it alive: DyNet's trainer does not
        dy.renew_cg()
        loss = (node_by_node if auto else by_level)(batch) * (1.0 / len(batch))
        value = loss.value()
        loss.backward()
        trainer.update()
        return value

    return step, dy.__version__


def schedule(batch: Batch) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Numbers all leaves, then internal nodes by height: ids, children by level, labels."""
    ids, children, labels = (np.concatenate(part) for part in zip(*batch, strict=True))
    leaves = np.array([len(tree[0]) for tree in batch])
    starts = np.cumsum(2 * leaves - 1) - (2 * leaves - 1)
    children = children + np.repeat(starts, leaves - 1)[:, None]
    is_leaf = np.ones(len(labels), bool)
    rows = np.arange(len(children)) + np.repeat(starts + leaves, leaves - 1)
    rows -= np.repeat(np.cumsum(leaves - 1) - (leaves - 1), leaves - 1)
    is_leaf[rows] = False
    height = np.zeros(len(labels), np.int64)
    changed = True
    while changed:
        new = height[children].max(1) + 1
        changed = (new != height[rows]).any()
        height[rows] = new
    sorted_rows = np.argsort(height[rows], kind="stable")
    order = np.concatenate((np.flatnonzero(is_leaf), rows[sorted_rows]))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    ends = np.cumsum(np.bincount(height[rows])[1:])
    levels = np.split(number[children][sorted_rows], ends[:-1]) if len(rows) else []
    return ids, levels, labels[order]


def dgl_step(
    params: dict[str, np.ndarray], learning_rate: float, initial_accumulator: float, threads: int
) -> tuple[Step, str]:
    """DGL as in its tree LSTM: topological order, messages and a mailbox; PyTorch's autograd."""
    import dgl  # pyright: ignore[reportMissingImports]
    import torch

    from experiments.benchmark.rntn import torch_rntn

    class Trainer(torch_rntn.Trainer):
        def pack(self, batch: Batch) -> Any:
            children = [tree[1] for tree in batch]
            leaves = np.array([len(tree[0]) for tree in batch])
            starts = np.cumsum(2 * leaves - 1) - (2 * leaves - 1)
            source = np.concatenate(children) + np.repeat(starts, leaves - 1)[:, None]
            rows = [np.arange(n, 2 * n - 1) + at for n, at in zip(leaves, starts, strict=True)]
            target = np.repeat(np.concatenate(rows), 2)
            graph = dgl.graph((source.ravel(), target), num_nodes=int((2 * leaves - 1).sum()))
            where = [np.arange(n) + at for n, at in zip(leaves, starts, strict=True)]
            arrays = ([tree[0] for tree in batch], where, [tree[2] for tree in batch])
            ids, where, labels = (
                torch.from_numpy(np.concatenate(part).astype(np.int64)) for part in arrays
            )
            return graph, ids, where, labels, len(batch)

        def _loss_and_gradients(self, packed: Any) -> Any:
            graph, ids, where, labels, num_trees = packed
            params = {k: p.requires_grad_() for k, p in self.params.items() if k != "embedding"}
            vectors = torch.index_select(self.params["embedding"], 0, ids).requires_grad_()
            dim = self.dim

            def compose(nodes: Any) -> dict[str, torch.Tensor]:
                x = nodes.mailbox["h"].flatten(1)  # in the order of the edges: left, right
                t = (x @ params["v"].view(-1, 2 * dim).t()).view(-1, dim, 2 * dim)
                affine = torch.addmm(params["b"], x, params["w"])
                return {"h": torch.tanh((t * x.unsqueeze(1)).sum(2) + affine)}

            states = vectors.new_zeros(graph.num_nodes(), dim)
            graph.ndata["h"] = states.index_copy(0, where, torch.tanh(vectors))
            for nodes in dgl.topological_nodes_generator(graph)[1:]:
                graph.pull(nodes, dgl.function.copy_u("h", "h"), compose)
            logits = torch.addmm(params["head_b"], graph.ndata["h"], params["head_w"])
            loss = torch.nn.functional.cross_entropy(
                logits, labels, ignore_index=-1, reduction="sum"
            )
            return torch_rntn.differentiate(loss / num_trees, {"embedding": vectors, **params}, ids)

    torch_rntn.set_threads(threads)
    return Trainer(params, learning_rate, initial_accumulator).step, dgl.__version__
