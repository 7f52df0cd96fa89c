"""The text of a treebank, and scores of its analysis."""

from __future__ import annotations

import pytest

from rntn_jax import data
from rntn_jax.data import DataError, TextToken, demo_dependencies, text_scores, treebank_text


def sentence(*rows: str, comments: tuple[str, ...] = ()) -> data.ConlluSentence:
    return data.ConlluSentence(comments, tuple(tuple(row.split()) for row in rows))


def test_text_follows_blanks_and_paragraphs():
    one = sentence(
        "1-2 don't _ _ _ _ _ _ _ SpaceAfter=No",
        "1 do _ AUX _ _ 0 root _ _",
        "2 n't _ PART _ _ 1 advmod _ _",
        "2.1 ghost _ X _ _ _ _ 1:dep _",
        "3 ! _ PUNCT _ _ 1 punct _ Typo=Yes|SpaceAfter=No",
    )
    two = sentence("1 No _ X _ _ 0 root _ _", comments=("# newpar id = p2", "# text = No"))
    three = sentence("1 Yes _ X _ _ 0 root _ _", comments=("# newpars",))
    text, found = treebank_text([one, two, three])
    assert text == "don't!\n\nNo Yes"
    assert found[0] == [TextToken(0, 5, ("do", "n't")), TextToken(5, 6, ("!",))]
    assert [text[t.begin : t.end] for t in found[1] + found[2]] == ["No", "Yes"]


def analysis(sentences, changed: bool):
    """A treebank with tokens of several words; changed: other tokens, words, sentences, trees.

    What is changed depends on places only.
    """
    found, rows, k, at = [], [], 0, 0

    def add(form, words, glued, tags):
        nonlocal k
        misc = "SpaceAfter=No" if glued else "_"
        if len(words) > 1:
            rows.append((f"{k + 1}-{k + len(words)}", form, *"_______", misc))
            misc = "_"
        for word in words:
            k += 1
            head, relation = (k - 1, tags[2]) if k > 1 else (0, "root")
            if k > 2 and at % (5 if changed else 7) == 0:
                head = 1
            rows.append((str(k), word, "_", tags[0], "_", tags[1], str(head), relation, "_", misc))

    for number, own in enumerate(sentences):
        for form, upos, relation in zip(own.forms, own.upos, own.relations):
            at += 1
            relation = f"{relation}:sub" if at % 3 else relation
            relation = "dep" if relation.startswith("root") else relation
            feats = "Case=Nom|Own=Yes" if at % 4 == 0 else "_"
            words, kind = [form], at % 6 if len(form) > 2 else 6
            if kind == 0:  # of two words
                words = [form[:-1], form[-1:]]
            if kind == 1:  # of three, which are not the token
                words = [form[:1], "x", form[1:]]
            glued = at % 11 == 0
            if changed:
                upos = "X" if at % 13 == 0 else upos
                feats = "Case=Acc" if at % 8 == 0 else "Own=No" if at % 9 == 0 else feats
                relation = "obj" if at % 10 == 0 else relation.split(":")[0]
                if kind == 0 and at % 4 == 0:
                    words = [form]
                if kind == 1 and at % 5 == 0:
                    words = [form[:1], form[1:]]
                if kind == 2 and at % 7 == 0:
                    words = [form[:2], form[2:]]
                if kind == 4 and at % 8 == 0:
                    add(form[:2], [form[:2]], True, (upos, feats, relation))
                    form, words = form[2:], [form[2:]]
            add(form, words, glued, (upos, feats, relation))
        if not (changed and number % 5 == 0):
            found.append(data.ConlluSentence((), tuple(rows)))
            rows, k = [], 0
    return found + ([data.ConlluSentence((), tuple(rows))] if rows else [])


def test_scores_are_those_of_the_official_script():
    # Of udeval of udtools 0.2.9, with --counts, on the same two files.
    sentences = demo_dependencies.sentences(40, seed=5)
    scores = text_scores(analysis(sentences, False), analysis(sentences, True))
    assert {n: (s.correct, s.gold, s.predicted) for n, s in scores._asdict().items()} == {
        "tokens": (420, 437, 454),
        "words": (512, 604, 589),
        "sentences": (24, 40, 32),
        "upos": (469, 604, 589),
        "ufeats": (491, 604, 589),
        "uas": (348, 604, 589),
        "las": (343, 604, 589),
    }


def test_perfect_and_empty_handed():
    gold = demo_dependencies.sentences(5)
    scores = text_scores(gold, gold)
    assert all(score.f1 == 1 for score in scores) and "LAS" in scores.table()
    assert data.text_scores([], []).las.f1 == 0


def test_the_root_is_no_word():
    # The head of "b" is the root in gold, and a word without a counterpart in the answer.
    gold = sentence("1 ab _ X _ _ 2 dep _ _", "2 c _ X _ _ 0 root _ _")
    answer = sentence(
        "1 a _ X _ _ 0 root _ SpaceAfter=No", "2 b _ X _ _ 1 dep _ _", "3 c _ X _ _ 2 dep _ _"
    )
    scores = text_scores([gold], [answer])
    assert (scores.words.correct, scores.uas.correct) == (1, 0)


def test_texts_that_differ_are_refused():
    gold, answer = sentence("1 abc _ X _ _ 0 root _ _"), sentence("1 abd _ X _ _ 0 root _ _")
    with pytest.raises(DataError, match="after 2 characters"):
        text_scores([gold], [answer])
    with pytest.raises(DataError, match="after 3 characters"):
        text_scores([gold], [sentence("1 abcd _ X _ _ 0 root _ _")])
