"""Dependency trees: what is one, projectivity, lifting, and attachment scores."""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import subprocess
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rntn_jax.data import (
    ConlluSentence,
    DataError,
    corpora,
    dependencies,
    read_conllu,
    write_conllu,
)
from rntn_jax.data.dependencies import AttachmentScores, attachment_scores

SHARED = Path(__file__).parents[3] / "shared" / "data"
UDTOOLS = os.environ.get("RNTN_JAX_UDTOOLS_PYTHON")
needs_ewt = pytest.mark.skipif(
    not (SHARED / "ud_ewt").is_dir(), reason="no copy of UD English-EWT here"
)


@functools.cache
def ewt(split: str) -> list[ConlluSentence]:
    return read_conllu(corpora.find("ud_ewt", SHARED)[split])


# By definition, independently.


def ancestors(heads, word):
    """The words above a word and 0, or None when they never end."""
    above = []
    while word:
        word = heads[word - 1]
        if word in above:
            return None
        above.append(word)
    return above


def is_tree(heads):
    n = len(heads)
    return (
        n > 0
        and all(0 <= head <= n for head in heads)
        and list(heads).count(0) == 1
        and all(ancestors(heads, word) for word in range(1, n + 1))
    )


def bad_arcs(heads):
    """The dependents of arcs over a word that does not descend from the arc's head."""
    return [
        d
        for d, h in enumerate(heads, 1)
        if any(h not in ancestors(heads, k) for k in range(min(h, d) + 1, max(h, d)))
    ]


def arcs_cross(heads):
    arcs = [(min(h, d), max(h, d)) for d, h in enumerate(heads, 1)]
    return any(a < c < b < d for (a, b), (c, d) in itertools.permutations(arcs, 2))


def lift(heads):
    heads, lifts = list(heads), 0
    while arcs := bad_arcs(heads):
        d = sorted(arcs, key=lambda d: (abs(heads[d - 1] - d), d))[0]
        heads[d - 1] = heads[heads[d - 1] - 1]
        lifts += 1
    return heads, lifts


def check(heads):
    """All functions against their definitions, on a tree."""
    bad = bad_arcs(heads)
    assert dependencies.nonprojective_arcs(heads) == len(bad)
    assert dependencies.is_projective(heads) == (not bad) == (not arcs_cross(heads))
    lifted, lifts = dependencies.projectivise(heads)
    assert (lifted.tolist(), lifts) == lift(heads)
    assert lifted.dtype == np.int32 and (lifts == 0) == (not bad)
    assert is_tree(lifted.tolist()) and not bad_arcs(lifted.tolist())
    for word, head in enumerate(lifted.tolist(), 1):
        assert head in ancestors(heads, word)


def test_all_small_heads():
    """What is a tree among all heads of up to 4 words, one out of range too."""
    count = 0
    for n in range(1, 5):
        for heads in itertools.product(range(-1, n + 2), repeat=n):
            if is_tree(heads):
                dependencies.check_tree(heads)
                count += 1
            else:
                with pytest.raises(DataError):
                    dependencies.check_tree(heads)
    assert count == 1 + 2 + 9 + 64  # n ** (n - 1), by Cayley


def test_all_small_trees():
    count = 0
    for n in range(1, 6):
        for heads in itertools.product(range(n + 1), repeat=n):
            if is_tree(heads):
                check(heads)
                count += n == 5
    assert count == 625


@st.composite
def trees(draw):
    order = draw(st.permutations(range(1, draw(st.integers(1, 14)) + 1)))
    heads = [0] * len(order)
    for place, word in enumerate(order[1:], 1):
        heads[word - 1] = order[draw(st.integers(0, place - 1))]
    return heads


@hypothesis.given(trees())
def test_larger_trees(heads):
    check(heads)


@pytest.mark.parametrize(
    ("heads", "message", "value"),
    [
        ([], "there are no words", None),
        ([2, 0, 5], r"the head of word 3 is 5, not in 0\.\.3", 5),
        ([-1, 0], r"the head of word 1 is -1, not in 0\.\.2", -1),
        ([0, 2], "word 2 is its own head", 2),
        ([2, 1], "no word is the root", [2, 1]),
        ([0, 1, 0, 0], "3 roots, words 1 and 3 among them", 3),
        ([0, 1, 4, 5, 3], "a cycle goes through word 3", 3),
        ([0, 3, 4, 3], "a cycle goes through word 3", 3),  # word 2 leads to it
    ],
)
def test_what_is_no_tree(heads, message, value):
    for function in (
        dependencies.check_tree,
        dependencies.is_projective,
        dependencies.nonprojective_arcs,
        dependencies.projectivise,
    ):
        with pytest.raises(DataError, match=message) as caught:
            function(heads)
        assert caught.value.value == value


@pytest.mark.parametrize("heads", [[0.0], [[0]], 0, ["0"], [True, False], [2**70]])
def test_what_are_no_heads(heads):
    with pytest.raises(ValueError, match=r"heads must be integers \[n\]") as caught:
        dependencies.check_tree(heads)
    assert not isinstance(caught.value, DataError)


def test_integers_of_any_kind_which_stay_as_they_are():
    for dtype in (np.uint8, np.int32, np.int64):
        heads = np.array([3, 4, 0, 3], dtype)
        lifted, lifts = dependencies.projectivise(heads)
        assert lifted.tolist() == [3, 3, 0, 3] and lifts == 1
        assert heads.tolist() == [3, 4, 0, 3]


def test_phrases():
    """The old man (who sat there) saw , and left ."""
    words = "The old man who sat there saw , and left .".split()
    heads = [3, 3, 7, 5, 3, 5, 0, 10, 10, 7, 7]
    relations = "det amod nsubj nsubj acl:relcl advmod root punct cc conj punct".split()
    found = [" ".join(words[i:j]) for i, j in dependencies.phrases(heads, relations)]
    assert found == ["The old man who sat there", "who sat there"]
    # What has a gap is no phrase, nor is the whole sentence.
    assert dependencies.phrases([0, 4, 1, 1], ["root", "det", "advmod", "obj"]) == []
    assert dependencies.phrases([2, 0], ["nsubj", "root"]) == []
    with pytest.raises(DataError, match="cycle"):
        dependencies.phrases([2, 1, 0], ["obj"] * 3)
    with pytest.raises(ValueError):
        dependencies.phrases([2, 0], ["nsubj"])


def test_long_sentences_take_linear_time():
    n = 50_000
    for heads in (np.arange(n), np.append(np.arange(2, n + 1), 0), [2, 0] + [2] * (n - 2)):
        dependencies.check_tree(heads)
        assert dependencies.projectivise(heads)[1] == 0
    ring = np.append(0, np.roll(np.arange(2, n + 1), 1))
    with pytest.raises(DataError, match="a cycle goes through word 2"):
        dependencies.check_tree(ring)


@needs_ewt
@pytest.mark.parametrize(
    ("split", "trees", "arcs", "lifts"),
    [("train", 288, 354, 392), ("dev", 31, 36, 38), ("test", 26, 27, 29)],
)
def test_ud_ewt(split, trees, arcs, lifts):
    counts = np.zeros(3, int)
    for sentence in ewt(split):
        lifted = dependencies.projectivise(sentence.heads)[1]
        bad = dependencies.nonprojective_arcs(sentence.heads)
        counts += not dependencies.is_projective(sentence.heads), bad, lifted
    assert counts.tolist() == [trees, arcs, lifts]


# Scores.


def test_scores_by_hand():
    gold = [
        ([2, 0, 2, 2], ["nsubj", "root", "obj", "punct"]),
        (np.array([2, 3, 0]), ("det:x", "compound", "root")),
    ]
    guess = [
        ([2, 0, 1, 1], ["nsubj:pass", "root", "obj", "punct"]),  # 2 of 4 heads and relations
        ([2, 3, 0], ["det", "case:y", "unknown"]),  # 3 heads, 1 relation; no content word
    ]
    scores = attachment_scores(gold, guess)
    assert scores == AttachmentScores(
        words=7,
        correct_heads=5,
        correct=3,
        content_gold=5,
        content_predicted=3,
        content_correct=2,
    )
    assert (scores.uas, scores.las, scores.clas) == (5 / 7, 3 / 7, 4 / 8)
    lines = scores.table().splitlines()
    assert [line.split() for line in lines] == [
        ["score", "%", "correct", "gold", "predicted"],
        ["UAS", "71.43", "5", "7", "7"],
        ["LAS", "42.86", "3", "7", "7"],
        ["CLAS", "50.00", "2", "5", "3"],
    ]
    assert len({len(line) for line in lines}) == 1
    perfect = attachment_scores(gold, gold)
    assert perfect.uas == perfect.las == perfect.clas == 1
    assert len({len(line) for line in perfect.table().splitlines()}) == 1


def test_scores_of_nothing():
    for pairs in ([], [([], [])]):
        scores = attachment_scores(pairs, pairs)
        assert scores == AttachmentScores(0, 0, 0, 0, 0, 0)
        assert scores.uas == scores.las == scores.clas == 0


def sentence_of(*forms: str) -> ConlluSentence:
    rows = [(str(i), form, *"____", str(i - 1), "dep", "_", "_") for i, form in enumerate(forms, 1)]
    return ConlluSentence((), tuple(rows))


def test_sentences_and_pairs():
    sentence = sentence_of("a", "b")
    pair = ([0, 1], ["dep", "x"])
    one = attachment_scores([sentence], [pair])
    assert one == attachment_scores([pair], [sentence])._replace(
        content_gold=2, content_predicted=1
    )
    assert one.correct_heads == 2 and one.correct == 1
    assert attachment_scores([pair], [([2, 2], pair[1])]).uas == 0  # parses need be no trees
    with pytest.raises(DataError, match=r"sentence 1 .from 0.: word 2 is 'c', but 'b' in gold"):
        attachment_scores([sentence, sentence], [sentence, sentence_of("a", "c")])


@pytest.mark.parametrize(
    ("guess", "error", "message"),
    [
        ([], ValueError, "1 gold sentences, but 0 predicted"),
        ([([0], ["x"])], ValueError, r"sentence 0 .from 0.: 2 gold words, but 1 predicted"),
        ([([0, 1], ["x"])], ValueError, r"sentence 0 .from 0.: 2 heads, but 1 relations"),
        ([([0, 3], ["x", "x"])], DataError, r"sentence 0 .from 0.: the head of word 2 is 3"),
        ([([0, -1], ["x", "x"])], DataError, r"sentence 0 .from 0.: the head of word 2 is -1"),
        ([([0.0, 1.0], ["x", "x"])], ValueError, r"sentence 0 .from 0.: heads must be integers"),
        ([([0, 1], "xx")], TypeError, "not one string"),
    ],
)
def test_what_cannot_be_compared(guess, error, message):
    with pytest.raises(error, match=message) as caught:
        attachment_scores([sentence_of("a", "b")], guess)
    assert type(caught.value) is error


def corrupted(sentence: ConlluSentence, chance: random.Random, labels: list[str]) -> ConlluSentence:
    """Some words hung elsewhere, where that leaves a tree, and some relations replaced."""
    heads, relations = sentence.heads.tolist(), list(sentence.relations)
    for word in range(1, len(heads) + 1):
        if chance.random() < 0.2 and heads[word - 1]:
            moved = heads.copy()
            moved[word - 1] = chance.randint(1, len(heads))
            heads = moved if is_tree(moved) else heads
        if chance.random() < 0.2:
            relations[word - 1] = chance.choice(labels)
    return sentence.with_tree(heads, relations)


OFFICIAL = """
import json, sys
from udtools import udeval
gold, guess = map(udeval.load_conllu_file, sys.argv[1:])
scores = udeval.evaluate(gold, guess)
names = ["UAS", "LAS", "CLAS"]
print(json.dumps([[scores[n].correct, scores[n].gold_total, scores[n].system_total, scores[n].f1]
                  for n in names]))
"""


@needs_ewt
@pytest.mark.skipif(
    not UDTOOLS, reason="RNTN_JAX_UDTOOLS_PYTHON names no Python that has the package udtools"
)
def test_scores_are_the_official_ones(tmp_path: Path):
    """Equal counts and scores on the development set of EWT, a seventh of its heads and a fifth of
    its relations replaced.

    The official script is that of udtools (0.2.9 when this was written), the one of CoNLL 2018 with
    enhanced dependencies added; it reads the files that `write_conllu` wrote.
    """
    gold, chance = ewt("dev"), random.Random(0)
    labels = sorted({relation for sentence in gold for relation in sentence.relations})
    labels += ["nonsense", "punct:x"]
    guess = [corrupted(sentence, chance, labels) for sentence in gold]
    paths = [tmp_path / "gold.conllu", tmp_path / "guess.conllu"]
    for path, sentences in zip(paths, (gold, guess)):
        write_conllu(path, sentences)
    run = subprocess.run(
        [str(UDTOOLS), "-c", OFFICIAL, *map(str, paths)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    scores = attachment_scores(gold, guess)
    assert json.loads(run.stdout) == [
        [scores.correct_heads, scores.words, scores.words, scores.uas],
        [scores.correct, scores.words, scores.words, scores.las],
        [scores.content_correct, scores.content_gold, scores.content_predicted, scores.clas],
    ]
    assert 0.6 < scores.las < scores.uas < 0.9
