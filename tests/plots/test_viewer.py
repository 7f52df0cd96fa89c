"""Pages of trees in a real browser: moving, zooming, correcting, taking the trees away."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rntn_jax import data, plots
from tests.plots import browser
from tests.plots.browser import Driver, needs_driver, open_driver
from tests.plots.samples import HOSTILE, random_probabilities, random_tree

pytestmark = needs_driver

GOLD = data.parse_tree("(3 (1 (2 not) (-1 bad)) (2 .))")
SPECIAL = data.parse_tree("(-1 (2 -LRB-) (-1 (2 <b>&\"'\\/é) (2 🙂👩‍👩‍👧)))")
PREDICTED = np.eye(5)[[0, 1, 2, 3, 4]] * 0.6 + 0.08
READY = "return [document.body.dataset.rj, document.body.dataset.rjError ?? null]"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """One browser window for the tests of this file."""
    with open_driver() as opened:
        yield opened


@pytest.fixture
def page(tmp_path: Path, driver: Driver) -> Iterator[Path]:
    """A page of two trees, the second without gold labels but with predictions."""
    path = tmp_path / "trees.html"
    content = plots.trees_html([GOLD, SPECIAL], [None, PREDICTED], title="t")
    path.write_text(content, encoding="utf-8")
    driver.resize(1200, 900)
    driver.save_downloads_in(tmp_path)
    driver.open(path)
    assert driver.script(READY) == ["ready", None]
    yield path
    assert driver.console_errors() == []
    driver.script("localStorage.clear()")


def view(driver: Driver, index: int = 0) -> tuple[float, float, float]:
    """Scale and place of a tree in its frame, as drawn."""
    values = driver.script(
        "const m = new DOMMatrix(getComputedStyle("
        "document.querySelectorAll('.rj-tree')[arguments[0]]).transform); return [m.a, m.e, m.f]",
        index,
    )
    return tuple(values)


def inside(driver: Driver, index: int = 0) -> bool:
    """Whether a tree as a whole is within its frame."""
    return driver.script(
        "const frame = document.querySelectorAll('.rj-scroll')[arguments[0]];"
        "const [a, b] = [frame, frame.firstElementChild].map(e => e.getBoundingClientRect());"
        "return b.left >= a.left - 1 && b.right <= a.right + 1 && b.top >= a.top - 1"
        " && b.bottom <= a.bottom + 1",
        index,
    )


def text_of(driver: Driver, selector: str) -> str:
    return driver.script("return document.querySelector(arguments[0]).innerText", selector)


def correct(driver: Driver, node: int, label: int) -> None:
    """Clicks on a node, counted over the page, and on a class."""
    driver.click(".rj-node", node)
    driver.click(".rj-menu button", label)


def take(driver: Driver, folder: Path, which: str = "all") -> list[data.Tree]:
    """The trees that "Download" gives."""
    driver.script("document.querySelector('.rj-bar select').value = arguments[0]", which)
    driver.click("[data-do=download]")
    path = folder / "trees.txt"
    for _ in range(100):
        if path.exists():
            break
        time.sleep(0.05)
    content = path.read_bytes()
    path.unlink()
    trees = data.read_trees(io.BytesIO(content))
    assert content.decode() == "".join(tree.to_brackets() + "\n" for tree in trees)
    return trees


def relabelled(tree: data.Tree, labels: Any) -> data.Tree:
    return data.Tree(tree.tokens, tree.children, labels)


def test_dragging_moves_the_tree_and_corrects_nothing(page: Path, driver: Driver) -> None:
    scale, x, y = view(driver)
    driver.drag(".rj-node", 4, (30, 0), (40, 20), (-10, 5))
    assert view(driver) == pytest.approx((scale, x + 60, y + 25), abs=1)
    assert driver.script("return document.querySelector('.rj-menu')") is None
    driver.drag(".rj-node", 4, (500, 300))
    driver.drag(".rj-node", 4, (300, 200))
    assert not inside(driver)
    driver.click(".rj-tools button", 2)  # Fit
    assert inside(driver)
    assert view(driver, 1)[1:] != view(driver)[1:]  # the other tree is where it was
    driver.click(".rj-node", 4)  # and a click after it is a click
    assert driver.script("return document.querySelectorAll('.rj-menu button').length") == 5


def test_the_wheel_zooms_at_the_pointer_with_control_only(page: Path, driver: Driver) -> None:
    before = view(driver)
    driver.wheel(".rj-node", 0, down=-100)
    assert view(driver) == before
    place = "const b = document.querySelector('.rj-node circle').getBoundingClientRect();"
    place += "return [b.left + b.width / 2, b.top + b.height / 2]"
    driver.hover(".rj-node", 0)
    there = driver.script(place)
    driver.wheel(".rj-node", 0, down=-100, control=True)
    assert view(driver)[0] > 1.2 * before[0]
    assert driver.script(place) == pytest.approx(there, abs=6)
    driver.wheel(".rj-node", 0, down=300, control=True)
    assert view(driver)[0] < before[0]


def test_two_fingers_zoom(page: Path, driver: Driver) -> None:
    before = view(driver)[0]
    driver.pinch(".rj-scroll", 1, closer=-100)
    assert view(driver, 1)[0] > 1.2 * before
    assert view(driver)[0] == before
    driver.pinch(".rj-scroll", 1, closer=150)
    assert view(driver, 1)[0] < 1.2 * before
    assert driver.script("return document.querySelector('.rj-menu')") is None


def test_keys_move_and_zoom(page: Path, driver: Driver) -> None:
    driver.script("document.querySelector('.rj-scroll').focus()")
    scale, x, y = view(driver)
    driver.press("+", "+", "-")
    assert view(driver)[0] == pytest.approx(1.3 * scale)
    driver.press("-", browser.RIGHT, browser.DOWN)
    assert view(driver) == pytest.approx((scale, x - 60, y - 60), abs=1)
    driver.press(*[browser.LEFT, browser.UP] * 40)
    frame = driver.script(
        "const f = document.querySelector('.rj-scroll');"
        "return [f.clientWidth - 60, f.clientHeight - 40]"
    )
    assert view(driver)[1:] == pytest.approx(frame, abs=1)  # never out of reach
    driver.press("0")
    assert inside(driver)


def test_correcting_with_the_mouse(page: Path, driver: Driver, tmp_path: Path) -> None:
    assert take(driver, tmp_path) == [GOLD, relabelled(SPECIAL, [2, 2, 2, 3, 4])]
    correct(driver, 4, 0)
    correct(driver, 5 + 3, 2)
    correct(driver, 5 + 1, 1)
    assert text_of(driver, ".rj-count") == "3 corrections in 2 trees"
    drawn = driver.script(
        "return [...document.querySelectorAll('.rj-fix')]"
        ".map(g => [g.children[1].getAttribute('fill'), g.textContent])"
    )
    color = [plots.palette.class_color(label, 5) for label in (0, 1, 2)]  # type: ignore[attr-defined]
    assert drawn == [[color[0], "\u2212\u2212"], [color[1], "\u2212"], [color[2], "0"]]
    first, second = relabelled(GOLD, [2, -1, 2, 1, 0]), relabelled(SPECIAL, [2, 1, 2, 2, 4])
    assert take(driver, tmp_path) == [first, second]
    driver.hover(".rj-node", 4)
    assert "corrected very negative" in text_of(driver, ".rj-card")
    about = driver.script("return document.querySelectorAll('.rj-node')[4].ariaLabel")
    assert about.startswith("“not bad .”") and about.endswith("corrected: very negative")

    driver.click("[data-do=undo]")
    assert take(driver, tmp_path, "fixed") == [first, relabelled(SPECIAL, [2, 2, 2, 2, 4])]
    driver.click(".rj-node", 8)
    assert text_of(driver, ".rj-menu button:last-child").split() == ["×", "no", "correction", "Del"]
    driver.click(".rj-menu button:last-child")
    assert text_of(driver, ".rj-count") == "1 correction in 1 tree"
    assert take(driver, tmp_path, "fixed") == [first]
    driver.click("[data-do=clear]")
    assert text_of(driver, ".rj-count") == "No corrections"
    assert driver.script("return document.querySelectorAll('.rj-fix, .rj-fixed').length") == 0
    driver.click("[data-do=undo]")
    assert take(driver, tmp_path, "fixed") == [first]


def test_only_the_corrections(page: Path, driver: Driver, tmp_path: Path) -> None:
    assert take_nothing(driver, "mine") and take_nothing(driver, "fixed")
    correct(driver, 5 + 3, 2)
    correct(driver, 5 + 1, 1)
    assert take(driver, tmp_path, "mine") == [relabelled(SPECIAL, [-1, 1, -1, 2, -1])]


def take_nothing(driver: Driver, which: str) -> bool:
    """Whether no tree would be copied."""
    driver.script("document.querySelector('.rj-bar select').value = arguments[0]", which)
    driver.script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    driver.click("[data-do=copy]")
    return driver.script("return window.copied") == ""


def test_correcting_with_the_keyboard(page: Path, driver: Driver, tmp_path: Path) -> None:
    focus = "return document.activeElement.dataset.node ?? document.activeElement.className"
    driver.script("document.querySelector('.rj-scroll').focus()")
    driver.press(browser.TAB)
    assert driver.script(focus) == "4"
    assert driver.script("return document.querySelector('.rj-card').hidden") is False
    seen = []
    for key in (browser.DOWN, browser.DOWN, browser.RIGHT, browser.RIGHT, browser.LEFT, browser.UP):
        driver.press(key)
        seen.append(driver.script(focus))
    assert seen == ["3", "0", "1", "2", "3", "4"]
    driver.press(browser.ENTER, browser.DOWN, browser.ENTER)  # from 3 to 4
    assert driver.script(focus) == "4"
    driver.press(browser.DOWN, browser.ENTER, "0")
    driver.press(browser.RIGHT, browser.ENTER, browser.ESCAPE)
    assert driver.script("return document.querySelector('.rj-menu')") is None
    assert take(driver, tmp_path, "fixed") == [relabelled(GOLD, [2, -1, 2, 0, 4])]
    driver.script("document.querySelectorAll('.rj-node')[3].focus()")
    driver.press(browser.ENTER, browser.DELETE)
    assert take(driver, tmp_path, "fixed") == [relabelled(GOLD, [2, -1, 2, 1, 4])]


def test_corrections_survive_a_reload(page: Path, driver: Driver, tmp_path: Path) -> None:
    correct(driver, 4, 1)
    driver.open(page)
    assert text_of(driver, ".rj-count") == "1 correction in 1 tree"
    assert take(driver, tmp_path, "fixed") == [relabelled(GOLD, [2, -1, 2, 1, 1])]
    other = tmp_path / "other.html"  # other trees have their own
    other.write_text(plots.trees_html([SPECIAL, GOLD], title="t"), encoding="utf-8")
    driver.open(other)
    assert text_of(driver, ".rj-count") == "No corrections"
    key = driver.script("return document.querySelector('.rj-edit').dataset.key")
    for kept in ("{", "7", '{"9": {"0": 1}, "0": {"99": 1, "0": 9, "1": "x", "2": 4}}'):
        driver.script("localStorage.setItem(arguments[0], arguments[1])", key, kept)
        driver.open(other)
        assert driver.script(READY) == ["ready", None]
    assert text_of(driver, ".rj-count") == "1 correction in 1 tree"


def test_copy_shows_the_text_where_the_clipboard_is_closed(page: Path, driver: Driver) -> None:
    driver.script("navigator.clipboard.writeText = () => Promise.reject(new Error('closed'))")
    driver.click("[data-do=copy]")
    text = driver.script(
        "const area = document.querySelector('.rj-text');"
        "return area.hidden ? null : area.value.slice(area.selectionStart, area.selectionEnd)"
    )
    assert text.split("\n")[0] == GOLD.to_brackets()
    driver.script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    driver.click("[data-do=copy]")
    assert driver.script("return window.copied") == text
    assert text_of(driver, "[data-do=copy]") == "Copied"


def test_hostile_words(tmp_path: Path, driver: Driver) -> None:
    tree = random_tree(HOSTILE)
    path = tmp_path / "hostile.html"
    array = random_probabilities(tree)
    path.write_text(plots.trees_html(tree, array, title="t"), encoding="utf-8")
    driver.save_downloads_in(tmp_path)
    driver.resize(1200, 900)
    driver.open(path)
    correct(driver, len(tree.labels) - 1, 3)
    (taken,) = take(driver, tmp_path)
    assert taken.tokens[0] == "<script>document.body.dataset.pwned='1'</script>"
    assert taken.tokens[5] == "\ufffd\ufffe" and taken.tokens[7:10] == ("_", "_", "new_line")
    assert len(taken.tokens[10]) == 4000 and taken.tokens[12] == HOSTILE[12]
    assert taken.labels[-1] == 3 and np.array_equal(taken.children, tree.children)
    assert driver.script("return document.body.dataset.pwned ?? null") is None
    assert driver.console_errors() == []
    driver.script("localStorage.clear()")


@pytest.mark.parametrize("width", [400, 1200])
def test_a_tree_of_300_words(tmp_path: Path, driver: Driver, width: int) -> None:
    tree = random_tree([f"word{index}" for index in range(300)])
    path = tmp_path / "large.html"
    path.write_text(plots.trees_html(tree, title="t"), encoding="utf-8")
    driver.save_downloads_in(tmp_path)
    driver.resize(width, 800)
    driver.open(path)
    assert driver.script("return document.documentElement.scrollWidth <= innerWidth")
    centre = "const b = document.querySelector('.rj-tree').getBoundingClientRect();"
    assert driver.script(centre + "return (b.left + b.right) / 2") == pytest.approx(
        width / 2, abs=9
    )
    driver.resize(width - 80, 800)  # what nobody has moved fits itself to the window
    time.sleep(0.2)
    middle = driver.script(centre + "return (b.left + b.right) / 2")
    assert middle == pytest.approx(width / 2 - 40, abs=9)
    assert view(driver)[0] >= 0.6 and not inside(driver)
    driver.wheel(".rj-scroll", 0, down=-50)  # alone on its page: without Control
    assert view(driver)[0] > 0.75
    driver.click(".rj-tools button", 2)
    assert inside(driver)
    driver.script("document.querySelector('.rj-scroll').focus()")
    driver.press("+", "+", "+", "+", "+", "+", "+", "+", browser.TAB, *[browser.DOWN] * 5)
    box = driver.script(
        "const [a, b] = [document.activeElement, document.querySelector('.rj-scroll')]"
        ".map(e => e.getBoundingClientRect());"
        "return [a.left - b.left, b.right - a.right, a.top - b.top, b.bottom - a.bottom]"
    )
    assert min(box) >= 0  # the node in focus is brought into the frame
    driver.press(browser.ENTER, "4")
    assert text_of(driver, ".rj-count") == "1 correction"
    (taken,) = take(driver, tmp_path)
    assert taken.tokens == tree.tokens and np.sum(taken.labels != tree.labels) <= 1
    assert driver.console_errors() == []
    driver.script("localStorage.clear()")


def test_hundreds_of_trees(tmp_path: Path, driver: Driver) -> None:
    trees = [random_tree([f"w{index}" for index in range(20)], seed) for seed in range(310)]
    path = tmp_path / "many.html"
    path.write_text(plots.trees_html(trees, title="t"), encoding="utf-8")
    driver.save_downloads_in(tmp_path)
    driver.resize(1200, 900)
    start = time.perf_counter()
    driver.open(path)
    assert driver.script(READY) == ["ready", None]
    assert time.perf_counter() - start < 5
    driver.click("figure:nth-of-type(301) .rj-node", 38)
    driver.click(".rj-menu button", 4)
    taken = take(driver, tmp_path)
    expected = [data.Tree(*tree) for tree in trees]
    expected[300] = relabelled(expected[300], [*expected[300].labels[:-1], 4])
    assert taken == expected
    driver.script("localStorage.clear()")


def test_pages_to_look_at_only(tmp_path: Path, driver: Driver) -> None:
    path = tmp_path / "look.html"
    path.write_text(plots.trees_html([GOLD], title="t", editable=False), encoding="utf-8")
    driver.resize(1200, 900)
    driver.open(path)
    assert driver.script(READY) == ["ready", None]
    driver.click(".rj-node", 4)
    assert driver.script("return document.querySelector('.rj-menu, .rj-bar')") is None
    scale = view(driver)[0]
    driver.click(".rj-tools button", 1)
    assert view(driver)[0] == pytest.approx(1.3 * scale)
    assert driver.console_errors() == []
