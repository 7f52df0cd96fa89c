"""A million files that nobody would write: every reader reads them or refuses them, and no more."""

from __future__ import annotations

import gzip
import io
import random
import resource
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from rntn_jax.data import (
    DataError,
    binarize,
    read_columns,
    read_conllu,
    read_labelled_text,
    read_parses,
    read_sentences,
    read_trees,
    read_uai,
    read_uai_evidence,
    read_word_vectors,
    sentence_spans,
    tokenize,
)

INPUTS = 1_000_000
MOST_MORE = 256 << 20  # bytes of memory that all of them together may take


class Reader(NamedTuple):
    """A reader, and a file that it takes."""

    read: Callable[[bytes], Any]
    file: bytes


CONLLU = b"""# newpar
# text = The dogs' end.
1\tThe\tthe\tDET\tDT\tDefinite=Def\t2\tdet\t_\t_
2-3\tdogs'\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tdogs\tdog\tNOUN\tNNS\tNumber=Plur|Case=Nom\t4\tnmod\t4:nmod\tA=b
3\t'\t'\tPART\tPOS\t_\t2\tcase\t_\t_
3.1\te\t_\t_\t_\t_\t_\t_\t0:root\t_
4\tend\tend\tNOUN\tNN\t_\t0\troot\t_\t_

"""
UAI = b"MARKOV\n3\n2 2 3\n2\n1 0\n2 0 2\n2 0.5 1e-3\n6 1 2 3 4 5 6\n"
VECTORS = b"the 0.5 1\nfilm -1 2e-1\na 1 2\n"


def stream(read: Callable[..., Any], *args: Any) -> Callable[[bytes], Any]:
    return lambda content: read(io.BytesIO(content), *args)


def trees_of_any_arity(content: bytes) -> Any:
    return binarize(content.decode(errors="replace"))


def raw(content: bytes) -> Any:
    text = content.decode(errors="replace")
    return tokenize(text), sentence_spans(text)


READERS = {
    "trees": Reader(stream(read_trees), b"(3 (2 It) (4 (2 's) (4 (3 very) (4 good))))\n(2 a)\n"),
    "parses": Reader(stream(read_parses), b"( (S (NP (DT The) (NN end)) (VP (V is) (-X- *T*))))\n"),
    "binarized": Reader(trees_of_any_arity, b"(3 (2 a) (1 b) (4 (0 c)))\n"),
    "columns": Reader(stream(read_columns), b"the DT B-NP\nend NN I-NP\n\nis VB O\n"),
    "conllu": Reader(stream(read_conllu), CONLLU),
    "labelled text": Reader(stream(read_labelled_text), b"1 a b\n-1 b\n\n3 c\n"),
    "sentences": Reader(stream(read_sentences), b"a b\nc \xc3\xa5\n"),
    "uai": Reader(stream(read_uai), UAI),
    "evidence": Reader(stream(read_uai_evidence, np.array([2, 2, 3])), b"2 1 0 2 1\n"),
    "vectors": Reader(stream(read_word_vectors, ["the", "film"]), VECTORS),
    "packed vectors": Reader(
        stream(read_word_vectors, ["the", "film"]), gzip.compress(VECTORS, mtime=0)
    ),
    "raw text": Reader(
        raw, b"Dr. Who's 3.5 \"dogs\" (e.g. http://a.b/c) -- don't... \xe2\x80\x9cA\xe2\x80\x9d\n"
    ),
}
MARKS = [
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b"(",
    b")",
    b"\0",
    b"\xff",
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"9" * 30,
]


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """One to four faults: bits, bytes, pieces cut out, doubled or moved, and what formats mark."""
    content = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randrange(len(content) + 1), chance.choice((1, 1, 2, 9, 60))
        match chance.randrange(6):
            case 0 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(content):
                content[at] = chance.randrange(256)
            case 2:
                del content[at : at + size]
            case 3:
                content[at:at] = content[at : at + size] * chance.choice((1, 1, 1, 40))
            case 4:
                piece = content[at : at + size]
                del content[at : at + size]
                to = chance.randrange(len(content) + 1)
                content[to:to] = piece
            case _:
                content[at:at] = chance.choice(MARKS)
    return bytes(content)


def fuzzed(name: str, count: int) -> int:
    """How many of so many faulty files are read; the others are refused."""
    reader, chance, read = READERS[name], random.Random(name), 0
    reader.read(reader.file)
    for _ in range(count):
        content = mutated(reader.file, chance)
        try:
            reader.read(content)
            read += 1
        except DataError as error:
            assert len(str(error)) < 400, content
        except Exception as error:
            raise AssertionError(f"{name}: {content!r}") from error
    return read


@pytest.mark.parametrize("name", READERS)
def test_faulty_files_are_read_or_refused(name):
    assert fuzzed(name, 100) < 100 or name == "raw text"


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", READERS)
def test_a_million_faulty_files(name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = -(-INPUTS // len(READERS))
    read = fuzzed(name, count)
    unit = 1024 if sys.platform.startswith("linux") else 1
    more = unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(f"{name}: {count} files, {read} read, {count - read} refused, {more >> 20} MB more")
    assert more < MOST_MORE
