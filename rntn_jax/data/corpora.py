"""Finding the published corpora: in a given directory, in the cache, or from the official address.

`find("sst")` returns the paths of the files. One entry of `CORPORA` describes one corpus; a new
corpus is a new entry. Nothing of a corpus is part of this package: whoever runs it fetches their
own copy, under the terms of the corpus.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import pathlib
import posixpath
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from rntn_jax.data.errors import DataError

__all__ = ["CORPORA", "Corpus", "CorpusFile", "find"]

_ENVIRONMENT_VARIABLE = "RNTN_JAX_DATA"
_LARGEST_FILE = 256 * 2**20  # bytes: no file of these corpora comes near; stops zip bombs


@dataclasses.dataclass(frozen=True)
class CorpusFile:
    """One file of a corpus.

    Attributes:
        names: the name of the file here, then other names under which users may have it.
        sha256: checksum of the unpacked file.
    """

    names: tuple[str, ...]
    sha256: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Where a corpus is to be had.

    Attributes:
        title: its full name.
        terms: under which terms it may be used.
        files: the files, by split ("train", "dev", "test").
        sources: alternatives, tried in order until the checksums agree. Each gives the address of
            every file; `archive.zip#path/in/archive` is a member of an archive.

    Example:
        >>> CORPORA["sst"].files["dev"].names
        ('dev.txt',)
    """

    title: str
    terms: str
    files: Mapping[str, CorpusFile]
    sources: tuple[Mapping[str, str], ...]


_SPLITS = ("train", "dev", "test")
_SST = "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip#trees/"
_PTB = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz#simple-examples/data/"
_CONLL2000 = (
    "https://www.clips.uantwerpen.be/conll2000/chunking/",
    "http://www.cnts.ua.ac.be/conll2000/chunking/",
)
_UD_EWT = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/r2.16/"

# The checksums were taken from files at hand. The addresses are from general knowledge: they could
# not be tried where this table was written. UD English-EWT is release 2.16: the files are those of
# the tag r2.16 of its repository.
CORPORA: Mapping[str, Corpus] = {
    "sst": Corpus(
        title="Stanford Sentiment Treebank v1.0, as bracketed trees with labels 0 to 4",
        terms="cite Socher et al. 2013, 'Recursive Deep Models for Semantic Compositionality...'",
        files={
            "train": CorpusFile(
                ("train.txt",), "e2f3f41b0b1e6d4dddc0effe3bfc2d27ed8928079aa9a03d652311614fc5feb7"
            ),
            "dev": CorpusFile(
                ("dev.txt",), "0e9336aed6e4730e19f58d00a77b3f0297efdb755f7b5e598c98a05e3f97ea40"
            ),
            "test": CorpusFile(
                ("test.txt",), "6e54806dee95cf80cd918e7dfb3f6770f6df24bf826f289a4d1f709e1c8f6761"
            ),
        },
        sources=({split: f"{_SST}{split}.txt" for split in _SPLITS},),
    ),
    "ptb": Corpus(
        title="Penn Treebank text as prepared by Mikolov, 10,000 words",
        terms="derived from the Wall Street Journal part of the Penn Treebank, which the Linguistic"
        " Data Consortium licenses (LDC99T42); this excerpt is passed on for research use only",
        files={
            "train": CorpusFile(
                ("ptb.train.txt",),
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            ),
            "dev": CorpusFile(
                ("ptb.valid.txt",),
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            ),
            "test": CorpusFile(
                ("ptb.test.txt",),
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            ),
        },
        sources=(
            {
                "train": f"{_PTB}ptb.train.txt",
                "dev": f"{_PTB}ptb.valid.txt",
                "test": f"{_PTB}ptb.test.txt",
            },
        ),
    ),
    "conll2000": Corpus(
        title="CoNLL-2000 shared task: chunking (train and test; there is no dev set)",
        terms="derived from the Wall Street Journal part of the Penn Treebank; for research use",
        files={
            "train": CorpusFile(
                ("train.txt",), "82033cd7a72b209923a98007793e8f9de3abc1c8b79d646c50648eb949b87cea"
            ),
            "test": CorpusFile(
                ("test.txt",), "73b7b1e565fa75a1e22fe52ecdf41b6624d6f59dacb591d44252bf4d692b1628"
            ),
        },
        sources=tuple(
            {split: f"{address}{split}.txt.gz" for split in ("train", "test")}
            for address in _CONLL2000
        ),
    ),
    "ud_ewt": Corpus(
        title="Universal Dependencies English-EWT, release 2.16",
        terms="CC BY-SA 4.0",
        files={
            "train": CorpusFile(
                ("train.conllu", "en_ewt-ud-train.conllu"),
                "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
            ),
            "dev": CorpusFile(
                ("dev.conllu", "en_ewt-ud-dev.conllu"),
                "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
            ),
            "test": CorpusFile(
                ("test.conllu", "en_ewt-ud-test.conllu"),
                "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
            ),
        },
        sources=({split: f"{_UD_EWT}en_ewt-ud-{split}.conllu" for split in _SPLITS},),
    ),
}


def find(name: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, pathlib.Path]:
    """The files of a corpus.

    With `data_dir`, they are looked for there and nowhere else, in `data_dir/<name>/` and then in
    `data_dir/` itself; they may differ from the published files. Without it, the cache directory
    is asked (the environment variable RNTN_JAX_DATA, else the user's cache directory), and files
    that are not there are downloaded into it from the official address, with a progress bar on
    standard error. Cached and downloaded files must have the published checksums. Files appear in
    the cache only when all of them are complete and verified.

    Args:
        name: "sst", "ptb", "conll2000" or "ud_ewt" (the keys of `CORPORA`).
        data_dir: a directory of the user's own files, or None.

    Returns:
        The path of each split, "train", "dev" (not for conll2000) and "test".

    Raises:
        DataError: when files are missing in `data_dir`, when they cannot be downloaded, or when a
            checksum differs; the message says which files belong where.
        ValueError: for an unknown name.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for split in ("train", "dev", "test"):
        ...   _ = (folder / f"{split}.txt").write_text("(3 good)")
        >>> find("sst", data_dir=folder)["train"].name
        'train.txt'
    """
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}; there are {', '.join(CORPORA)}")
    corpus = CORPORA[name]
    if data_dir is not None:
        folders = [pathlib.Path(data_dir, name), pathlib.Path(data_dir)]
        for folder in folders:
            if paths := _present(corpus, folder):
                return paths
        looked = "\n".join(f"  {folder / file}" for folder in folders for file in _names(corpus))
        raise DataError(
            f"{name}: no complete set of files in the data directory; looked for\n{looked}",
            file=os.fspath(data_dir),
        )

    folder = _cache_directory() / name
    paths = {split: folder / file.names[0] for split, file in corpus.files.items()}
    for split, path in paths.items():
        if path.is_file() and _file_sha256(path) != corpus.files[split].sha256:
            raise DataError(
                "checksum differs from that of the published file: delete the file to download it"
                " again, or pass its directory with --data_dir to use it as it is",
                file=str(path),
            )
    if not all(path.is_file() for path in paths.values()):
        _fetch(name, corpus, folder)
    return paths


def _names(corpus: Corpus) -> list[str]:
    return [file.names[0] for file in corpus.files.values()]


def _present(corpus: Corpus, folder: pathlib.Path) -> dict[str, pathlib.Path] | None:
    """The files of the corpus in a folder, or None unless all are there."""
    paths = {}
    for split, file in corpus.files.items():
        for path in (folder / name for name in file.names):
            if path.is_file():
                paths[split] = path
                break
    return paths if len(paths) == len(corpus.files) else None


def _cache_directory() -> pathlib.Path:
    if chosen := os.environ.get(_ENVIRONMENT_VARIABLE):
        return pathlib.Path(chosen)
    import pooch  # costs a quarter of a second

    return pathlib.Path(pooch.os_cache("rntn_jax"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file_sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(name: str, corpus: Corpus, folder: pathlib.Path) -> None:
    """Downloads all files of the corpus into the folder, or raises DataError and leaves none."""
    print(f"{name}: downloading {corpus.title}\n  terms: {corpus.terms}", file=sys.stderr)
    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in corpus.sources:
            # The temporary folder lies beside the files, so that moving them is atomic.
            with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
                try:
                    ready = _download_verified(corpus, source, pathlib.Path(temporary))
                except _DOWNLOAD_FAULTS as error:
                    failures.append(str(error))
                    continue
                for split, path in ready.items():
                    os.replace(path, folder / corpus.files[split].names[0])
                return
    except OSError as error:
        failures.append(str(error))
    tried = "\n".join(f"  {failure}" for failure in failures)
    raise DataError(
        f"{name}: the files are not in {folder} and could not be downloaded:\n{tried}\n"
        f"What to do: get {corpus.title} and put {', '.join(_names(corpus))} into {folder}, or into"
        " a directory of your own that you name with --data_dir (data_dir=... in Python)."
    )


# Whatever the network (requests raises OSErrors) and broken archives can raise, and DataError.
_DOWNLOAD_FAULTS = (
    *(OSError, EOFError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
)


def _download_verified(
    corpus: Corpus, source: Mapping[str, str], temporary: pathlib.Path
) -> dict[str, pathlib.Path]:
    """The files of one source, unpacked and verified, in the temporary folder."""
    downloads: dict[str, pathlib.Path] = {}
    ready = {}
    for split in reversed(list(corpus.files)):  # the small files first: a mismatch shows early
        address, _, member = source[split].partition("#")
        if address not in downloads:
            downloads[address] = temporary / f"{len(downloads)}-{posixpath.basename(address)}"
            try:
                _download(address, downloads[address])
            except OSError as error:
                raise DataError(f"{address}: {error}") from error
        content = _unpack(downloads[address], member)
        if _sha256(content) != corpus.files[split].sha256:
            raise DataError(
                f"{source[split]}: refused, SHA-256 {_sha256(content)} is not the published"
                f" {corpus.files[split].sha256}"
            )
        ready[split] = temporary / split
        ready[split].write_bytes(content)
    return ready


def _unpack(path: pathlib.Path, member: str) -> bytes:
    """The content of a download. Nothing is written, so names in archives cannot do harm."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if posixpath.normpath(info.filename) == member and not info.is_dir():
                    with archive.open(info) as stream:
                        return stream.read(_LARGEST_FILE)
    elif path.suffix == ".tgz":
        with tarfile.open(path, "r:gz") as archive:
            for info in archive:
                if posixpath.normpath(info.name) == member and info.isfile():
                    if stream := archive.extractfile(info):
                        return stream.read(_LARGEST_FILE)
    elif path.suffix == ".gz":
        with gzip.open(path) as stream:
            return stream.read(_LARGEST_FILE)
    else:
        with open(path, "rb") as stream:
            return stream.read(_LARGEST_FILE)
    raise DataError(f"the archive holds no file {member}", file=path.name)


def _download(address: str, path: pathlib.Path) -> None:
    """Downloads a file; raises OSError when that fails."""
    import pooch

    bar: Any = _ProgressBar(posixpath.basename(address))
    pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=30)(address, str(path), None)


class _ProgressBar:
    """A progress bar on standard error, as pooch wants it; one line where that is no terminal."""

    def __init__(self, name: str):
        self.name = name
        self.total = 0
        self.done = 0
        self.shown = -1

    def update(self, size: int) -> None:
        self.done += size
        percent = min(100, 100 * self.done // self.total) if self.total else 0
        if percent != self.shown and sys.stderr.isatty():
            self.shown = percent
            filled = "#" * (percent // 4)
            print(f"\r  {self.name} [{filled:25}] {percent:3}%", end="", file=sys.stderr)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        end = "" if sys.stderr.isatty() else f"  {self.name}: {self.total} bytes"
        print(end, file=sys.stderr)
