"""Denoising binary images by grid CRFs: what is learnt, and how well it denoises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import loop
from experiments.graphs import images, model, report
from experiments.graphs.config import Config
from experiments.graphs.task import TrainedModel
from rntn_jax.crf import graph

__all__ = ["Denoising"]

MakeScores = Callable[[model.Batch], graph.Scores]


class Denoising:
    """The task, as `experiments.graphs.task.Task` says; the images are read when it is made."""

    unit = "images"

    def __init__(self, config: Config):
        self.config, self.where = config, loop.placement(config)
        self.splits = images.load_splits(config)
        count, height, width = self.splits["train"].truth.shape
        self.batch_size = min(config.batch_size, count)
        self.grids = self._own = model.grids(self.batch_size, height, width, config)
        self._rows = self.batch_size
        if self.where.mesh is not None:  # each device has a graph of its own
            each = -(-self.batch_size // self.where.count)
            self._own, self._rows = (
                model.grids(each, height, width, config),
                each * self.where.count,
            )
        exact = self.grids.plan is not None
        self.methods: Sequence[str] = [m for m in config.methods if m != "exact" or exact]
        self.params = model.init(config)
        self.updates = -(-count // self.batch_size)
        self._scores = jax.jit(partial(model.scores, on=self.grids))
        self._answers = {
            inference: jax.jit(partial(model.answers, inference, config, self.grids))
            for inference in {model.INFERENCE[method] for method in self.methods} | {"exact"}
        }

    def epoch(self, method: str, epoch: int) -> Iterator[tuple[model.Batch, int]]:
        """Minibatches in a random order, the same for all methods, and their sizes."""
        train = self.splits["train"]
        order = np.random.default_rng((self.config.seed, 2, epoch)).permutation(len(train.truth))
        for batch in _minibatches(train, order, self.batch_size, self._rows):
            yield self.where.rows(batch), int(batch.real.sum())

    def loss(self, method: str, params: model.Params, batch: model.Batch, key: jax.Array):
        """Nats an image, as the method has it."""
        return model.loss(method, self.config, self._own, params, batch, key)

    @staticmethod
    def count(batch: model.Batch, aux: Any) -> jax.Array:
        """Images."""
        return batch.real.sum()

    def dev_error(self, method: str, params: model.Params) -> float:
        """Share of wrong pixels."""
        dev = self.splits["dev"]
        p, _ = self._marginals(model.INFERENCE[method], partial(self._scores, params), dev)
        return float(((p > 0.5) != dev.truth).mean())

    def evaluate(self, trained: Mapping[str, TrainedModel]) -> tuple[dict[str, Any], report.Page]:
        """Errors on test by each model's own inference and by the exact one; and what to show."""
        config, test = self.config, self.splits["test"]
        models: dict[str, dict[str, Any]] = {"input": _error((test.seen > 0) != test.truth)}
        pictures: dict[str, np.ndarray] = {}
        exactly: dict[str, MakeScores] = {}  # who is asked by exact inference, too
        for name, found in trained.items():
            scores = exactly[name] = partial(self._scores, found.params)
            pictures[name], _ = self._marginals(model.INFERENCE[name], scores, test)
            models[name] = _error((pictures[name] > 0.5) != test.truth)
            models[name] |= {"coupling": _coupling(found.params)}
            models[name] |= {"seconds": round(found.seconds, 2), "step_ms": round(found.step_ms, 2)}
        if config.images == "blobs" and self.grids.plan is not None:
            exactly["known"] = partial(_known_scores, config, self.grids)
            models["known"] = {"coupling": [config.coupling] * 2}

        wrong: dict[str, np.ndarray] = {}
        for name, scores in exactly.items() if self.grids.plan is not None else ():
            p, nats = self._marginals("exact", scores, test)
            wrong[name] = (p > 0.5) != test.truth
            models[name]["exact"] = _error(wrong[name]) | {"nats": nats}
            pictures.setdefault(name, p)
        if "exact" in trained:
            for name in wrong:
                models[name]["exact"]["more"] = _error(wrong[name].astype(float) - wrong["exact"])
        result = {"images": len(test.truth), "pixels": test.truth[0].size, "models": models}
        return result, report.images_page(config, result, test, pictures)

    def _marginals(
        self, inference: str, scores: MakeScores, of: images.Images
    ) -> tuple[np.ndarray, float]:
        """Probabilities ``[N, H, W]`` of 1, and mean nats."""
        size = self.batch_size
        batches = _minibatches(of, np.arange(len(of.truth)), size, size)
        found = [self._answers[inference](scores(batch), batch.truth) for batch in batches]
        p = np.concatenate([np.asarray(p) for p, _ in found])[: len(of.truth)]
        return p, float(sum(nats for _, nats in found)) / len(p)


def _minibatches(
    of: images.Images, order: np.ndarray, size: int, rows: int
) -> Iterator[model.Batch]:
    """Images in an order, ``size`` at a time; minibatches are filled up to as many rows."""
    for begin in range(0, len(order), size):
        own = order[begin : begin + size]
        members = np.resize(own, rows)
        yield model.Batch(of.seen[members], of.truth[members], np.arange(rows) < len(own))


def _known_scores(config: Config, on: model.Grids, batch: model.Batch) -> graph.Scores:
    """Scores of the distribution that blobs and noise were drawn from."""
    odds = images.evidence(config, batch.seen).astype(np.float32).reshape(-1)
    table = config.coupling * jnp.eye(2)
    return graph.Scores(
        node=jnp.stack([jnp.zeros_like(odds), odds], axis=1),
        edge=jnp.tile(table, (len(on.edges), 1, 1)),
        edges=jnp.asarray(on.edges),
        node_mask=jnp.repeat(batch.real, batch.truth[0].size),
    )


def _error(wrong: np.ndarray) -> dict[str, float]:
    """Share of wrong pixels ``[N, H, W]``, and its standard error, images being independent."""
    by_image = wrong.mean(axis=(1, 2))
    std_error = by_image.std(ddof=1) / len(by_image) ** 0.5
    return {"error": float(by_image.mean()), "standard_error": float(std_error)}


def _coupling(params: model.Params) -> list[float]:
    """What equal neighbours that look the same score more, within rows and within columns."""
    table = params.edge[:, 0]
    more = table[:, 0, 0] + table[:, 1, 1] - table[:, 0, 1] - table[:, 1, 0]
    return (more / 2).tolist()
