"""The embedded tagged sentences: exact quantities against enumeration, and how hard they are."""

from __future__ import annotations

import collections
import hashlib
import itertools
import math

import numpy as np
import pytest

from rntn_jax.data import chunks, demo_tags
from rntn_jax.data.demo_tags import EMISSIONS, END, LABELS, POS, START, TRANSITIONS, WORDS

SPLITS = demo_tags.splits()


def joint(rows, labels, use_pos):
    """p(words, parts of speech, labels), one factor after another."""
    chance, before = 1.0, None
    for (word, pos, *_), label in zip(rows, labels):
        i = LABELS.index(label)
        emitted = EMISSIONS[i, WORDS.index(word)]
        chance *= START[i] if before is None else TRANSITIONS[before, i]
        chance *= emitted[POS.index(pos)] if use_pos else emitted.sum()
        before = i
    return chance * END[before]


def enumerated(rows, use_pos):
    """Every labelling of a sentence with its joint probability."""
    labellings = itertools.product(LABELS, repeat=len(rows))
    return {labels: joint(rows, labels, use_pos) for labels in labellings}


SHORT = [[("again", "RB", "O")], [("the", "DT", "B-NP"), ("light", "NN", "I-NP"), (".", ".", "O")]]
SHORT += [[("it", "PRP", "B-NP"), ("after", "IN", "O")]]  # O only because the sentence ends
SHORT += [rows for rows in SPLITS["train"] if len(rows) == 5][:3]


@pytest.mark.parametrize("use_pos", [True, False])
@pytest.mark.parametrize("rows", SHORT)
def test_exact_quantities_are_those_of_enumeration(rows, use_pos):
    chances = enumerated(rows, use_pos)
    total = sum(chances.values())
    tags = tuple(tag for _, _, tag in rows)
    expected = np.zeros((len(rows), len(LABELS)))
    for labels, chance in chances.items():
        for t, label in enumerate(labels):
            expected[t, LABELS.index(label)] += chance / total
    np.testing.assert_allclose(
        demo_tags.marginals(rows, use_pos=use_pos), expected, rtol=1e-12, atol=1e-15
    )
    assert demo_tags.log_posterior(rows, use_pos=use_pos) == pytest.approx(
        math.log(chances[tags] / total), rel=1e-12, abs=1e-12
    )
    path = tuple(demo_tags.best_path(rows, use_pos=use_pos))
    assert chances[path] == pytest.approx(max(chances.values()), rel=1e-12)
    best = demo_tags.best_tags(rows, use_pos=use_pos)
    assert [LABELS.index(tag) for tag in best] == expected.argmax(1).tolist()


def test_the_probabilities_of_all_tags_add_up_to_one():
    rows = SHORT[1]
    total = sum(
        math.exp(demo_tags.log_posterior([(*row[:2], tag) for row, tag in zip(rows, tags)]))
        for tags in itertools.product(LABELS, repeat=3)
    )
    assert total == pytest.approx(1, abs=1e-12)


def test_the_tables_are_distributions_and_allow_what_bio_allows():
    assert pytest.approx(1, abs=1e-12) == START.sum()
    np.testing.assert_allclose(TRANSITIONS.sum(1) + END, 1, atol=1e-12)
    np.testing.assert_allclose(EMISSIONS.sum((1, 2)), 1, atol=1e-12)
    assert not np.any(TRANSITIONS[~chunks.allowed_transitions(LABELS)])
    assert not np.any(START[~chunks.allowed_start(LABELS)])
    assert np.all(EMISSIONS.sum((0, 2)) > 0) and np.all(EMISSIONS.sum((0, 1)) > 0)
    assert 60 <= len(WORDS) <= 100
    for table in (START, TRANSITIONS, END, EMISSIONS):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0


def test_sentences_are_of_the_chain():
    assert {name: len(rows) for name, rows in SPLITS.items()} == {
        "train": 1000,
        "dev": 200,
        "test": 200,
    }
    for rows in itertools.chain.from_iterable(SPLITS.values()):
        assert 5 <= len(rows) <= 20
        assert demo_tags.log_posterior(rows) > -math.inf
        chunks.validate([tag for _, _, tag in rows])
        chunks.validate(demo_tags.best_path(rows))


def test_sentences_are_a_function_of_the_seed():
    assert demo_tags.splits() == SPLITS
    small = demo_tags.splits(3, 2, 0)
    assert small == {"train": SPLITS["train"][:3], "dev": SPLITS["dev"][:2], "test": []}
    assert demo_tags.splits(3, 2, 0, seed=1) != small
    digest = hashlib.sha256(repr(SPLITS["test"][:20]).encode()).hexdigest()
    assert digest[:16] == "dc7ccf8a7564ef15"


def test_words_and_lengths_and_transitions_come_as_often_as_they_should():
    train = SPLITS["train"]
    emitted = collections.Counter(itertools.chain.from_iterable(train))
    tags = collections.Counter(row[2] for rows in train for row in rows)
    for word, pos, tag in (("the", "DT", "B-NP"), ("is", "MD", "B-VP"), (".", ".", "O")):
        chance = EMISSIONS[LABELS.index(tag), WORDS.index(word), POS.index(pos)]
        spread = 4 * math.sqrt(chance * (1 - chance) / tags[tag])
        assert emitted[word, pos, tag] / tags[tag] == pytest.approx(chance, abs=spread)
    # Of all sentences the chain would end, those of 5 to 20 tokens are kept.
    power = [np.linalg.matrix_power(TRANSITIONS, n) for n in range(20)]
    lengths = np.array([START @ power[n - 1] @ END for n in range(5, 21)])
    drawn = np.bincount([len(rows) for rows in train], minlength=21)[5:] / len(train)
    np.testing.assert_allclose(drawn, lengths / lengths.sum(), atol=0.035)
    pairs = np.zeros(TRANSITIONS.shape)
    for rows in train:
        for one, two in itertools.pairwise(rows):
            pairs[LABELS.index(one[2]), LABELS.index(two[2])] += 1 / len(train)
    expected = sum(
        np.outer(START @ power[t], power[n - 2 - t] @ END)
        for n in range(5, 21)
        for t in range(n - 1)
    )
    np.testing.assert_allclose(pairs, expected * TRANSITIONS / lengths.sum(), atol=0.12)


def usual_tags(key):
    """Accuracy on test of the most frequent tag, in train, of what `key` takes from a row."""
    counts = collections.defaultdict(collections.Counter)
    for row in itertools.chain.from_iterable(SPLITS["train"]):
        counts[key(row)][row[2]] += 1
    usual = {seen: found.most_common(1)[0][0] for seen, found in counts.items()}
    rows = list(itertools.chain.from_iterable(SPLITS["test"]))
    return sum(usual.get(key(row)) == row[2] for row in rows) / len(rows)


def test_context_matters_and_the_best_is_not_perfect():
    best = demo_tags.best_accuracy(SPLITS["test"])
    words_only = demo_tags.best_accuracy(SPLITS["test"], use_pos=False)
    assert 0.9 <= best.accuracy <= 0.96
    assert words_only.accuracy < best.accuracy - 0.02 and words_only.nats > best.nats
    assert usual_tags(lambda row: row[0]) < words_only.accuracy - 0.08
    assert usual_tags(lambda row: row[:2]) < best.accuracy - 0.08


def test_the_probabilities_are_calibrated():
    """Accuracy and nats are what the model itself expects of them."""
    sentences = SPLITS["train"]
    expected = np.concatenate([demo_tags.marginals(rows).max(1) for rows in sentences])
    best = demo_tags.best_accuracy(sentences)
    assert best.accuracy == pytest.approx(expected.mean(), abs=0.008)
    assert best.accuracy >= np.mean(
        [tag == row[2] for rows in sentences for tag, row in zip(demo_tags.best_path(rows), rows)]
    )


def test_long_sentences_do_not_underflow():
    rows = [row for sentence in SPLITS["train"][:300] for row in sentence]
    chances = demo_tags.marginals(rows)
    assert len(rows) > 3000 and np.allclose(chances.sum(1), 1)
    assert math.isfinite(demo_tags.log_posterior(rows))
    chunks.validate(demo_tags.best_path(rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the sentence is empty"),
        ([("the", "DT", "B-NP"), ("cat", "NN", "I-NP")], "word 'cat' at token 1"),
        ([("the", "XX", "B-NP")], "part of speech 'XX' at token 0"),
        ([("the", "DT", "B-ADJP"), (".", ".", "O")], "tag 'B-ADJP' at token 0"),
        ([("the", "MD", "B-NP")], "cannot produce the sentence up to token 0"),
        ([("the", "DT", "B-NP")], "cannot end the sentence"),
    ],
)
def test_wrong_sentences_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        demo_tags.best_accuracy([rows])


def test_other_wrong_arguments():
    for arguments in ({"num_train": -1}, {"num_test": -2}, {"seed": -1}):
        with pytest.raises(ValueError, match="negative"):
            demo_tags.splits(**arguments)
    with pytest.raises(ValueError, match="no sentences"):
        demo_tags.best_accuracy([])


def test_tags_that_the_chain_cannot_produce():
    rows = [("the", "DT", "O"), ("light", "NN", "I-NP"), (".", ".", "O")]
    assert demo_tags.log_posterior(rows) == -math.inf
    assert demo_tags.best_accuracy([rows]).nats == math.inf
