"""`rntn_jax.sentiment` with the model that comes in the package."""

from __future__ import annotations

import copy
import json
import pickle
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import rntn_jax as rj
from rntn_jax import annotate, data
from rntn_jax.training import CheckpointError
from tests.helpers import enable_x64

NEGATED = "This film doesn't care about cleverness, wit or any other kind of intelligent humor."


@pytest.fixture(scope="module", autouse=True)
def as_users_run():
    """Without 64-bit types."""
    with enable_x64(False):
        yield


def test_the_answer_for_a_sentence():
    answer = rj.sentiment(NEGATED)
    assert answer.label in (0, 1) and answer.name in ("very negative", "negative")
    assert answer.probabilities.shape == (5,)
    np.testing.assert_allclose(answer.probabilities.sum(), 1, rtol=1e-5)
    tree = answer.tree
    assert tree.text == NEGATED.replace("doesn't", "does n't").replace(",", " ,").replace(
        "humor.", "humor ."
    )
    assert data.parse_tree(tree.to_brackets()) == tree
    assert tree.labels.tolist() == tree.probabilities.argmax(axis=1).tolist()
    assert ElementTree.fromstring(tree.to_svg()).tag.endswith("svg") and "cleverness" in (
        tree.to_svg()
    )
    assert tree.to_html().startswith("<!doctype html>") and "cleverness" in tree.to_text()
    assert tree._repr_html_() == tree.to_svg()
    assert answer._repr_html_().startswith(f"<p><b>{answer.name}</b> (")
    assert answer._repr_html_().endswith(tree.to_svg())
    told = json.loads(json.dumps(answer.to_dict()))
    assert told["name"] == answer.name and len(told["nodes"]) == len(tree)


@pytest.mark.parametrize(
    "text, labels",
    [
        ("A gorgeous, witty, seductive movie.", {3, 4}),
        ("A dull, lifeless, boring mess.", {0, 1}),
        ("It is not a good film.", {0, 1}),
        ("The acting is great, but the story is a complete and tedious failure.", {0, 1, 2}),
    ],
)
def test_plain_cases_are_right(text: str, labels: set[int]):
    assert rj.sentiment(text).label in labels


@pytest.mark.parametrize(
    "text, words",
    [
        ("good", 1),
        ("I 💖 this film 👍🏽", 5),
        ("...!?", None),
        ("我爱这部电影。", None),
        ("هذا فيلم رائع", 3),
        ("   spaces \t and\nlines  ", 3),
        ("(brackets) [and] {more}", 9),
        ("very " * 300 + "good", 301),
    ],
    ids=["word", "emoji", "marks", "Chinese", "Arabic", "blanks", "brackets", "301 words"],
)
def test_unusual_texts_get_an_answer(text: str, words: int | None):
    answer = rj.sentiment(text)
    assert np.isfinite(answer.probabilities).all()
    assert words is None or answer.tree.num_leaves == words
    assert data.parse_tree(answer.tree.to_brackets()) == answer.tree


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_a_text_without_words_is_refused(text: str):
    with pytest.raises(data.DataError, match="text 1 has no words"):
        rj.sentiment(text)
    with pytest.raises(data.DataError, match="text 2 has no words"):
        rj.sentiment(["fine", text])


def test_several_texts_get_the_answers_of_each():
    texts = ["A good film.", NEGATED, "Bad!", "It is fine , I think", "so what", "no"] * 3
    together = rj.sentiment(texts)
    assert len(together) == len(texts) and rj.sentiment([]) == []
    for text, answer in zip(texts[:6], together):
        alone = rj.sentiment(text)
        assert alone.tree == answer.tree
        np.testing.assert_allclose(alone.probabilities, answer.probabilities, atol=1e-5)


@pytest.mark.parametrize("wrong", [3, b"bytes", None, [b"x"], ["a", 1]], ids=str)
def test_what_is_no_text_is_refused(wrong):
    with pytest.raises(TypeError):
        rj.sentiment(wrong)


def test_sentiment_trees_can_be_copied():
    tree = rj.sentiment("A good film.").tree
    for other in (copy.deepcopy(tree), pickle.loads(pickle.dumps(tree))):  # of our own making
        assert other == tree
        np.testing.assert_array_equal(other.probabilities, tree.probabilities)


def test_an_annotator_comes_back_from_its_file(tmp_path: Path):
    shipped = annotate.default_model()
    annotate.save_pipeline(tmp_path / "a.safetensors", shipped)
    again = annotate.load_pipeline(tmp_path / "a.safetensors")
    one, other = (rj.sentiment(NEGATED, model=a) for a in (shipped, again))
    assert one.tree == other.tree
    np.testing.assert_array_equal(one.tree.probabilities, other.tree.probabilities)
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    content[-100] ^= 1
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        annotate.load_pipeline(tmp_path / "a.safetensors")
    annotate.save_parser(tmp_path / "b.safetensors", shipped.parser)
    with pytest.raises(CheckpointError, match="does not hold"):
        annotate.load_pipeline(tmp_path / "b.safetensors")


def test_the_model_is_a_few_megabytes():
    path = Path(annotate.__file__).parent / "shipped.safetensors"
    assert path.stat().st_size < 7e6
