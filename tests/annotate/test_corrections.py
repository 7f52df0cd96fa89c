"""The file of corrections: nothing is lost, and a sentence stands in it once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rntn_jax.annotate.corrections import Corrections
from rntn_jax.data import DataError, parse_tree, read_trees

ONE = parse_tree("(4 (-1 good) (-1 film))")
OTHER = parse_tree("(-1 (1 bad) (-1 plot))")
LATER = parse_tree("(3 (-1 good) (2 film))")


def test_a_sentence_stands_once_in_the_order_of_the_last_change(tmp_path: Path):
    file = Corrections(tmp_path / "new" / "folder" / "c.txt")
    assert file.trees() == [] and file.find(ONE.tokens) is None and not file.path.exists()
    for tree in (ONE, OTHER, LATER):
        file.save(tree)
        assert file.find(tree.tokens) == tree
    assert file.trees() == read_trees(file.path) == [OTHER, LATER]
    file.save(LATER)
    assert read_trees(file.path) == [OTHER, LATER]
    file.remove(OTHER.tokens)
    file.remove(("never", "seen"))
    assert read_trees(file.path) == [LATER]
    file.remove(LATER.tokens)
    assert file.trees() == [] and file.path.read_text() == ""
    file.save(ONE)
    assert os.listdir(file.path.parent) == ["c.txt"] and Corrections(file.path).trees() == [ONE]


def test_a_file_that_a_kill_or_a_hand_left_goes_on(tmp_path: Path):
    path = tmp_path / "c.txt"
    path.write_text(ONE.to_brackets() + "\n" + LATER.to_brackets())  # twice, without a line end
    file = Corrections(path)
    assert file.trees() == [LATER]
    file.save(OTHER)
    assert read_trees(path) == [LATER, OTHER]


def test_the_new_line_is_on_disk_before_the_old_one_goes(tmp_path: Path, monkeypatch):
    file = Corrections(tmp_path / "c.txt")
    file.save(ONE)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed here")))
    synchronised = []
    monkeypatch.setattr(os, "fsync", lambda number: synchronised.append(number))
    with pytest.raises(OSError, match="killed here"):
        file.save(LATER)
    assert len(synchronised) == 2
    assert read_trees(file.path) == [ONE, LATER] and file.trees() == [LATER]


def test_what_is_no_file_of_trees_is_refused(tmp_path: Path):
    path = tmp_path / "c.txt"
    path.write_text("a review\n")
    with pytest.raises(DataError, match=r"c\.txt"):
        Corrections(path)
    path.write_text("(4 (2 a) (2 b))\n")
    with pytest.raises(DataError, match="4"):
        Corrections(path, num_classes=2)
    path.write_text("")
    file = Corrections(path)
    for word in ("a\0b", "\ud800"):
        with pytest.raises(DataError, match="no text file"):
            file.save(parse_tree(f"(4 {word})"))
    assert path.read_text() == ""
