"""How well raw text was analysed: the F1 scores of the shared task of CoNLL 2018.

Gold and answer may differ in tokens, so everything is compared by its place in the text, blanks not
counted. Words of single tokens correspond when they stand in the same place. Where either side has
a token of several words, words of that stretch correspond as a longest common subsequence of their
lower-cased forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rntn_jax.data.conllu import ConlluSentence
from rntn_jax.data.counts import Counts
from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.treebank_text import TextToken, treebank_text

__all__ = ["SegmentationScores", "TextScores", "segmentation_scores", "text_scores"]

# The features that count.
_UNIVERSAL = frozenset(
    "PronType NumType Poss Reflex Foreign Abbr Gender Animacy Number Case Definite Degree VerbForm"
    " Mood Tense Aspect Voice Evident Polarity Person Polite".split()
)


class SegmentationScores(NamedTuple):
    """What `segmentation_scores` returns."""

    tokens: Counts
    words: Counts
    sentences: Counts


class TextScores(NamedTuple):
    """What `text_scores` returns."""

    tokens: Counts
    words: Counts
    sentences: Counts
    upos: Counts
    ufeats: Counts
    uas: Counts
    las: Counts

    def table(self) -> str:
        """The scores as a table to print, in percent."""
        names = "Tokens Words Sentences UPOS UFeats UAS LAS".split()
        lines = [f"{'score':9} {'F1':>7} {'precision':>10} {'recall':>7}"]
        for name, score in zip(names, self):
            values = 100 * score.f1, 100 * score.precision, 100 * score.recall
            lines.append(f"{name:9} {values[0]:7.2f} {values[1]:10.2f} {values[2]:7.2f}")
        return "\n".join(lines)


class _Word(NamedTuple):
    begin: int  # of its token, blanks not counted
    end: int
    form: str
    several: bool  # whether the token has other words


class _Side(NamedTuple):
    characters: str
    tokens: set[tuple[int, int]]
    sentences: set[tuple[int, int]]
    words: list[_Word]


def _side(sentences: Sequence[Sequence[TextToken]], text: str) -> _Side:
    characters: list[str] = []
    tokens, spans, words, at = set(), set(), [], 0
    for sentence in sentences:
        first = at
        for begin, end, forms in sentence:
            own = re.sub(r"\s", "", text[begin:end])
            characters.append(own)
            place = at, at + len(own)
            tokens.add(place)
            words += [_Word(*place, form.lower(), len(forms) > 1) for form in forms]
            at = place[1]
        spans.add((first, at))
    return _Side("".join(characters), tokens, spans, words)


def segmentation_scores(
    gold: Sequence[Sequence[TextToken]], predicted: Sequence[Sequence[TextToken]], text: str
) -> SegmentationScores:
    """F1 of tokens, words and sentences.

    Args:
        gold: tokens of each sentence, with their places.
        predicted: likewise.
        text: which both are of.

    Returns:
        Precision, recall and F1 of each.

    Raises:
        DataError: when the two do not cover the same characters.

    Example:
        >>> gold = [[TextToken(0, 2, ("It",)), TextToken(3, 5, ("is",))]]
        >>> answer = [[TextToken(0, 2, ("It",))], [TextToken(3, 5, ("is",))]]
        >>> scores = segmentation_scores(gold, answer, "It is")
        >>> scores.tokens.f1, scores.sentences.f1
        (1.0, 0.0)
    """
    return _segmentation(_side(gold, text), _side(predicted, text))[0]


def _segmentation(one: _Side, two: _Side) -> tuple[SegmentationScores, list[tuple[int, int]]]:
    if one.characters != two.characters:
        pairs = zip(one.characters, two.characters)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
        at = at or min(len(one.characters), len(two.characters))
        own, other = (shown(side.characters[at : at + 20]) for side in (one, two))
        raise DataError(
            f"gold and answer are not of one text: after {at} characters, blanks not counted, "
            f"gold goes on with {own}, the answer with {other}"
        )
    aligned = list(_aligned(one.words, two.words))
    sets = (one.tokens, two.tokens), (one.sentences, two.sentences)
    tokens, sentences = (Counts(len(a), len(b), len(a & b)) for a, b in sets)
    words = Counts(len(one.words), len(two.words), len(aligned))
    return SegmentationScores(tokens, words, sentences), aligned


def _aligned(gold: list[_Word], other: list[_Word]) -> Iterator[tuple[int, int]]:
    """Pairs of numbers of corresponding words, in order."""
    stretches: list[list[int]] = []
    for begin, end in sorted((w.begin, w.end) for side in (gold, other) for w in side if w.several):
        if stretches and begin < stretches[-1][1]:
            stretches[-1][1] = max(stretches[-1][1], end)
        else:
            stretches.append([begin, end])
    places = {(w.begin, w.end): k for k, w in enumerate(other) if not w.several}
    parts: list[list[list[int]]] = []  # of each side, the words within each stretch
    single = []  # gold words outside of them
    for side in (gold, other):
        own: list[list[int]] = [[] for _ in stretches]
        at = 0
        for number, word in enumerate(side):
            while at < len(stretches) and stretches[at][1] <= word.begin:
                at += 1
            inside = at < len(stretches) and stretches[at][0] <= word.begin
            if inside and word.end <= stretches[at][1]:
                own[at].append(number)
            elif side is gold:
                single.append(number)
        parts.append(own)
    for number in single:
        if (found := places.get((gold[number].begin, gold[number].end))) is not None:
            yield number, found
    for ours, theirs in zip(*parts):
        forms = [gold[i].form for i in ours], [other[j].form for j in theirs]
        for i, j in _common(*forms):
            yield ours[i], theirs[j]


def _common(one: Sequence[str], two: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of places of a longest common subsequence."""
    longest = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for i in reversed(range(len(one))):
        for j in reversed(range(len(two))):
            longest[i][j] = (
                1 + longest[i + 1][j + 1]
                if one[i] == two[j]
                else max(longest[i + 1][j], longest[i][j + 1])
            )
    i = j = 0
    while i < len(one) and j < len(two):
        if one[i] == two[j]:
            yield i, j
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1


def text_scores(gold: Sequence[ConlluSentence], predicted: Sequence[ConlluSentence]) -> TextScores:
    """Compares the analysis of a raw text with the treebank that the text is of.

    An analysis counts for corresponding words only: UPOS; UFeats, the universal features; UAS,
    when the heads correspond too, or both are the root; LAS, when the relations are equal too, up
    to the first `:`.

    Args:
        gold: the treebank.
        predicted: the answer, with a tree of each sentence.

    Returns:
        the counts, and precision, recall and F1 from them.

    Raises:
        DataError: when the two are not of one text, or a head is missing.

    Example:
        >>> rows = [("1", "end", "_", "NOUN", "_", "_", "0", "root", "_", "_")]
        >>> sentence = ConlluSentence((), tuple(rows))
        >>> print(text_scores([sentence], [sentence]).table().splitlines()[-1])
        LAS        100.00     100.00  100.00
    """
    sides = [_side(found.sentences, found.text) for found in map(treebank_text, (gold, predicted))]
    scores, aligned = _segmentation(*sides)
    one, two = _analyses(gold), _analyses(predicted)
    other = dict(aligned)
    other[-1] = -1  # the root
    upos = ufeats = uas = las = 0
    for i, j in aligned:
        a, b = one[i], two[j]
        upos += a.upos == b.upos
        ufeats += a.feats == b.feats
        if other.get(a.head) == b.head:
            uas += 1
            las += a.relation == b.relation
    counts = len(one), len(two)
    return TextScores(*scores, *(Counts(*counts, n) for n in (upos, ufeats, uas, las)))


class _Analysis(NamedTuple):
    upos: str
    feats: list[str]
    head: int  # number of a word in the text, -1: the root
    relation: str


def _analyses(sentences: Sequence[ConlluSentence]) -> list[_Analysis]:
    found: list[_Analysis] = []
    for sentence in sentences:
        first = len(found) - 1
        columns = sentence.upos, sentence.feats, sentence.heads.tolist(), sentence.relations
        for upos, feats, head, relation in zip(*columns):
            own = [f for f in feats.split("|") if f.split("=", 1)[0] in _UNIVERSAL]
            head = first + head if head else -1
            found.append(_Analysis(upos, sorted(own), head, relation.split(":", 1)[0]))
    return found
