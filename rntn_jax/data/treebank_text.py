"""The raw text of a treebank, and where in it tokens, words and sentences are.

A token is a stretch of text without blanks around it; most tokens are one word, and some are
several (`don't` is `do` and `n't`), which have a row `1-2` of their own in CoNLL-U.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rntn_jax.data.conllu import ConlluSentence

__all__ = ["TextToken", "TreebankText", "treebank_text"]

_NEW = re.compile(r"# *new(?:doc|par)\b")


class TextToken(NamedTuple):
    """A token: its place in a text, and the forms of its words."""

    begin: int
    end: int
    words: tuple[str, ...]


class TreebankText(NamedTuple):
    """What `treebank_text` returns."""

    text: str
    sentences: list[list[TextToken]]


def treebank_text(sentences: Sequence[ConlluSentence]) -> TreebankText:
    """Joins the sentences of a treebank to the text that they came from.

    Tokens are followed by one blank unless `SpaceAfter=No` says otherwise; a blank line stands
    before a sentence that begins a document or paragraph (`# newdoc`, `# newpar`).

    Args:
        sentences: in the order of the text.

    Returns:
        the text, and the tokens of each sentence: `text[begin:end]` is a token's form.

    Example:
        >>> rows = [
        ...   "1-2 don't _ _ _ _ _ _ _ SpaceAfter=No",
        ...   "1 do do AUX _ _ 0 root _ _",
        ...   "2 n't not PART _ _ 1 advmod _ _",
        ...   "3 ! ! PUNCT _ _ 1 punct _ _",
        ... ]
        >>> sentence = ConlluSentence((), tuple(tuple(row.split()) for row in rows))
        >>> text, [tokens] = treebank_text([sentence])
        >>> text, tokens[0].words, tokens[1]
        ("don't!", ('do', "n't"), TextToken(begin=5, end=6, words=('!',)))
    """
    parts: list[str] = []
    found, at, gap = [], 0, ""
    for sentence in sentences:
        if parts and any(map(_NEW.match, sentence.comments)):
            gap = "\n\n"
        own = []
        for form, words, misc in _tokens(sentence):
            parts += (gap, form)
            at += len(gap)
            own.append(TextToken(at, at + len(form), words))
            at += len(form)
            gap = "" if "SpaceAfter=No" in misc.split("|") else " "
        found.append(own)
    return TreebankText("".join(parts), found)


def _tokens(sentence: ConlluSentence) -> list[tuple[str, tuple[str, ...], str]]:
    """Form, words and MISC of the tokens."""
    tokens, forms, last = [], sentence.forms, 0
    for row in sentence.rows:
        first, _, until = row[0].partition("-")
        if until:
            last = int(until)
            tokens.append((row[1], forms[int(first) - 1 : last], row[9]))
        elif first.isdigit() and int(first) > last:
            tokens.append((row[1], (row[1],), row[9]))
    return tokens
