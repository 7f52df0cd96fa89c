"""`data.demo_dependencies`: an embedded treebank."""

from __future__ import annotations

import numpy as np
import pytest

from rntn_jax.data import demo_dependencies, dependencies


def test_trees_are_projective_with_one_root():
    for sentence in demo_dependencies.sentences(300, seed=5):
        dependencies.check_tree(sentence.heads)
        assert dependencies.is_projective(sentence.heads)
        assert sentence.relations.count("root") == 1
        assert sentence.upos[sentence.relations.index("root")] == "VERB"


def test_the_preposition_says_where_its_phrase_belongs():
    for sentence in demo_dependencies.sentences(200):
        for word, (form, head) in enumerate(zip(sentence.forms, sentence.heads), 1):
            if sentence.upos[word - 1] != "ADP":
                continue
            noun = int(head)
            above = sentence.upos[sentence.heads[noun - 1] - 1]
            if form in ("of", "near", "about"):
                before = [w for w in range(1, word) if sentence.upos[w - 1] == "NOUN"]
                assert above == "NOUN" and sentence.heads[noun - 1] == before[-1]
            else:
                assert above == "VERB"


def test_draws_are_repeatable_and_splits_differ():
    first, again = demo_dependencies.sentences(20, 3), demo_dependencies.sentences(30, 3)
    assert first == again[:20]
    texts = {name: [s.forms for s in trees] for name, trees in demo_dependencies.splits().items()}
    assert {name: len(t) for name, t in texts.items()} == {"train": 1000, "dev": 200, "test": 200}
    shared = np.mean([forms in set(texts["train"]) for forms in texts["test"]])
    assert shared < 0.2
    with pytest.raises(ValueError, match="count must not be negative"):
        demo_dependencies.sentences(-1)
