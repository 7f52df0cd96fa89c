"""Flags made from a dataclass, and what the sentiment experiment says of wrong ones."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from absl import flags as absl_flags

from experiments import flags
from experiments.language_model import config as language_model
from experiments.sentiment.config import PRESETS, Config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch):
    """`parse(*arguments)`: the sentiment settings, from flags of their own."""

    def parse(*arguments: str, cls: type = Config, presets: Any = PRESETS, default: str = "smoke"):
        values = absl_flags.FlagValues()
        own: dict[str, Any] = {"FLAGS": values}
        for name in ("enum", "bool", "integer", "float", "string"):
            define = getattr(absl_flags, f"DEFINE_{name}")
            own[f"DEFINE_{name}"] = lambda *args, _define=define, **options: _define(
                *args, flag_values=values, **options
            )
        monkeypatch.setattr(flags, "flags", SimpleNamespace(**own))
        flags.define_config_flags(cls, presets, default)
        rest = values(["main.py", *arguments])
        assert rest == ["main.py"]
        return flags.config_from_flags(cls, presets)

    return parse


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_field_has_a_help_text(field):
    text = field.metadata["help"]
    assert isinstance(text, str) and len(text) > 5 and text == text.strip()
    assert not text.endswith(".")  # absl's list adds to it


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(preset: str, parse):
    assert parse(f"--preset={preset}") == Config(**PRESETS[preset])


@pytest.mark.parametrize("given", ["", "--xla_cpu_enable_fast_math=false"])
def test_virtual_devices_are_made_before_jax_begins(given, parse, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", given)
    presets = language_model.PRESETS
    options = {"cls": language_model.Config, "presets": presets}
    parse("--preset=smoke", **options)
    assert os.environ["XLA_FLAGS"] == given
    for count in ("2", "4"):  # what is there already stays
        parse("--preset=smoke", f"--devices={count}", **options)
    asked = "--xla_force_host_platform_device_count=2"
    assert os.environ["XLA_FLAGS"] == f"{given} {asked}".strip()


def test_a_preset_is_a_start_and_flags_go_over_it(parse):
    config = parse("--preset=smoke", "--epochs=7", "--model=rnn", "--data_dir=/x", "--clip_norm=2")
    assert config == Config(
        **{**PRESETS["smoke"], "epochs": 7, "model": "rnn", "data_dir": "/x", "clip_norm": 2.0}
    )
    assert parse() == Config(**PRESETS["smoke"])


def test_a_flag_that_says_the_default_goes_over_the_preset(parse):
    default = Config().epochs
    assert PRESETS["smoke"]["epochs"] != default
    assert parse("--preset=smoke", f"--epochs={default}").epochs == default


def test_values_have_the_types_of_the_fields(parse):
    hints = {"int": int, "float": float, "str": str, "bool": bool}
    for field in dataclasses.fields(Config):
        kind = hints[field.type.split(" ")[0]]
        if kind is bool:
            argument, value = f"--no{field.name}", False
        elif field.metadata["choices"]:
            value = field.metadata["choices"][-1]
            argument = f"--{field.name}={value}"
        else:
            value = {"num_classes": 2, "leaf_dropout": 0.5}.get(
                field.name, {int: 3, float: 0.25, str: "x"}[kind]
            )
            argument = f"--{field.name}={value}"
        # Files come together.
        others = [f"--{name}=x" for name in ("train", "dev") if name != field.name]
        with_others = others if field.name in ("train", "dev", "test") else []
        found = getattr(parse(argument, *with_others), field.name)
        assert found == value and type(found) is kind, field.name


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--activation=gelu", ["activation", "gelu", "tanh", "sigmoid", "relu", "identity"]),
        ("--optimizer=lion", ["optimizer", "lion", "adagrad", "sgd", "momentum", "adam"]),
        ("--corpus=imdb", ["corpus", "imdb", "demo", "sst"]),
        ("--preset=large", ["preset", "large", *PRESETS]),
        ("--dim=2.5", ["dim", "2.5"]),
        ("--dim=", ["dim"]),
        ("--learning_rate=fast", ["learning_rate", "fast"]),
        ("--model=cnn", ["model", "cnn"]),
        ("--epoch_count=3", ["epoch_count"]),
        ("--learning_rat=3", ["learning_rat", "learning_rate"]),
    ],
)
def test_flags_that_make_no_sense_are_named(parse, argument: str, words: list[str]):
    with pytest.raises(absl_flags.Error) as caught:
        parse(argument)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_wrong_setting_by_flag_names_field_and_value(parse):
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        parse("--epochs=0")


BAD = [
    ("dim", 0),
    ("epochs", -1),
    ("batch_size", 0),
    ("lanes", 0),
    ("updates_per_dispatch", 0),
    ("keep_checkpoints", 0),
    ("patience", 0),
    ("max_trees", 0),
    ("seed", -1),
    ("num_classes", 3),
    ("corpus", "imdb"),
    ("activation", "gelu"),
    ("leaf_activation", "relu"),
    ("optimizer", "lion"),
    ("schedule", "cosin"),
    ("select", "binary"),
    ("leaf_dropout", 1.0),
    ("leaf_dropout", -0.1),
    ("hidden_dropout", 1.5),
    ("average", 1.0),
    ("average", float("nan")),
    ("learning_rate", 0.0),
    ("learning_rate", float("nan")),
    ("clip_norm", -1.0),
    ("tensor_learning_rate", -0.5),
    ("tensor_scale", -1.0),
    ("word_scale", -1.0),
    ("initial_accumulator", -1.0),
    ("l2_tensor", -1.0),
    ("l2_weights", -1.0),
    ("l2_head", -1.0),
    ("l2_words", float("nan")),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value}" for name, value in BAD])
def test_a_wrong_setting_names_field_and_value(name: str, value: Any):
    with pytest.raises(ValueError) as caught:
        Config(**{name: value})
    assert name in str(caught.value)
    assert re.search(rf"(?<![\w.]){re.escape(repr(value))}(?![\w])", str(caught.value))


def test_two_classes_know_no_binary_score():
    for select in ("binary_all", "binary_root"):
        with pytest.raises(ValueError, match="num_classes=2"):
            Config(num_classes=2, select=select)
    assert Config(num_classes=2, select="mean").select == "mean"


def test_a_dataclass_of_other_fields_will_do(parse):
    @dataclasses.dataclass(frozen=True)
    class Other:
        size: int = flags.option(3, "how large")
        rate: float | None = flags.option(None, "how fast")
        kind: str = flags.option("a", "which", ("a", "b"))

    presets = {"plain": {}, "large": {"size": 9, "kind": "b"}}
    assert parse("--rate=0.5", cls=Other, presets=presets, default="plain") == Other(3, 0.5, "a")
    assert parse(cls=Other, presets=presets, default="large") == Other(9, None, "b")
    assert parse("--kind=a", cls=Other, presets=presets, default="large") == Other(9, None, "a")


def main(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments.sentiment.main", *arguments],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def without_jax(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing JAX fails."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "jax.py").write_text("raise SystemExit('jax was imported')\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def test_help_needs_no_jax(without_jax):
    assert "jax was imported" in main("--preset=smoke", **without_jax).stderr  # the stub works
    done = main("--help", **without_jax)
    assert done.returncode == 0 and done.stderr == ""
    shown = re.sub(r"\s+", " ", done.stdout)
    for field in dataclasses.fields(Config):
        assert re.search(rf"--(\[no\])?{field.name}: ", shown), field.name
        assert field.metadata["help"] in shown
        if field.default is not None:
            assert f"(default: {field.default})" in shown
    for name in ("preset", "workdir", "fresh", "evaluate", "predict", "model", "format", "output"):
        assert re.search(rf"--(\[no\])?{name}: ", shown), name
    for preset in PRESETS:
        assert preset in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning_rat=1"], ["Unknown command line flag 'learning_rat'", "learning_rate"]),
        (["--optimizer=lion"], ["--optimizer=lion", "adagrad|sgd|momentum|adam"]),
        (["train", "--dim=3"], ["unexpected argument 'train'"]),
        (["--epochs=0"], ["ValueError: epochs must be at least 1, got 0"]),
    ],
    ids=["unknown", "enum", "stray", "value"],
)
def test_mistakes_are_told_without_a_traceback_and_without_jax(without_jax, arguments, words):
    done = main(*arguments, **without_jax)
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert all(word in told for word in words), told
    assert "Traceback" not in told and "jax was imported" not in told
