"""Tree-LSTMs in PyTorch: nodes batched by level, DGL, and the package pytorch-tree-lstm.

Parameters as `tree_lstm_baselines.initial` makes them; the update is that of `torch_rntn.Trainer`,
which touches only the rows of the minibatch's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments.benchmark.rntn import other_baselines, torch_rntn

__all__ = ["make"]


def make(
    system: str,
    params: dict[str, np.ndarray],
    learning_rate: float,
    initial_accumulator: float,
    threads: int,
) -> tuple[Callable[[other_baselines.Batch], float], str]:
    """A training step, and the version of the library."""
    torch_rntn.set_threads(threads)
    trainer = {"torch_levels": _Levels, "dgl": _Dgl, "torch_package": _Package}[system]
    version = torch.__version__
    if system == "dgl":
        import dgl  # pyright: ignore[reportMissingImports]

        version = dgl.__version__
    if system == "torch_package":
        import treelstm  # noqa: F401  # pyright: ignore[reportMissingImports]

        version = "pytorch-tree-lstm"
    return trainer(params, learning_rate, initial_accumulator).step, version


def _leaves(params: dict[str, Tensor], vectors: Tensor) -> tuple[Tensor, Tensor]:
    z = torch.addmm(params["leaf_b"], vectors, params["leaf_w"])
    i, o, u = z.chunk(3, 1)
    c = torch.sigmoid(i) * torch.tanh(u)
    return torch.sigmoid(o) * torch.tanh(c), c


def _compose(params: dict[str, Tensor], h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """From the children's ``h [n, 2D]`` and ``c [n, 2, D]``."""
    d = c.shape[2]
    z = torch.addmm(params["b"], h, params["u"])
    i, f_l, f_r, o = torch.sigmoid(z[:, : 4 * d]).chunk(4, 1)
    c = i * torch.tanh(z[:, 4 * d :]) + f_l * c[:, 0] + f_r * c[:, 1]
    return o * torch.tanh(c), c


class _Trainer(torch_rntn.Trainer):
    def _loss_and_gradients(self, packed: Any) -> Any:
        ids, labels, num_trees, rest = packed
        params = {k: p.requires_grad_() for k, p in self.params.items() if k != "embedding"}
        vectors = torch.index_select(self.params["embedding"], 0, ids).requires_grad_()
        h = self._states(params, vectors, rest)
        # Classes first: on this shape several times faster than [nodes, classes].
        logits = torch.addmm(params["head_b"].unsqueeze(1), params["head_w"].t(), h.t())
        loss = functional.cross_entropy(
            logits.unsqueeze(0), labels.unsqueeze(0), ignore_index=-1, reduction="sum"
        )
        return torch_rntn.differentiate(loss / num_trees, {"embedding": vectors, **params}, ids)

    def _states(self, params: dict[str, Tensor], vectors: Tensor, rest: Any) -> Tensor:
        """``h`` of all nodes, in the order of the packed labels."""
        raise NotImplementedError


class _Levels(_Trainer):
    """Nodes batched by height; the states of each level are gathered from all those before."""

    def pack(self, batch: other_baselines.Batch) -> Any:
        ids, levels, labels = other_baselines.schedule(batch)
        children = [torch.from_numpy(np.ascontiguousarray(own).ravel()) for own in levels]
        tensors = (torch.from_numpy(a.astype(np.int64)) for a in (ids, labels))
        return *tensors, len(batch), children

    def _states(self, params: dict[str, Tensor], vectors: Tensor, rest: Any) -> Tensor:
        h, c = _leaves(params, vectors)
        d = h.shape[1]
        for children in rest:
            below = torch.index_select(h, 0, children).view(-1, 2 * d)
            cells = torch.index_select(c, 0, children).view(-1, 2, d)
            h_new, c_new = _compose(params, below, cells)
            h, c = torch.cat((h, h_new)), torch.cat((c, c_new))
        return h


class _Dgl(_Trainer):
    """DGL as in its Tree-LSTM example: topological order, messages and a mailbox."""

    def pack(self, batch: other_baselines.Batch) -> Any:
        import dgl  # pyright: ignore[reportMissingImports]

        ids, levels, labels = other_baselines.schedule(batch)
        source = np.concatenate(levels).ravel()
        target = np.repeat(np.arange(len(ids), len(labels)), 2)
        graph = dgl.graph((source, target), num_nodes=len(labels))
        tensors = (torch.from_numpy(a.astype(np.int64)) for a in (ids, labels))
        return *tensors, len(batch), graph

    def _states(self, params: dict[str, Tensor], vectors: Tensor, rest: Any) -> Tensor:
        import dgl  # pyright: ignore[reportMissingImports]

        def messages(edges: Any) -> dict[str, Tensor]:
            return {"h": edges.src["h"], "c": edges.src["c"]}

        def compose(nodes: Any) -> dict[str, Tensor]:
            h, c = _compose(params, nodes.mailbox["h"].flatten(1), nodes.mailbox["c"])
            return {"h": h, "c": c}

        h, c = _leaves(params, vectors)
        zero = h.new_zeros(rest.num_nodes() - len(h), h.shape[1])
        rest.ndata["h"], rest.ndata["c"] = torch.cat((h, zero)), torch.cat((c, zero))
        for nodes in dgl.topological_nodes_generator(rest)[1:]:
            rest.pull(nodes, messages, compose)
        return rest.ndata["h"]


class _Package(_Trainer):
    """pytorch-tree-lstm: child-sum cells, vectors of words at every node, zero at internal ones."""

    def _setup(self) -> None:
        from treelstm import TreeLSTM  # pyright: ignore[reportMissingImports]

        p = self.params
        d = p["head_w"].shape[0]
        i, f, _, o, u = p.pop("u")[:d].chunk(5, 1)
        self._model = TreeLSTM(p["embedding"].shape[1], d)
        for name in ("leaf_b", "b"):
            p.pop(name)
        given = {
            "W_iou.weight": p.pop("leaf_w").t(),
            "W_iou.bias": torch.zeros(3 * d),
            "U_iou.weight": torch.cat((i, o, u), 1).t(),
            "W_f.weight": torch.zeros(d, p["embedding"].shape[1]),
            "W_f.bias": torch.zeros(d),
            "U_f.weight": f.t(),
        }
        for name, value in given.items():
            p[name] = value.contiguous()

    def pack(self, batch: other_baselines.Batch) -> Any:
        from treelstm import calculate_evaluation_orders  # pyright: ignore[reportMissingImports]

        ids, levels, labels = other_baselines.schedule(batch)
        children = np.concatenate(levels)
        parents = np.repeat(np.arange(len(ids), len(labels)), 2)
        adjacency = np.stack([parents, children.ravel()], 1)
        orders = calculate_evaluation_orders(adjacency, len(labels))
        rest = tuple(
            torch.from_numpy(np.ascontiguousarray(a)) for a in (orders[0], adjacency, orders[1])
        )
        tensors = (torch.from_numpy(a.astype(np.int64)) for a in (ids, labels))
        return *tensors, len(batch), rest

    def _states(self, params: dict[str, Tensor], vectors: Tensor, rest: Any) -> Tensor:
        node_order, adjacency, edge_order = rest
        features = torch.cat(
            (vectors, vectors.new_zeros(len(node_order) - len(vectors), vectors.shape[1]))
        )
        own = {k: v for k, v in params.items() if not k.startswith("head")}
        h, _ = torch.func.functional_call(
            self._model, own, (features, node_order, adjacency, edge_order)
        )
        return h
