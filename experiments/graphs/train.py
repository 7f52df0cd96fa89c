"""Learning by each method in its turn; here is what denoising images needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.graphs import images, model, report, skip_chain
from experiments.graphs.config import Config
from experiments.graphs.loop import Task, learn
from experiments.workdir import finished, open_workdir, write_json
from rntn_jax.crf import graph
from rntn_jax.training import NotFiniteError, save_pytree

__all__ = ["NotFiniteError", "run"]


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """Trains by each method asked for, or goes on training, and reports.

    Args:
        config: the settings.
        workdir: folder of the run; a run that was stopped there is resumed, and ends bit for bit
            as if it had not been.
        fresh: start over.

    Returns:
        The content of ``result.json``: by model, its errors on test, and how it was trained.

    Raises:
        ImportError: when the images come with a package that is not there.
        DataError: when the corpus is not there or faulty.
        ValueError: when the grid is too wide to learn exactly, as was asked.
        RunMismatchError: when ``workdir`` holds a run with other settings.
        WorkdirInUseError: when another process holds it.
        NotFiniteError: when a loss stops being a number.
    """
    workdir = Path(workdir)
    if (done := finished(workdir, config, fresh)) is not None:
        return done
    task = {"images": denoise, "chunking": skip_chain.chunk}[config.task]
    with open_workdir(workdir, config, fresh):
        result, page = task(config, workdir)
        result["report"] = str(workdir / "report.html")
        report.write(workdir, config, page)
        write_json(workdir / "result.json", result)
    return result


def denoise(config: Config, workdir: Path) -> tuple[dict[str, Any], report.Page]:
    """Learns images by each method: result, and what to report."""
    splits = images.load_splits(config)
    train, dev, test = (splits[name] for name in ("train", "dev", "test"))
    count, height, width = train.truth.shape
    size = min(config.batch_size, count)
    on = model.grids(size, height, width, config)
    methods = [method for method in config.methods if method != "exact" or on.plan is not None]

    def minibatches(of: images.Images, order: np.ndarray) -> Iterator[model.Batch]:
        for begin in range(0, len(order), size):
            members = np.resize(order[begin : begin + size], size)
            real = np.arange(size) < len(order) - begin
            yield model.Batch(of.seen[members], of.truth[members], real)

    def epoch(_: str, number: int) -> Iterator[tuple[model.Batch, int]]:
        order = np.random.default_rng((config.seed, 2, number)).permutation(count)
        for batch in minibatches(train, order):
            yield batch, int(batch.real.sum())

    def loss_of(method: str) -> Callable[..., Any]:
        return lambda params, batch, key: model.loss(method, config, on, params, batch, key)

    scores = jax.jit(partial(model.scores, on=on))
    inferences = {model.INFERENCE[method] for method in methods} | {"exact"}
    ask = {how: jax.jit(partial(model.answers, how, config, on)) for how in inferences}

    def answers(how: str, make: Callable[[model.Batch], graph.Scores], of: images.Images):
        """Probabilities ``[N, H, W]`` of 1, and mean nats."""
        found = [
            ask[how](make(batch), batch.truth)
            for batch in minibatches(of, np.arange(len(of.truth)))
        ]
        p = np.concatenate([np.asarray(p) for p, _ in found])[: len(of.truth)]
        return p, float(sum(nats for _, nats in found)) / len(p)

    def dev_error(method: str, params: model.Params) -> float:
        p, _ = answers(model.INFERENCE[method], partial(scores, params), dev)
        return float(((p > 0.5) != dev.truth).mean())

    task = Task(model.init(config), -(-count // size), epoch, loss_of, dev_error, "images")
    learnt = learn(config, workdir, methods, task)
    save_pytree(workdir / "model.safetensors", {name: m.params for name, m in learnt.items()}, {})

    models: dict[str, dict[str, Any]] = {"input": _error((test.seen > 0) != test.truth)}
    pictures: dict[str, np.ndarray] = {}
    wrong: dict[str, np.ndarray] = {}  # by exact inference

    def exactly(name: str, make: Callable[[model.Batch], graph.Scores]) -> None:
        p, nats = answers("exact", make, test)
        wrong[name] = (p > 0.5) != test.truth
        models[name]["exact"] = _error(wrong[name]) | {"nats": nats}
        pictures.setdefault(name, p)

    for name, found in learnt.items():
        pictures[name], _ = answers(model.INFERENCE[name], partial(scores, found.params), test)
        models[name] = _error((pictures[name] > 0.5) != test.truth)
        models[name] |= {"coupling": _coupling(found.params)}
        models[name] |= {"seconds": round(found.seconds, 2), "step_ms": round(found.step_ms, 2)}
        if on.plan is not None:
            exactly(name, partial(scores, found.params))
    if config.images == "blobs" and on.plan is not None:
        models["known"] = {"coupling": [config.coupling] * 2}
        exactly("known", partial(known, config, on))
    if "exact" in learnt:
        for name in wrong:
            models[name]["exact"]["more"] = _error(wrong[name].astype(float) - wrong["exact"])
    result = {"images": len(test.truth), "pixels": height * width, "models": models}
    return result, report.images_page(config, result, test, pictures)


def known(config: Config, on: model.Grids, batch: model.Batch) -> graph.Scores:
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
    of_images = wrong.mean(axis=(1, 2))
    spread = of_images.std(ddof=1) / len(of_images) ** 0.5
    return {"error": float(of_images.mean()), "standard_error": float(spread)}


def _coupling(params: model.Params) -> list[float]:
    """What equal neighbours that look the same score more, within rows and within columns."""
    table = params.edge[:, 0]
    more = table[:, 0, 0] + table[:, 1, 1] - table[:, 0, 1] - table[:, 1, 0]
    return (more / 2).tolist()
