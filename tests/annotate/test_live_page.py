"""The live page in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rntn_jax.annotate.serve import Server
from rntn_jax.data import parse_tree, read_trees
from tests.annotate.live_server import running, small_model
from tests.plots.browser import ENTER, Driver, needs_driver, open_driver

pytestmark = needs_driver

TEXT = "a film, not very good but not bad"
READY = "return [document.body.dataset.rj, document.body.dataset.rjError ?? null]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(small_model(), tmp_path_factory.mktemp("live") / "c.txt") as opened:
        yield opened


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    """One browser window for the tests of this file."""
    with open_driver() as opened:
        yield opened


@pytest.fixture
def page(server: Server, driver: Driver) -> Iterator[Path]:
    """The page, opened, without corrections; their file."""
    server.corrections.path.unlink(missing_ok=True)
    driver.resize(1280, 900)
    driver.open_address(server.address)
    assert driver.script(READY) == ["ready", None]
    yield server.corrections.path
    assert driver.console_errors() == []


def wait(driver: Driver, condition: str, *arguments: object) -> None:
    """Until a condition in the page holds."""
    for _ in range(400):
        if driver.script(f"return Boolean({condition})", *arguments):
            return
        time.sleep(0.05)
    raise AssertionError(condition)


def type_text(driver: Driver, text: str) -> None:
    """Types a sentence, and waits for its tree."""
    driver.script(
        "const box = document.querySelector('textarea'); box.value = arguments[0]; box.focus();"
        "document.querySelector('.live-tree').replaceChildren();",
        text,
    )
    driver.press(ENTER)
    wait(driver, "document.querySelector('.live-tree .rj-count')")


def listed(driver: Driver) -> list[list[str]]:
    return driver.script(
        "return [...document.querySelectorAll('.live-list li')].map(row =>"
        "[row.querySelector('.live-open').textContent, row.querySelector('small').textContent])"
    )


def test_a_label_is_corrected_listed_and_written(page: Path, driver: Driver) -> None:
    driver.script("document.querySelector('textarea').focus()")
    driver.press(*"a film")  # the tree follows while one types
    wait(driver, "document.querySelectorAll('.live-tree .rj-node').length === 3")
    type_text(driver, TEXT)
    assert driver.script("return document.querySelectorAll('.live-tree .rj-word').length") == 9
    driver.hover(".rj-node", 4)
    card = driver.script("return document.querySelector('.rj-card').innerText")
    assert (
        card.startswith("very\n") and "very negative" in card and "%" in card and "gold" not in card
    )
    assert not page.exists()
    driver.click(".rj-node", 4)
    driver.click(".rj-menu button", 4)
    wait(driver, "document.querySelector('.live-status').textContent === 'Written.'")
    (tree,) = read_trees(page)
    assert tree.labels.tolist() == [-1] * 4 + [4] + [-1] * 12
    assert tree.text == "a film , not very good but not bad"
    assert listed(driver) == [[tree.text, "1 label"]]
    driver.script("location.reload()")
    wait(driver, "document.querySelectorAll('.live-list li').length === 1")
    driver.click(".live-open")
    wait(driver, "document.querySelector('.rj-fix')")
    ringed = "return document.querySelector('.rj-fix').closest('.rj-node').dataset.node"
    assert driver.script(ringed) == "4"
    assert driver.script("return document.querySelector('textarea').value") == tree.text
    driver.click("[data-do=clear]")
    wait(driver, "document.querySelectorAll('.live-list li').length === 0")
    assert page.read_text() == ""


def test_brackets_are_corrected(page: Path, driver: Driver) -> None:
    type_text(driver, TEXT)
    first, last = 3, 5  # not very good
    assert driver.script("return document.querySelector('.live-make').disabled")
    driver.click(".live-words button", last)
    driver.click(".live-words button", first)
    pressed = "return document.querySelectorAll('.live-words [aria-pressed=true]').length"
    assert driver.script(pressed) == 3
    assert driver.script("return document.querySelectorAll('.rj-word.rj-on').length") == 3
    driver.click(".live-make")
    wait(driver, "document.querySelector('.live-list li')")
    (tree,) = read_trees(page)
    assert [first, last + 1] in tree.spans().tolist() and (tree.labels == -1).all()
    assert listed(driver) == [[tree.text, "brackets"]]
    node = tree.spans().tolist().index([first, last + 1])
    driver.click(".rj-node", node)
    driver.click(".rj-menu button", 1)
    wait(driver, "document.querySelector('.live-list small').textContent === '1 label'")
    assert read_trees(page)[0].labels[node] == 1
    driver.click(".live-remove")
    wait(driver, "!document.querySelector('.live-list li')")
    wait(driver, "!document.querySelector('.rj-fix')")
    assert page.read_text() == ""


def test_hostile_text_is_text(page: Path, driver: Driver) -> None:
    hostile = "<img src=x onerror=\"document.body.dataset.pwned='1'\"> </script><b>'&amp;"
    type_text(driver, hostile)
    driver.click(".rj-node", 0)
    driver.click(".rj-menu button", 0)
    wait(driver, "document.querySelector('.live-list li')")
    driver.hover(".rj-node", 0)
    assert driver.script("return document.body.dataset.pwned ?? null") is None
    assert driver.script("return document.querySelectorAll('img, main b').length") == 0
    assert listed(driver)[0][0] == read_trees(page)[0].text
    words = driver.script("return [...document.querySelectorAll('.live-words button')].length")
    assert words == read_trees(page)[0].num_leaves
    assert "onerror" in driver.script("return document.querySelector('.live-words').textContent")
    driver.script("location.reload()")
    wait(driver, "document.querySelector('.live-list li')")
    assert driver.script("return document.querySelectorAll('img, main b').length") == 0


def test_refusals_are_told(page: Path, driver: Driver, server: Server) -> None:
    type_text(driver, "a film")
    driver.script(
        "document.querySelector('textarea').value = 'a '.repeat(251);"
        "document.querySelector('.live-form').requestSubmit()"
    )
    wait(driver, "document.querySelector('.live-status').textContent.includes('at most 250')")
    assert [message for message in driver.console_errors() if "400" not in message] == []


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(
    page: Path, driver: Driver, tmp_path: Path, server: Server, width: int, scheme: str
) -> None:
    server.corrections.save(parse_tree("(-1 (4 very) (-1 good))"))
    driver.resize(width, 900)
    driver.color_scheme(scheme)
    driver.open_address(server.address)
    type_text(driver, TEXT + ", and the plot is " + "x" * 60)
    wait(driver, "document.querySelector('.live-list li')")
    assert driver.script("return document.documentElement.scrollWidth <= innerWidth")
    driver.screenshot(tmp_path / "page.png")
    driver.color_scheme("light")
