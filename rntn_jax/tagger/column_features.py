"""What a token looks like to a tagger: sparse attributes, or columns of a few vocabularies."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["COLUMNS", "TEMPLATES", "attributes", "columns", "shape"]

Rows = Sequence[Sequence[str]]

# Each template: letters and offsets, joined. The second is that of CRFsuite's chunking tutorial.
TEMPLATES: dict[str, list[list[tuple[str, int]]]] = {
    "token": [[("w", 0)], [("pos", 0)]],
    "crfsuite": [
        *([("w", k)] for k in range(-2, 3)),
        [("w", -1), ("w", 0)],
        [("w", 0), ("w", 1)],
        *([("pos", k)] for k in range(-2, 3)),
        *([("pos", k), ("pos", k + 1)] for k in range(-2, 2)),
        *([("pos", k), ("pos", k + 1), ("pos", k + 2)] for k in range(-2, 1)),
    ],
}
COLUMNS = ("word", "suffix of 2", "suffix of 3", "prefix of 3", "shape")


def attributes(rows: Rows, template: str) -> list[list[str]]:
    """Attributes of the tokens of a sentence: words, parts of speech, and what follows them.

    Args:
        rows: a token each: word, part of speech (may be missing), whatever else.
        template: a key of `TEMPLATES`. With ``crfsuite`` the first and the last token have the
            attributes ``__BOS__`` and ``__EOS__``.

    Returns:
        A list of attributes for each token.

    Example:
        >>> attributes([("no", "DT"), ("film", "NN")], "token")
        [['w[0]=no', 'pos[0]=DT'], ['w[0]=film', 'pos[0]=NN']]
    """
    fields = {"w": [row[0] for row in rows]}
    if rows and len(rows[0]) > 1:
        fields["pos"] = [row[1] for row in rows]
    found: list[list[str]] = [[] for _ in rows]
    for parts in TEMPLATES[template]:
        if any(field not in fields for field, _ in parts):
            continue
        name = "|".join(f"{field}[{offset}]" for field, offset in parts) + "="
        offsets = [offset for _, offset in parts]
        shifted = [fields[field] for field, _ in parts]
        for t in range(max(0, -min(offsets)), len(rows) - max(0, *offsets)):
            value = "|".join(words[t + k] for words, k in zip(shifted, offsets))
            found[t].append(name + value)
    if template == "crfsuite" and rows:
        found[0].append("__BOS__")
        found[-1].append("__EOS__")
    return found


def columns(rows: Rows) -> list[tuple[str, ...]]:
    """Each token as `COLUMNS`, the columns after the word as they are, and pairs of neighbours.

    These are, of the word and of the column after it (the part of speech): with the one before,
    with the one after; and of the latter all three.

    Example:
        >>> columns([("Fed", "NNP"), ("1998", "CD")])[1][:6]
        ('0000', '00', '000', '000', '0', 'CD')
        >>> columns([("Fed", "NNP"), ("1998", "CD")])[1][6:]
        ('fed|0000', '0000|', 'NNP|CD', 'CD|', 'NNP|CD|')
    """
    words = [re.sub(r"\d", "0", row[0].lower()) for row in rows]
    kinds = [words] + ([[row[1] for row in rows]] if rows and len(rows[0]) > 1 else [])
    described = []
    for t, (word, *rest) in enumerate(rows):
        low = words[t]
        own = [low, low[-2:], low[-3:], low[:3], shape(word), *rest]
        for values in kinds:
            before = values[t - 1] if t else ""
            after = values[t + 1] if t + 1 < len(values) else ""
            own += [f"{before}|{values[t]}", f"{values[t]}|{after}"]
            if values is not words:
                own.append(f"{before}|{values[t]}|{after}")
        described.append(tuple(own))
    return described


def shape(word: str) -> str:
    """Capitals, small letters and digits, repetitions shortened.

    Example:
        >>> shape("McDonald's"), shape("U.S."), shape("1,000")
        ("XxXx'x", 'X.X.', '0,0')
    """
    marks = "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word
    )
    return re.sub(r"(.)\1+", r"\1", marks)
