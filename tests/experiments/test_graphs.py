"""Learning on graphs, on a few small images."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.graphs import images, model, train
from experiments.graphs.config import PRESETS, Config
from experiments.workdir import read_json
from rntn_jax.training import MetricsWriter, load_pytree, read_metrics
from tests.helpers import enable_x64

CONFIG = Config(
    method="exact",
    height=6,
    width=4,
    train_images=200,
    dev_images=30,
    test_images=300,
    window=1,
    epochs=4,
    batch_size=20,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run")
    with enable_x64(False):
        train.run(CONFIG, workdir)
    return workdir


def _models(folder: Path) -> dict:
    return read_json(folder / "result.json")["models"]


def test_exact_learning_beats_the_baseline_and_nears_the_truth(trained):
    models = _models(trained)
    assert models["exact"]["error"] == models["exact"]["exact"]["error"]
    gain = models["unary"]["exact"]["more"]
    assert gain["error"] > 3 * gain["standard_error"] > 0
    best = models["known"]["exact"]
    assert abs(best["more"]["error"]) < 3 * best["more"]["standard_error"]
    # Nats an image; the truth is best on average.
    assert best["nats"] - 0.1 < models["exact"]["exact"]["nats"] < best["nats"] + 0.3
    np.testing.assert_allclose(models["exact"]["coupling"], CONFIG.coupling, atol=0.3)
    rows = read_metrics(trained / "metrics.jsonl")
    losses = {row["epoch"]: row["train_loss"] for row in rows if row["model"] == "exact"}
    assert losses[4] < 0.9 * losses[1]
    page = (trained / "report.html").read_text()
    assert "exact: marginals" in page and "the known distribution" in page and "<rect" in page
    with enable_x64(False):
        assert train.run(CONFIG, trained)["models"] == models


@pytest.mark.slow
def test_training_resumes_bit_for_bit(trained, tmp_path, monkeypatch):
    written = MetricsWriter.write

    def stop(*args, **options):
        if (options["model"], options["epoch"]) == ("exact", 3):
            raise KeyboardInterrupt
        written(*args, **options)

    with enable_x64(False):
        with monkeypatch.context() as patch:
            patch.setattr(MetricsWriter, "write", stop)
            with pytest.raises(KeyboardInterrupt):
                train.run(CONFIG, tmp_path)
        train.run(CONFIG, tmp_path)
        like = {name: model.init(CONFIG) for name in CONFIG.methods}
        first, second = (load_pytree(p / "model.safetensors", like)[0] for p in (trained, tmp_path))
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)
    assert np.abs(first["exact"].edge).max() > 0
    assert not np.abs(first["unary"].edge).any()
    rows = [read_metrics(folder / "metrics.jsonl") for folder in (trained, tmp_path)]
    kept = [[(r["step"], r["model"], r["dev_error"]) for r in some] for some in rows]
    assert kept[0] == kept[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["pseudo_likelihood", "loopy", "cd", "mean_field", "tree_reweighted"]
)
def test_cheaper_methods_learn_as_well(trained, tmp_path, method):
    with enable_x64(False):
        train.run(dataclasses.replace(CONFIG, method=method), tmp_path)
    models, exact = _models(tmp_path), _models(trained)["exact"]
    assert models[method]["error"] < models["unary"]["error"] - 2 * exact["standard_error"]
    # Exact learning is best, or equal within error bars.
    assert exact["error"] < models[method]["error"] + 2 * exact["standard_error"]
    if method not in ("mean_field", "tree_reweighted"):
        np.testing.assert_allclose(models[method]["coupling"], exact["coupling"], atol=0.3)


def test_losses_agree_where_there_are_no_loops():
    """On grids of one column, which are chains, belief propagation is exact."""
    config = dataclasses.replace(CONFIG, height=5, width=1, window=3)
    rng = np.random.default_rng(0)
    batch = model.Batch(
        rng.standard_normal((3, 5, 1)), rng.integers(0, 2, (3, 5, 1)), np.array([1, 1, 0], bool)
    )
    params = jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape)), model.init(config))
    on = model.grids(3, 5, 1, config)
    loss = jax.jit(model.loss, static_argnums=(0, 1))
    key = jax.random.key(0)
    exact, loopy = (float(loss(m, config, on, params, batch, key)[0]) for m in ("exact", "loopy"))
    assert loopy == pytest.approx(exact, abs=1e-4)
    # What fills up counts nothing.
    found = model.scores(params, batch, on)
    answers = jax.jit(model.answers, static_argnums=(0, 1))
    p, total = answers("exact", config, on, found, jnp.asarray(batch.truth))
    assert float(total) == pytest.approx(2 * exact)
    assert not np.asarray(p[2]).any()
    alone = _of_chain(found.node[5:10], found.edge[4:8])
    np.testing.assert_allclose(np.asarray(p[1, :, 0]), alone, rtol=1e-6)


def _of_chain(node, edge) -> np.ndarray:
    """``P(y_i = 1)`` of a chain of five, over all 32 labellings."""
    every = np.array(list(np.ndindex(*[2] * 5)))
    nodes, edges = np.asarray(node), np.asarray(edge)
    weights = nodes[np.arange(5), every].sum(axis=1)
    weights += edges[np.arange(4), every[:, :-1], every[:, 1:]].sum(axis=1)
    p = np.exp(weights - weights.max())
    return p @ every / p.sum()


def test_evidence_is_the_log_odds_of_noise():
    flips = dataclasses.replace(CONFIG, flip=0.1, sigma=0.0)
    assert images.evidence(flips, np.array([1.0])) == pytest.approx(np.log(9))
    gauss = dataclasses.replace(CONFIG, flip=0.0, sigma=2.0)
    assert images.evidence(gauss, np.array([0.7])) == pytest.approx(2 * 0.7 / 4)
    both = dataclasses.replace(CONFIG, flip=0.1, sigma=1e-1)
    assert images.evidence(both, np.array([1.0])) == pytest.approx(np.log(9))


def test_bad_settings_and_missing_things(tmp_path, monkeypatch):
    for preset in PRESETS.values():
        Config(**preset)
    for options, message in (
        ({"method": "guess"}, "method must be one of"),
        ({"window": 2}, "window must be odd"),
        ({"sigma": 0.0}, "no noise"),
        ({"test_images": 1}, "test_images must be at least 2"),
        ({"damping": 1.0}, "damping must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            Config(**options)
    wide = dataclasses.replace(CONFIG, height=40, width=40)
    with pytest.raises(ValueError, match="exact inference needs tables"):
        model.grids(1, 40, 40, wide)
    assert model.grids(1, 40, 40, dataclasses.replace(wide, method="all")).plan is None
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"setup --extras=images"):
        train.run(dataclasses.replace(CONFIG, images="digits"), tmp_path / "digits")
    found = r"the loss is .* in epoch 1 of unary, minibatch 0"
    with enable_x64(False), pytest.raises(train.NotFiniteError, match=found):
        train.run(dataclasses.replace(CONFIG, sigma=1e30, learning_rate=1e30), tmp_path / "nan")
