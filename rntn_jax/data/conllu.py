"""Sentences of Universal Dependencies, in the ten columns of CoNLL-U, read and written exactly.

A sentence is some lines of comments, then one line a word, its columns separated by tabs, then a
blank line (columns LEMMA to FEATS left out here):

    # text = vámonos ya
    1-2  vámonos  ...  _  _      _      _
    1    vamos    ...  0  root   0:root _
    2    nos      ...  1  obj    1:obj  _
    3    ya       ...  1  advmod _      _

`1-2` is one token of two words, and ids like `8.1` are nodes without a word, of which trees know
nothing; `_` stands for nothing. Why a reader of our own: conllu 6.0 is some six times slower and
looks at no tree, and pyconll 3.3 also changes the order inside of MISC.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Sequence
from typing import IO, NoReturn

import numpy as np
import numpy.typing as npt

from rntn_jax.data._head_lists import tree_fault
from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import name_of, read_text, write_text

__all__ = ["ConlluSentence", "read_conllu", "write_conllu"]

_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_ID, _FORM, _LEMMA, _UPOS, _XPOS, _FEATS, _HEAD, _DEPREL, _DEPS, _ = range(10)
_ID_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(?:([.-])([1-9][0-9]{0,8}))?")


@dataclasses.dataclass(frozen=True)
class ConlluSentence:
    """One sentence of a CoNLL-U file: its lines, and views of its words.

    The views leave out the rows that are no words: tokens of several words (`1-2`) and empty nodes
    (`8.1`). Views are strings as they stand in the file, `_` where nothing is known.

    The constructor checks the lines, not the tree.

    Attributes:
        comments: the lines before the words, with their `#`.
        rows: the other lines, each a tuple of 10 columns.

    Raises:
        DataError: with the line in the sentence, from 1, for what `read_conllu` refuses but the
            tree.

    Example:
        >>> rows = [
        ...   "1 no no DET DT _ 2 det _ _",
        ...   "2 end end NOUN NN Number=Sing 0 root _ _",
        ... ]
        >>> sentence = ConlluSentence((), tuple(tuple(row.split()) for row in rows))
        >>> sentence.forms, sentence.heads, sentence.relations
        (('no', 'end'), array([2, 0], dtype=int32), ('det', 'root'))
    """

    comments: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        columns = _check_lines(self.comments, self.rows)
        if columns[_ID] == _ids(len(self.rows)):  # all rows are words: computed already
            self.__dict__["_words"] = columns

    @functools.cached_property
    def _words(self) -> tuple[tuple[str, ...], ...]:
        """The ten columns of the words."""
        return tuple(zip(*(row for row in self.rows if row[_ID].isdigit())))

    @property
    def forms(self) -> tuple[str, ...]:
        """The words themselves."""
        return self._words[_FORM]

    @property
    def lemmas(self) -> tuple[str, ...]:
        """Their dictionary forms."""
        return self._words[_LEMMA]

    @property
    def upos(self) -> tuple[str, ...]:
        """Their universal parts of speech."""
        return self._words[_UPOS]

    @property
    def xpos(self) -> tuple[str, ...]:
        """Their parts of speech in the language's own tag set."""
        return self._words[_XPOS]

    @property
    def feats(self) -> tuple[str, ...]:
        """Their morphological features, as `Case=Nom|Number=Sing`."""
        return self._words[_FEATS]

    @functools.cached_property
    def heads(self) -> npt.NDArray[np.int32]:
        """Their heads, int32, 1 to n, or 0 for the root; read-only.

        `DataError` when one is no such integer, as where the file has no trees.
        """
        heads = np.array(_heads(self), np.int32)
        heads.flags.writeable = False
        return heads

    @property
    def relations(self) -> tuple[str, ...]:
        """Their relations to their heads, subtypes (`nsubj:pass`) included."""
        return self._words[_DEPREL]

    def with_tree(self, heads: npt.ArrayLike, relations: Sequence[str]) -> ConlluSentence:
        """A copy with another tree, to write a parse.

        HEAD and DEPREL of the words are replaced, and their DEPS, which belonged to the old tree,
        set to `_`. The other rows and columns stay.

        Args:
            heads: integers `[n]`, a tree.
            relations: `n` relations.

        Returns:
            The copy.

        Raises:
            DataError: when the heads are no tree, or a relation is empty, `_` or holds a tab or an
                end of line.
            ValueError: when there are not `n` heads and relations, or heads are no integers.
            TypeError: when the relations are one string.

        Example:
            >>> rows = (("1", "end", "end", "NOUN", "NN", "_", "_", "_", "_", "_"),)
            >>> ConlluSentence((), rows).with_tree([0], ["root"]).rows[0][6:8]
            ('0', 'root')
        """
        if isinstance(relations, str):
            raise TypeError("relations must be a sequence of strings, not one string")
        array, count = np.asarray(heads), len(self.forms)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"heads must be integers [{count}], got {array.dtype.name}")
        if len(array) != count or len(relations) != count:
            raise ValueError(
                f"{count} words, but {len(array)} heads and {len(relations)} relations"
            )
        tree = zip(array.tolist(), relations)
        rows = []
        for row in self.rows:
            if row[_ID].isdigit():
                head, relation = next(tree)
                row = (*row[:_HEAD], str(head), relation, "_", *row[_DEPS + 1 :])
            rows.append(row)
        sentence = ConlluSentence(self.comments, tuple(rows))
        _check_tree(sentence)
        return sentence


def read_conllu(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], *, trees: bool = True
) -> list[ConlluSentence]:
    """Reads a CoNLL-U file; some 4 microseconds a word.

    Several blank lines count as one, and the last sentence needs none. Only the structure is
    checked, not whether tags, features and relations are those of Universal Dependencies, and DEPS
    not at all.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.
        trees: whether words must have a tree: heads and relations. With False these columns may
            hold anything but nothing, as `_` in tagged text that is to be parsed.

    Returns:
        The sentences, at least one, none without words. `write_conllu` writes them back as they
        were, byte for byte where the lines end in LF and there is one blank line after each
        sentence.

    Raises:
        DataError: with file, line and value, for a line without 10 columns, an empty column, ids
            out of order, a range of ids (`1-2`) that is not before its first word, overlaps
            another, or ends after the last word, a comment inside of a sentence, a sentence without
            words, a file without sentences, and what `rntn_jax.data.text.read_text` refuses; and
            with trees also for a head that is no integer, out of range, or the word itself, no
            root, several roots, and a relation `_`. For a cycle, the line is the first one of the
            sentence, and the message names a word of the cycle.
        OSError: when the file cannot be opened.

    Example:
        >>> import io
        >>> words = "1 no no DET DT _ 2 det _ _\\n2 end end NOUN NN _ 0 root _ _\\n"
        >>> text = "# text = no end\\n" + words.replace(" ", "\\t")
        >>> [sentence] = read_conllu(io.StringIO(text))
        >>> sentence.comments, sentence.upos
        (('# text = no end',), ('DET', 'NOUN'))
    """
    file, text = read_text(source)
    lines = text.split("\n")
    lines.append("")
    sentences, start = [], 0
    while start < len(lines):
        end = lines.index("", start)
        if end > start:
            first = start  # of the words
            while lines[first].startswith("#"):
                first += 1
            rows = tuple([tuple(line.split("\t")) for line in lines[first:end]])
            try:
                sentence = ConlluSentence(tuple(lines[start:first]), rows)
                if trees:
                    _check_tree(sentence)
            except DataError as error:
                raise DataError(
                    error.message,
                    file=file,
                    line=start + (error.line or 1),
                    column=error.column,
                    value=error.value,
                ) from None
            sentences.append(sentence)
        start = end + 1
    if not sentences:
        raise DataError("there are no sentences", file=file)
    return sentences


def write_conllu(
    target: str | os.PathLike[str] | IO[str], sentences: Iterable[ConlluSentence]
) -> None:
    """Writes a CoNLL-U file: the lines of each sentence and a blank line.

    `read_conllu` reads them back equal, with `trees=False` where they have none. A file is written
    in UTF-8 with LF, and appears, or is replaced, only when everything is written.

    Args:
        target: a path, whose directory must exist, or an open text stream.
        sentences: the sentences.

    Raises:
        DataError: for no sentences, or, with line and value, NUL or a lone surrogate, which UTF-8
            cannot express.
        OSError: when the file cannot be written.

    Example:
        >>> import io
        >>> rows = (("1", "end", "end", "NOUN", "NN", "_", "0", "root", "_", "_"),)
        >>> stream = io.StringIO()
        >>> write_conllu(stream, [ConlluSentence(("# text = end",), rows)])
        >>> stream.getvalue()
        '# text = end\\n1\\tend\\tend\\tNOUN\\tNN\\t_\\t0\\troot\\t_\\t_\\n\\n'
    """
    lines: list[str] = []
    for sentence in sentences:
        lines += sentence.comments
        lines += map("\t".join, sentence.rows)
        lines.append("")
    if not lines:
        raise DataError("no sentences to write", file=name_of(target))
    write_text(target, "\n".join([*lines, ""]))


@functools.lru_cache(maxsize=512)
def _ids(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(1, count + 1)))


@functools.lru_cache(maxsize=512)
def _numbers(count: int) -> dict[str, int]:
    return {str(number): number for number in range(count + 1)}


def _check_lines(
    comments: tuple[str, ...], rows: tuple[tuple[str, ...], ...]
) -> tuple[tuple[str, ...], ...]:
    """The columns of all rows.

    Raises DataError, its line counted in the sentence, unless the lines can be those of a file.
    """
    for number, comment in enumerate(comments, 1):
        if not comment.startswith("#") or "\n" in comment or "\r" in comment:
            raise DataError(f"{shown(comment)} is no comment", line=number, value=comment)
    if not rows:
        raise DataError("a sentence without words", line=1)
    if {*map(len, rows)} != {10}:
        number, row = next((i, row) for i, row in enumerate(rows) if len(row) != 10)
        line = "\t".join(row)
        what = "a comment inside of a sentence" if line.startswith("#") else None
        raise DataError(
            f"{what or f'{len(row)} columns instead of 10'}: {shown(line)}",
            line=len(comments) + number + 1,
            value=row,
        )
    columns = tuple(zip(*rows))
    text = "\t".join(["", *map("\t".join, rows), ""])
    strange = "\t\t" in text or "\n" in text or "\r" in text
    if strange or text.count("\t") != 10 * len(rows) + 1:
        for number, row in enumerate(rows):
            for field, value in enumerate(row):
                if not value:
                    _fail(comments, rows, number, field, f"{_COLUMNS[field]} is empty")
                if set(value) & set("\t\n\r"):
                    why = f"{_COLUMNS[field]} holds a tab or an end of line: {shown(value)}"
                    _fail(comments, rows, number, field, why)
    if columns[_ID] != _ids(len(rows)):
        _check_ids(comments, rows)
    return columns


def _check_ids(comments: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
    """Raises DataError unless the words are numbered from 1, other rows in their places."""
    word = empty = 0  # the last word, the empty nodes after it
    opened, last = -1, 0  # the row and the last word of the last range
    for number, row in enumerate(rows):
        found = _ID_PATTERN.fullmatch(row[_ID])
        first, kind, second = (int(found[1]), found[2], int(found[3] or 0)) if found else (0, "", 0)
        fault = None
        if not found or (first == 0 and kind != "."):
            fault = "is no id"
        elif kind is None:
            if first != word + 1:
                fault = f"must be {word + 1}"
            word, empty = word + 1, 0
        elif kind == ".":
            if first != word or second != empty + 1:
                fault = f"must be {word}.{empty + 1}"
            elif last > word and opened == number - 1:
                fault = f"must not stand between {rows[opened][_ID]} and its first word"
            empty += 1
        else:
            if second < first:
                fault = "ends before it begins"
            elif last > word:
                fault = f"overlaps {rows[opened][_ID]}"
            elif first != word + 1:
                fault = f"must begin at {word + 1}, the word after it"
            opened, last = number, second
        if fault:
            _fail(comments, rows, number, _ID, f"ID {shown(row[_ID])} {fault}")
    if not word:
        raise DataError("a sentence without words", line=1)
    if last > word:
        why = f"ID {rows[opened][_ID]!r} ends after the last word, {word}"
        _fail(comments, rows, opened, _ID, why)


def _heads(sentence: ConlluSentence) -> list[int]:
    column = sentence._words[_HEAD]
    numbers = _numbers(len(column))
    try:
        return [numbers[head] for head in column]
    except KeyError:
        at = next(i for i, head in enumerate(column) if head not in numbers)
        why = f"HEAD {shown(column[at])} is no integer from 0 to {len(column)}"
        hint = " (trees=False reads files without trees)" if column[at] == "_" else ""
        _fail_at_word(sentence, at + 1, _HEAD, why + hint)


def _check_tree(sentence: ConlluSentence) -> None:
    """Raises DataError, its line counted in the sentence, unless the words form a tree."""
    if fault := tree_fault(_heads(sentence)):
        word, why, value = fault
        if word:
            _fail_at_word(sentence, word, _HEAD, why)
        raise DataError(why, line=1, value=value)
    if "_" in sentence.relations:
        _fail_at_word(sentence, sentence.relations.index("_") + 1, _DEPREL, "DEPREL is missing")


def _fail_at_word(sentence: ConlluSentence, word: int, field: int, message: str) -> NoReturn:
    number = next(i for i, row in enumerate(sentence.rows) if row[_ID] == str(word))
    _fail(sentence.comments, sentence.rows, number, field, message)


def _fail(
    comments: tuple[str, ...], rows: tuple[tuple[str, ...], ...], row: int, field: int, message: str
) -> NoReturn:
    raise DataError(
        message,
        line=len(comments) + row + 1,
        column=sum(len(value) + 1 for value in rows[row][:field]) + 1,
        value=rows[row][field],
    )
