"""Texts larger than memory: files one after the other, and ids in a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rntn_jax import sequences
from rntn_jax.data import DataError, TokenFile, Vocabulary, shards, stream_sentences

ROOT = Path(__file__).resolve().parents[2]


def test_files_of_a_folder_and_of_a_pattern_in_the_order_of_their_names(tmp_path: Path):
    for name, text in (("b.txt", "c d\ne\n"), ("a.txt", "a b"), (".c.txt", "x")):
        (tmp_path / name).write_text(text)
    (tmp_path / "inside").mkdir()
    for pattern in (tmp_path, tmp_path / "*.txt"):
        files = shards(pattern)
        assert [path.name for path in files] == ["a.txt", "b.txt"]
        assert [*stream_sentences(files)] == [["a", "b"], ["c", "d"], ["e"]]
    assert [*stream_sentences([tmp_path / "a.txt"], level="char")] == [["a", " ", "b"]]
    with pytest.raises(DataError, match="there is no such file"):
        shards(tmp_path / "z*")
    (tmp_path / "b.txt").write_text("c\n\nd")
    with pytest.raises(DataError, match=r"b.txt:2: a line without words"):
        [*stream_sentences(shards(tmp_path))]


def test_ids_of_a_file_are_those_in_memory(tmp_path: Path):
    sentences = [["a", "b"], ["c"], ["b", "a", "b"]] * 7
    vocabulary = Vocabulary.build(["a", "b", "c", "."])
    ids = TokenFile.write(tmp_path / "ids", sentences, vocabulary, end=".", digest=b"1")
    whole = vocabulary.encode([".", *(w for own in sentences for w in (*own, "."))])
    assert len(ids) == len(whole)
    for part in (slice(None), slice(3, 9), slice(-4, None), slice(9, 3), slice(0, 10**9)):
        np.testing.assert_array_equal(ids[part], whole[part])
    for rows, steps in ((1, 4), (4, 5), (5, 64), (200, 3)):
        expected = sequences.segments(whole, rows, steps)
        found = sequences.Segments(ids, rows, steps)
        assert len(found) == len(expected)
        for own, batch in zip(found, expected, strict=True):
            for field, other in zip(own, batch):
                np.testing.assert_array_equal(field, other)
    ids.close()


def test_other_files_are_refused(tmp_path: Path):
    path, vocabulary = tmp_path / "ids", Vocabulary.build(["a", "."])
    TokenFile.write(path, [["a"]], vocabulary, end=".", digest=b"1").close()
    with pytest.raises(DataError, match="of something else"):
        TokenFile(path, b"2")
    content = path.read_bytes()
    for wrong in (b"", content[:20], content[:-1], b"x" + content[1:]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match="no file of tokens, or cut short"):
            TokenFile(path, b"1")
    path.write_bytes(content[:-4])
    with pytest.raises(DataError, match="of something else"):
        TokenFile(path, b"1")
    with pytest.raises(DataError, match="there is no text"):
        TokenFile.write(path, [], vocabulary, end=".")
    assert path.read_bytes() == content[:-4] and len([*tmp_path.iterdir()]) == 1


# Reads a folder's sentences twice, and then all segments of their ids; says how many.
STREAM = """
import itertools, sys
from pathlib import Path
from rntn_jax import data, sequences
folder = Path(sys.argv[1])
files = data.shards(folder / "*.txt")
words = itertools.chain.from_iterable((*own, ".") for own in data.stream_sentences(files))
vocabulary = data.Vocabulary.build(words)
ids = data.TokenFile.write(folder / "ids", data.stream_sentences(files), vocabulary, end=".")
segments = sequences.Segments(ids, 256, 128)
tokens = sum(int(batch.mask.sum()) for batch in segments)
assert tokens == len(ids) - 1
status = Path("/proc/self/status").read_text()  # that of getrusage began as the parent's
print(len(ids), len(vocabulary), status.partition("VmHWM:")[2].split()[0])
"""


def written(folder: Path, sentences: int, files: int) -> int:
    """A synthetic corpus, drawn from a thousand words; its tokens."""
    folder.mkdir()
    rng, tokens, block = np.random.default_rng(0), 0, 10_000
    words = np.array([f"w{number}" for number in range(1000)])
    for number in range(files):
        with open(folder / f"part-{number:03}.txt", "w") as file:
            for _ in range(sentences // files // block):
                lengths = rng.integers(1, 6, block)
                drawn = words[rng.zipf(1.3, lengths.sum()) % 1000].tolist()
                at = 0
                for length in lengths.tolist():
                    file.write(" ".join(drawn[at : at + length]) + "\n")
                    at += length
                tokens += at + block
    return tokens


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_ten_million_sentences_take_no_more_memory_than_a_tenth_of_them(tmp_path: Path):
    peaks = []
    for count in (1_000_000, 10_000_000):
        folder = tmp_path / str(count)
        tokens = written(folder, count, count // 200_000)  # as large files, more of them
        done = subprocess.run(
            [sys.executable, "-c", STREAM, str(folder)],
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found, types, peak = map(int, done.stdout.split())
        assert found == tokens + 1 and types > 900
        peaks.append(peak)
        print(f"{count} sentences, {tokens} tokens: {peak / 1024:.0f} MB at most")
    assert peaks[1] < 1.1 * peaks[0]
