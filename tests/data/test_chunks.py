"""Chunks: those of conlleval, the schemes, constraints and scores."""

from __future__ import annotations

import itertools
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rntn_jax.data import DataError, chunks, corpora, read_columns
from rntn_jax.data.chunks import Chunk, Counts

SHARED = Path(__file__).parents[3] / "shared" / "data"
SCHEMES = ("bio", "iob1", "bioes", "bilou", "bmewo", "bmes")
LETTERS = {"bioes": "BIES", "bilou": "BILU", "bmewo": "BMEW", "bmes": "BMES"}
BIO = ("O", "B-X", "I-X", "B-Y", "I-Y")
BIOES = (*BIO, "E-X", "S-X", "E-Y", "S-Y")
ALPHABETS: dict[str, tuple[str, ...]] = {"bio": BIO, "iob1": BIO}
for _scheme, _letters in LETTERS.items():
    ALPHABETS[_scheme] = ("O", *(f"{letter}-{kind}" for kind in "XY" for letter in _letters))

any_tags = st.lists(st.sampled_from(BIOES), max_size=8)
bio_tags = st.lists(st.sampled_from(BIO), max_size=8)


def tags_of(found, length, scheme):
    """The tags of chunks, written down from the definition of each scheme."""
    tags = ["O"] * length
    for chunk in found:
        for place in range(chunk.start, chunk.end):
            first, last = place == chunk.start, place == chunk.end - 1
            after_same = any(c.type == chunk.type and c.end == chunk.start for c in found)
            if scheme == "bio":
                letter = "B" if first else "I"
            elif scheme == "iob1":
                letter = "B" if first and after_same else "I"
            else:
                begin, inside, end, single = LETTERS[scheme]
                letter = {(True, True): single, (True, False): begin, (False, True): end}.get(
                    (first, last), inside
                )
            tags[place] = f"{letter}-{chunk.type}"
    return tags


@st.composite
def chunkings(draw):
    """Chunks that do not overlap, and the length of their sentence."""
    found, place = [], 0
    for gap, length, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("XY")), max_size=4)
    ):
        found.append(Chunk(kind, place + gap, place + gap + length))
        place += gap + length
    return found, place + draw(st.integers(0, 2))


# conlleval by its own rules, independently: two questions are asked between each two tokens, the
# ends of the sentence counting as O, and a chunk is counted as right when it began and ends at the
# same places in both columns with no disagreement in between.


def ends(before, now):
    """Whether a chunk ends between the two tags."""
    (p, p_type), (q, q_type) = before, now
    pairs = {"BB", "BO", "IB", "IO", "EE", "EI", "EO"}
    return p + q in pairs or (p != "O" and p_type != q_type)


def begins(before, now):
    """Whether a chunk begins between the two tags."""
    (p, p_type), (q, q_type) = before, now
    pairs = {"BB", "IB", "OB", "OI", "EE", "EI", "OE"}
    return p + q in pairs or (q != "O" and p_type != q_type)


def cut(tag):
    return (tag[0], tag[2:])


def conlleval_chunks(tags):
    found, start = [], 0
    cuts = [cut(tag) for tag in ["O", *tags, "O"]]
    for place, (before, now) in enumerate(itertools.pairwise(cuts)):
        if ends(before, now):
            found.append(Chunk(before[1], start, place))
        if begins(before, now):
            start = place
    return found


def conlleval_counts(gold, predicted):
    """The running counts of the script: gold, predicted and correct chunks, and right tokens."""
    counts, inside, right = [0, 0, 0], False, 0
    old_g = old_p = cut("O")
    for tags in zip(gold, predicted):
        for g, p in [*zip(*tags), ("O", "O")]:
            g, p = cut(g), cut(p)
            if inside:
                g_ends, p_ends = ends(old_g, g), ends(old_p, p)
                if g_ends and p_ends and old_g[1] == old_p[1]:
                    inside, counts[2] = False, counts[2] + 1
                elif g_ends != p_ends or g[1] != p[1]:
                    inside = False
            g_begins, p_begins = begins(old_g, g), begins(old_p, p)
            inside = inside or (g_begins and p_begins and g[1] == p[1])
            counts[0] += g_begins
            counts[1] += p_begins
            right += g == p
            old_g, old_p = g, p
        right -= 1  # the O after the sentence
    return Counts(*counts), right


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-X I-X O", [("X", 0, 2)]),
        ("B-X B-X I-X", [("X", 0, 1), ("X", 1, 3)]),
        ("I-X I-X B-X", [("X", 0, 2), ("X", 2, 3)]),  # IOB1
        ("O I-X I-X", [("X", 1, 3)]),
        ("B-X I-Y I-Y B-Y", [("X", 0, 1), ("Y", 1, 3), ("Y", 3, 4)]),
        ("B-X I-X E-X S-X S-X", [("X", 0, 3), ("X", 3, 4), ("X", 4, 5)]),  # BIOES
        ("B-X E-X E-X I-X", [("X", 0, 2), ("X", 2, 3), ("X", 3, 4)]),
        ("S-X I-X", [("X", 0, 1), ("X", 1, 2)]),
        ("B-X E-X B-X", [("X", 0, 2), ("X", 2, 3)]),
        ("B-X I-X L-X U-X U-Y", [("X", 0, 3), ("X", 3, 4), ("Y", 4, 5)]),  # BILOU
        ("B-X M-X E-X W-X", [("X", 0, 3), ("X", 3, 4)]),  # BMEWO
        ("B M E S S", [("", 0, 3), ("", 3, 4), ("", 4, 5)]),  # BMES, words of Chinese
        ("B I O B", [("", 0, 2), ("", 3, 4)]),  # no types
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
    ],
)
def test_chunks_by_hand(tags, expected):
    assert chunks.chunks(tags.split()) == [Chunk(*e) for e in expected]


@hypothesis.given(st.lists(st.sampled_from([tag for tag in BIOES if tag[0] != "S"]), max_size=8))
def test_chunks_are_those_of_conlleval(tags):
    """But for the two cases that the docstring names: S, and B after E."""
    hypothesis.assume(not any(p[0] + q[0] == "EB" for p, q in itertools.pairwise(tags)))
    assert chunks.chunks(tags) == conlleval_chunks(tags)


def test_all_short_sequences_of_bio_are_those_of_conlleval():
    for length in range(6):
        for tags in itertools.product(BIO, repeat=length):
            assert chunks.chunks(tags) == conlleval_chunks(tags)


@hypothesis.given(any_tags)
def test_chunks_cover_the_tags_and_never_overlap(tags):
    found = chunks.chunks(tags)
    assert all(c.start < c.end for c in found)
    assert all(one.end <= two.start for one, two in itertools.pairwise(found))
    covered = {place: c.type for c in found for place in range(c.start, c.end)}
    assert covered == {place: tag[2:] for place, tag in enumerate(tags) if tag != "O"}


@hypothesis.given(chunkings(), st.sampled_from(SCHEMES), st.sampled_from(SCHEMES))
def test_conversions(chunking, source, target):
    found, length = chunking
    tags = tags_of(found, length, source)
    chunks.validate(tags, source)
    assert chunks.chunks(tags) == found
    converted = chunks.convert(tags, source, target)
    assert converted == tags_of(found, length, target)
    assert chunks.convert(converted, target, source) == tags


@pytest.mark.parametrize("scheme", SCHEMES)
def test_valid_is_what_the_chunks_would_be_written_as(scheme):
    for length in range(5):
        for tags in itertools.product(ALPHABETS[scheme], repeat=length):
            try:
                chunks.validate(tags, scheme)
                valid = True
            except DataError:
                valid = False
            assert valid == (tags_of(chunks.chunks(tags), length, scheme) == list(tags)), tags


@pytest.mark.parametrize("scheme", SCHEMES)
def test_constraints_are_validation(scheme):
    labels = ALPHABETS[scheme]
    follows = chunks.allowed_transitions(labels, scheme)
    start, end = chunks.allowed_start(labels, scheme), chunks.allowed_end(labels, scheme)
    assert follows.dtype == start.dtype == end.dtype == np.bool_
    assert follows.shape == (len(labels), len(labels))

    def valid(*tags):
        try:
            chunks.validate(tags, scheme)
        except DataError:
            return False
        return True

    for i, one in enumerate(labels):
        assert valid(one) == (start[i] and end[i])
        for j, two in enumerate(labels):
            assert valid(one, two) == (start[i] and follows[i, j] and end[j])
            for k, three in enumerate(labels):
                legal = start[i] and follows[i, j] and follows[j, k] and end[k]
                assert valid(one, two, three) == legal


def test_constraints_without_labels_and_without_types():
    assert chunks.allowed_transitions([]).shape == (0, 0)
    assert chunks.allowed_start([]).dtype == np.bool_
    assert chunks.allowed_transitions(["O", "B", "I"]).tolist() == [
        [True, True, False],
        [True, True, True],
        [True, True, True],
    ]
    assert chunks.convert(["B", "I", "B"], "bio", "iob1") == ["I", "I", "B"]


@pytest.mark.parametrize(
    ("tags", "scheme", "message", "value"),
    [
        ("I-X", "bio", "'I-X' at position 0 cannot begin a sentence in bio", "I-X"),
        ("O O I-X", "bio", "'I-X' at position 2 cannot follow 'O' in bio", "I-X"),
        ("B-X I-Y", "bio", "'I-Y' at position 1 cannot follow 'B-X' in bio", "I-Y"),
        ("I-X O B-X", "iob1", "'B-X' at position 2 cannot follow 'O' in iob1", "B-X"),
        ("I-X B-Y", "iob1", "'B-Y' at position 1 cannot follow 'I-X' in iob1", "B-Y"),
        ("I O B", "iob1", "'B' at position 2 cannot follow 'O' in iob1", "B"),
        ("S-X B-X", "bioes", "'B-X' at position 1 cannot end a sentence in bioes", "B-X"),
        ("B-X O", "bioes", "'O' at position 1 cannot follow 'B-X' in bioes", "O"),
        ("O E-X", "bio", "'E-X' at position 1 is no bio tag", "E-X"),
        ("B-X E-X", "bilou", "'E-X' at position 1 is no bilou tag", "E-X"),
        ("U-X L-X", "bilou", "'L-X' at position 1 cannot follow 'U-X' in bilou", "L-X"),
        ("B-X S-X", "bmewo", "'S-X' at position 1 is no bmewo tag", "S-X"),
    ],
)
def test_malformed_tags_are_named(tags, scheme, message, value):
    for refuse in (chunks.validate, lambda tags, scheme: chunks.convert(tags, scheme, "bio")):
        with pytest.raises(DataError, match=message) as caught:
            refuse(tags.split(), scheme)
        assert caught.value.value == value


@pytest.mark.parametrize("tag", ["", "X-NP", "NP", "B-", "BI-X", "O-X", "-B", "b-X", "O-", "<pad>"])
def test_what_is_no_tag(tag):
    for refuse in (chunks.chunks, chunks.validate, chunks.allowed_start):
        with pytest.raises(DataError, match="at position 1 is no") as caught:
            refuse(["O", tag])
        assert caught.value.value == tag
    with pytest.raises(DataError, match=r"sentence 1 .from 0.: .*at position 0"):
        chunks.evaluate([["O"], ["O"]], [["O"], [tag]])


def test_wrong_arguments():
    for call in (chunks.chunks, chunks.validate, chunks.allowed_end):
        with pytest.raises(TypeError, match="one string"):
            call("B-NP")
    for call in (
        lambda: chunks.validate(["O"], "iob"),
        lambda: chunks.convert(["O"], "bio", "iob"),
        lambda: chunks.allowed_transitions(["O"], "iob"),
    ):
        with pytest.raises(
            ValueError, match="one of bio, iob1, bioes, bilou, bmewo, bmes, got 'iob'"
        ):
            call()


# Scores.


def test_scores_by_hand():
    gold = [["B-X", "I-X", "O", "B-Y"], ["B-X", "O"]]
    guess = [["B-X", "I-X", "O", "B-X"], ["I-X", "B-X"]]
    scores = chunks.evaluate(gold, guess)
    assert scores.overall == Counts(gold=3, predicted=4, correct=2)
    assert scores.by_type == {"X": Counts(2, 4, 2), "Y": Counts(1, 0, 0)}
    assert (scores.tokens, scores.correct_tokens, scores.accuracy) == (6, 3, 0.5)
    assert scores.overall.precision == 0.5 and scores.overall.recall == 2 / 3
    assert scores.overall.f1 == pytest.approx(4 / 7)
    y = scores.by_type["Y"]
    assert y.precision == y.recall == y.f1 == 0
    lines = chunks.table(scores).splitlines()
    assert lines[1].split() == ["X", "50.00", "100.00", "66.67", "2", "4"]
    assert lines[3].split() == ["all", "50.00", "66.67", "57.14", "3", "4"]
    assert len({len(line) for line in lines[:-1]}) == 1


def test_scores_of_nothing():
    for sentences in ([], [[]], [["O"]]):
        scores = chunks.evaluate(sentences, sentences)
        assert scores.overall == Counts(0, 0, 0) and scores.by_type == {}
        assert scores.overall.precision == scores.overall.recall == scores.overall.f1 == 0
        assert scores.accuracy == (sentences == [["O"]])
        assert "all" in chunks.table(scores)


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="2 gold sentences, but 1 predicted"):
        chunks.evaluate([["O"], ["O"]], [["O"]])
    with pytest.raises(ValueError, match=r"sentence 1 .from 0. has 1 gold and 2 predicted tags"):
        chunks.evaluate([["O"], ["O"]], [["O"], ["O", "O"]])


def pairs_of(tags):
    """Documents: gold and predicted tags of the same lengths."""
    pair = st.lists(st.tuples(tags, tags), max_size=8)
    return st.lists(pair, max_size=3).map(
        lambda rows: ([[g for g, _ in row] for row in rows], [[p for _, p in row] for row in rows])
    )


@hypothesis.given(pairs_of(st.sampled_from(BIO)))
def test_counts_are_those_of_conlleval(documents):
    scores = chunks.evaluate(*documents)
    assert (scores.overall, scores.correct_tokens) == conlleval_counts(*documents)
    for field in Counts._fields:
        total = sum(getattr(counts, field) for counts in scores.by_type.values())
        assert total == getattr(scores.overall, field)


def test_chunks_and_scores_are_those_of_seqeval():
    metrics = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")

    @hypothesis.given(pairs_of(st.sampled_from(BIOES)))
    def check(documents):
        for tags in documents[0]:
            theirs = metrics.sequence_labeling.get_entities(tags)
            assert chunks.chunks(tags) == [(kind, first, last + 1) for kind, first, last in theirs]
        scores = chunks.evaluate(*documents)
        if scores.overall.gold and scores.overall.predicted:  # else it warns
            assert metrics.f1_score(*documents) == pytest.approx(scores.overall.f1)
            assert metrics.precision_score(*documents) == pytest.approx(scores.overall.precision)
            assert metrics.recall_score(*documents) == pytest.approx(scores.overall.recall)
            assert metrics.accuracy_score(*documents) == pytest.approx(scores.accuracy)

    check()


@pytest.mark.skipif(not (SHARED / "conll2000").is_dir(), reason="no copy of CoNLL-2000 here")
def test_conll2000():
    """The published scores of the shared task's baseline."""
    paths = corpora.find("conll2000", SHARED)
    train, test = (read_columns(paths[split]) for split in ("train", "test"))
    tags = [[row[2] for row in rows] for rows in test]
    for sentence in tags:
        chunks.validate(sentence)
        assert chunks.convert(chunks.convert(sentence, "bio", "bioes"), "bioes", "bio") == sentence
    counts: dict[str, dict[str, int]] = {}
    for _, pos, tag in itertools.chain.from_iterable(train):
        of_pos = counts.setdefault(pos, {})
        of_pos[tag] = of_pos.get(tag, 0) + 1
    usual = {pos: max(found, key=found.__getitem__) for pos, found in counts.items()}
    scores = chunks.evaluate(tags, [[usual[row[1]] for row in rows] for rows in test])
    assert scores.overall.gold == 23_852
    # Tjong Kim Sang and Buchholz 2000, the baseline: the part of speech's most frequent tag.
    assert round(100 * scores.overall.precision, 2) == 72.58
    assert round(100 * scores.overall.recall, 2) == 82.14
    assert round(100 * scores.overall.f1, 2) == 77.07
