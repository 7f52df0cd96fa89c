"""Texts larger than memory: read line by line, their ids in a file of the run's folder."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.language_model.config import Config
from rntn_jax import data
from rntn_jax.training import processes

__all__ = ["encoded"]


def _sentences(config: Config, files: list[Path]) -> Iterator[list[str]]:
    found = data.stream_sentences(files, level=config.level)
    return itertools.islice(found, config.max_sentences)


@contextlib.contextmanager
def encoded(config: Config, workdir: Path) -> Iterator[tuple[data.Vocabulary, data.TokenFile]]:
    """The vocabulary of the training text, and its ids; two passes over its files.

    The ids stay in the folder, and a run that goes on takes them from there unless the files have
    changed. Of several processes each has ids of its own, the others than the first temporary ones.

    Raises:
        DataError: when there is no such file, or one is faulty.
        OSError: when the ids cannot be written.
    """
    end = data.demo_text.END
    files = data.shards(str(config.train))
    words = itertools.chain.from_iterable([*own, end] for own in _sentences(config, files))
    vocabulary = data.Vocabulary.build(words, config.min_count)
    digest = hashlib.sha256(vocabulary.to_json().encode())
    for file in files:
        about = file.stat()
        digest.update(f"\n{file.name} {about.st_size} {about.st_mtime_ns}".encode())
    digest.update(f"\n{config.level} {config.max_sentences}".encode())
    with contextlib.ExitStack() as stack:
        folder = workdir
        if not processes.is_first():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "train.tokens"
        try:
            ids = data.TokenFile(path, digest.digest())
        except (FileNotFoundError, data.DataError):
            sentences = _sentences(config, files)
            ids = data.TokenFile.write(path, sentences, vocabulary, end=end, digest=digest.digest())
        stack.callback(ids.close)
        yield vocabulary, ids
