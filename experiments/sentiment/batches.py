"""Minibatches of an epoch, packed on the host while the device trains on the epoch before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from rntn_jax import trees
from rntn_jax.training import RowBatch

__all__ = ["Dispatch", "EpochLoader"]


class Dispatch(NamedTuple):
    """Minibatches for one call of the device."""

    batch: RowBatch  # arrays with a leading axis of minibatches
    first: int  # number of the first of them within the epoch
    members: list[np.ndarray]  # the trees of each


class EpochLoader:
    """Epochs as lists of dispatches; the order is a function of (seed, epoch) alone.

    All minibatches share one shape, a little larger than the first epoch needs, so that the
    device compiles once; a second shape that holds any minibatch catches the rare larger one.
    """

    def __init__(
        self, bank: trees.Treebank, batch_size: int, lanes: int, per_dispatch: int, seed: int
    ):
        self._bank, self._seed = bank, seed
        self._size, self._per_dispatch = min(batch_size, len(bank)), per_dispatch
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="packer")
        self._ahead: tuple[int, Future[list[Dispatch]]] | None = None

        needs = [f.shape for f in trees.pack_batches(bank, self._batches(0), lanes=lanes)]
        usual = [max(sizes) for sizes in zip(*needs)]
        largest = np.sort(bank.num_leaves)[-self._size :]
        steps = int(bank.height.max()) + -(-int((largest - 1).sum()) // lanes)
        self.shapes = [
            trees.Shape(usual[0], usual[1], lanes, self._size),
            trees.Shape(max(int(largest.sum()), 1), max(steps, 1), lanes, self._size),
        ]
        self.num_batches = len(self._batches(0))

    def _batches(self, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._bank))
        return [order[i : i + self._size] for i in range(0, len(order), self._size)]

    def _pack(self, epoch: int) -> list[Dispatch]:
        members = self._batches(epoch)
        packed = [
            RowBatch(*trees.local_tokens(forest))
            for forest in trees.pack_batches(self._bank, members, shapes=self.shapes)
        ]
        dispatches, start = [], 0
        while start < len(packed):
            group = packed[start : start + self._per_dispatch]
            # A full group of one shape, or else single minibatches: few programs to compile.
            if len(group) < self._per_dispatch or len({b.batch.shape for b in group}) > 1:
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
