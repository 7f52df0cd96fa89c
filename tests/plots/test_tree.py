"""Trees as SVG and as text: content, colours, safety, depth."""

import time
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from rntn_jax.plots import palette, text, tree_svg, tree_text
from tests.plots.samples import HOSTILE, Tree, chain, random_probabilities, random_tree

SVG = "{http://www.w3.org/2000/svg}"
TREE = Tree(
    ("not", "bad", "."),
    np.array([[0, 1], [3, 2]], np.int32),
    np.array([2, 0, -1, 3, 4], np.int32),
)
PROBABILITIES = np.array(
    [
        [0.1, 0.1, 0.6, 0.1, 0.1],
        [0.7, 0.1, 0.1, 0.1, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.1, 0.5, 0.2, 0.1, 0.1],
        [0.0, 0.05, 0.1, 0.2, 0.65],
    ]
)


def _nodes(picture: str) -> list[Any]:
    root = ElementTree.fromstring(picture)
    assert root.tag == SVG + "svg"
    return [group for group in root.iter(SVG + "g") if group.get("class") == "rj-node"]


def _fill(node: Any) -> str:
    return node.find(SVG + "circle").get("fill")


def _text(node: Any, name: str) -> str | None:
    found = [item.text for item in node.findall(SVG + "text") if item.get("class") == name]
    return found[0] if found else None


def test_gold_labels_give_colours_symbols_and_words() -> None:
    nodes = _nodes(tree_svg(TREE))
    assert [node.get("data-node") for node in nodes] == ["0", "1", "2", "3", "4"]
    expected = [palette.class_color(label, 5) for label in (2, 0)]
    assert [_fill(node) for node in nodes[:2]] == expected
    assert _fill(nodes[2]) == "#ffffff"  # unlabelled: an outline
    assert nodes[2].find(SVG + "circle").get("stroke-dasharray")
    symbols = [_text(node, None) for node in nodes]  # type: ignore[arg-type]
    assert symbols == ["0", "\u2212\u2212", None, "+", "++"]
    assert [_text(node, "rj-word") for node in nodes] == ["not", "bad", ".", None, None]
    assert nodes[3].find(SVG + "title").text == "“not bad”\ngold: positive"
    assert nodes[2].find(SVG + "title").text == "“.”\ngold: unlabelled"


def test_predictions_give_colours_and_gold_marks_beside_mistakes() -> None:
    picture = tree_svg(TREE, PROBABILITIES, title="a < b")
    nodes = _nodes(picture)
    assert [_fill(node) for node in nodes] == [
        palette.class_color(label, 5) for label in (2, 0, 2, 1, 4)
    ]
    marks = [node for node in nodes if len(node.findall(SVG + "circle")) > 1]
    assert [mark.get("data-node") for mark in marks] == ["3"]
    assert marks[0].findall(SVG + "circle")[-1].get("fill") == palette.class_color(3, 5)
    assert marks[0].find(SVG + "title").text.split("\n") == [
        "“not bad”",
        "predicted: negative (50.0%)",
        "gold: positive",
        "very negative: 10.0%",
        "negative: 50.0%",
        "neutral: 20.0%",
        "positive: 10.0%",
        "very positive: 10.0%",
    ]
    words = "".join(ElementTree.fromstring(picture).itertext())
    assert "a < b" in words and "very positive" in words and "small disc" in words


@pytest.mark.parametrize("classes", [2, 3, 5, 7, 12, 120])
def test_any_number_of_classes_is_legible_and_distinct(classes: int) -> None:
    tree = random_tree(["a", "b", "c"], classes=classes)
    names = [f"<{index}>" for index in range(classes)]
    nodes = _nodes(tree_svg(tree, random_probabilities(tree, classes=classes), class_names=names))
    assert len(nodes) == 5 and "<0>" in nodes[0].find(SVG + "title").text
    colors = [palette.class_color(index, classes) for index in range(classes)]
    assert len(set(colors)) == classes
    assert min(palette.contrast(color, palette.ink(color)) for color in colors) >= 4.5


def test_classes_without_names_or_probabilities() -> None:
    assert "class 6" in tree_svg(TREE._replace(labels=np.array([0, 1, 2, 3, 6])))
    assert "very negative" in tree_svg(TREE._replace(labels=np.full(5, -1)))
    two = _nodes(tree_svg(TREE._replace(labels=np.ones(5)), class_names=["no", "yes"]))
    assert _fill(two[0]) == palette.class_color(4, 5)


def test_rows_that_are_not_finite_are_no_predictions() -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[4, 1] = np.nan
    node = _nodes(tree_svg(TREE, probabilities))[4]
    assert _fill(node) == "#ffffff" and node.get("data-predicted") == "-1"
    assert "not finite" in node.find(SVG + "title").text
    assert tree_text(TREE, probabilities).startswith("?  (gold ++) not bad .")


def test_hostile_tokens_are_well_formed_and_inert() -> None:
    tree = random_tree(HOSTILE)
    names = ["<b>", "&", "\x00", '"', "\ud800"]
    picture = tree_svg(tree, random_probabilities(tree), class_names=names, title="<\x01&>")
    assert len(_nodes(picture)) == len(tree.labels)
    picture.encode("utf-8")
    tags = {element.tag for element in ElementTree.fromstring(picture).iter()}
    assert tags <= {SVG + tag for tag in ("svg", "g", "rect", "path", "circle", "text", "title")}
    lines = tree_text(tree)
    assert not set(map(chr, range(32))) - {"\n"} & set(lines) and "\x9b" not in lines
    assert lines.count("\n") + 1 == len(tree.labels)
    lines.encode("utf-8")


def test_every_code_point_is_clean_and_measured() -> None:
    everything = "".join(map(chr, range(0x3000))) + "".join(map(chr, range(0xD000, 0x12000)))
    ElementTree.fromstring(f'<a b="{text.escape(everything)}">{text.escape(everything)}</a>')
    assert all(text.width(char, 1.0) >= 0 for char in everything)
    assert text.width("WWW", 10) > text.width("iii", 10) > 0


def test_one_leaf() -> None:
    tree = Tree(("film",), np.zeros((0, 2), np.int32), np.array([3]))
    assert len(_nodes(tree_svg(tree))) == 1
    assert tree_text(tree) == "+  film"


def test_text_tree() -> None:
    assert tree_text(TREE) == "\n".join(
        ["++ not bad .", "├─ +  not bad", "│  ├─ 0  not", "│  └─ -- bad", "└─ ?  ."]
    )
    assert tree_text(TREE, PROBABILITIES).splitlines()[1] == "├─ -   50% (gold +) not bad"


@pytest.mark.parametrize("left", [True, False])
def test_deep_chains_take_linear_time_and_size(left: bool) -> None:
    sizes, times = [], []
    for leaves in (1250, 5000):
        tree = chain(leaves, left=left)
        start = time.process_time()
        picture, lines = tree_svg(tree, np.full((2 * leaves - 1, 5), 0.2)), tree_text(tree)
        times.append(time.process_time() - start)
        sizes.append(len(picture) + len(lines))
        assert lines.count("\n") == 2 * leaves - 2 and "[level 1000]" in lines
    assert sizes[1] < 5 * sizes[0]
    assert times[1] < 5  # some 0.4 s
    assert len(_nodes(picture)) == 9999


@pytest.mark.parametrize(
    ("change", "probabilities", "message"),
    [
        ({"tokens": ()}, None, "at least one leaf"),
        ({"labels": np.zeros(4)}, None, "5 labels"),
        ({"children": np.array([[0, 4], [3, 2]])}, None, "precede"),
        ({"children": np.array([[0, -1], [3, 2]])}, None, "precede"),
        ({}, np.ones((4, 5)), r"shape \(4, 5\)"),
        ({}, np.ones((5, 1)), "C >= 2"),
        ({}, np.ones((5, 3)), "label 4 is outside the 3 classes"),
    ],
)
def test_faults_are_named(change: dict[str, Any], probabilities: Any, message: str) -> None:
    for draw in (tree_svg, tree_text):
        with pytest.raises(ValueError, match=message):
            draw(TREE._replace(**change), probabilities)


def test_wrong_number_of_names() -> None:
    with pytest.raises(ValueError, match="2 names for 5 classes"):
        tree_svg(TREE, PROBABILITIES, class_names=["a", "b"])
