"""Texts larger than memory: sentences of several files, and their ids in one file."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rntn_jax.data.errors import DataError
from rntn_jax.data.text import read_lines
from rntn_jax.data.vocabulary import Vocabulary

__all__ = ["TokenFile", "shards", "stream_sentences"]

_MAGIC = b"rntn_jax tokens\n"
_HEADER = len(_MAGIC) + 32
_BLOCK = 10_000  # sentences that are encoded at once


def shards(pattern: str | os.PathLike[str]) -> list[Path]:
    """The files of a corpus, in the order of their names.

    Args:
        pattern: a file, a folder (its regular files whose names do not begin with a dot), or a
            pattern as the shell has it (``part-*.txt``).

    Returns:
        Their paths.

    Raises:
        DataError: when there are none.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.txt", "a.txt"):
        ...     (folder / name).write_text("one line")
        8
        8
        >>> [path.name for path in shards(folder)], [path.name for path in shards(folder / "b*")]
        (['a.txt', 'b.txt'], ['b.txt'])
    """
    path = Path(pattern)
    if path.is_dir():
        found = [own for own in path.iterdir() if own.is_file() and not own.name.startswith(".")]
    elif path.exists():
        found = [path]
    else:
        found = [Path(name) for name in glob.glob(os.fspath(pattern))]
    if not found:
        raise DataError("there is no such file", file=os.fspath(pattern))
    return sorted(found)


def stream_sentences(files: Iterable[Path], *, level: str = "word") -> Iterator[list[str]]:
    """Sentences of files, one a line, one file after the other; `read_sentences` of any length.

    Args:
        files: of `shards`; UTF-8.
        level: as `read_sentences` takes it.

    Yields:
        The words of each line.

    Raises:
        DataError: with file and line, for a line without words and what `read_lines` refuses, when
            it is reached.
        OSError: when a file cannot be opened.
        ValueError: for another level.

    Cost:
        Memory for a piece of a file (1 MiB), or its longest line.
    """
    if level not in ("word", "char"):
        raise ValueError(f"level must be 'word' or 'char', got {level!r}")
    for file in files:
        for number, line in enumerate(read_lines(file), 1):
            words = line.split() if level == "word" else list(line.strip())
            if not words:
                raise DataError(
                    "a line without words", file=os.fspath(file), line=number, value=line
                )
            yield words


class TokenFile:
    """A row of ids in a file, of which a slice is read when it is asked for.

    Args:
        path: of a file that `write` wrote.
        digest: of what it was made from, as `write` was told.

    Raises:
        DataError: when it is none, cut short, or of something else.
        OSError: when it cannot be opened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tokens"
        >>> vocabulary = Vocabulary.build(["a", "b", "."])
        >>> ids = TokenFile.write(path, [["a", "b"], ["a"]], vocabulary, end=".")
        >>> len(ids), vocabulary.decode(ids[:4]), vocabulary.decode(ids[-2:])
        (6, ['.', 'a', 'b', '.'], ['a', '.'])
        >>> ids.close()
    """

    def __init__(self, path: str | os.PathLike[str], digest: bytes = b""):
        self._file, name = open(path, "rb"), os.fspath(path)
        try:
            header = self._file.read(_HEADER)
            size, rest = divmod(os.fstat(self._file.fileno()).st_size - _HEADER, 4)
            if header[: len(_MAGIC)] != _MAGIC or rest or size < 0:
                raise DataError("is no file of tokens, or cut short", file=name)
            own = hashlib.sha256(digest + size.to_bytes(8, "little")).digest()
            if header[len(_MAGIC) :] != own:
                raise DataError("holds the tokens of something else", file=name)
        except BaseException:
            self._file.close()
            raise
        self._size = size

    @classmethod
    def write(
        cls,
        path: str | os.PathLike[str],
        sentences: Iterable[Sequence[str]],
        vocabulary: Vocabulary,
        *,
        end: str,
        digest: bytes = b"",
    ) -> TokenFile:
        """Writes a file in one step: an ``end``, then every sentence and its ``end``.

        Args:
            path: of the file.
            sentences: words.
            vocabulary: whose ids they get.
            end: what ends a sentence, a word of the vocabulary.
            digest: of what the tokens are made from, for who reads them.

        Returns:
            The file.

        Raises:
            DataError: when there is no sentence.
            OSError: when it cannot be written.
        """
        path, size = Path(path), 1
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(bytes(_HEADER))
                file.write(vocabulary.encode([end]).astype("<i4").tobytes())
                sentences = iter(sentences)
                while block := [*itertools.islice(sentences, _BLOCK)]:
                    ids = vocabulary.encode(word for own in block for word in (*own, end))
                    size += len(ids)
                    file.write(ids.astype("<i4").tobytes())
                if size == 1:
                    raise DataError("there is no text", file=os.fspath(path))
                file.seek(0)
                own = hashlib.sha256(digest + size.to_bytes(8, "little")).digest()
                file.write(_MAGIC + own)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        return cls(path, digest)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> np.ndarray:
        """int32 ``[n]``; of slices, those without a step."""
        begin, stop, step = part.indices(self._size)
        if step != 1:
            raise ValueError(f"a slice of a file of tokens has no step, got {step}")
        self._file.seek(_HEADER + 4 * begin)
        content = self._file.read(4 * max(stop - begin, 0))
        return np.frombuffer(content, "<i4").astype(np.int32)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
