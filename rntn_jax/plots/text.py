"""Text for pictures: made safe to print, measured, and cut to length.

Corpora hold anything: markup, quotes, control characters that no XML file may contain, lone
surrogates, direction overrides. Every string that reaches a picture passes through `clean`, and
every string that reaches markup through `escape`.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Sequence

WORD_LIMIT = 28
SPAN_WORDS = 24

# Characters that XML 1.0 forbids, that move a terminal's cursor, or that reverse the text around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

# Advance widths of the characters 32 to 126 in hundredths of an em: the larger of the widths in
# DejaVu Sans and in Arial, so that the estimate bounds what a browser draws with either.
_ADVANCES = [
    int(advance)
    for advance in (
        "32 41 46 84 64 96 78 28 40 40 50 84 32 37 32 34 64 64 64 64 64 64 64 64 64 64 34 34 84 84 "
        "84 54 102 69 69 73 78 67 62 78 76 30 50 67 56 87 75 79 67 79 73 67 62 74 69 99 69 67 69 "
        "40 34 40 84 56 50 62 64 55 64 62 36 64 64 28 28 58 28 98 64 62 64 64 42 53 40 64 60 82 60 "
        "60 53 64 34 64 84"
    ).split()
]
_WIDE_DASHES = {"\u2e3a": 200, "\u2e3b": 300}


def clean(text: object) -> str:
    r"""Returns `text` with every character that is unsafe to show replaced by a visible one.

    ASCII control characters become their pictures (U+2400 block); lone surrogates, C1 controls,
    direction overrides and non-characters become U+FFFD.

    Example:
        >>> clean("a\x1bb")
        'a␛b'
    """
    return _UNSAFE.sub(_picture, str(text))


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 32:
        return chr(0x2400 + code)
    return "\u2421" if code == 127 else "\ufffd"


def escape(text: object) -> str:
    """Returns `text` cleaned and escaped for XML or HTML, in content or in a quoted attribute.

    Example:
        >>> escape('<b> & "c"')
        '&lt;b&gt; &amp; &quot;c&quot;'
    """
    return html.escape(clean(text), quote=True)


def shorten(text: str, limit: int) -> str:
    """Returns `text` cut to at most `limit` characters, the last one an ellipsis if cut.

    Args:
        text: Any text.
        limit: At least 1.

    Returns:
        The text, or its beginning.

    Example:
        >>> shorten("sentiment", 5)
        'sent…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"


def word(token: str) -> str:
    """Returns a token as the pictures show it: clean, visible and at most `WORD_LIMIT` long.

    Example:
        >>> word("film"), word(""), word(" ")
        ('film', '∅', '␣')
    """
    if not token:
        return "∅"
    if token.isspace():
        token = re.sub("[^\t\n\r]", "␣", token)
    return shorten(clean(token), WORD_LIMIT)


def span(words: Sequence[str], start: int, stop: int) -> str:
    """Returns `words[start:stop]` joined by spaces, long spans with their middle left out.

    The cost is bounded by `SPAN_WORDS` whatever the length, so that describing every node of a
    deep tree stays linear in the number of nodes.

    Args:
        words: The words of a sentence.
        start: The first one.
        stop: One past the last one.

    Returns:
        At most `SPAN_WORDS` words, and an ellipsis for those left out.

    Example:
        >>> span(["a", "b", "c"], 0, 2)
        'a b'
    """
    if stop - start <= SPAN_WORDS:
        return " ".join(words[start:stop])
    tail = SPAN_WORDS // 3
    head = SPAN_WORDS - tail
    return " ".join([*words[start : start + head], "…", *words[stop - tail : stop]])


def width(text: str, size: float) -> float:
    """Estimates the drawn width of `text` in a sans-serif font, in the unit of `size`.

    An upper bound for the usual sans-serif fonts rather than a mean, so that words placed by it
    do not touch.

    Args:
        text: One line.
        size: The size of the font.

    Returns:
        The width, O(length) time.

    Example:
        >>> round(width("film", 10.0), 2)
        19.0
    """
    return size * sum(map(_advance, text)) / 100


@functools.lru_cache(maxsize=4096)
def _advance(char: str) -> int:
    """Advance width of one character in hundredths of an em."""
    code = ord(char)
    if 32 <= code < 127:
        return _ADVANCES[code - 32]
    category = unicodedata.category(char)
    if category in ("Mn", "Me", "Cf"):
        return 0
    if char in _WIDE_DASHES:
        return _WIDE_DASHES[char]
    if category in ("So", "Sk", "Co", "Cn"):
        return 140  # symbols and emoji
    if unicodedata.east_asian_width(char) in ("W", "F"):
        return 105
    expansion = unicodedata.normalize("NFKD", char)
    if expansion != char:
        return max(30, sum(map(_advance, expansion)))
    return 112 if category == "Lu" else 100
