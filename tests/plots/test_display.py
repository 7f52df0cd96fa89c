"""What notebooks show: strings that know it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest

from rntn_jax import data, plots
from tests.plots.browser import needs_driver, open_driver

TREE = data.parse_tree("(3 (1 (2 not) (1 bad)) (2 .))")
TABLE = plots.heatmap_html([[0.9, 0.1]], ["film"], ["N", "V"], label="m")
PAGES = [
    plots.trees_html(TREE, title="t"),
    plots.page_html(title="t"),
    plots.report_html(title="t"),
]
PARTS = [
    TABLE,
    plots.pictures_html([plots.TreePicture(TREE)]),
    plots.scores_html({"dev": {"all": 0.5}}),
    plots.confusion_html([[1, 2], [3, 4]], ["a", "b"]),
    plots.texts_html([["a", 1]], ["text", "number"]),
    plots.marginals_html(["film"], ["N", "V"], [[0.9, 0.1]]),
    plots.arc_marginals_html(["It"], [[0, 1], [0, 0]]),
]
PICTURES = [
    plots.tree_svg(TREE),
    plots.arcs_svg(["It", "works"], [2, 0]),
    plots.curves_svg([{"x": 1, "y": 2.0}], "x", ["y"], title="t", ylabel="y"),
]


@pytest.mark.parametrize("picture", PICTURES, ids=["tree", "arcs", "curves"])
def test_pictures_show_themselves_and_stay_strings(picture: plots.Svg):
    assert isinstance(picture, str) and picture.startswith("<svg")
    assert picture._repr_svg_() == picture._repr_html_() == picture
    assert type(picture + "") is str


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_pages_show_themselves(part: plots.Html):
    shown = part._repr_html_()
    assert shown.endswith(part) and shown.startswith("<style>")
    # The style is for our own classes alone: a notebook has others.
    rules = re.findall(r"([^{}>]+)\{", shown.split("</style>")[0])
    assert rules and all(rule.startswith(".rj-") for rule in rules)


@pytest.mark.parametrize("page", PAGES, ids=["trees", "page", "report"])
def test_pages_are_shown_in_a_frame(page: plots.Html):
    shown = page._repr_html_()
    (inside,) = re.findall('srcdoc="([^"]*)"', shown)
    assert html.unescape(inside) == page and shown.count("<") == 2
    assert 'sandbox="allow-scripts allow-downloads"' in shown


@needs_driver
def test_a_framed_page_runs(tmp_path: Path):
    notebook = tmp_path / "notebook.html"
    shown = [PAGES[0]._repr_html_(), TABLE._repr_html_()]
    notebook.write_text("<!doctype html><meta charset=utf-8>" + "".join(shown), encoding="utf-8")
    with open_driver() as driver:
        driver.open(notebook)
        assert driver.script("return document.querySelectorAll('iframe').length") == 1
        assert driver.console_errors() == []
        driver.screenshot(tmp_path / "notebook.png")


def test_marginals_of_a_chain():
    probabilities = np.array([[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]])  # the last is padding
    shown = plots.marginals_html(["the", "<b>"], ["D", "N"], probabilities, gold=["D", "D"])
    cells = re.findall(r"<td( class=\"rj-framed\")?[^>]*>([^<]*)</td>", shown)
    assert [(bool(framed), text) for framed, text in cells] == [
        (True, "0.90"), (False, "0.10"), (True, "0.25"), (False, "0.75"),
    ]  # fmt: skip
    assert "&lt;b&gt;" in shown and "<b>" not in shown
    with pytest.raises(ValueError, match="2 words but 1 gold labels"):
        plots.marginals_html(["a", "b"], ["D", "N"], probabilities, gold=["D"])
    with pytest.raises(ValueError, match="4 row and 2 column names"):
        plots.marginals_html(list("abcd"), ["D", "N"], probabilities)


def test_marginals_of_arcs():
    p = np.zeros((4, 4))  # for two words, and padding
    p[0, 1], p[2, 1], p[0, 2], p[1, 2] = 0.1, 0.9, 0.8, 0.2
    shown = plots.arc_marginals_html(["It", "works"], p, gold_heads=[2, 0])
    cells = re.findall(r"<td( class=\"rj-framed\")?[^>]*>([^<]*)</td>", shown)
    assert [(bool(framed), text) for framed, text in cells] == [
        (False, "0.10"), (False, ""), (True, "0.90"),  # It: the root, It, works
        (True, "0.80"), (False, "0.20"), (False, ""),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"gold_heads must have shape \[2\], got \[3\]"):
        plots.arc_marginals_html(["It", "works"], p, gold_heads=[2, 0, 0])
