"""`plots.heatmap`."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rntn_jax.plots import heatmap_html


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
