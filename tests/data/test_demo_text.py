"""The embedded text: its sentences follow the grammar, and its entropy is what it says."""

from __future__ import annotations

import collections
import math

import pytest

from rntn_jax.data import demo_text


def test_every_state_is_a_distribution_over_different_words():
    for options in demo_text.RULES.values():
        words = [word for word, _, _ in options]
        assert len(set(words)) == len(words)  # so that the states follow from the words
        assert sum(p for _, p, _ in options) == pytest.approx(1, abs=1e-12)
        assert all(target in demo_text.RULES for _, _, target in options)


def test_best_perplexity_is_that_of_many_sentences_by_the_grammar():
    nats = [x for s in demo_text.sentences(20_000, 7) for x in demo_text.nats(s)]
    assert math.exp(sum(nats) / len(nats)) == pytest.approx(demo_text.best_perplexity(), rel=0.005)


def test_words_come_as_often_as_they_should():
    firsts = collections.Counter(s[0] for s in demo_text.sentences(20_000, 8))
    for word, p, _ in demo_text.RULES["start"]:
        assert firsts[word] / 20_000 == pytest.approx(p, abs=0.015)


def test_the_verb_agrees_with_a_subject_far_away():
    assert demo_text.nats("the film near the houses opens .".split())
    with pytest.raises(ValueError, match="word 5, 'open'"):
        demo_text.nats("the film near the houses open .".split())


def test_sentences_are_a_function_of_the_seed():
    assert demo_text.sentences(5, 0) == demo_text.sentences(9, 0)[:5] != demo_text.sentences(5, 1)
    assert demo_text.sentences(0, 0) == []
    with pytest.raises(ValueError, match="-1"):
        demo_text.sentences(-1, 0)
    sizes = {name: len(sentences) for name, sentences in demo_text.splits().items()}
    assert sizes == {"train": 8000, "dev": 500, "test": 500}
