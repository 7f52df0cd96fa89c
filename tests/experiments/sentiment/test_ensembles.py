"""Several models that answer together, and the sides of sentences that nobody bracketed."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.sentiment import predict as measuring
from rntn_jax import annotate, data
from rntn_jax.cli import sentiment as cli
from rntn_jax.models import rntn, vec_avg

TREES = data.demo_sentiment.sentiment_trees(3, seed=1)


def classifier(
    model, seed: int, words: list[str], classes: int = 5
) -> annotate.SentimentClassifier:
    vocabulary = data.Vocabulary.build(words, lowercase=True)
    config = model.Config(len(vocabulary), dim=3, num_classes=classes)
    return annotate.SentimentClassifier(
        model.init(jax.random.key(seed), config), vocabulary, {}, {}
    )


WORDS = [word for tree in TREES for word in tree.tokens]


def test_several_models_answer_by_their_mean_and_know_what_one_knows():
    one, other = classifier(rntn, 0, WORDS[:4]), classifier(vec_avg, 1, WORDS[4:])
    together = annotate.ensemble([one, other])
    pairs = zip(annotate.label_trees(one, TREES), annotate.label_trees(other, TREES))
    for found, (a, b) in zip(annotate.label_trees(together, TREES), pairs, strict=True):
        np.testing.assert_allclose(found, (a + b) / 2, rtol=1e-6)
    assert all(word in together.vocabulary for word in WORDS)
    assert WORDS[0] in one.vocabulary and WORDS[-1] not in one.vocabulary
    with pytest.raises(ValueError, match=r"same classes, got numbers \[2, 5\]"):
        annotate.ensemble([one, classifier(rntn, 0, WORDS, 2)])
    with pytest.raises(ValueError, match="same classes"):
        annotate.ensemble([])


def test_files_that_match_a_pattern_answer_together(tmp_path: Path):
    for seed in (0, 1):
        (tmp_path / f"run-{seed}").mkdir()
        path = tmp_path / f"run-{seed}" / "model.safetensors"
        annotate.save_classifier(path, classifier(rntn, seed, WORDS))
    (tmp_path / "run-none").mkdir()
    files = measuring.model_files(str(tmp_path / "run-*"))
    assert [path.parent.name for path in files] == ["run-0", "run-1"]
    assert measuring.model_files(str(files[0])) == files[:1]
    with pytest.raises(FileNotFoundError, match="no model matches"):
        measuring.model_files(str(tmp_path / "other-*"))
    first, *others = files
    together = cli.load(first, None, *others)
    assert isinstance(together.classifier, annotate.Ensemble)
    assert len(together.classifier.members) == 2 and annotate.num_classes(together.classifier) == 5
    with pytest.raises(ValueError, match="one classifier, got 2"):
        annotate.save_pipeline(tmp_path / "all", together)


def test_sides_of_sentences_are_counted_by_group(tmp_path: Path, capsys):
    model = annotate.default_model()
    lines = ["food\t4\tA wonderful dinner.", "food\t0\tA terrible dinner.", "0\tWonderful!"]
    (tmp_path / "texts").write_text("\n".join(lines))
    shares = measuring.evaluate_text(model, str(tmp_path / "texts"))
    assert shares == {"food": 1, "all": pytest.approx(2 / 3)}
    assert "wrong: Wonderful !" in capsys.readouterr().out
    (tmp_path / "texts").write_text("food\t2\tA dinner.")
    with pytest.raises(data.DataError, match="no side"):
        measuring.evaluate_text(model, str(tmp_path / "texts"))


def test_the_held_sentences_are_a_hundred_of_ten_domains_half_of_them_positive():
    path = Path(measuring.__file__).parent / "plain_sentences.txt"
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    assert len({text for *_, text in rows}) == 100
    for domain in {row[0] for row in rows}:
        assert sorted(label for name, label, _ in rows if name == domain) == ["1"] * 5 + ["3"] * 5
