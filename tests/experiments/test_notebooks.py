"""Every notebook runs as it stands; one is rendered."""

from __future__ import annotations

import runpy

import jax
import pytest

from experiments.notebooks import render
from tests.helpers import enable_x64

SLOW = {
    *("crf_for_your_tags", "every_structure", "learning_a_grammar", "learning_on_a_graph"),
    *("reading_digits", "tagger_on_flax"),
}


def test_the_readme_lists_all_notebooks():
    text = (render.FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(render.names()) >= 7
    for name in render.names():
        assert f"[`{name}`]({name}.py)" in text
        assert render.title_of(name) != name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in render.names()
    ],
)
@pytest.mark.filterwarnings("default")
def test_notebook_runs(name, monkeypatch):
    """As users run it: its own checks are asserts."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if name == "reading_digits":
        pytest.importorskip("sklearn", reason="scikit-learn is in the extra `images`")
    with jax.numpy_rank_promotion("allow"):
        jax.config.update("jax_enable_x64", False)  # a notebook may turn it on
        try:
            runpy.run_path(str(render.FOLDER / f"{name}.py"))
        finally:
            jax.config.update("jax_enable_x64", True)


@pytest.mark.filterwarnings("default")
def test_the_flax_taggers_train_for_some_steps(monkeypatch):
    monkeypatch.setenv("STEPS", "3")
    with enable_x64(False), jax.numpy_rank_promotion("allow"):
        found = runpy.run_path(str(render.FOLDER / "tagger_on_flax.py"))
    assert set(found["results"]) == {"BiLSTMTagger", "TransformerTagger"}
    assert all(0 < accuracy <= 1 for accuracy in found["results"].values())


@pytest.mark.slow
def test_a_notebook_is_rendered_with_its_outputs(tmp_path):
    pytest.importorskip("nbconvert", reason="nbconvert is in the extra `notebooks`")
    page = render.render("rntn_gradient", tmp_path)
    html = page.read_text(encoding="utf-8")
    assert "largest difference" in html and "image/png" in html and "<svg" in html
    assert "<math" in html and "$\\delta" not in html and "compiling" not in html
    assert "://cdn" not in html and 'src="http' not in html
    assert (tmp_path / "rntn_gradient.ipynb").stat().st_size > 10_000
    index = render.write_index(tmp_path, ["rntn_gradient"])
    assert 'href="rntn_gradient.html"' in index.read_text(encoding="utf-8")
