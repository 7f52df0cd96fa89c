"""Vocabulary: order, encoding, and what it refuses."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax.data import DataError, Vocabulary


def test_order():
    tokens = "b a c a b d d b <unk> <pad> <unk> <unk> <unk>".split()
    vocabulary = Vocabulary.build(tokens)
    assert vocabulary.words == ("<pad>", "<unk>", "b", "a", "d", "c")
    assert len(vocabulary) == 6
    assert Vocabulary.build(tokens, min_count=2).words == ("<pad>", "<unk>", "b", "a", "d")
    assert Vocabulary.build(tokens, min_count=9).words == ("<pad>", "<unk>")
    assert Vocabulary.build(iter(tokens)) == vocabulary
    assert hash(Vocabulary.build(tokens)) == hash(vocabulary)
    assert Vocabulary.build([]).words == ("<pad>", "<unk>")


def test_a_text_of_any_length_is_counted_in_pieces():
    text = (f"w{number * number % 211}" for number in range(1_000_000))  # each a string of its own
    tracemalloc.start()
    built = Vocabulary.build(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6  # a list of them would take 60
    assert len(built) == 2 + len({number * number % 211 for number in range(211)})


def test_encode_and_decode():
    vocabulary = Vocabulary.build(["a", "b", "a"])
    ids = vocabulary.encode(["b", "x", "a", "<pad>", "<unk>", "A"])
    assert ids.dtype == np.int32 and ids.tolist() == [3, 1, 2, 0, 1, 1]
    assert vocabulary.encode(iter(["b"])).tolist() == [3]
    assert vocabulary.encode([]).shape == (0,) and vocabulary.encode([]).dtype == np.int32
    assert vocabulary.decode(ids) == ["b", "<unk>", "a", "<pad>", "<unk>", "<unk>"]
    assert vocabulary.decode([]) == []
    assert vocabulary.decode(np.array([2, 3], np.uint8)) == ["a", "b"]
    assert vocabulary.encode([np.str_("a")]).tolist() == [2]


def test_membership():
    vocabulary = Vocabulary.build(["a"])
    assert "a" in vocabulary and "<unk>" in vocabulary
    assert "b" not in vocabulary and 0 not in vocabulary


def test_lowercase():
    vocabulary = Vocabulary.build(["The", "the", "FILM"], lowercase=True)
    assert vocabulary.words == ("<pad>", "<unk>", "the", "film")
    assert vocabulary.encode(["THE", "Film", "<UNK>"]).tolist() == [2, 3, 1]
    assert "Film" in vocabulary
    assert vocabulary != Vocabulary(vocabulary.words)


@given(st.lists(st.text(max_size=4)), st.integers(1, 3), st.booleans())
def test_round_trips(tokens, min_count, lowercase):
    vocabulary = Vocabulary.build(tokens, min_count, lowercase)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert Vocabulary.from_json(vocabulary.to_json().encode("ascii")) == vocabulary
    kept = [word.lower() if lowercase else word for word in tokens]
    kept = [word if kept.count(word) >= min_count else "<unk>" for word in kept]
    assert vocabulary.decode(vocabulary.encode(tokens)) == kept
    assert vocabulary.encode(vocabulary.words).tolist() == list(range(len(vocabulary)))


@pytest.mark.parametrize("ids", [[4], [2, -1], [10**12], np.array([1, 2**31 - 1])])
def test_ids_outside(ids):
    vocabulary = Vocabulary.build(["a", "b"])
    with pytest.raises(DataError, match="outside the vocabulary of 4 words") as caught:
        vocabulary.decode(ids)
    assert caught.value.value in (4, -1, 10**12, 2**31 - 1)
    assert f"id {caught.value.value} at position {len(ids) - 1}" in str(caught.value)


def test_mistakes():
    vocabulary = Vocabulary.build(["a"])
    with pytest.raises(TypeError, match="split it"):
        vocabulary.encode("a film")
    with pytest.raises(TypeError, match="split it"):
        Vocabulary.build("a film")
    with pytest.raises(TypeError, match="bytes"):
        vocabulary.encode(["a", b"a"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="list"):
        Vocabulary.build([["a"]])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="min_count"):
        Vocabulary.build(["a"], min_count=0)
    with pytest.raises(ValueError, match="one-dimensional"):
        vocabulary.decode([[1]])
    with pytest.raises(TypeError, match="integers"):
        vocabulary.decode([1.0])


GOOD = {"format": "rntn_jax vocabulary 1", "lowercase": False, "words": ["<pad>", "<unk>", "a"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "format"),
        (GOOD | {"format": "2"}, "format"),
        ({"format": GOOD["format"]}, "`words`"),
        (GOOD | {"words": "abc"}, "`words`"),
        (GOOD | {"lowercase": 1}, "`lowercase`"),
        (GOOD | {"words": []}, "begins with"),
        (GOOD | {"words": ["<unk>", "<pad>", "a"]}, "begins with"),
        (GOOD | {"words": ["<pad>", "<unk>", "a", "a"]}, "'a' stands twice"),
        (GOOD | {"words": ["<pad>", "<unk>", "<pad>"]}, "'<pad>' stands twice"),
        (GOOD | {"words": ["<pad>", "<unk>", 7]}, "7 is not a string"),
        (GOOD | {"words": ["<pad>", "<unk>", ["a"]]}, "is not a string"),
        (GOOD | {"words": ["<pad>", "<unk>", "A"], "lowercase": True}, "lower case"),
    ],
)
def test_from_json_refuses(content, message):
    with pytest.raises(DataError, match=message):
        Vocabulary.from_json(json.dumps(content))


def test_from_json_refuses_what_is_no_json():
    with pytest.raises(DataError, match="not JSON") as caught:
        Vocabulary.from_json('{"format":\n oops}')
    assert (caught.value.line, caught.value.column) == (2, 2)
    for text in (b"\xff\xfe\x00", "", "[" * 100_000):
        with pytest.raises(DataError, match="not JSON"):
            Vocabulary.from_json(text)
