"""Trees over tokens: shapes, pieces, phrases, files."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from rntn_jax import data
from rntn_jax.annotate import BinaryParser, build_trees, load_parser, save_parser, word_features
from rntn_jax.annotate import binary_parser as module
from rntn_jax.models import encoder, span_parser
from rntn_jax.training import CheckpointError, save_pytree
from tests.helpers import enable_x64

WORDS = "the a film is good bad not very , . and but Acting 1990s".split()


@pytest.fixture(scope="module", autouse=True)
def as_users_run():
    """Without 64-bit types."""
    with enable_x64(False):
        yield


@pytest.fixture(scope="module")
def builder() -> BinaryParser:
    columns = word_features(WORDS)
    vocabularies = tuple(data.Vocabulary.build(column) for column in columns)
    config = span_parser.Config(
        encoder.Config(tuple(map(len, vocabularies)), (4, 3), rnn_dim=4), hidden_dim=5
    )
    params = tuple(span_parser.init(jax.random.key(seed), config) for seed in range(2))
    return BinaryParser(params, vocabularies, config)


def sentences(*sizes: int) -> list[list[str]]:
    rng = np.random.default_rng(sum(sizes))
    return [[str(word) for word in rng.choice(WORDS, size)] for size in sizes]


def test_every_sentence_gets_a_tree_over_its_words_in_order(builder: BinaryParser):
    given = sentences(5, 1, 17, 2, 30, 3, 1, 16, 33)
    trees = build_trees(builder, given)
    assert [list(tree.tokens) for tree in trees] == given
    assert all((tree.labels == -1).all() for tree in trees)


def test_a_tree_does_not_depend_on_the_company(builder: BinaryParser):
    given = sentences(5, 9, 17, 2, 30, 12, 7, 8, 20, 6, 11)
    together = build_trees(builder, given)
    assert together == [build_trees(builder, [own])[0] for own in given]
    assert together == build_trees(builder, given[::-1])[::-1]


def test_trees_are_the_best_by_expected_spans(builder: BinaryParser):
    """Against a slow search over all trees."""
    (own,) = sentences(6)
    batch = module.pad(builder.vocabularies, [own], 1, 6)
    both = [span_parser.apply(params, batch).span[0] for params in builder.params]
    s = np.mean(np.asarray(both, np.float64), axis=0)

    def trees(i, j):
        if j - i == 1:
            return [()]
        return [(*a, *b, (i, j)) for k in range(i + 1, j) for a in trees(i, k) for b in trees(k, j)]

    every = trees(0, 6)
    p = np.exp([sum(s[i, j] for i, j in tree) for tree in every])
    expected = [
        sum(q for other, q in zip(every, p) for span in tree if span in other) for tree in every
    ]
    (built,) = build_trees(builder, [own])
    assert set(map(tuple, built.spans()[6:].tolist())) == set(every[int(np.argmax(expected))])


def test_long_sentences_are_built_in_pieces_that_end_at_stops(builder: BinaryParser, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 16)
    own = ["film"] * 50
    own[11], own[19] = ".", ","
    assert [len(piece) for piece in module._pieces(own)] == [12, 16, 16, 6]
    (tree,) = build_trees(builder, [own])
    spans = set(map(tuple, tree.spans()[50:].tolist()))
    # The pieces, and their joins from the left.
    assert {(0, 12), (12, 28), (28, 44), (44, 50), (0, 28), (0, 44), (0, 50)} <= spans
    pieces = build_trees(builder, [own[:12]])[0]
    assert set(map(tuple, pieces.spans()[12:].tolist())) <= spans


def test_pieces_of_one_word_join_too(builder: BinaryParser, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 1)
    (tree,) = build_trees(builder, [["a", "good", "film"]])
    assert tree.children.tolist() == [[0, 1], [3, 2]]


def test_phrases_become_nodes(builder: BinaryParser):
    given = sentences(9, 12)
    phrases = [[(2, 5), (3, 5), (6, 8)], [(1, 11)]]
    for tree, own in zip(build_trees(builder, given, phrases), phrases):
        spans = set(map(tuple, tree.spans()[tree.num_leaves :].tolist()))
        assert set(own) <= spans
    free = build_trees(builder, given)
    assert build_trees(builder, given, [[], []]) == free


def test_phrases_of_long_sentences_count_within_pieces(builder: BinaryParser, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 8)
    (own,) = sentences(20)
    own = [word if word not in {",", "."} else "film" for word in own]
    (tree,) = build_trees(builder, [own], [[(9, 12), (17, 19)]])
    spans = set(map(tuple, tree.spans()[20:].tolist()))
    assert {(9, 12), (17, 19)} <= spans


def test_what_cannot_be_built_is_named(builder: BinaryParser):
    with pytest.raises(data.DataError, match="sentence 2 has no words"):
        build_trees(builder, [["a"], []])
    with pytest.raises(data.DataError, match="cross"):
        build_trees(builder, sentences(5), [[(0, 3), (2, 5)]])
    with pytest.raises(data.DataError, match="token"):
        build_trees(builder, [["a", "b c"]])
    assert build_trees(builder, []) == []


def test_a_builder_comes_back_from_its_file(builder: BinaryParser, tmp_path: Path):
    save_parser(tmp_path / "b.safetensors", builder)
    again = load_parser(tmp_path / "b.safetensors")
    assert again.config == builder.config and again.vocabularies == builder.vocabularies
    given = sentences(7, 9)
    assert build_trees(again, given) == build_trees(builder, given)
    save_pytree(tmp_path / "x.safetensors", {"a": np.zeros(1)}, {"kind": "rntn"})
    with pytest.raises(CheckpointError, match="does not hold a tree builder"):
        load_parser(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError):
        load_parser(tmp_path / "none.safetensors")
