"""Chunking by skip-chain CRFs: what is learnt, and how well it finds chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec

from experiments import loop
from experiments.graphs import scoring, skip_chain, text, text_report
from experiments.graphs.config import Config
from experiments.graphs.report import Page
from experiments.graphs.task import TrainedModel
from experiments.graphs.text import Batch
from rntn_jax.training import devices

__all__ = ["Answers", "Chunking"]


class Answers(NamedTuple):
    """What a model says of sentences."""

    marginals: list[np.ndarray]  # float32 [T, C] each
    nats: float  # of -ln P(labels) of all together, as the method has it
    linked_nats: float  # of those with skip edges


class Chunking:
    """The task, as `experiments.graphs.task.Task` says; the corpus is read when it is made."""

    unit = "sentences"

    def __init__(self, config: Config):
        self.config, self.where = config, loop.placement(config)
        self.methods: Sequence[str] = config.methods
        self.corpus = text.read(config)
        self._planned = text.skip_batches(self.corpus, config)
        self._pieces = None
        if self.where.mesh is not None:
            train = self.corpus._replace(splits={"train": self.corpus.splits["train"]})
            self._pieces = text.skip_batches(train, config, self.where.count)["train"]
        self.params = skip_chain.init(self.corpus.num_attributes, len(self.corpus.labels))
        self.updates = sum(1 for _ in self.epoch("chain", 1))
        self._answers = {
            method: jax.jit(partial(skip_chain.answers, method, config)) for method in self.methods
        }

    def epoch(self, method: str, epoch: int) -> Iterator[tuple[Batch, int]]:
        """Minibatches in a random order, the same for all methods, and their sizes."""
        seed = (self.config.seed, epoch)
        chains = text.chain_batches(self.corpus.splits["train"], self.config, seed)
        linked = self._linked(method, "train")
        if self._pieces is not None and method != "chain":
            linked = self._pieces
        batches = [*chains, *linked]
        for place in np.random.default_rng(seed).permutation(len(batches)):
            members, batch = batches[place]
            yield self._placed(batch), len(members)

    def _placed(self, batch: Batch) -> Batch:
        """A minibatch on its devices; what has skip edges is in pieces already."""
        if self.where.mesh is None:
            return batch
        if batch.skips is not None:
            return devices.place(self.where.mesh, batch, PartitionSpec(devices.DATA))
        rows = len(batch.mask)
        return self.where.rows(text.without_skips(batch, rows + -rows % self.where.count))

    @staticmethod
    def count(batch: Batch, aux: Any) -> jax.Array:
        """Sentences."""
        return batch.mask.any(axis=1).sum()

    def loss(self, method: str, params: skip_chain.Params, batch: Batch, key: jax.Array):
        """Nats a sentence, as the method has it, with the penalty."""
        size = len(self.corpus.splits["train"])
        return skip_chain.loss(method, self.config, size, params, batch, key)

    def dev_error(self, method: str, params: skip_chain.Params) -> float:
        """``1 - F1``."""
        counts = self._counts(self._ask(method, params, "dev"), "dev")
        return 1 - float(scoring.f1(counts.sum(axis=0)))

    def evaluate(self, trained: Mapping[str, TrainedModel]) -> tuple[dict[str, Any], Page]:
        """F1 on test, of all sentences and of those with skip edges; and what to show."""
        test = self.corpus.splits["test"]
        linked = np.array([bool(sentence.edges) for sentence in test])
        found = {name: self._ask(name, model.params, "test") for name, model in trained.items()}
        counts = {name: self._counts(answers, "test") for name, answers in found.items()}
        baseline, models = counts["chain"], {}
        for name, model in trained.items():
            all_nats = found[name].nats / len(test)
            linked_nats = found[name].linked_nats / max(int(linked.sum()), 1)
            of_linked = scoring.compare(counts[name][linked], baseline[linked])
            models[name] = {
                "all": scoring.compare(counts[name], baseline) | {"nats": all_nats},
                "linked": of_linked | {"nats": linked_nats},
                "seconds": round(model.seconds, 2),
                "epoch_seconds": round(model.epoch_seconds, 2),
            }
        result = {
            "attributes": self.corpus.num_attributes,
            "splits": {name: self._sizes(split) for name, split in self.corpus.splits.items()},
            "models": models,
        }
        marginals = {name: answers.marginals for name, answers in found.items()}
        tables = np.asarray(trained[self.methods[-1]].params.skip)
        return result, text_report.page(self.config, result, self.corpus, marginals, tables)

    def _linked(self, method: str, split: str) -> list[tuple[np.ndarray, Batch]]:
        """Minibatches of sentences with skip edges; for the linear chain without these."""
        planned = self._planned[split]
        if method != "chain":
            return planned
        return [(n, text.without_skips(batch, self.config.batch_size)) for n, batch in planned]

    def _ask(self, method: str, params: skip_chain.Params, split: str) -> Answers:
        sentences, nats = self.corpus.splits[split], [0.0, 0.0]
        found = [np.zeros((0, 0))] * len(sentences)
        chains = text.chain_batches(sentences, self.config)
        for members, batch in (*chains, *self._linked(method, split)):
            p, lost = self._answers[method](params, batch)
            nats[bool(sentences[members[0]].edges)] += float(lost)
            for n, row in zip(members, np.asarray(p)):
                found[n] = row[: len(sentences[n].rows)]
        return Answers(found, nats[0] + nats[1], nats[1])

    def _counts(self, answers: Answers, split: str) -> np.ndarray:
        """Counts of chunks by sentence, each token's label being its likeliest."""
        tags = [[self.corpus.labels[c] for c in p.argmax(axis=1)] for p in answers.marginals]
        gold = [[row[-1] for row in sentence.rows] for sentence in self.corpus.splits[split]]
        return scoring.counts(gold, tags)

    def _sizes(self, sentences: list[text.Sentence]) -> dict[str, int]:
        return {
            "sentences": len(sentences),
            "linked": sum(bool(s.edges) for s in sentences),
            "edges": sum(len(s.edges) for s in sentences),
            "too_wide": sum(s.width > self.config.max_width for s in sentences),
        }
