"""Tags of chunks: from tags to chunks, and what the schemes allow. See `rntn_jax.data.chunks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rntn_jax.data.errors import DataError, shown

__all__ = [
    "Chunk",
    "Scheme",
    "allowed_end",
    "allowed_start",
    "allowed_transitions",
    "chunks",
    "convert",
    "validate",
]

Scheme = Literal["bio", "iob1", "bioes", "bilou", "bmewo", "bmes"]
# The letters of a chunk's first token, those inside, the last one, and a chunk of one token.
_LETTERS = {
    "bio": "BI",
    "iob1": "BI",
    "bioes": "BIES",
    "bilou": "BILU",
    "bmewo": "BMEW",
    "bmes": "BMES",
}
_AS_BIOES = {"M": "I", "L": "E", "U": "S", "W": "S"} | {letter: letter for letter in "OBIES"}
_OUTSIDE = ("O", "")  # a tag in two: its letter, as BIOES writes it, and the type


class Chunk(NamedTuple):
    """The tokens `start .. end - 1` of a sentence, as one chunk.

    Example:
        >>> chunk = Chunk("NP", start=0, end=3)
        >>> "a good film opens".split()[chunk.start : chunk.end]
        ['a', 'good', 'film']
    """

    type: str
    start: int
    end: int


def chunks(tags: Sequence[str]) -> list[Chunk]:
    """The chunks of a sentence, of any sequence of tags in any of the schemes.

    The letters of BILOU, BMEWO and BMES stand for those of BIOES: M for I, L for E, U and W for S.
    A token with a chunk tag continues the chunk before it when its tag is `I-X` or `E-X` and the
    tag before `B-X` or `I-X`; otherwise it begins a chunk. So an `I-X` after `O`, after another
    type or after `E-X` begins one.

    Source: the script `conlleval` of CoNLL-2000, which gives the same chunks.
    Differs from source: `S`, which the script does not know, and `B-X` after `E-X`, which begins a
    chunk here and not there.

    Args:
        tags: the tags of the sentence's tokens.

    Returns:
        The chunks from left to right; none overlap.

    Raises:
        DataError: for what is no tag; `value` holds it.
        TypeError: when `tags` is one string.

    Example:
        >>> for chunk in chunks(["B-NP", "I-NP", "O", "I-VP", "I-NP"]):
        ...   print(chunk)
        Chunk(type='NP', start=0, end=2)
        Chunk(type='VP', start=3, end=4)
        Chunk(type='NP', start=4, end=5)
    """
    found: list[Chunk] = []
    start = 0
    before, kind_before = _OUTSIDE
    for place, (letter, kind) in enumerate([*_split(tags), _OUTSIDE]):
        continues = letter in "IE" and before in "BI" and kind == kind_before
        if not continues:
            if before != "O":
                found.append(Chunk(kind_before, start, place))
            start = place
        before, kind_before = letter, kind
    return found


def validate(tags: Sequence[str], scheme: Scheme = "bio") -> None:
    """Refuses a sequence of tags that breaks the rules of its scheme.

    Args:
        tags: the tags of one sentence.
        scheme: "bio", "iob1", "bioes", "bilou", "bmewo" or "bmes".

    Raises:
        DataError: naming the first position (from 0) at fault, its tag and the one before; `value`
            holds the tag.
        ValueError: for another scheme.
        TypeError: when `tags` is one string.

    Example:
        >>> validate(["B-NP", "I-NP", "O"])
        >>> validate(["B-NP", "I-VP"])
        Traceback (most recent call last):
          ...
        rntn_jax.data.errors.DataError: tag 'I-VP' at position 1 cannot follow 'B-NP' in bio
    """
    pairs = _split(tags, scheme)
    for place, (before, after) in enumerate(zip([None, *pairs], [*pairs, None])):
        if not _may_follow(before, after, scheme):
            at = place if after else place - 1
            fault = f"cannot follow {shown(tags[place - 1])}" if after else "cannot end a sentence"
            fault = fault if before else "cannot begin a sentence"
            raise DataError(
                f"tag {shown(tags[at])} at position {at} {fault} in {scheme}", value=tags[at]
            )


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """Writes the chunks of a sentence in another scheme; converting back gives the same tags.

    Args:
        tags: the tags of one sentence, well-formed in `source`.
        source: the scheme of the tags: "bio", "iob1", "bioes", "bilou", "bmewo" or "bmes".
        target: the scheme wanted.

    Returns:
        As many tags.

    Raises:
        DataError: when the tags are malformed, as `validate`.
        ValueError: for another scheme.
        TypeError: when `tags` is one string.

    Example:
        >>> convert(["B-NP", "I-NP", "B-NP", "O"], "bio", "bioes")
        ['B-NP', 'E-NP', 'S-NP', 'O']
        >>> convert(["B-NP", "I-NP", "B-NP", "O"], "bio", "iob1")
        ['I-NP', 'I-NP', 'B-NP', 'O']
        >>> convert(["B-NP", "L-NP", "U-NP", "O"], "bilou", "bio")
        ['B-NP', 'I-NP', 'B-NP', 'O']
    """
    validate(tags, source)
    _split((), target)
    letters = ["O"] * len(tags)
    touching = ("", -1)  # type and end of the chunk before, which may touch one of its own type
    first, inside, *ends = _LETTERS[target]
    for kind, start, end in chunks(tags):
        letters[start:end] = inside * (end - start)
        if target != "iob1" or (kind, start) == touching:
            letters[start] = first
        if ends:
            last, single = ends
            letters[end - 1] = last if end - start > 1 else single
        touching = (kind, end)
    return [letter + tag[1:] for letter, tag in zip(letters, tags)]  # the types stay


def allowed_transitions(labels: Sequence[str], scheme: Scheme = "bio") -> npt.NDArray[np.bool_]:
    """Which label may follow which: the constraints of a chain over labels.

    Args:
        labels: `C` different tags.
        scheme: "bio", "iob1", "bioes", "bilou", "bmewo" or "bmes".

    Returns:
        bool `[C, C]`; `[i, j]` says whether label j may follow label i. Sequences are well-formed
        (see `validate`) when all their transitions, their start and their end are allowed.

    Raises:
        DataError: for what is no tag of the scheme; `value` holds it.
        ValueError: for another scheme.

    Example:
        >>> allowed_transitions(["O", "B-NP", "I-NP"]).astype(int)
        array([[1, 1, 0],
               [1, 1, 1],
               [1, 1, 1]])
    """
    pairs = _split(labels, scheme)
    rows = [[_may_follow(before, after, scheme) for after in pairs] for before in pairs]
    return np.array(rows, bool).reshape(len(pairs), len(pairs))


def allowed_start(labels: Sequence[str], scheme: Scheme = "bio") -> npt.NDArray[np.bool_]:
    """Which labels may begin a sentence.

    Args:
        labels: the C labels, as for `allowed_transitions`, whose errors this raises.
        scheme: their scheme.

    Returns:
        bool `[C]`.

    Example:
        >>> allowed_start(["O", "B-NP", "I-NP"])
        array([ True,  True, False])
    """
    return np.array([_may_follow(None, pair, scheme) for pair in _split(labels, scheme)], bool)


def allowed_end(labels: Sequence[str], scheme: Scheme = "bio") -> npt.NDArray[np.bool_]:
    """Which labels may end a sentence.

    Args:
        labels: the C labels, as for `allowed_transitions`, whose errors this raises.
        scheme: their scheme.

    Returns:
        bool `[C]`.

    Example:
        >>> allowed_end(["O", "B-NP", "I-NP", "E-NP", "S-NP"], "bioes")
        array([ True, False, False,  True,  True])
    """
    return np.array([_may_follow(pair, None, scheme) for pair in _split(labels, scheme)], bool)


def _split(tags: Sequence[str], scheme: Scheme | None = None) -> list[tuple[str, str]]:
    """Letter and type of each tag; refuses what is no tag of the scheme, or of any."""
    if isinstance(tags, str):
        raise TypeError("tags must be a list of strings, not one string")
    if scheme is not None and scheme not in _LETTERS:
        raise ValueError(f"scheme must be one of {', '.join(_LETTERS)}, got {scheme!r}")
    letters = tuple(_LETTERS[scheme] if scheme else set(_AS_BIOES) - {"O"})
    pairs = []
    for place, tag in enumerate(tags):
        letter, dash, kind = tag.partition("-")
        if tag != "O" and (letter not in letters or bool(dash) != bool(kind)):
            raise DataError(
                f"{shown(tag)} at position {place} is no {scheme or 'chunk'} tag", value=tag
            )
        pairs.append((_AS_BIOES[letter], kind))
    return pairs


def _may_follow(
    before: tuple[str, str] | None, after: tuple[str, str] | None, scheme: Scheme
) -> bool:
    """Whether the scheme has the one tag directly before the other; None is outside the sentence.

    A sentence's start and end are like an `O` before and after it.
    """
    (old, old_type), (new, new_type) = before or _OUTSIDE, after or _OUTSIDE
    same = old_type == new_type
    if scheme == "bio":
        return new != "I" or (old != "O" and same)
    if scheme == "iob1":
        return new != "B" or (old != "O" and same)
    return (old in "BI") == (new in "IE") and (same or old not in "BI")
