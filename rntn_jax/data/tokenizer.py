r"""Text to tokens, as the Stanford Sentiment Treebank writes them: `tokenize` and `sentences`.

`token_spans` and `sentence_spans` say where each of them stands in the text as the user wrote it.

The treebank follows the Penn Treebank, and so does `tokenize`:

- Clitics stand alone: `it 's`, `do n't`, `ca n't`, `they 've`; `cannot` is `can not`. Forms such as
  `'em`, `'70s`, `O'Fallon` and `rock 'n' roll` stay whole.
- Double quotes become ` `` ` and `''`, single ones `` ` `` and `'`; brackets become `-LRB-`,
  `-RRB-`, `-LSB-`, `-RSB-`, `-LCB-`, `-RCB-`; dashes become `--`; `/` and `*` are written `\/` and
  `\*`; two or more dots become `...`.
- The full stop is a token, but for abbreviations (`Mr.`, `etc.`) and initials (`U.S.`, `J.R.R.`),
  which keep theirs also where they end the sentence (the treebank sometimes adds a second one).
- Hyphens and slashes inside a word do not part it (`coming-of-age`, `writer\/director`), nor do the
  marks inside a number (`10,000`, `7.50`, `8:30`, `9\/11`). Currency, percent and other signs are
  tokens, `&` is one unless it joins (`R&B`).

What the treebank does not hold: addresses, `#tags`, `@names`, emoticons and emoji with all their
modifiers stay whole (a bracket in an emoticon is written as above, as in `:--RRB-`); right after a
letter, where colons and brackets have other uses, only the commonest emoticons are seen (`fun:)`).
Accents are kept. Chinese characters are one token each, as there are no blanks; runs of hiragana,
katakana and of Thai, Lao, Khmer or Burmese are one token each, for want of a dictionary. Markup
such as `<br />` is text like any other. Invisible marks (byte order mark, soft hyphen, directions)
are dropped, control characters are blanks, lone surrogates become U+FFFD.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Span", "sentence_spans", "sentences", "token_spans", "tokenize"]

_CODES = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_DROPPED = "\xad\u061c\u200e\u200f\u2060\ufeff\u202a-\u202e\u2066-\u2069"
_REPLACED = str.maketrans(  # every character by one, so that places in the text stay
    dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x200B), " ")
    | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    | dict.fromkeys("„‟", "“") | dict.fromkeys("‚‛", "‘") | {"’": "'"}
    | dict.fromkeys("‐‑−", "-") | {"―": "—"}
)  # fmt: skip
_CURLY = {"“": "``", "”": "''", "‘": "`"}

_HAN = "々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA, _KATAKANA = "\u3041-\u309f", "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_EMOJI = (
    "[©®‼⁉™ℹ↔-↪⌚-⏿Ⓜ▪-◾☀-➿⤴⤵⬅-⭕〰〽㊗㊙\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
    "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
)
_TITLES = "mr|mrs|ms|dr|st|prof|gen|gov|sen|rep|lt|col|sgt|capt|rev|hon|vs"  # a name follows
_ABBREVIATIONS = (
    f"{_TITLES}|jr|sr|etc|al|inc|co|corp|ltd|bros|dept|est|approx|wash|calif|pa"
    "|jan|feb|aug|sept|oct|nov|dec"
)
_TOP_LEVEL = "com|org|net|edu|gov|info|io|tv|co\\.uk|uk|de|fr|eu|au|jp|cn|ru|nl|ch"  # no words
_CLITIC = re.compile(r"(?i:(?<=[^-&*/'])(?:n't|'(?:s|re|ve|ll|d|m)))\Z")
_STAR_OR_SLASH = re.compile(r"\\?([*/])")
_CODED = re.compile(r"[][(){}]")
_CANNOT = re.compile(r"(?i:cannot)")
_DROP = re.compile(f"[{_DROPPED}]")
_DASH_INSIDE = re.compile(r"(?<=\w)–(?=\w)")


@functools.cache
def _tokens() -> re.Pattern[str]:
    """The pattern of a token. No alternative can take longer than linear time."""
    marks = _marks()
    letter = rf"(?:[^\W{_HAN}{_HIRAGANA}{_KATAKANA}][{marks}]*+)"
    begin, end = r"(?<!\w)", r"(?!\w)"
    inner = r"(?:['&-]|\\?/|(?:\\?\*)++|(?<=\d)[.,:](?=\d))"
    word = rf"(?>{letter}++(?:{inner}{letter}++)*+)"
    mouth = r"(?:[][(){}DPpOo|]|-[LR][RSC]B-|[/\\*](?![/*]))"
    after_letter = (  # where `note:(1)`, `x=(-1)`, `C:D` and `http:/` are none
        r"(?<=[^\W\d_])(?:[:;=][-^]?\)|[:;][-^]?\(|:'[()])(?!\w)"
        r"|(?<=[^\W\d_]{2})[:;][-^]?[DP](?!\w)"
    )
    return re.compile(
        "|".join(
            [
                r"(?<!\S)(?P<plain>(?![Cc]annot\b)[A-Za-z]++|[,;:.?!])(?=[,;]?(?:\s|\Z))",
                r"(?P<whole>(?i:(?:https?|ftp)://|www\.)[^\s<>\"`(){}\[\]“”‘…—]*(?<![.,;:!?'])"
                rf"|{begin}[\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}{end}"
                rf"|{begin}(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}(?:{_TOP_LEVEL})(?:/[\w/.=?&%-]*\w)?{end}"
                rf"|{begin}[#@](?!\d++(?!{letter})){letter}++"
                rf"|{begin}[<>]?(?:[:;=][-o^]?|:'|8-){mouth}(?!\w)|<3{end}"
                rf"|{after_letter}"
                r"|[\U0001f1e6-\U0001f1ff]{2}|[0-9#*]\ufe0f?\u20e3"
                rf"|{_EMOJI}(?:\u200d{_EMOJI})*+)",
                r"(?P<kept>-[LR][RSC]B-|``|''"
                rf"|{begin}'(?:n'|(?i:em|til|tis|twas|cause|bout|n|\d\ds?|s|re|ve|ll|d|m){end})"
                rf"|{begin}(?i:ol'{end}|no\.(?=\s*\d|\s+\.)|(?:{_ABBREVIATIONS})\.{end})"
                rf"|(?:Ph\.D|[A-Za-z](?:\.[A-Za-z])++){end}\.?(?:-{word})?"
                rf"|[A-HJ-Z]\.{end}|\d+\xa0\d+\\?/\d+)",
                rf"(?P<word>(?:{begin}\.(?=\d))?{word}(?:\.(?=\s*,)|-(?=[\s“‘]|\Z))?)",
                rf"(?P<run>[{_HAN}]|[{_HIRAGANA}]+|[{_KATAKANA}]+|(?:\\?\*)+|\\?/)",
                r"(?P<marks>[!?]{2,})",
                r"(?P<dots>(?:\.{2}|\.?…)[.…]*+)|(?P<dashes>(?:--|-?—)[-—]*+|–)",
                r"(?P<quote>\")|(?P<single>')|(?P<curly>[“”‘])",
                rf"(?P<other>[][(){{}}]|\S[{marks}\ufe0e\ufe0f]*)",
            ]
        )
    )


def _marks() -> str:
    """The combining marks of the scripts in use, for which `re` has no class; takes 5 ms."""
    ranges = ["\u200c\u200d"]  # the joiners are not marks, but stand inside of words
    for first, stop in ((0x300, 0x3100), (0xA600, 0xAC00), (0xFB00, 0xFE30), (0x10A00, 0x11FFF)):
        run = ""
        for code in range(first, stop):
            mark = unicodedata.category(chr(code)) in ("Mn", "Mc") and not 0xFE00 <= code < 0xFE10
            if mark:
                run += chr(code)
            elif run:
                ranges.append(f"{run[0]}-{run[-1]}")
                run = ""
    return "".join(ranges)


class Span(NamedTuple):
    """A token or sentence, and where it stands: `source[begin:end]` is what the user wrote.

    Attributes:
        text: as `tokenize` or `sentences` gives it.
        begin: the place of its first character, counted from 0 in code points of the source.
        end: the place after its last character.
    """

    text: str
    begin: int
    end: int


def tokenize(text: str) -> list[str]:
    r"""Splits a text into tokens as the Stanford Sentiment Treebank has them.

    The rules stand at the head of this module. Nothing is lost but blanks and what is replaced
    there. The tokens, joined by blanks, give the same tokens again.

    Args:
        text: any string, usually one sentence (see `sentences`).

    Returns:
        The tokens, each fit for a `Tree`: not empty, without brackets and ASCII blanks. None for a
        text without any. O(length) time, some 5 microseconds a token.

    Example:
        >>> " ".join(tokenize('"It isn\'t bad," Mr. Fox said (twice)...'))
        "`` It is n't bad , '' Mr. Fox said -LRB- twice -RRB- ..."
        >>> tokenize("A $9.50 writer/director :-) 🙂👍🏽")
        ['A', '$', '9.50', 'writer\\/director', ':--RRB-', '🙂', '👍🏽']
    """
    return [token for token, _, _ in _pieces(_DROP.sub("", text))]


def token_spans(text: str) -> list[Span]:
    """The tokens of `tokenize`, each with its place in the text as it was given.

    Between two spans stand only blanks and characters that `tokenize` drops; within one may stand
    dropped characters too, such as soft hyphens. Spans do not overlap.

    Args:
        text: any string.

    Returns:
        As many spans as `tokenize(text)` has tokens, in order, none empty. O(length) time.

    Example:
        >>> text = "You cannot (really…)"
        >>> [(span.text, text[span.begin : span.end]) for span in token_spans(text)][1:5]
        [('can', 'can'), ('not', 'not'), ('-LRB-', '('), ('really', 'really')]
        >>> token_spans(text)[-2]
        Span(text='...', begin=18, end=19)
    """
    kept = _DROP.sub("", text)
    if len(kept) == len(text):
        return [Span(*piece) for piece in _pieces(text)]
    places = [place for place, char in enumerate(text) if not _DROP.match(char)]
    return [Span(token, places[begin], places[end - 1] + 1) for token, begin, end in _pieces(kept)]


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """Tokens with begin and end in a text that holds nothing to be dropped."""
    text = _DASH_INSIDE.sub("-", text.translate(_REPLACED))
    quoted = False  # inside of straight double quotes
    for match in _tokens().finditer(text):
        kind, piece = match.lastgroup, match.group()
        begin, end = match.span()
        if kind == "word":
            yield from _word(piece, begin)
            continue
        if kind == "marks" and not ("!" in piece and "?" in piece):
            for place, mark in enumerate(piece, begin):
                yield mark, place, place + 1
            continue
        if kind == "plain" or kind == "marks":
            token = piece
        elif kind == "whole" or kind == "other":
            token = _CODED.sub(lambda found: _CODES[found.group()], piece)
        elif kind == "dots":
            token = "..."
        elif kind == "dashes":
            token = "--"
        elif kind == "curly":
            token = _CURLY[piece]
        elif kind == "quote":
            before, after = _around(text, begin, end)
            quoted = (before and not after) or (before == after and not quoted)
            token = "``" if quoted else "''"
        elif kind == "single":
            before, after = _around(text, begin, end)
            token = "`" if before and not after else "'"
        else:
            token = _STAR_OR_SLASH.sub(r"\\\1", piece)
        yield token, begin, end


def _around(text: str, begin: int, end: int) -> tuple[bool, bool]:
    """Whether a quote has nothing before it that it could close, nothing after it to open."""
    before = begin == 0 or text[begin - 1].isspace() or text[begin - 1] in "([{-—`\"'“”‘"
    return before, end == len(text) or text[end].isspace() or text[end] in ")]}.,;:!?-—…“‘"


def _word(piece: str, begin: int) -> list[tuple[str, int, int]]:
    """A word with its clitics cut off."""
    ends = [len(piece)]  # of the tokens, the last first
    while match := _CLITIC.search(piece, max(0, ends[-1] - 4), ends[-1]):
        ends.append(match.start())
    if _CANNOT.fullmatch(piece, 0, ends[-1]):
        ends.append(3)
    starts = [*ends[1:], 0]
    return [
        (_STAR_OR_SLASH.sub(r"\\\1", piece[start:end]), begin + start, begin + end)
        for start, end in zip(reversed(starts), reversed(ends), strict=True)
    ]


_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s++[\"'`“‘(\[]*+(\w))|[。！？]+[”’」』）]*|(?:\r(?!\n)|\n)\s*[\r\n]"
)
_NO_END = re.compile(rf"\b(?:(?i:{_TITLES})|[A-HJ-Z])\.\Z")


def sentences(text: str) -> list[str]:
    """Splits a text into sentences.

    A sentence ends at a full stop, question or exclamation mark that is followed by a blank and
    then by anything but a small letter, unless the full stop belongs to a title, an initial or
    `No. 5`; at an ideographic one; and at an empty line. A rule of thumb: `in the U.S. It` is not
    parted.

    Args:
        text: any string.

    Returns:
        The sentences without the blanks around them, none empty. O(length) time.

    Example:
        >>> sentences("Mr. Fox is back! Is it good? We think so.")
        ['Mr. Fox is back!', 'Is it good?', 'We think so.']
    """
    return [sentence for sentence, _, _ in sentence_spans(text)]


def sentence_spans(text: str) -> list[Span]:
    """The sentences of `sentences`, each with its place in the text.

    Args:
        text: any string.

    Returns:
        As many spans as `sentences(text)` has sentences, in order; `text[begin:end]` is the
        sentence. O(length) time.

    Example:
        >>> sentence_spans("Good.  Why?")
        [Span(text='Good.', begin=0, end=5), Span(text='Why?', begin=7, end=11)]
    """
    cuts = [0]
    for match in _END.finditer(text):
        following, before = match[1], max(cuts[-1], match.end() - 12)
        if following and (following.islower() or _NO_END.search(text, before, match.end())):
            continue
        if following and following.isdigit() and text[before : match.end()].lower().endswith("no."):
            continue
        cuts.append(match.end())
    found = []
    for start, stop in itertools.pairwise([*cuts, len(text)]):
        if sentence := text[start:stop].strip():
            begin = stop - len(text[start:stop].lstrip())
            found.append(Span(sentence, begin, begin + len(sentence)))
    return found
