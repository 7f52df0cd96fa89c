"""The reference: which modules it has, and that its pages show all that is public."""

from __future__ import annotations

import importlib
import inspect
import re
from importlib.metadata import version

import numpy as np
import pytest

from experiments.docs import pictures, reference
from experiments.notebooks import render as notebooks
from tests.test_docstrings import PUBLIC


def test_the_modules_are_those_that_users_import():
    modules = reference.public_modules()
    assert modules["rntn_jax.models.rntn"] == "rntn_jax.rntn"
    assert modules["rntn_jax.crf.graph"] == "rntn_jax.crf.graph"
    assert not any("._" in name for name in modules)
    shown = {
        (getattr(thing, "__module__", None), name)
        for module in map(importlib.import_module, modules)
        for name in module.__all__
        if inspect.isroutine(thing := getattr(module, name))
    }
    assert {key for key in shown if key[0] and key[0].startswith("rntn_jax.")} <= PUBLIC.keys()


IDS = re.compile(r"\bc[0-9a-f]{8}-|\bp[0-9a-f]{10}\b")  # matplotlib's, made of hashes
NUMBER = re.compile(r"(?<![\w#])-?\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_readme_shows_what_its_command_draws(name):
    """./launch.sh docs --pictures=.github/pictures; last digits may differ by the machine."""
    if name == "growth" and tuple(map(int, version("matplotlib").split(".")[:2])) < (3, 11):
        pytest.skip("the chart is drawn by matplotlib 3.11, which places its numbers otherwise")
    committed = (pictures.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    drawn = pictures.PICTURES[name]()
    words, expected = (
        re.sub("#[0-9a-f]{6}", "", NUMBER.sub("0", IDS.sub("", svg))).split()
        for svg in (drawn, committed)
    )
    assert words == expected
    numbers = [np.array(NUMBER.findall(IDS.sub("", svg)), float) for svg in (drawn, committed)]
    np.testing.assert_allclose(*numbers, rtol=1e-2, atol=2e-2)
    readme = (reference.ROOT / "README.md").read_text(encoding="utf-8")
    assert f".github/pictures/{name}.svg" in readme
    assert "./launch.sh docs --pictures=.github/pictures" in readme


@pytest.mark.slow
def test_every_public_name_has_an_entry_with_its_sections(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is in the extra `docs`")
    modules = reference.public_modules()
    reference.write(modules, tmp_path)
    for module in modules:
        page = (tmp_path / f"{module.replace('.', '/')}.html").read_text(encoding="utf-8")
        thing = importlib.import_module(module)
        names = [name for name in thing.__all__ if not inspect.ismodule(getattr(thing, name))]
        for name in names:
            assert f'id="{name}"' in page, (module, name)
        assert "jaxlib" not in re.sub(r"<[^>]+>", "", page), module
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "README.md" in index and all(f"{name}.py" in index for name in notebooks.names())
