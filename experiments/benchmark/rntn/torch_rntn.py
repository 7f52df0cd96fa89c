"""PyTorch baselines for the recursive neural tensor network benchmark, written to be fast.

Three trainers with one interface, all computing the same thing on lists of
``(ids [L], children [L-1, 2], labels [2L-1])`` trees: leaves ``tanh(embedding)``, internal nodes
``tanh(x^T V x + x w + b)`` with ``x = [left, right]``, softmax cross-entropy summed over every
labelled node and divided by the number of trees, AdaGrad as in ``optax.adagrad``.

* ``LevelHand``: nodes batched by depth, gradients derived by hand, no autograd. The one to beat.
* ``LevelAutograd``: nodes batched by depth, PyTorch's autograd.
* ``NodeByNode``: one node at a time with autograd, the way such code is usually written.

``Trainer.step`` includes everything: host packing, forward, backward and update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Batch = Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]
EPSILON = 1e-7  # optax's: update = lr * g / sqrt(sum of squares + EPSILON)


def set_threads(count: int) -> None:
    """Sets the number of threads PyTorch computes with."""
    torch.set_num_threads(count)


class Packed(NamedTuple):
    """A batch of N nodes of which M are internal; one *row* an internal node, deepest rows first.

    Every node lives in a *slot*: the children of row r in slots 2r and 2r + 1, the roots after
    them. So the inputs of a depth level are one contiguous block, and so is the gradient of those
    inputs; only outputs are scattered, once a level. There are as many levels as by height.
    """

    ids: Tensor  # [leaves] rows of the embedding
    leaf_slots: Tensor  # [leaves]
    out_slots: Tensor  # [M] the slot that each row writes
    labels: Tensor  # [N] in slot order
    sizes: list[int]  # rows of each level
    num_trees: int


def pack(batch: Batch) -> Packed:
    """Packs trees with NumPy, without a Python loop over nodes or levels."""
    ids, children, labels = (np.concatenate(part) for part in zip(*batch, strict=True))
    leaves = np.array([len(tree[0]) for tree in batch])
    inner, nodes = leaves - 1, 2 * leaves - 1
    rows, total = len(children), len(labels)
    ends = np.cumsum(nodes)
    starts = ends - nodes
    first_leaf = np.cumsum(leaves) - leaves
    first_row = np.cumsum(inner) - inner
    # Node numbers over the whole batch. Rows count in the order they came until they are sorted.
    leaf_nodes = np.arange(len(ids)) + np.repeat(starts - first_leaf, leaves)
    row_nodes = np.arange(rows) + np.repeat(starts + leaves - first_row, inner)
    slots = np.empty(total, np.int64)
    slots[(children + np.repeat(starts, inner)[:, None]).ravel()] = np.arange(2 * rows)
    slots[ends - 1] = 2 * rows + np.arange(len(batch))
    # Depth by pointer jumping, about log2(depth) rounds. Row number `rows` is above all roots.
    above = np.append(np.minimum(slots[row_nodes] >> 1, rows), rows)
    depth = np.ones(rows + 1, np.int64)
    depth[rows] = 0
    while (above < rows).any():
        depth += depth[above]
        above = above[above]
    order = np.argsort(-depth[:rows].astype(np.int16), kind="stable")  # 16 bits: a radix sort
    rank = np.arange(rows + len(batch) // 2 + 1)
    rank[order] = np.arange(rows)
    slots = 2 * rank[slots >> 1] + (slots & 1)
    slot_labels = np.empty(total, np.int64)
    slot_labels[slots] = labels
    return Packed(
        ids=torch.from_numpy(ids.astype(np.int64)),
        leaf_slots=torch.from_numpy(slots[leaf_nodes]),
        out_slots=torch.from_numpy(slots[row_nodes[order]]),
        labels=torch.from_numpy(slot_labels),
        sizes=np.bincount(depth[:rows])[:0:-1].tolist(),
        num_trees=len(batch),
    )


class Trainer:
    """Parameters, AdaGrad state and a training step; subclasses compute the gradients.

    `params` holds NumPy arrays: embedding [V, d], v [d, 2d, 2d], w [2d, d], b [d], head_w [d, C],
    head_b [C], all float32 or all float64. A subclass may keep them in another form.
    """

    def __init__(
        self,
        params: dict[str, np.ndarray],
        learning_rate: float,
        initial_accumulator: float = 0.1,
    ) -> None:
        self.params = {name: torch.tensor(value) for name, value in params.items()}
        self.vocab_size, self.dim = params["embedding"].shape
        self.learning_rate = learning_rate
        self._setup()
        self.squares = {
            name: torch.full_like(value, initial_accumulator + EPSILON)
            for name, value in self.params.items()
        }
        self._position = torch.empty(self.vocab_size, dtype=torch.int64)

    def step(self, batch: Batch) -> float:
        """Trains on one batch; returns its loss before the update."""
        loss, gradients, ids = self._loss_and_gradients(self.pack(batch))
        self._update(gradients, ids)
        return loss

    def gradients(self, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        """Returns loss and gradients with the names and shapes of the parameters."""
        loss, gradients, ids = self._loss_and_gradients(self.pack(batch))
        table = torch.zeros_like(self.params["embedding"])
        gradients["embedding"] = table.index_add_(0, ids, gradients["embedding"])
        return loss, {name: value.numpy().copy() for name, value in self._export(gradients).items()}

    def parameters(self) -> dict[str, np.ndarray]:
        """Returns the current parameters with the names and shapes given to the constructor."""
        values = self._export(self.params)
        return {name: value.detach().numpy().copy() for name, value in values.items()}

    def pack(self, batch: Batch) -> Any:
        """Prepares a batch on the host."""
        return pack(batch)

    @torch.no_grad()
    def _update(self, gradients: dict[str, Tensor], ids: Tensor) -> None:
        """AdaGrad; `gradients["embedding"]` has a row for each of `ids`, which may repeat."""
        leaf_gradients = gradients.pop("embedding")
        names = list(gradients)
        self._adagrad(
            [self.params[name] for name in names],
            [gradients[name] for name in names],
            [self.squares[name] for name in names],
        )
        # Sum the rows of equal ids: one position of each id wins and collects. Every copy of an id
        # then computes and writes the same new row.
        self._position.index_copy_(0, ids, torch.arange(len(ids)))
        winner = torch.index_select(self._position, 0, ids)
        gradient = torch.zeros_like(leaf_gradients).index_add_(0, winner, leaf_gradients)
        gradient = torch.index_select(gradient, 0, winner)
        embedding, squares = self.params["embedding"], self.squares["embedding"]
        rows, squared = (torch.index_select(table, 0, ids) for table in (embedding, squares))
        self._adagrad([rows], [gradient], [squared])
        embedding.index_copy_(0, ids, rows)
        squares.index_copy_(0, ids, squared)

    def _adagrad(
        self, params: list[Tensor], gradients: list[Tensor], squares: list[Tensor]
    ) -> None:
        """What ``torch.optim.Adagrad(fused=True)`` calls; EPSILON is already in `squares`."""
        torch._fused_adagrad_(
            params,
            gradients,
            squares,
            [torch.zeros(())] * len(params),  # counts of steps, unused without decay
            lr=self.learning_rate,
            lr_decay=0.0,
            weight_decay=0.0,
            eps=0.0,
            maximize=False,
        )

    def _setup(self) -> None:
        """Brings `self.params` into the form the subclass computes with."""

    def _export(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Undoes `_setup`, for parameters or gradients."""
        return values

    def _loss_and_gradients(self, packed: Any) -> tuple[float, dict[str, Tensor], Tensor]:
        """Returns the loss, gradients (of leaf vectors for the embedding) and the leaves' ids."""
        raise NotImplementedError


class NodeByNode(Trainer):
    """One node at a time with autograd."""

    def pack(self, batch: Batch) -> Any:
        return batch

    def _loss_and_gradients(self, packed: Batch) -> tuple[float, dict[str, Tensor], Tensor]:
        params = {name: value.requires_grad_() for name, value in self.params.items()}
        ids = torch.from_numpy(np.concatenate([tree[0] for tree in packed]).astype(np.int64))
        vectors = params.pop("embedding").detach()[ids].requires_grad_()
        leaves = iter(torch.tanh(vectors))
        loss = torch.zeros((), dtype=vectors.dtype, requires_grad=True)
        for tree_ids, children, labels in packed:
            states = [next(leaves) for _ in tree_ids]
            for left, right in children.tolist():
                x = torch.cat((states[left], states[right]))
                states.append(torch.tanh(params["v"] @ x @ x + x @ params["w"] + params["b"]))
            for state, label in zip(states, labels.tolist(), strict=True):
                if label >= 0:
                    logits = state @ params["head_w"] + params["head_b"]
                    loss = loss + functional.cross_entropy(logits, torch.tensor(label))
        loss = loss / len(packed)
        return differentiate(loss, {"embedding": vectors, **params}, ids)


class LevelAutograd(Trainer):
    """Nodes batched by depth, PyTorch's autograd: what a careful user writes without deriving."""

    def _setup(self) -> None:
        self.params["v"] = self.params["v"].permute(1, 2, 0).contiguous()  # [i, j, k]
        self.params["head_w"] = self.params["head_w"].t().contiguous()

    def _export(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return values | {"v": values["v"].permute(2, 0, 1), "head_w": values["head_w"].t()}

    def _loss_and_gradients(self, packed: Packed) -> tuple[float, dict[str, Tensor], Tensor]:
        params = {k: p.requires_grad_() for k, p in self.params.items() if k != "embedding"}
        vectors = torch.index_select(self.params["embedding"], 0, packed.ids).requires_grad_()
        n = 2 * self.dim
        # States come out as leaves, then rows; each row's inputs are the next two slots.
        order = torch.cat((packed.leaf_slots, packed.out_slots))
        source = torch.empty_like(order)
        source[order] = torch.arange(len(order))
        source = source[: 2 * len(packed.out_slots)].split([2 * size for size in packed.sizes])
        states = [torch.tanh(vectors)]
        for children in source:
            x = torch.index_select(torch.cat(states), 0, children).view(-1, n)
            t = torch.mm(x, params["v"].view(n, -1)).view(-1, n, self.dim)
            affine = torch.addmm(params["b"], x, params["w"])
            states.append(torch.tanh((x.unsqueeze(2) * t).sum(1) + affine))
        # Classes first: on this shape several times faster than [nodes, classes].
        head_b = params["head_b"].unsqueeze(1)
        logits = torch.addmm(head_b, params["head_w"], torch.cat(states).t()).unsqueeze(0)
        labels = packed.labels[order].unsqueeze(0)
        loss = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        return differentiate(loss / packed.num_trees, {"embedding": vectors, **params}, packed.ids)


def differentiate(
    loss: Tensor, params: dict[str, Tensor], ids: Tensor
) -> tuple[float, dict[str, Tensor], Tensor]:
    gradients = torch.autograd.grad(loss, list(params.values()), materialize_grads=True)
    return loss.item(), dict(zip(params, gradients, strict=True)), ids


class LevelHand(Trainer):
    """Hand-derived gradients over depth levels.

    With ``x = [left, 1, right, 0]`` of length n = 2d + 2 the composition is one symmetric form,
    ``p_k = x^T A_k x``: A has (V + V^T) / 2, halves of w in the constant's row and column, and b
    where these cross. A level is one product ``T = x A``, then ``p_k = x T_k``. The saved T gives
    the way down, ``dp_k / dx = 2 T_k``, so the reverse sweep has no large product at all. The
    gradient of A is one contraction after the sweep, over the products ``x_i x_(i+s mod n)`` for
    s = 0 .. n/2 only: each unordered pair once, half the work. The parameter "cell"
    [(n/2 + 1) n, d] and its AdaGrad state are kept in that half form as well (the two halves of V
    always get the same update, so this is the same training), with w and b not halved.

    Tried on a two-core AVX2 machine and no faster: levels by height, levels cut into narrower
    blocks, T recomputed, einsum or bmm for the way down, bmm on four copies of delta, the full
    [n, n] gradient, classes last in the head, torch.compile (about 50 us of overhead a call).
    """

    ROWS = 128  # internal nodes in a chunk of the final contraction, to stay in cache

    def _setup(self) -> None:
        dim, n = self.dim, 2 * (self.dim + 1)
        v, w, b = (self.params.pop(name) for name in ("v", "w", "b"))
        self._antisymmetric = (v - v.mT) / 2  # never changes: it has no effect
        self._inputs = torch.tensor([*range(dim), *range(dim + 1, n - 1)])
        full = v.new_zeros(n, n, dim)
        full[self._inputs[:, None], self._inputs] = ((v + v.mT) / 2).permute(1, 2, 0)
        full[dim, self._inputs] = full[self._inputs, dim] = w
        full[dim, dim] = b
        shifts, i, j = torch.arange(n // 2 + 1)[:, None], torch.arange(n)[:, None], torch.arange(n)
        self.params["cell"] = full[j, (j + shifts) % n].flatten(0, 1)
        shift = (j - i) % n
        self._entry = torch.where(shift <= n // 2, shift * n + i, (n - shift) * n + j).flatten()
        self.params["head_w"] = self.params["head_w"].t().contiguous()
        self._full = torch.empty_like(full)
        self._gradient = torch.empty_like(self.params["cell"])
        self._products = v.new_empty(self.ROWS, n // 2 + 1, n)
        self._capacity = -1

    def _export(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        dim, inputs = self.dim, self._inputs
        full = values["cell"][self._entry].view_as(self._full)
        v = full[inputs[:, None], inputs].permute(2, 0, 1)
        return {
            "embedding": values["embedding"],
            "v": v + self._antisymmetric if values is self.params else v,
            "w": full[dim, inputs],
            "b": full[dim, dim],
            "head_w": values["head_w"].t(),
            "head_b": values["head_b"],
        }

    def _buffers(self, nodes: int, rows: int) -> list[Tensor]:
        """Buffers kept between steps: fresh ones of this size would cost page faults."""
        dim, n = self.dim, 2 * (self.dim + 1)
        if nodes > self._capacity:
            size = self._capacity = nodes * 5 // 4
            new = self._full.new_zeros
            self._by_node = [new(size, dim + 1) for _ in range(3)]
            self._by_node[0][::2, dim] = 1.0  # the constant, beside each left child
            half = size // 2 + 1
            shapes = ((n, dim), (1, dim), (dim + 1,), (n,), (2 * n,))
            self._by_row = [new(half, *shape) for shape in shapes]
        return [t[:nodes] for t in self._by_node] + [t[:rows] for t in self._by_row]

    @torch.inference_mode()
    def _loss_and_gradients(self, packed: Packed) -> tuple[float, dict[str, Tensor], Tensor]:
        dim, n, params, sizes = self.dim, 2 * (self.dim + 1), self.params, packed.sizes
        nodes, rows = len(packed.labels), len(packed.out_slots)
        h, down, slope, t, p, delta, s, twice = self._buffers(nodes, rows)
        states, x = h[:, :dim], h[: 2 * rows].view(rows, n)
        t_levels, out_levels = t.split(sizes), packed.out_slots.split(sizes)

        torch.index_select(params["cell"], 0, self._entry, out=self._full.view(n * n, dim))
        self._full[dim].mul_(0.5)
        self._full[:, dim].mul_(0.5)
        self._full[dim, dim].mul_(4.0)
        a = self._full.view(n, n * dim)
        leaves = torch.index_select(params["embedding"], 0, packed.ids).tanh_()
        states.index_copy_(0, packed.leaf_slots, leaves)
        for x2, x3, t2, t3, p3, p2, out in zip(
            x.split(sizes),
            x.view(rows, 1, n).split(sizes),
            t.view(rows, n * dim).split(sizes),
            t_levels,
            p.split(sizes),
            p.view(rows, dim).split(sizes),
            out_levels,
            strict=True,
        ):
            torch.mm(x2, a, out=t2)
            torch.bmm(x3, t3, out=p3)
            states.index_copy_(0, out, p2.tanh_())

        # Classes first: on this shape several times faster than [nodes, classes].
        labels = packed.labels.clamp_min(0).unsqueeze(0)
        weight = (packed.labels >= 0).to(h.dtype).div_(packed.num_trees)
        error = torch.addmm(params["head_b"].unsqueeze(1), params["head_w"], states.t())
        error = torch.log_softmax(error, 0)
        loss = -torch.dot(error.gather(0, labels).squeeze(0), weight).item()
        error.exp_().scatter_add_(0, labels, error.new_full((1, nodes), -1.0)).mul_(weight)

        torch.addcmul(h.new_ones(()), h, h, value=-1.0, out=slope)
        torch.mul(torch.mm(error.t(), params["head_w"]), slope[:, :dim], out=down[:, :dim])
        levels = zip(
            down[: 2 * rows].view(rows, n).split(sizes),
            slope[: 2 * rows].view(rows, n).split(sizes),
            t_levels,
            delta.split(sizes),
            s.split(sizes),
            out_levels,
            strict=True,
        )
        for down2, slope2, t3, delta2, s2, out in reversed(list(levels)):
            torch.index_select(down, 0, out, out=delta2)
            torch.sum(t3.mul_(delta2[:, :dim].unsqueeze(1)), 2, out=s2)
            down2.addcmul_(s2, slope2, value=2.0)

        gradient = self._gradient.zero_()
        torch.cat((x, x), 1, out=twice)
        shifted = twice.as_strided((rows, n // 2 + 1, n), (2 * n, 1, 1))
        for x2, shifted2, delta2 in zip(
            x.split(self.ROWS), shifted.split(self.ROWS), delta.split(self.ROWS), strict=True
        ):
            products = torch.mul(shifted2, x2.unsqueeze(1), out=self._products[: len(x2)])
            gradient.addmm_(products.flatten(1).t(), delta2[:, :dim])
        gradients = {
            "embedding": torch.index_select(down, 0, packed.leaf_slots)[:, :dim],
            "cell": gradient,
            "head_w": torch.mm(error, states),
            "head_b": error.sum(1),
        }
        return loss, gradients, packed.ids
