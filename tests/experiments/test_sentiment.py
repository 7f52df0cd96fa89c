"""Training of sentiment networks: results, resuming, faults."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

from experiments.sentiment import train
from experiments.sentiment.batches import EpochLoader
from experiments.sentiment.config import Config
from experiments.sentiment.summary import summarize
from experiments.workdir import RunMismatchError, read_json, write_json
from rntn_jax import data, trees
from rntn_jax.annotate import load_classifier, two_classes
from rntn_jax.models import rntn
from rntn_jax.training import Checkpointer, CheckpointError, read_metrics, run_state
from tests.helpers import enable_x64
from tests.plots.browser import needs_driver, open_driver

ROOT = Path(__file__).resolve().parents[2]
# 40 trees in minibatches of 9: five an epoch, two calls with two of them and one with one.
CONFIG = Config(max_trees=40, dim=4, epochs=4, batch_size=9, lanes=4, updates_per_dispatch=2)
NOISY = dataclasses.replace(
    CONFIG, leaf_dropout=0.1, hidden_dropout=0.2, average=0.9, optimizer="adam", schedule="cosine"
)
SHORT = dataclasses.replace(CONFIG, epochs=1, batch_size=10)  # one program less to compile
SCORES = {
    f"{name}_{place}" for name in ("fine", "binary", "binary_corenlp") for place in ("all", "root")
}


@pytest.fixture(scope="module", autouse=True)
def as_users_run() -> Iterator[None]:
    """Without 64-bit types; and equal settings share a compiled step, to save time."""
    with enable_x64(False), pytest.MonkeyPatch.context() as patch:
        for name in ("make_loss", "make_optimizer", "make_train_step"):
            patch.setattr(train, name, functools.cache(getattr(train, name)))
        yield


def environment_of_a_process(factory: pytest.TempPathFactory) -> dict[str, str]:
    """For Pythons of their own: bytecode and XLA programs are kept, for all of a test session."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(factory.getbasetemp() / "bytecode"),
        "JAX_COMPILATION_CACHE_DIR": str(factory.getbasetemp() / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


class Stop(Exception):
    """The run is stopped here."""


def run_until(config: Config, workdir: Path, epoch: int, *, saved: bool = True) -> None:
    """Runs, and stops just after (or just before) the checkpoint of an epoch is written."""

    class Stopping(Checkpointer):
        def save(self, step: int, tree: Any, info: dict[str, Any]) -> Path:
            if info["epoch"] == epoch and not saved:
                raise Stop
            path = super().save(step, tree, info)
            if info["epoch"] == epoch:
                raise Stop
            return path

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(run_state, "Checkpointer", Stopping)
        train.run(config, workdir)


def digest(path: Path) -> str:
    """The checksum of a file's arrays and of what was stored with them."""
    with safetensors.safe_open(path, "numpy") as file:
        return file.metadata()["sha256"]


def outcome(workdir: Path) -> dict[str, Any]:
    """All that a run has to reproduce: everything but times and its own folder."""
    result = read_json(workdir / "result.json")
    rows = read_metrics(workdir / "metrics.jsonl")
    for times in (result, *rows):
        del times["seconds_per_epoch" if times is result else "seconds"]
    assert result.pop("report") == str(workdir / "report.html")
    return {
        "model": digest(workdir / "model.safetensors"),
        "states": {p.name: digest(p) for p in (workdir / "checkpoints").iterdir()},
        "rows": rows,
        "result": result,
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end."""
    workdir = tmp_path_factory.mktemp("base")
    train.run(CONFIG, workdir)
    return workdir


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped after two of its four epochs; to be copied."""
    workdir = tmp_path_factory.mktemp("half")
    run_until(CONFIG, workdir, 2)
    return workdir


@pytest.fixture
def halfway(half: Path, tmp_path: Path) -> Path:
    """A copy of `half`."""
    return Path(shutil.copytree(half, tmp_path / "run"))


def no_training(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    patch.setattr(train, "make_train_step", fail)


# --- what a run leaves ---


def test_result_holds_scores_and_when(base: Path):
    result = read_json(base / "result.json")
    assert set(result) >= {
        "epoch", "epochs_run", "dev", "test", "seconds_per_epoch", "best_possible", "report"
    }  # fmt: skip
    assert result["epochs_run"] == 4 and 1 <= result["epoch"] <= 4
    assert result["best_possible"] == 1.0
    for split in ("dev", "test"):
        assert set(result[split]) == SCORES
        assert all(0 <= value <= 1 for value in result[split].values())


def test_metrics_have_a_row_an_epoch(base: Path):
    rows = read_metrics(base / "metrics.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    for row in rows:
        assert set(row) == {"step", "epoch", "train_loss", "seconds"} | {
            f"dev_{name}" for name in SCORES
        }
        assert np.isfinite(row["train_loss"]) and row["seconds"] >= 0
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_the_chosen_epoch_is_the_best_on_dev(base: Path):
    rows, result = read_metrics(base / "metrics.jsonl"), read_json(base / "result.json")
    best = max(rows, key=lambda row: row["dev_fine_all"])  # the first of equals
    assert result["epoch"] == best["epoch"]
    assert result["dev"] == {name: best[f"dev_{name}"] for name in SCORES}


def test_settings_and_environment_are_kept(base: Path):
    assert Config(**read_json(base / "config.json")) == CONFIG
    environment = read_json(base / "environment.json")
    assert environment["jax"] == jax.__version__ and "command" in environment
    model = load_classifier(base / "model.safetensors")
    assert Config(**model.info) == CONFIG
    assert model.params.cell.v.shape == (4, 8, 8) and model.params.cell.v.dtype == np.float32
    splits = train.load_splits(CONFIG)
    words = {word.lower() for tree in splits["train"] for word in tree.tokens}
    assert set(model.vocabulary.words) == words | {"<pad>", "<unk>"}


def test_as_many_checkpoints_as_asked_for(base: Path):
    assert sorted(path.name for path in (base / "checkpoints").iterdir()) == [
        "step-0000000015.safetensors",
        "step-0000000020.safetensors",
    ]


def test_the_report_holds_scores_curves_and_trees(base: Path):
    page = (base / "report.html").read_text("utf-8")
    result = read_json(base / "result.json")
    assert page[:15].lower() == "<!doctype html>"
    assert f"{100 * result['test']['fine_all']:.1f}%" in page
    for words in ("Training loss", "Dev accuracy", "neutral wrong", "max_trees", jax.__version__):
        assert words in page
    assert not re.search(r"""(src|href)\s*=\s*["']?https?://""", page)


@needs_driver
def test_the_report_opens_in_a_browser(base: Path):
    with open_driver() as driver:
        driver.open(base / "report.html")
        state = "return [document.body.dataset.rj, document.body.dataset.rjError ?? null]"
        assert driver.script(state) == ["ready", None]
        assert driver.script("return document.querySelectorAll('svg.rj-tree').length") >= 4
        assert driver.script("return document.querySelectorAll('.rj-node').length") > 40
        assert driver.console_errors() == []


def test_finished_runs_are_summed_up(base: Path, capsys):
    summarize(str(base.parent / "base*"))
    printed = capsys.readouterr().out
    result = read_json(base / "result.json")
    for words in (base.name, "mean", "best", "RNTN, Socher et al. 2013"):
        assert words in printed
    assert f"{100 * result['test']['fine_all']:.2f}" in printed
    assert f"{100 * result['dev']['fine_all']:.2f} @{result['epoch']}" in printed
    with pytest.raises(FileNotFoundError, match=r"no finished run matches '.*nothing'"):
        summarize(str(base.parent / "nothing"))


def test_running_again_returns_the_result_without_training(base: Path, monkeypatch):
    before = {path: path.read_bytes() for path in base.glob("*.*") if path.suffix != ".json"}
    no_training(monkeypatch)
    assert train.run(CONFIG, base) == read_json(base / "result.json")
    assert train.run(CONFIG, str(base)) == read_json(base / "result.json")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_other_settings_are_refused_by_name_and_value(base: Path, monkeypatch):
    no_training(monkeypatch)
    other = dataclasses.replace(CONFIG, dim=5, learning_rate=0.5)
    with pytest.raises(RunMismatchError) as caught:
        train.run(other, base)
    assert "dim was 4 and is now 5" in str(caught.value)
    assert "learning_rate was 0.05 and is now 0.5" in str(caught.value)
    assert "epochs" not in str(caught.value)


# --- resuming ---


def test_half_and_half_is_the_whole(base: Path, halfway: Path, capsys):
    capsys.readouterr()
    train.run(CONFIG, halfway)
    told = capsys.readouterr().err
    assert "resuming after epoch 2" in told and "passed over" not in told
    assert "epoch 3: loss" in told and "epoch 2: loss" not in told
    assert outcome(halfway) == outcome(base)


def test_stopped_before_a_checkpoint_the_epoch_is_done_again(base: Path, halfway: Path):
    run_until(CONFIG, halfway, 3, saved=False)
    # The row was written, the checkpoint was not; and the next row was cut short.
    metrics = halfway / "metrics.jsonl"
    assert [row["epoch"] for row in read_metrics(metrics)] == [1, 2, 3]
    with metrics.open("a") as file:
        file.write('{"step": 20, "epo')
    train.run(CONFIG, halfway)
    assert outcome(halfway) == outcome(base)


def test_stopped_while_reporting_nothing_is_trained_again(base: Path, tmp_path: Path, monkeypatch):
    workdir = Path(shutil.copytree(base, tmp_path / "run"))
    for name in ("result.json", "report.html", "model.safetensors"):
        (workdir / name).unlink()
    calls = []
    make = train.make_train_step
    monkeypatch.setattr(
        train, "make_train_step", lambda *a, **o: lambda *_: calls.append(make(*a, **o))
    )
    train.run(CONFIG, workdir)
    assert not calls
    assert outcome(workdir) == outcome(base)


def test_a_fresh_run_forgets_the_old_one(base: Path, halfway: Path):
    settings = read_json(halfway / "config.json")
    write_json(halfway / "config.json", settings | {"dim": 7})
    with pytest.raises(RunMismatchError):
        train.run(CONFIG, halfway)
    train.run(CONFIG, halfway, fresh=True)
    assert outcome(halfway) == outcome(base)


def test_dropout_and_averages_resume_too(tmp_path: Path):
    train.run(NOISY, tmp_path / "whole")
    run_until(NOISY, tmp_path / "parts", 1)
    run_until(NOISY, tmp_path / "parts", 3, saved=False)
    train.run(NOISY, tmp_path / "parts")
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
    # The averaged weights, which are what is judged, are not the last ones.
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    with safetensors.safe_open(newest, "numpy") as file:
        last, mean = map(file.get_tensor, ("[0].params.head.w", "[1].head.w"))
    assert last.shape == mean.shape and not np.allclose(last, mean)


def test_a_damaged_checkpoint_is_passed_over(base: Path, halfway: Path, capsys):
    newest = max((halfway / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    capsys.readouterr()
    train.run(CONFIG, halfway)
    told = capsys.readouterr().err
    assert re.search(rf"passed over: .*{newest.name} is damaged", told)
    assert "resuming after epoch 1" in told
    assert outcome(halfway) == outcome(base)


def test_when_all_checkpoints_are_damaged_the_run_stops(halfway: Path, monkeypatch):
    for path in (halfway / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"no intact checkpoint.*0005.*") as caught:
        train.run(CONFIG, halfway)
    assert "0010" in str(caught.value)


def test_checkpoints_of_another_size_are_refused(half: Path, tmp_path: Path):
    shutil.copytree(half / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(CheckpointError) as caught:
        train.run(dataclasses.replace(CONFIG, dim=5), tmp_path)
    assert re.search(
        r"cell\.v is float32\[4, 8, 8\], expected float32\[5, 10, 10\]", str(caught.value)
    )
    assert "step is" not in str(caught.value)


# --- faults ---


def test_a_loss_that_is_no_number_stops_the_run(base: Path, tmp_path: Path):
    seen: dict[int, list[Any]] = {}

    class Loader(EpochLoader):
        def epoch(self, number: int, last: bool = False) -> Iterator[Any]:
            seen[number] = list(super().epoch(number, last))
            return iter(seen[number])

    make = train.make_train_step
    failing_update = 5 + 3  # minibatch 3 of epoch 2, counted from 0

    def make_failing(*args: Any, **options: Any) -> Any:
        step, done = make(*args, **options), 0

        def failing(state: Any, batch: Any) -> Any:
            nonlocal done
            state, out = step(state, batch)
            updates = np.arange(done, done + len(out["loss"]))
            done += len(updates)
            bad = jnp.asarray(updates == failing_update)
            return state, out | {
                "loss": jnp.where(bad, jnp.nan, out["loss"]),
                "finite": out["finite"] & ~bad,
            }

        return failing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "EpochLoader", Loader)
        patch.setattr(train, "make_train_step", make_failing)
        with pytest.raises(train.NotFiniteError) as caught:
            train.run(CONFIG, tmp_path)
    message = str(caught.value)
    assert "loss is nan" in message and "epoch 2, minibatch 3 " in message
    members = [m for dispatch in seen[2] for m in dispatch.members][3]
    assert f"training trees {', '.join(map(str, members))}" in message
    assert str(tmp_path / "checkpoints") in message and "--learning_rate" in message
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-0000000005.safetensors"]
    assert not (tmp_path / "result.json").exists()
    # Whatever it was, when it is gone the run goes on from the good checkpoint.
    train.run(CONFIG, tmp_path)
    assert outcome(tmp_path) == outcome(base)


def test_a_step_size_out_of_all_reason_is_noticed(tmp_path: Path):
    config = dataclasses.replace(SHORT, learning_rate=1e30)
    with pytest.raises(train.NotFiniteError, match=r"in epoch 1, minibatch [0-3] \(training trees"):
        train.run(config, tmp_path)


def test_faults_in_the_data_are_placed(tmp_path: Path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.txt").write_text("(3 (2 a) (4 b))\n")
    (tmp_path / "dev.txt").write_text("(3 (2 a) (4 b))\n(3 (2 a) (9 b))\n")
    config = dataclasses.replace(CONFIG, corpus="sst", data_dir=str(tmp_path))
    with pytest.raises(data.DataError) as caught:
        train.run(config, tmp_path / "run")
    error = caught.value
    assert (error.file, error.line, error.column) == (str(tmp_path / "dev.txt"), 2, 11)
    with pytest.raises(data.DataError, match=r"train\.txt"):
        missing = dataclasses.replace(config, data_dir=str(tmp_path / "none"))
        train.run(missing, tmp_path / "run 2")


# --- variants ---


def test_a_corpus_of_ones_own(tmp_path: Path):
    forest = data.demo_sentiment.sentiment_trees(12, seed=3)
    for name in ("train", "dev", "test"):
        data.write_trees(tmp_path / f"{name}.txt", forest)
    config = dataclasses.replace(SHORT, corpus="sst", data_dir=str(tmp_path))
    result = train.run(config, tmp_path / "run")
    assert "best_possible" not in result and result["dev"] == result["test"]
    assert "Socher" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_two_classes_leave_neutral_nodes_unlabelled(tmp_path: Path):
    config = dataclasses.replace(SHORT, num_classes=2)
    five, two = train.load_splits(CONFIG), train.load_splits(config)
    relabelled = {0: 0, 1: 0, 2: -1, 3: 1, 4: 1}
    for name in ("train", "dev", "test"):
        for a, b in zip(five[name], two[name], strict=True):
            assert a.tokens == b.tokens
            assert b.labels.tolist() == [relabelled[label] for label in a.labels.tolist()]
    half_labelled = data.parse_tree("(4 (-1 a) (1 b))")
    assert two_classes(half_labelled).labels.tolist() == [-1, 0, 1]
    result = train.run(config, tmp_path)
    assert set(result["test"]) == {"fine_all", "fine_root"}
    assert load_classifier(tmp_path / "model.safetensors").params.head.w.shape == (4, 2)
    assert "very negative" not in (tmp_path / "report.html").read_text("utf-8")


def test_no_dev_label_to_select_by_is_an_error_before_the_model_is_chosen(tmp_path: Path):
    forest = data.demo_sentiment.sentiment_trees(12, seed=3)
    data.write_trees(tmp_path / "train.txt", forest)
    nameless = [dataclasses.replace(t, labels=np.full_like(t.labels, -1)) for t in forest]
    for name in ("dev", "test"):
        data.write_trees(tmp_path / f"{name}.txt", nameless)
    config = dataclasses.replace(SHORT, corpus="sst", data_dir=str(tmp_path))
    with pytest.raises(data.DataError, match="fine_all"):
        train.run(config, tmp_path / "run")


def test_the_plain_recursive_net_runs(tmp_path: Path):
    train.run(dataclasses.replace(SHORT, tensor=False), tmp_path)
    assert load_classifier(tmp_path / "model.safetensors").params.cell.v is None


def test_other_activations_dropout_and_clipping_run(tmp_path: Path):
    config = dataclasses.replace(
        SHORT,
        epochs=2,
        activation="relu",
        leaf_activation="identity",
        optimizer="momentum",
        schedule="linear",
        learning_rate=0.001,
        clip_norm=1.0,
        select="mean",
        lowercase=False,
    )
    result = train.run(config, tmp_path)
    columns = ("fine_all", "fine_root", "binary_all", "binary_root")
    best = max(
        np.mean([row[f"dev_{c}"] for c in columns])
        for row in read_metrics(tmp_path / "metrics.jsonl")
    )
    assert np.mean([result["dev"][c] for c in columns]) == best
    model = load_classifier(tmp_path / "model.safetensors")
    assert model.options == {"activation": "relu", "leaf_activation": "identity"}
    assert not model.vocabulary.lowercase


def test_without_a_better_score_it_stops(tmp_path: Path):
    config = dataclasses.replace(SHORT, epochs=9, patience=2, learning_rate=1e-12)
    result = train.run(config, tmp_path)
    assert result["epoch"] == 1 and result["epochs_run"] == 3
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_tensorboard_events_on_request(tmp_path: Path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    train.run(dataclasses.replace(SHORT, tensorboard=True), tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train_loss" in events.read_bytes() and b"dev_fine_all" in events.read_bytes()


OPTIMIZERS = ("adagrad", "sgd", "momentum", "adam")
SCHEDULES = ("constant", "cosine", "linear")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_and_schedule_takes_the_steps_it_should(optimizer: str, schedule: str):
    config = Config(optimizer=optimizer, schedule=schedule, learning_rate=0.1)
    rule = train.make_optimizer(config, 4)
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    params = rntn.Params(
        draw(3, 2), rntn.Cell(draw(2, 4, 4), draw(4, 2), draw(2)), rntn.Head(draw(2, 5), draw(5))
    )
    rates = {
        "constant": [0.1] * 5,
        "linear": [0.1, 0.075, 0.05, 0.025, 0.0],
        "cosine": [0.05 * (1 + np.cos(np.pi * i / 4)) for i in range(5)],
    }[schedule]
    state = rule.init(params)
    square = first = second = jax.tree.map(np.zeros_like, params)
    for i, rate in enumerate(rates):
        grads = jax.tree.map(lambda x: draw(*x.shape), params)
        updates, state = rule.update(grads, state, params)
        if optimizer == "adagrad":
            square = jax.tree.map(lambda s, g: s + g**2, square, grads)
            direction = jax.tree.map(lambda s, g: g / np.sqrt(s), square, grads)
        elif optimizer == "momentum":
            direction = first = jax.tree.map(lambda m, g: 0.9 * m + g, first, grads)
        elif optimizer == "adam":
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
            second = jax.tree.map(lambda m, g: 0.999 * m + 0.001 * g**2, second, grads)
            direction = jax.tree.map(
                lambda m, s, i=i: m / (1 - 0.9 ** (i + 1)) / np.sqrt(s / (1 - 0.999 ** (i + 1))),
                first,
                second,
            )
        else:
            direction = grads
        expected = jax.tree.map(lambda d, rate=rate: -rate * d, direction)
        expected = expected._replace(cell=expected.cell._replace(v=0.02 * expected.cell.v))
        for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-7)


def test_the_plain_net_and_clipping_have_optimisers_too():
    config = Config(optimizer="sgd", learning_rate=1.0, clip_norm=0.5, tensor=False)
    rule = train.make_optimizer(config, 1)
    grads = rntn.Params(
        np.full((2, 1), 3.0, np.float32),
        rntn.Cell(None, np.zeros((2, 1), np.float32), np.zeros(1, np.float32)),
        rntn.Head(np.zeros((1, 5), np.float32), np.zeros(5, np.float32)),
    )
    updates, _ = rule.update(grads, rule.init(grads), grads)
    np.testing.assert_allclose(updates.embedding, np.full((2, 1), -0.5 / np.sqrt(2)), rtol=1e-6)
    assert updates.cell.v is None


def test_the_demo_is_learnt(tmp_path: Path):
    config = Config(max_trees=600, epochs=6, dim=12)
    result = train.run(config, tmp_path)
    labels = np.concatenate([tree.labels for tree in train.load_splits(config)["dev"]])
    majority = np.bincount(labels).max() / len(labels)
    assert result["dev"]["fine_all"] > majority + 0.1
    assert result["test"]["binary_all"] > 0.7


# --- minibatches ---


def loader_of(forest: list[data.Tree], **options: Any) -> tuple[EpochLoader, trees.Treebank]:
    bank = trees.encode(forest, data.Vocabulary.build(w for t in forest for w in t.tokens))
    options = {"batch_size": 9, "lanes": 4, "per_dispatch": 2, "seed": 0} | options
    return EpochLoader(bank, **options), bank


def test_every_epoch_holds_every_tree_once_in_an_order_of_its_own():
    forest = data.demo_sentiment.sentiment_trees(40, seed=0)
    loader, bank = loader_of(forest)
    orders = []
    for number in (1, 2, 3):
        dispatches = list(loader.epoch(number, last=number == 3))
        assert [d.first for d in dispatches] == [0, 2, 4]
        assert [len(d.members) for d in dispatches] == [2, 2, 1]
        for dispatch in dispatches:
            for i, members in enumerate(dispatch.members):
                batch = jax.tree.map(lambda x, i=i: x[i], dispatch.batch)
                assert int(batch.batch.num_trees) == len(members)
                words = batch.words[batch.batch.tokens]
                expected = [
                    bank.tokens[bank.leaf_offsets[m] : bank.leaf_offsets[m + 1]] for m in members
                ]
                np.testing.assert_array_equal(words[words > 0], np.concatenate(expected))
        orders.append(np.concatenate([m for d in dispatches for m in d.members]).tolist())
        assert sorted(orders[-1]) == list(range(40))
    loader.close()
    assert len({tuple(order) for order in orders}) == 3

    # The order is a function of seed and epoch, whatever came before.
    again, _ = loader_of(forest)
    assert (
        np.concatenate([m for d in again.epoch(3, last=True) for m in d.members]).tolist()
        == orders[2]
    )
    again.close()
    other, _ = loader_of(forest, seed=1)
    assert (
        np.concatenate([m for d in other.epoch(3, last=True) for m in d.members]).tolist()
        != orders[2]
    )
    other.close()


@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_no_order_of_the_trees_needs_a_third_shape(lanes: int):
    chain = "(2 w)"
    for _ in range(30):
        chain = f"(2 (2 w) {chain})"
    short = [data.parse_tree("(2 (2 a) (2 b))"), data.parse_tree("(2 a)")]
    forest = (
        [data.parse_tree(chain)] * 3 + short * 30 + data.demo_sentiment.sentiment_trees(20, seed=1)
    )
    loader, _ = loader_of(forest, batch_size=4, lanes=lanes, per_dispatch=3)
    shapes = set()
    for number in range(1, 40):
        for dispatch in loader.epoch(number, last=number == 39):
            assert len(dispatch.members) in (1, 3)
            shapes.add(dispatch.batch.batch.shape)
    loader.close()
    assert shapes <= set(loader.shapes) and len(loader.shapes) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_trees_than_a_minibatch(count: int):
    loader, _ = loader_of(data.demo_sentiment.sentiment_trees(count, seed=0))
    (dispatch,) = loader.epoch(1, last=True)
    loader.close()
    assert sorted(dispatch.members[0].tolist()) == list(range(count))
    assert loader.num_batches == 1


def test_trees_of_one_word_alone():
    loader, _ = loader_of([data.parse_tree("(3 good)"), data.parse_tree("(1 bad)")])
    (dispatch,) = loader.epoch(1, last=True)
    loader.close()
    assert int(dispatch.batch.batch.num_steps[0]) == 0


# --- the Stanford Sentiment Treebank ---


@pytest.mark.slow
def test_one_epoch_of_the_paper_preset(tmp_path: Path):
    from experiments.sentiment.config import PRESETS

    folder = ROOT.parent / "shared" / "data"
    if not (folder / "sst" / "train.txt").exists():
        pytest.skip(f"there is no {folder / 'sst' / 'train.txt'}")
    config = Config(**{**PRESETS["paper"], "epochs": 1, "data_dir": str(folder)})
    result = train.run(config, tmp_path)
    assert result["dev"]["fine_all"] > 0.70
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["dev_fine_all"] > 0.70
