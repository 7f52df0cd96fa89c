"""`data.attributes`: features as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from rntn_jax.data import DataError, encode_attributes, token_attributes


def test_conventions_of_crfsuite():
    token = {
        "weight": 0.5,
        "int": 2,
        "yes": True,
        "no": False,
        "numpy": np.bool_(True),
        "text": "a:b",
        "bytes": "ü".encode(),
        "list": ["x", "y"],
        "set": {"z"},
        "deep": {"text": "c", "w": 3.0, "more": {"d": "e"}},
    }
    assert token_attributes(token) == [
        ("weight", 0.5),
        ("int", 2.0),
        ("yes", 1.0),
        ("no", 0.0),
        ("numpy", 1.0),
        ("text:a:b", 1.0),
        ("bytes:ü", 1.0),
        ("list:x", 1.0),
        ("list:y", 1.0),
        ("set:z", 1.0),
        ("deep:text:c", 1.0),
        ("deep:w", 3.0),
        ("deep:more:d:e", 1.0),
    ]
    assert token_attributes(("a", "b")) == [("a", 1.0), ("b", 1.0)]


def test_lists_and_dictionaries_may_be_mixed():
    sentences = [[["a", "b"], {"a": 0.5, "c": "d"}], [], [[], ["c:d"]]]
    encoded, numbers = encode_attributes(sentences)
    assert numbers == {"a": 0, "b": 1, "c:d": 2}
    assert encoded.ids.tolist() == [0, 1, 0, 2, 2]
    assert encoded.weights.tolist() == [1, 1, 0.5, 1, 1]
    assert encoded.sizes.tolist() == [2, 2, 0, 1] and encoded.lengths.tolist() == [2, 0, 2]


def test_known_attributes_only():
    known = {"a": 0, "b": 1}
    encoded, numbers = encode_attributes([[["b", "new", "a"], {"new": 2.0, "b": 3.0}]], known)
    assert encoded.ids.tolist() == [1, 0, 1] and encoded.weights.tolist() == [1, 1, 3]
    assert encoded.sizes.tolist() == [2, 1] and numbers == known == {"a": 0, "b": 1}


def test_weights_of_one_are_not_kept():
    assert encode_attributes([[{"a": 1.0, "b": True}]])[0].weights is None


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ({"a": None}, "'a' is None"),
        ({"a": float("nan")}, "'a' weighs nan"),
        ({"a": float("inf")}, "'a' weighs inf"),
        ({1: "x"}, "1 is no string"),
        (["a", 3], "3 is no string"),
        ("text", "not the text 'text'"),
        (7, "not iterable"),
    ],
)
def test_faults_name_sentence_and_token(token, message):
    with pytest.raises(DataError, match=r"sentence 1, token 2 \(from 0\): .*" + message):
        encode_attributes([[["a"]], [["a"], ["b"], token]])


def test_a_sentence_that_is_no_list():
    with pytest.raises(DataError, match=r"sentence 0 .* no list of tokens"):
        encode_attributes(["text"])
