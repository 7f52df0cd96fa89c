"""What stands in the last line of a notebook's cell shows itself: IPython itself is asked."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import rntn_jax as rj
from rntn_jax import notebook

formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed")


@pytest.fixture(scope="module")
def shown():
    formatter = formatters.DisplayFormatter()
    notebook.register(formatter)

    def html(value: object) -> str | None:
        data, _ = formatter.format(value)
        assert "text/plain" in data
        return data.get("text/html")

    return html


def test_a_tree_is_drawn(shown):
    tree = rj.data.parse_tree("(3 (1 (2 not) (1 bad)) (2 .))")
    assert shown(tree) == rj.plots.tree_svg(tree)
    assert "bad" in shown(tree)


def test_a_dependency_tree_is_drawn(shown):
    rows = ["1 no no DET DT _ 2 det _ _", "2 end end NOUN NN Number=Sing 0 root _ _"]
    sentence = rj.data.ConlluSentence((), tuple(tuple(row.split()) for row in rows))
    assert shown(sentence).startswith("<svg") and "det" in shown(sentence)


def test_marginals_of_a_chain_are_a_heat_map(shown):
    node = jnp.log(jnp.array([[[0.25, 0.75], [0.5, 0.5], [1.0, 1.0]]] * 5))
    mask = jnp.array([[True, False, True]] * 5)
    scores = rj.crf.chain.Scores(node, jnp.zeros((2, 2)), mask=mask)
    html = shown(rj.crf.chain.marginals(scores))
    assert html.count("0.25") == html.count("0.75") == 3  # the first three sentences
    assert "and 2 more" in html
    assert html.count("<tr>") == 3 * (1 + 2)  # a head, and the positions that are not masked


def test_marginals_of_arcs_are_a_heat_map(shown):
    scores = rj.crf.dependency.Scores(jnp.zeros((1, 3, 3)), jnp.array([2]))
    html = shown(rj.crf.dependency.marginals(scores, projective=True, single_root=True))
    assert html.count("0.50") == 4  # either word is the root, and the head of the other


def test_what_cannot_be_drawn_is_shown_as_text(shown):
    edge = jnp.zeros((40, 40))
    for node in (jnp.zeros((1, 2, 40)), jnp.zeros((0, 2, 40)), jnp.zeros((2, 40))):
        assert shown(rj.crf.chain.Scores(node, edge)) is None
    assert shown(rj.crf.dependency.Scores(jnp.zeros((1, 3, 3, 2)), jnp.array([2]))) is None

    def traced(node):
        assert notebook.chain_picture(rj.crf.chain.Scores(node, edge[:2, :2])) is None
        return node.sum()

    assert jax.grad(traced)(jnp.zeros((1, 2, 2))).shape == (1, 2, 2)


def test_import_in_ipython_registers_and_draws_nothing_yet(tmp_path):
    code = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import rntn_jax as rj
assert "rntn_jax.plots" not in sys.modules and "jax" not in sys.modules
tree = rj.data.parse_tree("(3 (2 good) (2 .))")
print(shell.display_formatter.format(tree)[0]["text/html"][:4])
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=os.environ | {"IPYTHONDIR": str(tmp_path)},
    )  # fmt: skip
    assert (ran.stdout, ran.returncode) == ("<svg\n", 0), ran.stderr
