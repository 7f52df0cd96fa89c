"""Minibatches of an epoch, packed on the host while the device trains on the epoch before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from experiments.loop import minibatches_a_call
from rntn_jax import trees
from rntn_jax.training import RowBatch, devices

__all__ = ["Dispatch", "EpochLoader", "Pieces", "placed"]


class Pieces(NamedTuple):
    """A minibatch in pieces of one shape, one for each device."""

    forest: trees.Forest  # arrays with a leading axis of devices; words count within the whole
    seen: np.ndarray  # int32 [U], the words of all pieces, each once; 0 = padding


def placed(place: devices.Placement, batch: RowBatch) -> RowBatch:
    """Minibatches (with a leading axis) on the devices: to each its pieces, the rest to all."""
    if place.mesh is None:
        return batch
    cut = jax.tree.map(lambda _: PartitionSpec(None, devices.DATA), batch.batch.forest)
    whole: Any = PartitionSpec()
    specs = RowBatch(Pieces(cut, whole), whole)
    return devices.place(place.mesh, batch, specs)


class Dispatch(NamedTuple):
    """Minibatches for one call of the device."""

    batch: RowBatch  # arrays with a leading axis of minibatches
    first: int  # number of the first of them within the epoch
    members: list[np.ndarray]  # the trees of each


class EpochLoader:
    """Epochs as lists of dispatches; the order is a function of (seed, epoch) alone.

    All minibatches share one shape, a little larger than the first epoch needs, so that the
    device compiles once; a second shape that holds any minibatch catches the rare larger one.
    With more pieces than one, a minibatch is cut into so many for as many devices: `Pieces`.
    """

    def __init__(
        self,
        bank: trees.Treebank,
        batch_size: int,
        lanes: int,
        per_dispatch: int,
        seed: int,
        pieces: int = 1,
    ):
        self._bank, self._seed, self._pieces = bank, seed, pieces
        self._size = min(batch_size, len(bank))
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="packer")
        self._ahead: tuple[int, Future[list[Dispatch]]] | None = None

        size = -(-self._size // pieces)
        first = [part for own in self._batches(0) for part in self._parts(own) if len(part)]
        needs = [f.shape for f in trees.pack_batches(bank, first, lanes=lanes)]
        usual = [max(sizes) for sizes in zip(*needs)]
        largest = np.sort(bank.num_leaves)[-size:]
        steps = int(bank.height.max()) + -(-int((largest - 1).sum()) // lanes)
        self.shapes = [
            trees.Shape(usual[0], usual[1], lanes, size),
            trees.Shape(max(int(largest.sum()), 1), max(steps, 1), lanes, size),
        ]
        self.num_batches = len(self._batches(0))
        self._per_dispatch = minibatches_a_call(self.num_batches, per_dispatch)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._bank))
        return [order[i : i + self._size] for i in range(0, len(order), self._size)]

    def _parts(self, members: np.ndarray) -> list[np.ndarray]:
        return np.array_split(members, self._pieces)

    def _in_pieces(self, members: Sequence[np.ndarray]) -> Iterator[RowBatch]:
        """Each minibatch in pieces of one shape, its words counted over all of them."""
        parts = [self._parts(own) for own in members]
        flat = [part for own in parts for part in own if len(part)]
        packed = trees.pack_batches(self._bank, flat, shapes=self.shapes)
        for own in parts:
            forests = [next(packed) for part in own if len(part)]
            if len({forest.shape for forest in forests}) > 1:
                larger = [part for part in own if len(part)]
                forests = [*trees.pack_batches(self._bank, larger, shapes=self.shapes[1:])]
            nothing = jax.tree.map(np.zeros_like, forests[0])  # where trees are fewer than devices
            forest = devices.side_by_side(forests + [nothing] * (self._pieces - len(forests)))
            words, local = np.unique(np.append(0, forest.tokens), return_inverse=True)
            forest = forest._replace(tokens=local[1:].astype(np.int32).reshape(forest.tokens.shape))
            rows = np.zeros((2, forest.tokens.size + 1), np.int32)
            rows[:, : len(words)] = words, np.arange(len(words))
            yield RowBatch(Pieces(forest, rows[1]), rows[0])

    def _pack(self, epoch: int) -> list[Dispatch]:
        members = self._batches(epoch)
        if self._pieces > 1:
            packed = [*self._in_pieces(members)]
        else:
            packed = [
                RowBatch(*trees.local_tokens(forest))
                for forest in trees.pack_batches(self._bank, members, shapes=self.shapes)
            ]
        dispatches, start = [], 0
        while start < len(packed):
            group = packed[start : start + self._per_dispatch]
            # A full group of one shape, or else single minibatches: few programs to compile.
            if len(group) < self._per_dispatch or len({b.words.shape for b in group}) > 1:
                group = group[:1]
            stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *group)
            dispatches.append(Dispatch(stacked, start, members[start : start + len(group)]))
            start += len(group)
        return dispatches

    def epoch(self, number: int, last: bool = False) -> Iterator[Dispatch]:
        """The dispatches of an epoch; the next one is packed meanwhile unless it is the last."""
        if self._ahead is not None and self._ahead[0] == number:
            dispatches = self._ahead[1].result()
        else:
            dispatches = self._pack(number)
        self._ahead = None if last else (number + 1, self._executor.submit(self._pack, number + 1))
        return iter(dispatches)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)
