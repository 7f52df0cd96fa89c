"""Minibatches of the parsers, in pieces where several devices share them, and their losses.

Each of the three classes gives an epoch's minibatches for calls of the device: arrays with a
leading axis of minibatches, then one of devices where there are several. Rows that fill up so that
the devices get equally many are masked, or sentences of no word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from experiments.loop import minibatches_a_call
from experiments.parser_data import batches_in_context, graph_batches, windows
from experiments.parsing.config import Config
from experiments.settings import dropout_rates
from rntn_jax.models import context_parser, graph_parser, parser
from rntn_jax.training.devices import DATA, Placement, place

__all__ = ["Graphs", "InContext", "Windows", "loader_of"]

GROUP = 20  # minibatches a dispatch, at most


def loader_of(config: Config) -> type[Windows] | type[InContext]:
    """The minibatches of a model."""
    if config.model == "graph":
        return Graphs
    return InContext if config.rnn_layers else Windows


def _shared(x: np.ndarray, count: int, axis: int = 0, fill: int = 0) -> np.ndarray:
    """``[.., B, ..]`` as ``[count, .., B / count, ..]``, filled up to a multiple of ``count``."""
    more = [(0, 0)] * x.ndim
    more[axis] = 0, -x.shape[axis] % count
    x = np.pad(x, more, constant_values=fill)
    return np.stack(np.split(x, count, axis=axis))


def _placed(where: Placement, batches: Any) -> Any:
    """Arrays ``[minibatches, devices, ..]`` on the devices."""
    if where.mesh is None:
        return batches
    return place(where.mesh, batches, PartitionSpec(None, DATA))


class Windows:
    """Minibatches of steps in a random order, several a dispatch: the window network's."""

    def __init__(
        self, config: Config, sentences, vocabularies, relations, options, where: Placement
    ):
        self.ids, self.labels, self.lifted = windows(sentences, vocabularies, relations, options)
        self.steps, self.words = len(self.labels), len(vocabularies[0])
        self.size = min(config.batch_size, self.steps)
        self.updates, self._config, self._where = self.steps // self.size, config, where

    def epoch(self, epoch: int) -> Iterator[tuple[parser.Batch, int, int]]:
        """Minibatches, their number, and that of their steps."""
        order = np.random.default_rng((self._config.seed, epoch)).permutation(self.steps)
        order = order[: self.updates * self.size].reshape(self.updates, self.size)
        group = minibatches_a_call(self.updates, GROUP)
        for at in range(0, self.updates, group):
            rows = order[at : at + group]
            batch = parser.Batch(tuple(column[rows] for column in self.ids), self.labels[rows])
            yield self._pieces(batch), len(rows), rows.size

    def _pieces(self, batch: parser.Batch) -> parser.Batch:
        if self._where.mesh is None:
            return batch
        batch = batch._replace(mask=np.ones(batch.labels.shape, bool))
        count = self._where.count
        pieces = jax.tree.map(lambda x: _shared(x, count, axis=1).swapaxes(0, 1), batch)
        return _placed(self._where, pieces)

    @staticmethod
    def count(batch: parser.Batch, aux: Any) -> Any:
        """What the loss is a mean over."""
        return batch.mask.sum()

    def loss(self, params, batch, key):
        """Cross-entropy of the steps; words become unknown at a rate."""
        config, (first, *others) = self._config, batch.ids
        if config.unknown_rate:
            drawn = jax.random.bernoulli(
                jax.random.fold_in(key, 99), config.unknown_rate, first.shape
            )
            first = jnp.where(drawn & (first > 1) & (first < self.words), 1, first)
        return parser.loss(
            params,
            batch._replace(ids=(first, *others)),
            activation=config.activation,
            input_dropout=config.input_dropout,
            hidden_dropout=config.hidden_dropout,
            key=key,
        )


class InContext:
    """Minibatches of sentences of like length, in a random order: the encoder's."""

    def __init__(
        self, config: Config, sentences, vocabularies, relations, options, where: Placement
    ):
        self._batches, self.lifted = self._read(config, sentences, vocabularies, relations, options)
        self.steps, self.updates = sum(map(self._size, self._batches)), len(self._batches)
        self._config, self._where = config, where

    def epoch(self, epoch: int) -> Iterator[tuple[Any, int, int]]:
        """A minibatch (with a leading axis of 1), 1, and the number of its steps."""
        chance = np.random.default_rng((self._config.seed, epoch))
        batches = self._mixed(chance)
        for number in chance.permutation(self.updates):
            batch = batches[number]
            pieces = batch if self._where.mesh is None else self._pieces(batch, self._where)
            placed = _placed(self._where, jax.tree.map(lambda leaf: leaf[None], pieces))
            yield placed, 1, self._size(batch)

    def _mixed(self, chance: np.random.Generator) -> Sequence[Any]:
        """The minibatches of an epoch, before they are ordered."""
        return self._batches

    def _read(
        self, config, sentences, vocabularies, relations, options
    ) -> tuple[Sequence[Any], int]:
        return batches_in_context(sentences, vocabularies, relations, options, config.batch_size)

    @staticmethod
    def _size(batch: Any) -> int:
        return int((batch.steps >= 0).sum())

    @staticmethod
    def _pieces(batch: Any, where: Placement) -> Any:
        sentences, positions, relations, steps = batch
        return context_parser.Batch(
            jax.tree.map(lambda x: _shared(x, where.count), sentences),
            _shared(positions, where.count, axis=1),
            _shared(relations, where.count, axis=1),
            _shared(steps, where.count, axis=1, fill=-1),
        )

    @staticmethod
    def count(batch: Any, aux: Any) -> Any:
        """What the loss is a mean over: steps."""
        return (batch.steps >= 0).sum()

    def loss(self, params, batch, key) -> Any:
        """Cross-entropy of the steps."""
        config = self._config
        return context_parser.loss(
            params,
            batch,
            activation=config.activation,
            **dropout_rates(config),
            key=key,
        )


class Graphs(InContext):
    """Minibatches of sentences and their trees: those of the scores of arcs.

    Sentences of one padded length meet others in each epoch.
    """

    def _mixed(self, chance: np.random.Generator) -> Sequence[Any]:
        mixed: list[Any] = []
        for _, group in groupby(self._batches, key=lambda batch: batch.ids.shape):
            own = list(group)
            rows = chance.permutation(sum(len(batch.length) for batch in own))
            together = jax.tree.map(lambda *x: np.concatenate(x)[rows], *own)  # noqa: B023
            split = [np.split(leaf, len(own)) for leaf in together]
            mixed += map(graph_parser.Batch._make, zip(*split))
        return mixed

    def _read(
        self, config, sentences, vocabularies, relations, options
    ) -> tuple[Sequence[Any], int]:
        words = config.batch_size // 2
        return graph_batches(sentences, vocabularies, relations, options, words)

    @staticmethod
    def _size(batch: Any) -> int:
        return 2 * int(batch.length.sum())

    @staticmethod
    def _pieces(batch: Any, where: Placement) -> Any:
        return jax.tree.map(lambda x: _shared(x, where.count), batch)

    @staticmethod
    def count(batch: Any, aux: Any) -> Any:
        """What the loss is a mean over: words."""
        return batch.length.sum()

    def loss(self, params, batch, key) -> Any:
        """``-ln P`` of the trees with their relations, a word."""
        config = self._config
        rates = dropout_rates(config)
        return graph_parser.loss(params, batch, projective=config.projective, **rates, key=key)
