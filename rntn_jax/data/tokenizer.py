r"""Text to tokens, as the Stanford Sentiment Treebank writes them: `tokenize` and `sentences`.

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
modifiers stay whole (a bracket in an emoticon is written as above, as in `:--RRB-`). Accents are
kept. Chinese characters are one token each, as there are no blanks; runs of hiragana, katakana and
of Thai, Lao, Khmer or Burmese are one token each, for want of a dictionary. Markup such as `<br />`
is text like any other. Invisible marks (byte order mark, soft hyphen, directions) are dropped,
control characters are blanks, lone surrogates become U+FFFD.
"""

from __future__ import annotations

import functools
import re
import unicodedata

__all__ = ["sentences", "tokenize"]

_CODES = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_REPLACED = str.maketrans(
    dict.fromkeys("\xad\u061c\u200e\u200f\u2060\ufeff", "")
    | dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "")
    | dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x200B), " ")
    | dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    | dict.fromkeys("“„‟", " `` ") | {"”": "''"} | dict.fromkeys("‘‚‛", " `") | {"’": "'"}
    | dict.fromkeys("‐‑−", "-") | dict.fromkeys("—―", "--") | {"…": "..."}
)  # fmt: skip

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
_CANNOT = re.compile(r"(?i:(can)(not))")
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
    return re.compile(
        "|".join(
            [
                r"(?<!\S)(?P<plain>(?![Cc]annot\b)[A-Za-z]++|[,;:.?!])(?=[,;]?(?:\s|\Z))",
                r"(?P<whole>(?i:(?:https?|ftp)://|www\.)[^\s<>\"`(){}\[\]]*(?<![.,;:!?'])"
                rf"|{begin}[\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}{end}"
                rf"|{begin}(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}(?:{_TOP_LEVEL})(?:/[\w/.=?&%-]*\w)?{end}"
                rf"|{begin}[#@](?!\d++(?!{letter})){letter}++"
                rf"|{begin}[<>]?(?:[:;=][-o^]?|:'|8-){mouth}(?!\w)|<3{end}"
                r"|[\U0001f1e6-\U0001f1ff]{2}|[0-9#*]\ufe0f?\u20e3"
                rf"|{_EMOJI}(?:\u200d{_EMOJI})*+)",
                r"(?P<kept>-[LR][RSC]B-|``|''"
                rf"|{begin}'(?:n'|(?i:em|til|tis|twas|cause|bout|n|\d\ds?|s|re|ve|ll|d|m){end})"
                rf"|{begin}(?i:ol'{end}|no\.(?=\s*\d|\s+\.)|(?:{_ABBREVIATIONS})\.{end})"
                rf"|(?:Ph\.D|[A-Za-z](?:\.[A-Za-z])++){end}\.?(?:-{word})?"
                rf"|[A-HJ-Z]\.{end}|\d+\xa0\d+\\?/\d+)",
                rf"(?P<word>(?:{begin}\.(?=\d))?{word}(?:\.(?=\s*,)|-(?=\s|\Z))?)",
                rf"(?P<run>[{_HAN}]|[{_HIRAGANA}]+|[{_KATAKANA}]+|(?:\\?\*)+|\\?/)",
                r"(?P<marks>[!?]{2,})",
                r"(?P<dots>\.{2,})|(?P<dashes>-{2,}|–)|(?P<quote>\")|(?P<single>')",
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


def tokenize(text: str) -> list[str]:
    r"""Splits a text into tokens as the Stanford Sentiment Treebank has them.

    The rules stand at the head of this module. Nothing is lost but blanks and what is replaced
    there. The tokens, joined by blanks, give the same tokens again.

    Args:
      text: any string, usually one sentence (see `sentences`).

    Returns:
      the tokens, each fit for a `Tree`: not empty, without brackets and ASCII blanks. None for a
      text without any. O(length) time, some 5 microseconds a token.

    Example:
      >>> " ".join(tokenize('"It isn\'t bad," Mr. Fox said (twice)...'))
      "`` It is n't bad , '' Mr. Fox said -LRB- twice -RRB- ..."
      >>> tokenize("A $9.50 writer/director :-) 🙂👍🏽")
      ['A', '$', '9.50', 'writer\\/director', ':--RRB-', '🙂', '👍🏽']
    """
    text = _DASH_INSIDE.sub("-", text.translate(_REPLACED))
    tokens: list[str] = []
    quoted = False  # inside of straight double quotes
    for match in _tokens().finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "plain":
            tokens.append(piece)
        elif kind == "word":
            tokens += _word(piece)
        elif kind == "marks":
            tokens += [piece] if "!" in piece and "?" in piece else piece
        elif kind == "whole" or kind == "other":
            tokens.append(_CODED.sub(lambda found: _CODES[found.group()], piece))
        elif kind == "dots":
            tokens.append("...")
        elif kind == "dashes":
            tokens.append("--")
        elif kind == "quote":
            before, after = _around(text, match)
            quoted = (before and not after) or (before == after and not quoted)
            tokens.append("``" if quoted else "''")
        elif kind == "single":
            before, after = _around(text, match)
            tokens.append("`" if before and not after else "'")
        else:
            tokens.append(_STAR_OR_SLASH.sub(r"\\\1", piece))
    return tokens


def _around(text: str, match: re.Match[str]) -> tuple[bool, bool]:
    """Whether a quote has nothing before it that it could close, nothing after it to open."""
    start, stop = match.span()
    before = start == 0 or text[start - 1].isspace() or text[start - 1] in "([{-`\"'"
    return before, stop == len(text) or text[stop].isspace() or text[stop] in ")]}.,;:!?-"


def _word(piece: str) -> list[str]:
    """A word with its clitics cut off."""
    piece = _STAR_OR_SLASH.sub(r"\\\1", piece)
    clitics: list[str] = []
    while match := _CLITIC.search(piece, max(0, len(piece) - 4)):
        clitics.append(match.group())
        piece = piece[: match.start()]
    whole = _CANNOT.fullmatch(piece)
    return [*(whole.groups() if whole else [piece]), *reversed(clitics)]


_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s++[\"'`“‘(\[]*+(\w))|[。！？]+[”’」』）]*|\n\s*\n"
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
      the sentences without the blanks around them, none empty. O(length) time.

    Example:
      >>> sentences("Mr. Fox is back! Is it good? We think so.")
      ['Mr. Fox is back!', 'Is it good?', 'We think so.']
    """
    found, start = [], 0
    for match in _END.finditer(text):
        following, before = match[1], max(start, match.end() - 12)
        if following and (following.islower() or _NO_END.search(text, before, match.end())):
            continue
        if following and following.isdigit() and text[before : match.end()].lower().endswith("no."):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]
