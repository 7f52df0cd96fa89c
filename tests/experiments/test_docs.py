"""The reference: which modules it has, and that its pages show all that is public."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from experiments.docs import reference
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
