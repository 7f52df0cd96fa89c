"""Pictures and reports in a real browser."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rntn_jax import plots
from tests.plots.browser import (
    Driver,
    dump_dom,
    needs_browser,
    needs_driver,
    open_driver,
    screenshot,
)
from tests.plots.samples import HOSTILE, random_probabilities, random_tree
from tests.plots.test_report import full_report


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    """One browser window for the tests of this file."""
    with open_driver() as opened:
        yield opened


READY = "return [document.body.dataset.rj, document.body.dataset.rjError ?? null]"


def _write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@needs_browser
def test_the_report_renders(tmp_path: Path) -> None:
    page = _write(tmp_path / "report.html", full_report())
    dom = dump_dom(page)
    assert 'data-rj="ready"' in dom and "data-rj-error" not in dom
    assert dom.count('class="rj-tree"') >= 2 and dom.count("Learning curves</h2>") == 1
    assert dom.count('<svg role="img"') == 2  # the curves
    assert dom.count("<table") == 4 and 'class="rj-confusion"' in dom
    screenshot(page, tmp_path / "report.png")


@needs_driver
def test_hovering_shows_the_card(tmp_path: Path, driver: Driver) -> None:
    tree = random_tree(["not", "a", "bad", "film"])._replace(
        labels=np.array([2, 2, 0, 2, -1, 1, 3])
    )
    array = np.tile([0.1, 0.2, 0.05, 0.05, 0.6], (7, 1))
    page = _write(tmp_path / "trees.html", plots.trees_html([tree] * 300, [array] * 300, title="t"))
    driver.resize(480, 700)
    driver.open(page)
    assert driver.script(READY) == ["ready", None]
    hidden = "return document.querySelector('.rj-card').hidden"
    assert driver.script(hidden) is True
    driver.hover(".rj-node", 7 * 250 + 6)
    assert driver.script(hidden) is False
    lines = driver.script("return document.querySelector('.rj-card').innerText")
    lines = [line for line in lines.split("\n") if line]
    assert "not a bad film" in lines[0]
    assert lines[1:3] == ["predicted very positive", "gold positive"]
    assert lines[3:][:4] == ["very negative", "10.0%", "negative", "20.0%"]
    bars = driver.script(
        "return [...document.querySelectorAll('.rj-card i')]"
        ".map(bar => bar.getBoundingClientRect().width)"
    )
    assert bars == pytest.approx([11, 22, 5.5, 5.5, 66], abs=0.6)
    box = driver.script(
        "const b = document.querySelector('.rj-card').getBoundingClientRect();"
        "return [b.left, b.top, innerWidth - b.right, innerHeight - b.bottom]"
    )
    assert min(box) >= 0
    assert driver.script("return document.querySelectorAll('.rj-on').length") == 4
    driver.hover("h1")
    assert driver.script(hidden) is True
    assert driver.script("return document.querySelectorAll('.rj-on').length") == 0
    assert driver.console_errors() == []


@needs_driver
def test_hostile_words_neither_run_nor_overlap(tmp_path: Path, driver: Driver) -> None:
    tree = random_tree(HOSTILE)
    array = random_probabilities(tree)
    page = _write(tmp_path / "trees.html", plots.trees_html(tree, array, title="</title><b>"))
    picture = _write(tmp_path / "tree.svg", plots.tree_svg(tree, array))
    measure = (
        "return [...document.querySelectorAll('.rj-word')].map(word => {"
        "const box = word.getBoundingClientRect(); return [box.left, box.right]})"
    )
    driver.resize(1280, 900)
    for path in (page, picture):
        driver.open(path)
        boxes = np.array(driver.script(measure))
        assert boxes.shape == (len(HOSTILE), 2)
        assert np.all(boxes[1:, 0] >= boxes[:-1, 1])
    driver.open(page)
    assert driver.script(READY) == ["ready", None]
    driver.click(".rj-tools button", 2)  # the whole tree
    for index in range(len(HOSTILE)):
        driver.hover(".rj-node", index)
    assert driver.script("return document.body.dataset.pwned ?? null") is None
    assert driver.script("return document.querySelectorAll('img, b, script').length") == 3
    assert driver.console_errors() == []


@needs_driver
def test_light_and_dark_screens(tmp_path: Path, driver: Driver) -> None:
    """Every text on a page differs from what is behind it."""
    tree = random_tree(["not", "a", "bad", "film"])._replace(labels=np.full(7, -1))
    arcs = plots.arcs_svg(["It", "works"], [2, 0], ["nsubj", "root"], gold_heads=[0, 1])
    sections = [plots.Section("Trees", plots.tree_svg(tree) + arcs)]
    page = _write(tmp_path / "report.html", full_report(sections=sections))
    driver.resize(1200, 900)
    grounds = {}
    for scheme in ("light", "dark"):
        driver.color_scheme(scheme)
        driver.open(page)
        words, ground = driver.script(
            "const style = (e) => getComputedStyle(e);"
            "const all = (query) => [...document.querySelectorAll(query)];"
            "return [[...all('p, h1, h2, th, dt, dd').map(e => style(e).color),"
            " ...all('.rj-word, .rj-tree .rj-name, .rj-curves text').map(e => style(e).fill)],"
            " style(document.querySelector('section')).backgroundColor]"
        )
        grounds[scheme] = _hex(ground)
        assert len(words) > 80
        for color in {_hex(word) for word in words}:
            assert plots.palette.contrast(color, _hex(ground)) > 4  # type: ignore[attr-defined]
    driver.color_scheme("")
    contrast = plots.palette.contrast  # type: ignore[attr-defined]
    assert contrast(grounds["light"], "#ffffff") < 1.2 < 14 < contrast(grounds["dark"], "#ffffff")


def _hex(color: str) -> str:
    """`rgb(1, 2, 3)` as `#010203`."""
    return "#" + "".join(f"{int(part):02x}" for part in color[4:-1].split(","))


@needs_driver
@pytest.mark.parametrize("width", [375, 1600])
def test_the_report_fits_the_window_and_loads_nothing(
    tmp_path: Path, driver: Driver, width: int
) -> None:
    words = [f"word{i}" for i in range(30)]
    wide = [
        plots.texts_html([(" ".join(words), "12.5"), ("x" * 300, 1)], ["sentence", "perplexity"]),
        f'<div class="rj-scroll">{plots.arcs_svg(words, range(30), words)}</div>',
        plots.heatmap_html(np.ones((2, 30)), ["a", "b"], words, label="wide"),
        plots.scores_html({"a long name of a system": dict.fromkeys(words, 0.5)}),
    ]
    config = {"a_very_long_name_of_a_setting_of_a_run": "x" * 200}
    sections = [plots.Section("Wide", html) for html in wide]
    page = _write(tmp_path / "report.html", full_report(sections=sections, config=config))
    driver.resize(width, 900)
    driver.open(page)
    assert driver.script("return document.documentElement.scrollWidth <= innerWidth")
    assert driver.script("return performance.getEntriesByType('resource').length") == 0
    assert driver.script(
        "return [...document.querySelectorAll('.rj-curves svg')]"
        ".every(chart => chart.getBoundingClientRect().width > 250)"
    )
    driver.screenshot(tmp_path / "report.png")
    assert driver.console_errors() == []


@needs_browser
def test_the_browser_parses_the_standalone_picture(tmp_path: Path) -> None:
    tree = random_tree([f"w{index}" for index in range(20)])
    content = plots.tree_svg(tree, title="Twenty words")
    dom = dump_dom(_write(tmp_path / "tree.svg", content))
    assert dom.count("rj-node") == 39 and "parsererror" not in dom
    ElementTree.fromstring(content)
