"""Dependency trees as arcs: what is drawn, what is marked, and that labels do not overlap."""

import itertools
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from rntn_jax.plots import arcs, arcs_svg, text
from tests.plots.samples import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
WORDS = ["the", "cat", "saw", "a", "dog", "."]
HEADS = [2, 3, 0, 5, 3, 3]
LABELS = ["det", "nsubj", "root", "det", "obj", "punct"]


def drawn(picture: str) -> list[tuple[str, str, str | None]]:
    """Of each arc its colour, what it says when pointed at, and its label."""
    found = []
    for group in ElementTree.fromstring(picture).iter(SVG + "g"):
        label = group.find(SVG + "text")
        path: Any = group.find(SVG + "path")
        about: Any = group.find(SVG + "title")
        found.append((path.get("stroke"), about.text, None if label is None else label.text))
    return sorted(found, key=lambda arc: arc[1])


def test_a_tree() -> None:
    picture = arcs_svg(WORDS, HEADS, LABELS, tags=["DT", "NN", "VB", "DT", "NN", "."])
    assert drawn(picture) == sorted(
        [
            (arcs.RIGHT, "the ← cat (det)", "det"),
            (arcs.RIGHT, "cat ← saw (nsubj)", "nsubj"),
            (arcs.RIGHT, "saw ← root (root)", "root"),
            (arcs.RIGHT, "a ← dog (det)", "det"),
            (arcs.RIGHT, "dog ← saw (obj)", "obj"),
            (arcs.RIGHT, ". ← saw (punct)", "punct"),
        ],
        key=lambda arc: arc[1],
    )
    words = [item.text for item in ElementTree.fromstring(picture) if item.tag == SVG + "text"]
    assert words == ["the", "DT", "cat", "NN", "saw", "VB", "a", "DT", "dog", "NN", ".", "."]
    assert [arc[2] for arc in drawn(arcs_svg(WORDS, HEADS))] == [None] * 6


def test_what_is_wrong_is_marked() -> None:
    guess = [2, 3, 0, 5, 2, 3]
    labels = [*LABELS[:5], "discourse"]
    picture = arcs_svg(WORDS, guess, labels, gold_heads=HEADS, gold_labels=LABELS)
    arc_of = {about.split(" ")[0]: (color, about) for color, about, _ in drawn(picture)}
    assert arc_of["dog"] == (arcs.WRONG, "dog ← cat (obj); gold: dog ← saw (obj)")
    assert arc_of["."] == (arcs.WRONG, ". ← saw (discourse); gold: . ← saw (punct)")
    assert [arc[1] for arc in drawn(picture) if arc[0] == arcs.GOLD] == [
        "gold: . ← saw (punct)",
        "gold: dog ← saw (obj)",
    ]
    assert sum(arc[0] == arcs.RIGHT for arc in drawn(picture)) == 4
    heads_only = drawn(arcs_svg(WORDS, guess, labels, gold_heads=HEADS))
    assert sum(color == arcs.WRONG for color, _, _ in heads_only) == 1
    all_right = drawn(arcs_svg(WORDS, HEADS, LABELS, gold_heads=HEADS, gold_labels=LABELS))
    assert {color for color, _, _ in all_right} == {arcs.RIGHT}


def boxes(picture: str, size: float) -> list[tuple[float, float, float]]:
    """Left, right and height of the texts of a size."""
    found = []
    for item in ElementTree.fromstring(picture).iter(SVG + "text"):
        if float(item.get("font-size", 0)) == size:
            half = text.width(item.text or "", size) / 2
            x, y = (float(item.get(name, 0)) for name in ("x", "y"))
            found.append((x - half, x + half, y))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_nothing_overlaps_and_all_is_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 25))
    words = ["w" * int(n) for n in rng.integers(1, 12, count)]
    heads, gold = (np.zeros(count, int) for _ in range(2))
    for tree in heads, gold:  # any tree, its arcs crossing
        order = rng.permutation(count)
        for place, word in enumerate(order[1:], 1):
            tree[word] = order[rng.integers(place)] + 1
    labels = [str(name) for name in rng.choice(["x", "nsubj:pass", "a-long-relation"], count)]
    picture = arcs_svg(words, heads, labels, gold_heads=gold, gold_labels=labels)
    width, height = (float(ElementTree.fromstring(picture).get(k, 0)) for k in ("width", "height"))
    for size in (14.0, 11.0):
        found = sorted(boxes(picture, size), key=lambda box: (box[2], box[0]))
        assert all(a[2] < b[2] or a[1] <= b[0] + 0.2 for a, b in itertools.pairwise(found))
        assert all(0 < y < height for _, _, y in found)
        assert size == 11 or all(0 <= a and b <= width for a, b, _ in found)


def test_hostile_words_are_inert() -> None:
    count = len(HOSTILE)
    heads = np.arange(count)
    picture = arcs_svg(HOSTILE, heads, HOSTILE, gold_heads=heads, tags=HOSTILE)
    picture.encode("utf-8")
    tags = {element.tag for element in ElementTree.fromstring(picture).iter()}
    assert tags <= {SVG + tag for tag in ("svg", "g", "rect", "path", "text", "title")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": []}, "no words"),
        ({"heads": [0, 1]}, r"heads must be integers \[6\], got int64 \[2\]"),
        ({"heads": np.ones(6)}, r"heads must be integers \[6\], got float64"),
        ({"heads": [2, 3, 0, 5, 3, 7]}, "word 6 of 6 cannot hang from 7"),
        ({"heads": [1, 3, 0, 5, 3, 3]}, "word 1 of 6 cannot hang from 1"),
        ({"labels": ["x"]}, "6 words but 1 labels"),
        ({"gold_heads": [0]}, "gold_heads must be"),
        ({"gold_heads": HEADS, "gold_labels": ["x"]}, "6 words but 1 gold_labels"),
        ({"tags": ["x"]}, "6 words but 1 tags"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arcs_svg(**({"tokens": WORDS, "heads": HEADS, "labels": LABELS} | changes))
