"""`plots.heatmap`."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from rntn_jax.plots import heatmap_html, heatmap_svg, marginals_svg


def test_values_colours_and_frames():
    values = [[1.0, -0.5, 0.0], [-np.inf, np.nan, 0.001]]
    page = heatmap_html(
        values,
        ["<a>", "b"],
        ["x", "y", "z"],
        label="l",
        marked=[[1, 0, 0], [0, 0, 0]],
        note="n & m",
    )
    cells = re.findall(r"<td([^>]*)>([^<]*)</td>", page)
    assert [text for _, text in cells] == ["1.0", "-0.5", "", "−∞", "–", ""]
    assert "rj-framed" in cells[0][0] and not any("rj-framed" in css for css, _ in cells[1:])
    colours = [re.search("background:(#[0-9a-f]{6})", css) for css, _ in cells]
    assert [bool(c) for c in colours] == [True, True, True, False, False, True]
    red, blue = (int(colours[1][1][i : i + 2], 16) for i in (1, 5))
    assert red > blue  # negative: orange
    assert colours[0][1] != colours[5][1] and "&lt;a&gt;" in page and "n &amp; m" in page


def test_bad_shapes():
    with pytest.raises(ValueError, match="names for shape"):
        heatmap_html([[1.0]], ["a"], ["x", "y"], label="l")
    with pytest.raises(ValueError, match="marked"):
        heatmap_html([[1.0]], ["a"], ["x"], label="l", marked=[[True, False]])


def test_the_picture_has_the_colours_of_the_table():
    values = [[1.0, -0.5, 0.0], [-np.inf, np.nan, 0.001]]
    names = ["<a>", "b"], ["x", "y & z", "w" * 60]
    marked = np.array([[1, 0, 0], [0, 0, 0]])
    picture = ET.fromstring(heatmap_svg(values, *names, label='"l"', marked=marked))
    svg = "{http://www.w3.org/2000/svg}"
    cells = picture.findall(f"{svg}rect")[1:]  # the first is the paper
    page = heatmap_html(values, *names, label="l", marked=marked)
    colours = [
        found[1] if (found := re.search("background:(#[0-9a-f]{6})", css)) else None
        for css in re.findall("<td([^>]*)>", page)
    ]
    assert [cell.get("fill") for cell in cells] == [colour or "#f6f7f9" for colour in colours]
    assert [cell.get("stroke") is not None for cell in cells] == marked.ravel().astype(
        bool
    ).tolist()
    shown = [text.text for text in picture.findall(f"{svg}text")]
    assert shown[:2] == ["x", "y & z"] and shown[3:] == ["<a>", "1.0", "-0.5", "b", "−∞", "–"]
    assert picture.get("aria-label") == '"l"'
    boxes = [(float(c.get("x")), float(c.get("width"))) for c in cells[:3]]
    assert all(x + width <= after for (x, width), (after, _) in itertools.pairwise(boxes))
    assert sum(boxes[-1]) <= float(picture.get("width"))


def test_marginals_stand_under_their_words():
    picture = ET.fromstring(marginals_svg(["a", "b"], ["N", "V"], [[1, 0], [0.25, 0.75], [9, 9]]))
    shown = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert shown == ["a", "b", "N", "1.00", "0.25", "V", "0.75"]
    with pytest.raises(ValueError, match="2 words but 1 gold labels"):
        marginals_svg(["a", "b"], ["N", "V"], [[1, 0], [0.25, 0.75]], gold=["N"])
