"""Reports and their parts, as text: what is in them, what is left out, what is escaped."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from rntn_jax import plots
from rntn_jax.plots import assets
from tests.plots.samples import HOSTILE, history, random_probabilities, random_tree

NAMES = ["very negative", "negative", "neutral", "positive", "very positive"]


def full_report(**changes: Any) -> str:
    """A report with every part, of made-up numbers."""
    trees = [random_tree([f"w{i}" for i in range(n)], n) for n in (4, 8, 22)]
    arrays = [random_probabilities(tree, 1) for tree in trees]
    arguments: dict[str, Any] = {
        "title": "Sentiment <treebank>",
        "summary": "27 sentences a step & AdaGrad.",
        "figures": {"test, root": ("44.9%", "published 45.7%"), "parameters": 318582},
        "scores": {
            "dev": {"all nodes": 0.812, "root": 0.438},
            "test, published": {"root": 0.457, "binary": None},
        },
        "scores_note": "Published: table 1.",
        "history": history(),
        "curves": [
            plots.Curves("Loss", "epoch", ["train_loss", "dev_loss"], "nats per tree", 17),
            plots.Curves("Accuracy", "epoch", {"dev_root": "root"}, "accuracy", 17, True),
        ],
        "confusion": np.arange(25).reshape(5, 5),
        "confusion_note": "Roots of the test split.",
        "mistakes": plots.most_confident_mistakes(trees, arrays),
        "examples": [plots.TreePicture(trees[0], arrays[0], "an example")],
        "sections": [plots.Section("Extra", "<p id='extra'>more</p>")],
        "config": {"dim": 25, "optimizer": {"name": "adagrad", "lr": 0.01}, "decay": None},
        "command": ["./launch.sh", "sentiment", "--data_dir=my data"],
        "environment": {"jax": "0.10.2", "devices": ["cpu:0", "cpu:1"]},
    }
    return plots.report_html(**{**arguments, **changes})


def test_the_full_report_holds_every_part_in_order() -> None:
    page = full_report()
    assert page.startswith('<!doctype html>\n<html lang="en">') and '<meta charset="utf-8">' in page
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings == [
        "Scores",
        "Learning curves",
        "Confusion matrix",
        "Most confident mistakes",
        "Example trees",
        "Extra",
        "Configuration",
        "Command and environment",
    ]
    assert "Sentiment &lt;treebank&gt;" in page and "<treebank>" not in page
    for part in (
        "44.9%",
        "published 45.7%",
        "318,582",
        "81.2%",
        "45.7%",
        "Published: table 1.",
        "nats per tree",
        "chosen: epoch 17",
        "train loss (mean of 12)",
        "Roots of the test split.",
        "an example",
        "<p id='extra'>more</p>",
        "optimizer.lr",
        "./launch.sh sentiment &#x27;--data_dir=my data&#x27;",
        "cpu:0, cpu:1",
    ):
        assert part in page, part


def test_parts_without_argument_are_left_out() -> None:
    page = plots.report_html(title="Nothing yet")
    assert "<section" not in page and "<h1>Nothing yet</h1>" in page and "<nav" not in page
    assert re.findall("<h2>(.*?)</h2>", plots.report_html(title="", command="x")) == [
        "Command and environment"
    ]


def test_the_report_is_deterministic_and_refers_to_nothing_outside() -> None:
    page = full_report()
    assert page == full_report()
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<link|@import|\ssrc=|url\((?!#)", page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert target in ids


def test_default_curves_and_empty_histories() -> None:
    page = plots.report_html(title="t", history=history())
    assert page.count("<svg") == 2 and "dev all nodes" in page
    assert plots.report_html(title="t", history=[]).count("<svg") == 0


def test_curves_bear_hostile_and_missing_values() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "_loss$x$": 2.0, "a": float("nan")},
        {"step": 2, "_loss$x$": None},
        {"step": 3, "_loss$x$": "text", "a": np.float32(1)},
        {"_loss$x$": 1.0},
    ]
    picture = plots.curves_svg(
        rows, "step", ["_loss$x$", "a", "gone"], title="漢<$\x00", ylabel="$\\frac", mark=3
    )
    words = "".join(ElementTree.fromstring(picture).itertext())
    for part in ("漢<$␀", "$\\frac", "loss$x$", "gone (no data)", "chosen: step 3"):
        assert part in words


def test_curves_do_not_depend_on_the_readers_style() -> None:
    import matplotlib

    arguments: Any = ([{"x": 1, "y": 1.0}, {"x": 2, "y": 3.0}], "x", ["y"])
    plain = plots.curves_svg(*arguments, title="t", ylabel="y")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "text.usetex": True}):
        assert plots.curves_svg(*arguments, title="t", ylabel="y") == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_confusion_counts_and_shares() -> None:
    table = plots.confusion_html([[3, 1], [0, 0]], ["<no>", "yes"])
    rows = re.findall("<tr>(.*?)</tr>", table)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert cells[1] == ["3<small>75.0%</small>", "1<small>25.0%</small>", "4"]
    assert cells[2] == ["0<small>\u2013</small>", "0<small>\u2013</small>", "0"]
    assert cells[3] == ["3", "1", "4"]
    assert "&lt;no&gt;" in table and "<no>" not in table


@pytest.mark.parametrize("matrix", [[[1, 2]], [1], [[-1]], [[float("nan")]], np.zeros((0, 0))])
def test_confusion_faults(matrix: Any) -> None:
    with pytest.raises(ValueError, match="confusion matrix"):
        plots.confusion_html(matrix)


def test_scores_as_percent() -> None:
    table = plots.scores_html(
        {"a": {"m": 0.8071, "n": float("nan")}, "<b>": {"k": "1.5 ± 0.2"}}, decimals=2, note="<n>"
    )
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", table)]
    assert cells[1:] == [["80.71%", "\u2013", "\u2013"], ["\u2013", "\u2013", "1.5 ± 0.2"]]
    assert "&lt;b&gt;" in table and "&lt;n&gt;" in table


def test_most_confident_mistakes_are_sorted_and_only_mistakes() -> None:
    tree = random_tree(["a"])
    trees = [tree._replace(labels=np.array([label])) for label in (0, 0, 0, -1, 0, 2)]
    first = np.array([0.5, 0.2, 0.9, 0.1, np.nan, 0.0])
    rows = [np.array([[p, 1 - p, 0, 0, 0]]) for p in first]
    found = plots.most_confident_mistakes(trees, rows, count=5)
    assert [item.caption for item in found] == [
        "predicted negative (100.0%), gold neutral",
        "predicted negative (80.0%), gold very negative",
    ]
    assert len(plots.most_confident_mistakes(trees, rows, count=1)) == 1
    with pytest.raises(ValueError, match="6 trees but 5"):
        plots.most_confident_mistakes(trees, rows[:5])


def test_mistakes_inside_of_trees() -> None:
    tree = random_tree(["not", "bad"])._replace(labels=np.array([2, 1, 3]))
    right = np.eye(5)[[2, 1, 3]]
    wrong = np.eye(5)[[0, 4, 3]] * [[0.6], [0.8], [1]] + [[0.08], [0.04], [0]]
    assert plots.most_confident_mistakes([tree, tree], [right, wrong]) == []
    (found,) = plots.most_confident_mistakes([tree, tree], [right, wrong], everywhere=True)
    assert found.caption == "“bad”: predicted very positive (84.0%), gold negative"
    assert plots.most_confident_mistakes([tree], [right], everywhere=True) == []
    page = plots.report_html(title="t", mistakes=[])
    assert "mistakes" not in page.split("</style>")[1] and "No trees" not in page


def test_trees_without_labels_need_no_legend() -> None:
    tree = random_tree(["not", "bad"])._replace(labels=np.full(3, -1))
    unlabelled, labelled = plots.TreePicture(tree), plots.TreePicture(random_tree(["a", "b"]))
    assert "rj-legend" not in plots.pictures_html([unlabelled])
    assert "very negative" in plots.pictures_html([unlabelled, labelled])
    assert "very negative" in plots.trees_html(tree, title="t")  # labels can be given there
    assert "very negative" not in plots.tree_svg(tree, legend=False)
    assert "very negative" in plots.tree_svg(tree)


def test_a_column_keeps_its_colour() -> None:
    colors = plots.line_colors(["a", "b", "c"])
    assert len(set(plots.line_colors([str(i) for i in range(8)]).values())) == 8
    rows = [{"x": 1, "a": 1.0, "b": 2.0, "c": 3.0}, {"x": 2, "a": 2.0, "b": 1.0, "c": 0.0}]
    used = []
    for columns in (["a", "b"], ["c", "b"]):
        picture = plots.curves_svg(rows, "x", columns, title="t", ylabel="y", colors=colors)
        used.append([color in picture for color in colors.values()])
    assert used == [[True, True, False], [False, True, True]]


def test_texts_run_over_lines() -> None:
    table = plots.texts_html([("<a> long", 12.5), ("b", None)], ["text", "n"])
    assert re.findall("<td>(.*?)</td>", table) == ["&lt;a&gt; long", "12.5", "b", "\u2013"]


def test_style_sheets_and_scripts_are_files_of_the_package() -> None:
    for name in ("page", "viewer", "editor"):
        assert assets.read(f"{name}.css").startswith("/*")
        script = assets.read(f"{name}.js")
        assert script.isascii() and script.startswith("//") and "</script" not in script


def test_pages_of_trees() -> None:
    trees = [random_tree(HOSTILE, seed) for seed in range(3)]
    arrays = [random_probabilities(tree) for tree in trees]
    page = plots.trees_html(trees, arrays, title="<t>", class_names=["<a>", *NAMES[1:]])
    assert page.count("<figure") == 3 and page.count("<script>") == 1
    assert "<a>" not in page and "onerror=alert" in page and "<img" not in page
    page.encode("utf-8")
    assert plots.trees_html(trees[0], arrays[0], title="t").count("<figure") == 1
    assert plots.trees_html((tree for tree in trees), title="t").count("<figure") == 3
    assert "No trees" in plots.trees_html([], title="t")
    with pytest.raises(ValueError, match="3 trees but 2"):
        plots.trees_html(trees, arrays[:2], title="t")
    with pytest.raises(ValueError, match="different numbers of classes"):
        plots.trees_html([trees[0], trees[0]._replace(labels=trees[0].labels + 2)], title="t")


def test_importing_and_drawing_leave_the_heavy_modules_alone() -> None:
    code = (
        "import sys\n"
        "from rntn_jax import plots\n"
        "assert not {'jax', 'matplotlib'} & set(sys.modules)\n"
        "plots.curves_svg([{'x': 1, 'y': 2}], 'x', ['y'], title='t', ylabel='y')\n"
        "assert not {'jax', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
