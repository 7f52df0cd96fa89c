"""Dependency trees as arrays of heads: checks, projectivity and attachment scores.

Word `i` of a sentence, counted from 1, hangs from word `heads[i - 1]`, or from 0, the root. An arc
from `h` to `d` is projective when all words between the two descend from `h`, and a tree is when
its arcs are, which is to say that no two of them cross, the one from the root included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from rntn_jax.data._head_lists import (
    checked,
    extents,
    gaps,
    integers,
    nonprojective,
    range_fault,
)
from rntn_jax.data.errors import DataError, shown

if TYPE_CHECKING:
    from rntn_jax.data.conllu import ConlluSentence

__all__ = [
    "AttachmentScores",
    "attachment_scores",
    "check_tree",
    "is_projective",
    "nonprojective_arcs",
    "phrases",
    "projectivise",
]

# The relations of content words in the shared task of CoNLL 2018; others, and unknown ones, are of
# function words or punctuation.
_CONTENT = frozenset(
    "nsubj obj iobj csubj ccomp xcomp obl vocative expl dislocated advcl advmod discourse nmod"
    " appos nummod acl amod conj fixed flat compound list parataxis orphan goeswith reparandum root"
    " dep".split()
)

_PHRASES = frozenset(
    "nsubj obj iobj csubj ccomp xcomp obl vocative dislocated advcl advmod nmod nummod acl amod"
    " parataxis det".split()
)


def check_tree(heads: npt.ArrayLike) -> None:
    """Raises unless heads are a tree over all words with one root; in linear time.

    Args:
        heads: integers `[n]`, the head of each word, 1 to n, or 0 for the root.

    Raises:
        DataError: with the value, for a head out of 0 to n or equal to its own word, no root,
            several roots, a cycle, no words.
        ValueError: for another rank or what is no integer.

    Example:
        >>> check_tree([2, 0, 2])
        >>> check_tree([2, 1, 0])
        Traceback (most recent call last):
          ...
        rntn_jax.data.errors.DataError: a cycle goes through word 1
    """
    checked(heads)


def is_projective(heads: npt.ArrayLike) -> bool:
    """Whether no arc of a tree crosses another one; in linear time.

    Args:
        heads: a tree, as for `check_tree`, whose errors it raises.

    Example:
        >>> is_projective([2, 0, 2]), is_projective([3, 4, 0, 3])
        (True, False)
    """
    return not any(gaps(checked(heads)))


def nonprojective_arcs(heads: npt.ArrayLike) -> int:
    """The number of arcs that span a word which does not descend from the arc's head.

    Args:
        heads: a tree, as for `check_tree`, whose errors it raises.

    Example:
        >>> nonprojective_arcs([2, 0, 2]), nonprojective_arcs([3, 4, 0, 3])
        (0, 1)
    """
    return len(nonprojective(checked(heads)))


def projectivise(heads: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], int]:
    """Makes a tree projective by lifting arcs.

    While there are arcs that are not projective, the shortest one, the leftmost dependent among
    equals, is lifted: its dependent moves to the head of its head (Nivre and Nilsson 2005). Each
    lift takes linear time for usual trees.

    Args:
        heads: a tree, as for `check_tree`, whose errors it raises.

    Returns:
        The new heads, int32 `[n]`, and the number of lifts, 0 for a projective tree.

    Example:
        >>> projectivise([3, 4, 0, 3])
        (array([3, 3, 0, 3], dtype=int32), 1)
    """
    lifted, lifts = checked(heads), 0
    while arcs := nonprojective(lifted):
        _, word = min((abs(lifted[word - 1] - word), word) for word in arcs)
        # The root word spans nothing but its descendants, so no arc is lifted to 0.
        lifted[word - 1] = lifted[lifted[word - 1] - 1]
        lifts += 1
    return np.array(lifted, np.int32), lifts


def phrases(heads: npt.ArrayLike, relations: Sequence[str]) -> list[tuple[int, int]]:
    """The phrases of a tree: a word with all its descendants, where nothing stands between them.

    Those of at least two words and less than all, of words whose relation makes a phrase in a tree
    of constituents too: arguments, modifiers and clauses, but no conjuncts, punctuation or parts of
    names, which lie flat beside their heads there.

    Args:
        heads: a tree, as for `check_tree`, whose errors it raises.
        relations: of each word to its head; subtypes (`acl:relcl`) count as their types.

    Returns:
        Begin and end of each, from 0, the end not included; none cross each other.

    Raises:
        ValueError: when there are not as many relations as heads.

    Example:
        >>> heads, relations = [2, 3, 0, 5, 3], ["det", "nsubj", "root", "det", "obj"]
        >>> phrases(heads, relations)  # (The cat) saw (the dog)
        [(0, 2), (3, 5)]
    """
    tree = checked(heads)
    left, right, size = extents(tree)
    found = set()
    for word, relation in zip(range(1, len(tree) + 1), relations, strict=True):
        whole = right[word] - left[word] + 1 == size[word]
        if whole and 1 < size[word] < len(tree) and relation.split(":")[0] in _PHRASES:
            found.add((left[word] - 1, right[word]))
    return sorted(found)


class AttachmentScores(NamedTuple):
    """What `attachment_scores` returns: counts, and the scores from them as fractions from 0 to 1.

    Content words are those whose relation is none of function words or punctuation.

    Attributes:
        words: the number of words.
        correct_heads: words with the right head.
        correct: words with the right head and the right relation.
        content_gold: words whose gold relation is one of content words.
        content_predicted: words whose predicted relation is one of content words.
        content_correct: the words that are in both and correct.

    Example:
        >>> scores = AttachmentScores(8, 6, 4, 5, 3, 2)
        >>> scores.uas, scores.las, scores.clas
        (0.75, 0.5, 0.5)
    """

    words: int
    correct_heads: int
    correct: int
    content_gold: int
    content_predicted: int
    content_correct: int

    @property
    def uas(self) -> float:
        """Unlabelled: the fraction of words with the right head; 0 where there are no words."""
        return self.correct_heads / self.words if self.words else 0.0

    @property
    def las(self) -> float:
        """Labelled: the fraction of words with the right head and relation."""
        return self.correct / self.words if self.words else 0.0

    @property
    def clas(self) -> float:
        """Labelled, content words only: F1, as gold and parse may differ in which words these are.

        0 where there are none.
        """
        total = self.content_gold + self.content_predicted
        return 2 * self.content_correct / total if total else 0.0

    def table(self) -> str:
        """The scores as a table to print, in percent.

        Example:
            >>> print(AttachmentScores(8, 6, 4, 5, 3, 2).table())
            score       %  correct     gold  predicted
            UAS     75.00        6        8          8
            LAS     50.00        4        8          8
            CLAS    50.00        2        5          3
        """
        rows = [
            ("UAS", self.uas, self.correct_heads, self.words, self.words),
            ("LAS", self.las, self.correct, self.words, self.words),
            ("CLAS", self.clas, self.content_correct, self.content_gold, self.content_predicted),
        ]
        lines = [f"score {'%':>7} {'correct':>8} {'gold':>8}  predicted"]
        for name, score, correct, gold, predicted in rows:
            lines.append(f"{name:5} {100 * score:7.2f} {correct:8} {gold:8} {predicted:10}")
        return "\n".join(lines)


def attachment_scores(
    gold: Iterable[ConlluSentence | tuple[npt.ArrayLike, Sequence[str]]],
    predicted: Iterable[ConlluSentence | tuple[npt.ArrayLike, Sequence[str]]],
) -> AttachmentScores:
    """Compares parses with gold trees, as the shared task of CoNLL 2018 does for gold words.

    All words count, punctuation too. Relations are compared up to the first `:`.

    Args:
        gold: the sentences, as read, or as pairs of heads `[n]` and `n` relations.
        predicted: as many parses of the same words, likewise. Heads need not be a tree.

    Returns:
        The counts, and UAS, LAS and CLAS from them.

    Raises:
        ValueError: when the numbers of sentences, or of a sentence's words, differ.
        DataError: naming the sentence, for a head out of 0 to n or missing, and when both sides
            have the words and these differ.
        TypeError: when the relations of a sentence are one string.

    Example:
        >>> gold = [([2, 0, 2], ["nsubj", "root", "punct"])]
        >>> scores = attachment_scores(gold, [([2, 0, 1], ["nsubj:pass", "root", "punct"])])
        >>> round(scores.las, 3), scores.clas
        (0.667, 1.0)
    """
    gold, predicted = list(gold), list(predicted)
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences, but {len(predicted)} predicted ones")
    totals = [0] * len(AttachmentScores._fields)
    for number, pair in enumerate(zip(gold, predicted)):
        try:
            counts = _compare(*map(_parse, pair))
        except DataError as error:
            message = f"sentence {number} (from 0): {error.message}"
            raise DataError(message, value=error.value) from None
        except ValueError as error:
            raise ValueError(f"sentence {number} (from 0): {error}") from None
        totals = [total + count for total, count in zip(totals, counts)]
    return AttachmentScores(*totals)


class _Parse(NamedTuple):
    heads: list[int]
    relations: list[str]
    forms: tuple[str, ...] | None


def _parse(sentence: ConlluSentence | tuple[npt.ArrayLike, Sequence[str]]) -> _Parse:
    """Heads in range and universal relations, as many."""
    if isinstance(sentence, tuple):
        (heads, relations), forms = sentence, None
    else:
        heads, relations, forms = sentence.heads, sentence.relations, sentence.forms
    heads = integers(heads)
    if isinstance(relations, str):
        raise TypeError("relations must be a sequence of strings, not one string")
    if len(relations) != len(heads):
        raise ValueError(f"{len(heads)} heads, but {len(relations)} relations")
    if fault := range_fault(heads):
        raise DataError(fault[1], value=fault[2])
    return _Parse(heads, [relation.split(":", 1)[0] for relation in relations], forms)


def _compare(gold: _Parse, guess: _Parse) -> AttachmentScores:
    words = len(gold.heads)
    if words != len(guess.heads):
        raise ValueError(f"{words} gold words, but {len(guess.heads)} predicted ones")
    if gold.forms and guess.forms and gold.forms != guess.forms:
        at = next(i for i in range(words) if gold.forms[i] != guess.forms[i])
        message = f"word {at + 1} is {shown(guess.forms[at])}, but {shown(gold.forms[at])} in gold"
        raise DataError(message, value=guess.forms[at])
    heads = [one == two for one, two in zip(gold.heads, guess.heads)]
    both = [h and one == two for h, one, two in zip(heads, gold.relations, guess.relations)]
    content = [relation in _CONTENT for relation in gold.relations]
    return AttachmentScores(
        words=words,
        correct_heads=sum(heads),
        correct=sum(both),
        content_gold=sum(content),
        content_predicted=sum(relation in _CONTENT for relation in guess.relations),
        content_correct=sum(b and c for b, c in zip(both, content)),
    )
