"""Several devices train the sentiment networks as one does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import loop
from experiments.benchmark.compiled.hlo import collectives
from experiments.sentiment import networks, train
from experiments.sentiment.batches import EpochLoader, placed
from experiments.sentiment.config import Config
from experiments.sentiment.networks import make_loss, make_optimizer
from rntn_jax import data, trees
from rntn_jax.training import init_state, make_train_step, read_metrics
from tests.experiments.sentiment.runs import run_until
from tests.helpers import assert_close, enable_x64

CONFIG = Config(max_trees=20, dim=3, epochs=2, batch_size=9, lanes=4, updates_per_dispatch=1)


def trained(count: int, several: bool = True):
    """Losses and parameters of an epoch in float64, and the compiled step."""
    config = dataclasses.replace(CONFIG, devices=count)
    forest = data.demo_sentiment.sentiment_trees(20, seed=0)
    vocabulary = data.Vocabulary.build(w for tree in forest for w in tree.tokens)
    place = loop.placement(config)
    loader = EpochLoader(trees.encode(forest, vocabulary), 9, 4, 1, 0, place.count)
    optimizer = make_optimizer(config, 10)
    step = make_train_step(make_loss(config, place), optimizer, stochastic=True, several=several)
    params = networks.init(jax.random.key(0), config, len(vocabulary))
    params = jax.tree.map(lambda x: x.astype(np.float64), params)
    state = place.whole(init_state(params, optimizer, jax.random.key(1)))
    losses, program = [], None
    for dispatch in loader.epoch(1, last=True):
        batch = placed(place, dispatch.batch)
        batch = batch if several else jax.tree.map(lambda x: x[0], batch)
        program = program or step.lower(state, batch).compile()
        state, out = step(state, batch)
        losses += np.atleast_1d(out["loss"]).tolist()
    loader.close()
    return losses, jax.device_get(state.params), program


def test_losses_penalties_and_steps_are_those_of_one_device():
    with enable_x64(True):
        losses, params, _ = trained(1)
        found, others, program = trained(2, several=False)
    assert len({*losses}) == 3
    assert_close(found, losses, 1e-9)
    assert_close(others, params, 1e-9)
    assert collectives(program) == ({"all-reduce": 1}, {})  # never while a tree is swept


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path: Path):
    train.run(CONFIG, tmp_path / "whole")
    whole = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    for first, then in ((2, 2), (1, 4)):
        workdir = tmp_path / f"{first} {then}"
        run_until(dataclasses.replace(CONFIG, devices=first), workdir, 1)
        train.run(dataclasses.replace(CONFIG, devices=then), workdir)
        for own, row in zip(read_metrics(workdir / "metrics.jsonl"), whole, strict=True):
            assert own["train_loss"] == pytest.approx(row["train_loss"], rel=1e-5)
