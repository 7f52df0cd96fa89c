"""What Python adds to pages whose trees can be corrected."""

import base64
import hashlib
import html
import json
import re

import numpy as np
import pytest

from rntn_jax import data, plots
from rntn_jax.plots import editor
from tests.plots.samples import HOSTILE, random_tree

TREE = data.parse_tree("(3 (1 (2 not) (-1 bad)) (2 .))")


def _attribute(page: str, name: str) -> list[str]:
    return [html.unescape(value) for value in re.findall(f' {name}="([^"]*)"', page)]


def test_tokens_are_fit_for_brackets() -> None:
    page = plots.trees_html([TREE, random_tree(HOSTILE)], title="t")
    first, second = map(json.loads, _attribute(page, "data-tokens"))
    assert first == ["not", "bad", "."]
    assert len(second) == len(HOSTILE)
    assert not any(re.search(r"[\s()\0]|\A\Z", word, re.ASCII) for word in second)
    for word, original in zip(second, HOSTILE, strict=True):
        assert word == original or re.search(r"[\s()\0]|\A\Z", original, re.ASCII)


def test_key_belongs_to_words_and_shape() -> None:
    key = editor.key([TREE])
    assert re.fullmatch(r"rj-trees-[0-9a-f]{24}", key)
    other_labels = data.Tree(TREE.tokens, TREE.children, np.full(5, -1))
    assert editor.key([other_labels]) == key
    other_shape = data.parse_tree("(3 (2 not) (1 (-1 bad) (2 .)))")
    other_words = data.Tree(("not", "bad", "!"), TREE.children, TREE.labels)
    keys = {editor.key(trees) for trees in ([TREE], [TREE, TREE], [other_shape], [other_words])}
    assert len(keys) == 4


@pytest.mark.parametrize("editable", [True, False])
def test_the_policy_allows_the_page_s_script_only(editable: bool) -> None:
    page = plots.trees_html([TREE], title="t", editable=editable)
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
    assert ("data-do=" in page) == ("data-tokens" in page) == ("data-key" in page) == editable
    assert "rj-tools" in page


def test_reports_stay_as_they_are() -> None:
    report = plots.report_html(title="t", examples=[plots.TreePicture(TREE)])
    assert not re.search("rj-tools|rj-menu|data-tokens|data-key|rj-edit", report)
