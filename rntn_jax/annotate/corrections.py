"""A file of corrected trees that is on disk before anything else happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from rntn_jax.data import DataError, Tree, read_trees

__all__ = ["Corrections"]


class Corrections:
    """Trees in brackets, one a line and one a sentence; labels that nobody corrected are -1.

    Each change is appended and synchronised before the call returns, so nothing is lost by a kill
    at any time. Then a line about the same words, which it replaces, is taken out: by a new file
    that takes the place of the old one when it is complete. Where a kill leaves both, the later
    one counts. One server at a time writes a file.

    Attributes:
        path: the file; there is none before the first correction.

    Example:
        >>> import tempfile
        >>> from rntn_jax.data import parse_tree
        >>> file = Corrections(Path(tempfile.mkdtemp(), "corrections.txt"))
        >>> file.save(parse_tree("(4 (-1 good) (-1 film))"))
        >>> file.save(parse_tree("(3 (-1 good) (-1 film))"))
        >>> file.path.read_text()
        '(3 (-1 good) (-1 film))\\n'
    """

    def __init__(self, path: str | os.PathLike[str], num_classes: int = 5):
        """Looks whether the file, if there is one, can be read, and makes its folder.

        Args:
            path: the file.
            num_classes: labels are 0 to num_classes - 1, or -1.

        Raises:
            DataError: when the file holds something else.
            OSError: when it cannot be read, or its folder cannot be made.
        """
        self.path = Path(path).resolve()
        self._num_classes = num_classes
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.trees()

    def trees(self) -> list[Tree]:
        """The trees, the latest of each sentence, in the order in which they were last changed."""
        if not self.path.exists() or not self.path.stat().st_size:
            return []
        latest: dict[tuple[str, ...], Tree] = {}
        for tree in read_trees(self.path, num_classes=self._num_classes):
            latest.pop(tree.tokens, None)
            latest[tree.tokens] = tree
        return list(latest.values())

    def find(self, tokens: Sequence[str]) -> Tree | None:
        """The corrected tree of a sentence, None where there is none."""
        return next((tree for tree in self.trees() if tree.tokens == tuple(tokens)), None)

    def save(self, tree: Tree) -> None:
        """Writes a tree, instead of an earlier one about the same words.

        Raises:
            DataError: when a word holds what UTF-8 text cannot: NUL or a lone surrogate.
            OSError: when the file cannot be written.
        """
        line = tree.to_brackets() + "\n"
        if "\0" in line or any("\ud800" <= character <= "\udfff" for character in line):
            raise DataError("a word holds what no text file can", value=line.rstrip("\n"))
        with self._lock:
            before = self.path.read_bytes() if self.path.exists() else b""
            if before and not before.endswith(b"\n"):
                line = "\n" + line
            _write(self.path, line.encode(), os.O_APPEND)
            self._tidy()

    def remove(self, tokens: Sequence[str]) -> None:
        """Takes the tree of a sentence out of the file; nothing happens where there is none."""
        with self._lock:
            if self.find(tokens) is not None:
                self._replace([tree for tree in self.trees() if tree.tokens != tuple(tokens)])

    def _tidy(self) -> None:
        trees = self.trees()
        if len(trees) < len(read_trees(self.path, num_classes=self._num_classes)):
            self._replace(trees)

    def _replace(self, trees: Sequence[Tree]) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        content = "".join(tree.to_brackets() + "\n" for tree in trees)
        _write(partial, content.encode(), os.O_TRUNC)
        os.replace(partial, self.path)


def _write(path: Path, content: bytes, how: int) -> None:
    """Writes and waits until it is on disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)
