"""What a user gives to label: a text, or a file of texts, sentiment trees or parses."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from typing import Literal

from rntn_jax import data
from rntn_jax.data.text import read_lines, read_text

__all__ = ["Kind", "Text", "TextFile", "guess", "read", "text_or_file"]

Kind = Literal["text", "trees", "parses"]

# Labels of the Penn Treebank: of words, of phrases, and of the node above the sentence.
_TAGS = frozenset(
    "CC CD DT EX FW IN JJ JJR JJS LS MD NN NNS NNP NNPS PDT POS PRP PRP$ RB RBR RBS RP SYM TO UH "
    "VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB AFX GW HYPH NFP ADD XX . , : '' `` # $ -LRB- -RRB- "
    "-NONE-".split()
)
_PHRASES = frozenset(
    "ADJP ADVP CONJP FRAG INTJ LST NAC NP NX PP PRN PRT QP RRC S SBAR SBARQ SINV SQ UCP VP WHADJP "
    "WHADVP WHNP WHPP X ROOT TOP S1".split()
)
_OPEN = re.compile(r"\(\s*([^\s()]*)\s*")
_WORD = re.compile(r"[^\s()]+\s*")
_FUNCTION = re.compile(r"(?<=\w)[-=|^].*")  # what follows the category, as in NP-SBJ-1
_FIRST = 4000  # characters that are looked at
_FILE_NAME = re.compile(r"\S*[\\/]\S*|\S+\.(\w{2,5}|conllu)")


class Text(list[str]):
    """The tokens of a text.

    Attributes:
        source: what the user wrote.
    """

    def __init__(self, source: str):
        super().__init__(data.tokenize(source))
        self.source = source

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where in ``source`` each token stands."""
        return [(span.begin, span.end) for span in data.token_spans(self.source)]


class TextFile:
    """The texts of a file, one a line, read as they are asked for; blank lines are passed over.

    The file is read through once before, so that its faults are found before the work.

    Attributes:
        path: of the file.
        lines: how many it has.

    Raises:
        DataError: for what `rntn_jax.data.text.read_lines` refuses, and when there are no words.
    """

    def __init__(self, path: str):
        self.path, self.lines = path, 0
        start = ""
        for line in read_lines(path):
            self.lines += 1
            start = start or line.strip()
        if next(iter(self), None) is None:
            raise data.DataError("there are no words", file=path, value=start[:40])

    def __iter__(self) -> Iterator[Text]:
        return (text for _, text in self.after(0))

    def after(self, lines: int) -> Iterator[tuple[int, Text]]:
        """The texts that follow so many lines, with the lines read up to each."""
        for number, line in enumerate(read_lines(self.path), 1):
            if number > lines and (text := Text(line)):
                yield number, text


def guess(content: str) -> Kind:
    """Whether a content is texts, sentiment trees or parses, by its first brackets.

    These are followed down to the first word. If one word and a closing bracket come there, and
    then another bracket or the end, then integers before it make trees, and names make parses:
    labels of the Penn Treebank (in small letters too, where there are several), or any three
    brackets deep. Two integers, or three names in capitals, are enough whatever follows, so that
    faults of such files are found by their readers. All else is text.

    Example:
        >>> guess("(3 (2 a) (4 film))"), guess("(S1 (NP (DT A) (NN film)))"), guess("(I) liked it")
        ('trees', 'parses', 'text')
    """
    content = content.lstrip("\ufeff \t\r\n\f\v")[:_FIRST]
    labels: list[str] = []
    at = 0
    while opened := _OPEN.match(content, at):
        labels.append(opened[1])
        at = opened.end()
    if at == len(content) and labels[-1:] == [""]:  # the last bracket is cut off
        labels.pop()
    named = [label for label in labels if label]
    if not named or "" in labels[1:]:
        return "text"
    integers = [re.fullmatch(r"-?\d+", label) is not None for label in named]
    if all(integers) and len(named) > 1:
        return "trees"
    word = _WORD.match(content, at)
    at = word.end() if word else at
    if at == len(content) and len(named) > 1:  # it ends within
        return "trees" if integers[0] else "parses"
    if word is None or content[at : at + 1] != ")":
        return "text"
    capitals = all(re.search("[A-Z]", label) and label == label.upper() for label in named)
    if capitals and len(named) > 2:
        return "parses"
    if content[at + 1 :].lstrip()[:1] not in ("", "(", ")"):
        return "text"
    if integers[0]:
        return "trees"
    known = [_is_known(label) for label in named]
    if len(labels) == 1:
        return "parses" if known[0] and named[0] == named[0].upper() else "text"
    return "parses" if len(labels) > 2 or all(known) or (any(known) and capitals) else "text"


def _is_known(label: str) -> bool:
    upper = label.upper()
    return upper in _TAGS or _FUNCTION.sub("", upper.lstrip("@")) in _TAGS | _PHRASES


def text_or_file(source: str) -> tuple[str | None, str]:
    """A text, or what a file holds.

    Args:
        source: the text, or the file's name; - for standard input.

    Returns:
        The file's name, None where there is none, and the text.

    Raises:
        DataError: when the file is not UTF-8.
        FileNotFoundError: when there is no such file, and ``source`` looks like one.
    """
    # os.path: it says no, too, to what is too long for the name of a file.
    if source == "-" or os.path.exists(source):
        return read_text(sys.stdin.buffer if source == "-" else source)
    if _FILE_NAME.fullmatch(source):
        raise FileNotFoundError(f"there is no file {source!r}")
    return None, source


def read(source: str, kind: str) -> list[data.Tree] | list[Text] | TextFile:
    """A text, or a file (- for standard input) of texts, trees or parses.

    In texts each line is one; blank lines are passed over. What a file, or a text in brackets, was
    taken for is said on standard error.

    Args:
        source: the text or file.
        kind: ``text``, ``trees`` or ``parses``; ``auto``: as `guess` has it.

    Returns:
        trees, or tokenised texts; those of a file are read as they are asked for.

    Raises:
        DataError: for faults in a file, and when there are no words.
        FileNotFoundError: when there is no such file, and ``source`` looks like one, or trees or
            parses were asked for.
    """
    # os.path: it says no, too, to what is too long for the name of a file.
    is_file = source == "-" or (bool(source) and os.path.exists(source))
    if kind == "text" and os.path.isdir(source):
        is_file = False
    if is_file and source != "-" and (kind == "text" or (kind == "auto" and _begins(source))):
        texts = TextFile(source)
        if kind == "auto":
            _tell(source, "text")
        return texts
    if is_file:
        file, content = read_text(sys.stdin.buffer if source == "-" else source)
    elif kind in ("trees", "parses") and not source.lstrip().startswith("("):
        raise FileNotFoundError(f"there is no file {source!r}")
    elif kind == "auto" and _FILE_NAME.fullmatch(source):
        raise FileNotFoundError(f"there is no file {source!r} (--input=text: it is the text)")
    else:
        file, content = None, source
    guessed = kind == "auto"
    if guessed:
        kind = guess(content)
    try:
        found = _parsed(file, content, kind)
    except data.DataError as error:
        if not guessed or kind == "text":
            raise
        message = f"{error.message}; taken for {kind} by how it begins: --input=text reads texts"
        raise data.DataError(
            message, file=error.file, line=error.line, column=error.column, value=error.value
        ) from None
    if guessed and (file is not None or kind != "text"):
        _tell("what was given" if file is None else file, kind)
    return found


def _begins(path: str) -> bool:
    """Whether a file begins as texts do."""
    start, length = [], 0
    for line in read_lines(path):
        start.append(line)
        length += len(line.strip())
        if length > _FIRST:
            break
    return guess("\n".join(start)) == "text"


def _tell(where: str, kind: str) -> None:
    noun = {"text": "texts, one a line"}.get(kind, kind)
    others = [f"--input={other}" for other in ("text", "trees", "parses") if other != kind]
    print(f"{where}: read as {noun} ({' or '.join(others)} says otherwise)", file=sys.stderr)


def _parsed(file: str | None, content: str, kind: str) -> list[data.Tree] | list[Text]:
    if kind != "text":
        stream = io.StringIO(content)
        stream.name = file or "<text>"
        return data.read_parses(stream) if kind == "parses" else data.read_trees(stream)
    lines = [content] if file is None else content.split("\n")
    found = [text for text in map(Text, lines) if text]
    if not found:
        raise data.DataError("there are no words", file=file, value=content[:40])
    return found
