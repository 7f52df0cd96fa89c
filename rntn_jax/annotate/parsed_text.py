"""What is found in a raw text: its sentences, with words, tags, features and trees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax import plots
from rntn_jax.data import ConlluSentence
from rntn_jax.data.treebank_text import TextToken

__all__ = ["ParsedSentence", "ParsedText"]


class ParsedSentence(NamedTuple):
    """One sentence of a text with its tree."""

    tokens: tuple[TextToken, ...]  # their places in the text, and their words
    conllu: ConlluSentence

    def __repr__(self) -> str:
        return f"ParsedSentence({self.text!r})"

    @property
    def text(self) -> str:
        """The sentence as it was given, its blanks as single spaces."""
        return self.conllu.comments[-1].removeprefix("# text = ")

    @property
    def words(self) -> tuple[str, ...]:
        """The words; more than tokens, where one of these has several."""
        return self.conllu.forms

    @property
    def upos(self) -> tuple[str, ...]:
        """Their parts of speech."""
        return self.conllu.upos

    @property
    def feats(self) -> tuple[str, ...]:
        """Their features, as `Case=Nom|Number=Sing`; `_` for none."""
        return self.conllu.feats

    @property
    def heads(self) -> np.ndarray:
        """Their heads, int32 ``[n]``: 1 to n, or 0 for the root."""
        return self.conllu.heads

    @property
    def relations(self) -> tuple[str, ...]:
        """Their relations to their heads."""
        return self.conllu.relations

    def to_conllu(self) -> str:
        """The sentence in CoNLL-U, with the blank line at its end."""
        return "\n".join([*self.conllu.comments, *map("\t".join, self.conllu.rows), "", ""])

    def to_dict(self) -> dict[str, Any]:
        """The sentence as JSON can hold it."""
        return {
            "text": self.text,
            "tokens": [token._asdict() for token in self.tokens],
            "words": list(self.words),
            "upos": list(self.upos),
            "feats": list(self.feats),
            "heads": self.heads.tolist(),
            "relations": list(self.relations),
        }

    def to_text(self) -> str:
        """The tree for a terminal, a line a word, in the order of the tree."""
        children: list[list[int]] = [[] for _ in range(len(self.words) + 1)]
        for word, head in enumerate(self.heads.tolist(), 1):
            children[head].append(word)
        lines, stack = [], [(word, "", "") for word in reversed(children[0])]
        while stack:
            word, own, below = stack.pop()
            k = word - 1
            lines.append(f"{own}{self.words[k]} {self.upos[k]} {self.relations[k]}")
            last = children[word][-1:]
            for child in reversed(children[word]):
                branch, bar = ("└─ ", "   ") if [child] == last else ("├─ ", "│  ")
                stack.append((child, below + branch, below + bar))
        return "\n".join(lines)

    def to_svg(self) -> str:
        """A picture: the words in a row, arcs from heads to dependents."""
        return plots.arcs_svg(self.words, self.heads, self.relations, tags=self.upos)

    def _repr_svg_(self) -> str:
        return self.to_svg()  # what a notebook shows


class ParsedText(list[ParsedSentence]):
    """The sentences of a text."""

    def to_conllu(self) -> str:
        """All sentences in CoNLL-U."""
        return "".join(sentence.to_conllu() for sentence in self)

    def to_text(self) -> str:
        """All trees for a terminal."""
        return "\n\n".join(sentence.to_text() for sentence in self)

    def to_svg(self) -> str:
        """All trees as one picture, one below the other.

        Raises:
            ValueError: when there are no sentences.
        """
        return _stacked([sentence.to_svg() for sentence in self])

    def to_html(self, title: str = "Dependency trees") -> str:
        """A page that loads nothing, with a picture of each tree."""
        return plots.page_html(title=title, header=self._repr_html_())

    def _repr_html_(self) -> str:
        style = "overflow-x:auto;margin:0 0 1em"
        return "\n".join(f'<div style="{style}">{sentence.to_svg()}</div>' for sentence in self)


def _stacked(pictures: Sequence[str]) -> str:
    """SVG elements below each other in one."""
    if not pictures:
        raise ValueError("there are no sentences to draw")
    size = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
    parts, width, height = [], 0.0, 0.0
    for picture in pictures:
        found = size.search(picture)
        assert found is not None
        parts.append(picture.replace("<svg ", f'<svg y="{height:g}" ', 1))
        width, height = max(width, float(found[1])), height + float(found[2])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">{"".join(parts)}</svg>'
    )
