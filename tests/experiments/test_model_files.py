"""Model files with a valid checksum and mad contents: a CheckpointError, always, and at once."""

from __future__ import annotations

import copy
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import experiments.language_model.pipeline as language_model
from experiments.parsing.config import Config as ParsingConfig
from experiments.parsing.train import make_model
from rntn_jax import annotate, data, tagger
from rntn_jax.annotate.dependency_parser import (
    DependencyParser,
    load_dependency_parser,
    parse_tagged,
    save_dependency_parser,
)
from rntn_jax.models import encoder, rnn_lm, rntn, span_parser
from rntn_jax.tagger import column_features, column_tagger
from rntn_jax.training import CheckpointError, read_info
from rntn_jax.training.checkpoint import _digest, _parts, _read

KEY = jax.random.key(0)


class Kind(NamedTuple):
    """A kind of model file."""

    save: Callable[[Path], None]
    load: Callable[[Path], Any]
    use: Callable[[Any], Any]  # it must work with whatever was loaded


def _labeller() -> annotate.SentimentClassifier:
    words = data.Vocabulary.build("a b c".split())
    params = rntn.init(KEY, rntn.Config(vocab_size=len(words), dim=3, num_classes=5))
    return annotate.SentimentClassifier(params, words, {"activation": "tanh"}, {"seed": 10**9})


def _builder() -> annotate.BinaryParser:
    words = data.Vocabulary.build("a b c".split()), data.Vocabulary.build("x y".split())
    reader = encoder.Config(tuple(map(len, words)), (3, 2), rnn_layers=2, rnn_dim=2)
    sizes = span_parser.Config(reader, hidden_dim=3)
    return annotate.BinaryParser((span_parser.init(KEY, sizes),) * 2, words, sizes)


def _language_model() -> language_model.Model:
    words = data.Vocabulary.build(["a", "b", language_model.END])
    sizes = rnn_lm.Config(vocab_size=len(words), embed_dim=3, hidden_dim=3, layers=2, tied=True)
    return language_model.Model(rnn_lm.init(KEY, sizes), words, sizes, "tanh", {"level": "word"})


def _parser(rnn_layers: int) -> DependencyParser:
    words = data.Vocabulary.build("a b".split()), data.Vocabulary.build(["X"])
    config = ParsingConfig(rnn_layers=rnn_layers, rnn_dim=2, hidden_dim=3, word_dim=2, column_dim=2)
    options = {"feats": False, "suffixes": False, "activation": "relu"}
    return make_model(config, words, ["dep", "root"], options)


def _arcs() -> DependencyParser:
    words = data.Vocabulary.build("a b".split()), data.Vocabulary.build(["X"])
    config = ParsingConfig(
        model="graph", rnn_layers=1, rnn_dim=2, hidden_dim=3, relation_dim=2, word_dim=2,
        column_dim=2,
    )  # fmt: skip
    options = {"feats": False, "suffixes": False, "projective": False}
    return make_model(config, words, ["dep", "root"], options)


def _tagger() -> column_tagger.Neural:
    described = column_features.columns([("a", "X")])[0]
    words = tuple(data.Vocabulary.build([word]) for word in described)
    sizes = tagger.Config(
        tuple(map(len, words)), (2,) * len(words), 3, windows=(3, 1), rnn_layers=1, hidden_dim=2
    )
    info = {"scheme": "bio", "inner": "bio", "columns": 3}
    return column_tagger.Neural(tagger.init(KEY, sizes), words, ["B-X", "I-X", "O"], sizes, info)


@cache
def _sparse() -> column_tagger.Sparse:
    X, y = [[["a"], ["b"]], [["b", "c"]]], [["B-X", "I-X"], ["O"]]
    info = {"scheme": "bio", "inner": "bio", "columns": 2, "template": "token"}
    return column_tagger.Sparse(tagger.CRF(max_iterations=1).fit(X, y), info)


def _parse(model: DependencyParser) -> Any:
    rows = (("1", "a", "_", "X", "_", "_", "_", "_", "_", "_"),)
    return parse_tagged(model, [data.ConlluSentence((), rows)])


def _tag(model: column_tagger.Model) -> Any:
    return column_tagger.predict(model, [[("a",) * (model.info["columns"] - 1)]])


TREE = data.parse_tree("(2 (1 a) (3 b))")
KINDS = {
    "rntn": Kind(
        lambda path: annotate.save_classifier(path, _labeller()),
        annotate.load_classifier,
        lambda model: annotate.label_trees(model, [TREE]),
    ),
    "tree_builder": Kind(
        lambda path: annotate.save_parser(path, _builder()),
        annotate.load_parser,
        lambda model: annotate.build_trees(model, [["a", "b", "c"]]),
    ),
    "annotator": Kind(
        lambda path: annotate.save_pipeline(path, annotate.Pipeline(_builder(), _labeller())),
        annotate.load_pipeline,
        lambda model: annotate.sentiment("a b c", model),
    ),
    "rnn_lm": Kind(
        lambda path: language_model.save_model(path, _language_model()),
        language_model.load_model,
        lambda model: language_model.sentence_nats(model, [["a", "b"]], 1),
    ),
    "parser": Kind(
        lambda path: save_dependency_parser(path, _parser(0)), load_dependency_parser, _parse
    ),
    "parser in context": Kind(
        lambda path: save_dependency_parser(path, _parser(1)), load_dependency_parser, _parse
    ),
    "parser by arcs": Kind(
        lambda path: save_dependency_parser(path, _arcs()), load_dependency_parser, _parse
    ),
    "tagger": Kind(
        lambda path: column_tagger.save_model(path, _tagger()), column_tagger.load_model, _tag
    ),
    "sparse_crf": Kind(
        lambda path: column_tagger.save_model(path, _sparse()), column_tagger.load_model, _tag
    ),
}  # fmt: skip

MAD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 7, 10**6, 10**18, -(10**18), 10**400, 0.5, 1.0, -2.5, 1e300,
    float("nan"), float("inf"), "", "x", "O", "none", "bioes", "relu", "\ud800", "9" * 5000, [],
    [[]], {}, [None], [10**18], ["a", "a"], [1] * 1000, {"a": 1}, {"config": {}}, [[1, 2], [3]],
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in a JSON object."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from _places(inner, (*path, key))


def _mutated(info: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The object with one to three things changed, added, or gone."""
    info = copy.deepcopy(info)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(info))
        if not places:
            break
        *path, last = chance.choice(places)
        within: Any = info
        for key in path:
            within = within[key]
        how = chance.random()
        if how < 0.6:
            within[last] = copy.deepcopy(chance.choice(MAD))
        elif how < 0.75:
            del within[last]
        elif isinstance(within[last], int | float) and not isinstance(within[last], bool):
            within[last] = within[last] + chance.choice((-1, 1))
        elif isinstance(within, list):
            within.append(copy.deepcopy(within[last]))
        else:
            within["more"] = copy.deepcopy(chance.choice(MAD))
    return info


def _fuzz(kind: Kind, rounds: int, seed: int, *, use: bool) -> int:
    """Loads mutated files; returns how many were refused."""
    refused, chance = 0, random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        kind.save(path)
        kind.load(path)
        info, found = read_info(path), _read(path)[0]
        arrays = {name: array for name, (array, _) in found.items()}
        for number in range(rounds):
            mutated = _mutated(info, chance)
            _write(path, arrays, json.dumps(mutated))
            try:
                model = kind.load(path)
                if use:
                    kind.use(model)
            except CheckpointError as error:
                assert path.name in str(error) and len(str(error)) < 2000
                refused += 1
            except BaseException as error:
                shown = json.dumps(mutated)[:2000]
                raise AssertionError(f"round {number}: {type(error).__name__}: {shown}") from error
    return refused


def _write(path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    """A file with a valid checksum and any text where its JSON object should be."""
    metadata = {"info": text, "sha256": _digest(arrays, text, "")}
    path.write_bytes(b"".join(_parts(arrays, metadata)))


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


@pytest.mark.parametrize("name", KINDS)
def test_mad_contents_are_refused(name: str):
    assert _fuzz(KINDS[name], 40, 0, use=False) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_is_loaded_works(name: str):
    assert _fuzz(KINDS[name], 600, 1, use=True) > 200


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("rnn_lm", ("config", "layers"), 10**18),
        ("rnn_lm", ("config", "vocab_size"), 10**15),
        ("tree_builder", ("networks",), 10**18),
        ("tree_builder", ("config", "encoder", "rnn_layers"), 10**9),
        ("annotator", ("builder", "config", "encoder", "rnn_dim"), 10**12),
        ("tagger", ("config", "windows"), [1] * 10**5),
        ("parser", ("config", "hidden_dim"), 10**15),
        ("sparse_crf", ("sizes", 0), 10**15),
        ("sparse_crf", ("sizes", 2), 10**15),
    ],
)
def test_sizes_beyond_the_file_are_refused_before_anything_is_made(
    name: str, place: tuple[Any, ...], value: Any, tmp_path: Path
):
    kind, path = KINDS[name], tmp_path / "model.safetensors"
    kind.save(path)
    info, found = read_info(path), _read(path)[0]
    within: Any = info
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    _write(path, {name: array for name, (array, _) in found.items()}, json.dumps(info))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        kind.load(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", "", "{", "[" * 99999, "9" * 5000], ids=len)
def test_objects_that_are_none_are_refused(text: str, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    _write(path, {"w": np.ones(1)}, text)
    for kind in KINDS.values():
        with pytest.raises(CheckpointError, match=r"model\.safetensors holds"):
            kind.load(path)
