"""DataError: how it reads, and that it survives copies."""

import copy
import pickle

import pytest

from rntn_jax.data import DataError


def test_is_a_value_error():
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "bad"),
        ({"file": "a.txt"}, "a.txt: bad"),
        ({"file": "a.txt", "line": 12}, "a.txt:12: bad"),
        ({"file": "a.txt", "line": 12, "column": 7}, "a.txt:12:7: bad"),
        ({"line": 12, "column": 7}, "line 12, column 7: bad"),
        ({"line": 12}, "line 12: bad"),
    ],
)
def test_str(place, text):
    assert str(DataError("bad", **place)) == text


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, "pickle"])
def test_copies_keep_everything(duplicate):
    error = DataError("label 7 is bad", file="a.txt", line=12, column=7, value=7)
    if duplicate == "pickle":
        again = pickle.loads(pickle.dumps(error))
    else:
        again = duplicate(error)
    assert type(again) is DataError
    assert str(again) == "a.txt:12:7: label 7 is bad"
    assert (again.message, again.file, again.line, again.column, again.value) == (
        "label 7 is bad",
        "a.txt",
        12,
        7,
        7,
    )
