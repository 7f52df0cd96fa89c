"""CoNLL-U: reading, writing, and what is refused."""

from __future__ import annotations

import io
import pickle
import random
import re
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rntn_jax.data import ConlluSentence, DataError, corpora, read_conllu, write_conllu

SHARED = Path(__file__).parents[3] / "shared" / "data"


def row(number: object, form: str = "w", head: object = "_", relation: str = "_") -> str:
    """One line of a file."""
    return f"{number}\t{form}\tl\tU\tX\tF=f\t{head}\t{relation}\td:d\tM=m"


def text_of(*lines: str, end: str = "\n") -> str:
    return end.join([*lines, ""])


def read(text: str, **kwargs) -> list[ConlluSentence]:
    return read_conllu(io.StringIO(text), **kwargs)


def written(sentences) -> str:
    stream = io.StringIO()
    write_conllu(stream, sentences)
    return stream.getvalue()


TWO = (
    "# sent_id = 1",
    "#",
    row("0.1", "here"),
    row("1-2", "vámonos"),
    row(1, "vamos", 0, "root"),
    row(2, "nos", 1, "obj:x"),
    row("2.1", "_"),
    row("2.2", "a b"),
    row(3, "#", 2, "punct"),
    "",
    row(1, "ya", 0, "root"),
    "",
)


@pytest.mark.parametrize(
    "text",
    [
        text_of(*TWO),
        text_of(*TWO)[:-1],  # no blank line at the end
        text_of(*TWO)[:-2],  # and no line end
        "\ufeff" + text_of(*TWO, end="\r\n"),
        "\n\n" + text_of(*TWO).replace("\n\n", "\n\n\n") + "\n",
    ],
)
def test_layouts(text, tmp_path: Path):
    path = tmp_path / "a.conllu"
    path.write_bytes(text.encode())
    for source in (path, str(path), io.StringIO(text), io.BytesIO(text.encode())):
        sentences = read_conllu(source)
        assert written(sentences) == text_of(*TWO)
    one, two = sentences
    assert one.comments == ("# sent_id = 1", "#") and two.comments == ()
    assert len(one.rows) == 7 and one.rows[1] == tuple(TWO[3].split("\t"))
    assert one.forms == ("vamos", "nos", "#")
    assert one.relations == ("root", "obj:x", "punct")
    assert (one.lemmas, one.upos, one.xpos, one.feats) == tuple(
        (x,) * 3 for x in "l U X F=f".split()
    )
    assert one.heads.dtype == np.int32 and one.heads.tolist() == [0, 1, 2]
    assert not one.heads.flags.writeable
    assert two.forms == ("ya",)


def test_what_is_no_end_of_line():
    form = "1\u00a0000\x85\u2028\x0b"
    assert read(row(1, form, 0, "root"))[0].forms == (form,)


def test_sentences_are_values():
    one, other = read(text_of(*TWO))[0], read(text_of(*TWO))[0]
    assert one.heads is one.heads and one == other and hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == other
    assert one != read(text_of(*TWO))[1]
    with pytest.raises(AttributeError):
        one.rows = ()  # type: ignore[misc]


ROOT = row(1, "w", 0, "root")
CYCLE = (row(1, "w", 0, "root"), row(2, "w", 3, "x"), row(3, "w", 4, "x"), row(4, "w", 3, "x"))


@pytest.mark.parametrize(
    ("lines", "line", "message", "value"),
    [
        ([], None, "no sentences", None),
        (["", ""], None, "no sentences", None),
        ([ROOT, "", "# a", "# b", "", ROOT], 3, "a sentence without words", None),
        ([ROOT, "", "", "# a"], 4, "a sentence without words", None),
        ([row("0.1")], 1, "a sentence without words", None),
        ([ROOT, "", ROOT + "\tx"], 3, "11 columns instead of 10: '1.t", None),
        (["# a", "w"], 2, "1 columns instead of 10: 'w'", ("w",)),
        ([ROOT, " ", ROOT], 2, "1 columns instead of 10: ' '", (" ",)),
        ([ROOT.replace("\t", " ")], 1, "1 columns instead of 10", None),
        ([ROOT, "# a", row(2, "w", 1, "x")], 2, "a comment inside of a sentence: '# a'", ("# a",)),
        # Ids.
        ([row(0)], 1, "ID '0' is no id", "0"),
        ([row("01")], 1, "ID '01' is no id", "01"),
        ([row("x")], 1, "ID 'x' is no id", "x"),
        ([row("1" * 5000)], 1, "is no id", None),
        ([row("٣")], 1, "is no id", "٣"),
        ([row("1 ")], 1, "is no id", "1 "),
        ([row("0-1"), ROOT], 1, "ID '0-1' is no id", "0-1"),
        ([row(2)], 1, "ID '2' must be 1", "2"),
        (["# a", ROOT, row(1)], 3, "ID '1' must be 2", "1"),
        ([ROOT, row(3)], 2, "ID '3' must be 2", "3"),
        ([row("1.1"), ROOT], 1, "ID '1.1' must be 0.1", "1.1"),
        ([ROOT, row("1.2")], 2, "ID '1.2' must be 1.1", "1.2"),
        ([ROOT, row("1.1"), row("1.1")], 3, "ID '1.1' must be 1.2", "1.1"),
        ([ROOT, row("1.0")], 2, "ID '1.0' is no id", "1.0"),
        ([row("1-2"), row("0.1")], 2, "ID '0.1' must not stand between 1-2 and its first", "0.1"),
        ([row("1-"), ROOT], 1, "ID '1-' is no id", "1-"),
        ([row("2-1"), ROOT], 1, "ID '2-1' ends before it begins", "2-1"),
        ([row("2-3"), ROOT], 1, "ID '2-3' must begin at 1", "2-3"),
        ([ROOT, row("1-2")], 2, "ID '1-2' must begin at 2", "1-2"),
        (["#", row("1-2"), ROOT], 2, "ID '1-2' ends after the last word, 1", "1-2"),
        ([row("1-2"), ROOT, row("2-3"), row(2), row(3)], 3, "ID '2-3' overlaps 1-2", "2-3"),
        ([row("1-2"), row("1-3"), ROOT], 2, "ID '1-3' overlaps 1-2", "1-3"),
        # Columns.
        (["#", row(1, "", 0, "root")], 2, "FORM is empty", ""),
        ([row(1, "w", 0, "")], 1, "DEPREL is empty", ""),
        ([ROOT, row(2, "w", "", "x")], 2, "HEAD is empty", ""),
        ([row("1-1", ""), ROOT], 1, "FORM is empty", ""),
        ([ROOT.removesuffix("M=m")], 1, "MISC is empty", ""),
        ([ROOT.removeprefix("1")], 1, "ID is empty", ""),
        ([row(1, "a\rb", 0, "root")], 1, "2 columns instead of 10: '1.ta'", ("1", "a")),
        (["# a\rb", ROOT], 2, "1 columns instead of 10: 'b'", ("b",)),
        # Trees.
        ([row(1)], 1, r"HEAD '_' is no integer from 0 to 1 \(trees=False", "_"),
        (["#", ROOT, row(2, "w", "1.1", "x")], 3, "HEAD '1.1' is no integer from 0 to 2", "1.1"),
        ([ROOT, row(2, "w", "01", "x")], 2, "HEAD '01' is no integer", "01"),
        ([ROOT, row("1.1"), row(2, "w", 3, "x")], 3, "HEAD '3' is no integer from 0 to 2", "3"),
        ([ROOT, row(2, "w", -1, "x")], 2, "HEAD '-1' is no integer", "-1"),
        ([ROOT, "", "#", ROOT, row("2-2"), row(2, "w", 2, "x")], 6, "word 2 is its own", "2"),
        (["#", ROOT, row(2, "w", 0, "root")], 3, "2 roots, words 1 and 2 among them", "0"),
        (
            [ROOT, "", "#", row(1, "w", 2, "x"), row(2, "w", 1, "x")],
            3,
            "no word is the root",
            [2, 1],
        ),
        ([ROOT, "", "#", *CYCLE], 3, "a cycle goes through word 3", 3),
        ([ROOT, row(2, "w", 1)], 2, "DEPREL is missing", "_"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, lines, line, message, value):
    path = tmp_path / "faulty.conllu"
    for end in "\n", "\r\n":
        path.write_bytes(text_of(*lines, end=end).encode())
        with pytest.raises(DataError, match=message) as caught:
            read_conllu(path)
        assert (caught.value.file, caught.value.line) == (str(path), line)
        if value is not None:
            assert caught.value.value == value


def test_faults_name_the_column():
    with pytest.raises(DataError, match=r"<stream>:2:18: HEAD 'x' is no integer") as caught:
        read(text_of(ROOT, row(2, "word", "x", "x")))
    assert row(2, "word", "x", "x")[caught.value.column - 1] == "x"


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(DataError, match="0xff is not UTF-8") as caught:
        read_conllu(io.BytesIO(text_of(ROOT).encode() + b"2\t\xff"))
    assert caught.value.line == 2
    with pytest.raises(DataError, match="directory"):
        read_conllu(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_conllu(tmp_path / "none")


def test_without_trees():
    text = text_of(row(1), row("1.1"), row(2, "w", "x", "y"), "", *CYCLE, "")
    sentences = read(text, trees=False)
    assert written(sentences) == text
    assert sentences[0].relations == ("_", "y")
    with pytest.raises(DataError, match="HEAD '_' is no integer from 0 to 2") as caught:
        _ = sentences[0].heads
    assert caught.value.line == 1
    assert sentences[1].heads.tolist() == [0, 3, 4, 3]
    parsed = sentences[0].with_tree([2, 0], ["a", "root"])
    assert read(written([parsed])) == [parsed]
    for lines in [row(1), row(3)], [row(1, "")], [row(1, "w", "")], [row("1-2"), ROOT]:
        with pytest.raises(DataError):
            read(text_of(*lines), trees=False)


def test_with_tree():
    sentence = read(text_of(*TWO))[0]
    parsed = sentence.with_tree(np.array([3, 3, 0]), ("a", "b:c", "root"))
    assert parsed.comments == sentence.comments
    assert (parsed.heads.tolist(), parsed.relations) == ([3, 3, 0], ("a", "b:c", "root"))
    for old, new in zip(sentence.rows, parsed.rows):
        assert old[:6] == new[:6] and old[9] == new[9]
        if old[0].isdigit():
            assert new[8] == "_"
        else:
            assert old == new
    assert sentence.heads.tolist() == [0, 1, 2]  # as it was
    assert read(written([parsed])) == [parsed]


@pytest.mark.parametrize(
    ("heads", "relations", "error", "message"),
    [
        ([0, 1], ["a"] * 3, ValueError, "3 words, but 2 heads and 3 relations"),
        ([0, 1, 1], ["a"] * 2, ValueError, "3 words, but 3 heads and 2 relations"),
        ([0.0, 1.0, 1.0], ["a"] * 3, ValueError, r"heads must be integers \[3\], got float64"),
        ([[0, 1, 1]], ["a"] * 3, ValueError, r"heads must be integers \[3\]"),
        ([0, 1, 1], "abc", TypeError, "not one string"),
        ([0, 0, 1], ["a"] * 3, DataError, "2 roots"),
        ([0, 4, 1], ["a"] * 3, DataError, "HEAD '4' is no integer from 0 to 3"),
        ([0, 3, 2], ["a"] * 3, DataError, "a cycle goes through word 2"),
        ([0, 1, 1], ["a", "", "b"], DataError, "DEPREL is empty"),
        ([0, 1, 1], ["a", "_", "b"], DataError, "DEPREL is missing"),
        ([0, 1, 1], ["a", "b\tc", "b"], DataError, "DEPREL holds a tab"),
    ],
)
def test_what_is_no_tree_for_a_sentence(heads, relations, error, message):
    with pytest.raises(error, match=message) as caught:
        read(text_of(*TWO))[0].with_tree(heads, relations)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("comments", "rows", "line", "message"),
    [
        ((), (), 1, "without words"),
        (("# a", "b"), (ROOT,), 2, "'b' is no comment"),
        (("# a\n",), (ROOT,), 1, "is no comment"),
        (("#",), (ROOT.replace("l", "l\n"),), 2, "LEMMA holds a tab or an end of line"),
        ((), (row(1, "a\rb", 0, "root"),), 1, "FORM holds a tab or an end of line: 'a.rb'"),
        (("# a\rb",), (ROOT,), 1, "'# a.rb' is no comment"),
        ((), (row(2),), 1, "ID '2' must be 1"),
    ],
)
def test_sentences_are_checked_when_made(comments, rows, line, message):
    with pytest.raises(DataError, match=message) as caught:
        ConlluSentence(comments, tuple(tuple(r.split("\t")) for r in rows))
    assert (caught.value.file, caught.value.line) == (None, line)


def test_a_tab_in_a_column():
    columns = ROOT.split("\t")
    with pytest.raises(DataError, match="XPOS holds a tab"):
        ConlluSentence((), ((*columns[:4], "a\tb", *columns[5:]),))


def test_what_cannot_be_written(tmp_path: Path):
    path = tmp_path / "a.conllu"
    path.write_text("old")
    with pytest.raises(DataError, match="no sentences to write"):
        write_conllu(path, [])
    surrogate = ConlluSentence(("#", "# \udc80"), (tuple(ROOT.split("\t")),))
    with pytest.raises(DataError, match="UTF-8") as caught:
        write_conllu(path, [surrogate])
    assert (caught.value.file, caught.value.line, caught.value.value) == (str(path), 2, "\udc80")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    sentences = read(text_of(*TWO))
    write_conllu(path, iter(sentences))
    assert path.read_bytes() == text_of(*TWO).encode() and list(tmp_path.iterdir()) == [path]


column = st.text(
    st.sampled_from("ab_#1-. |=:é\u00a0\u2028\x85\U0001f600"), min_size=1, max_size=4
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1)
relation = column.filter(lambda value: value != "_")


@st.composite
def sentences(draw) -> tuple[list[str], list[str], list[int]]:
    """Lines of a sentence with ranges and empty nodes, its forms and heads."""
    count = draw(st.integers(1, 6))
    order = draw(st.permutations(range(1, count + 1)))
    heads = [0] * count
    for place, word in enumerate(order[1:], 1):
        heads[word - 1] = order[draw(st.integers(0, place - 1))]

    def line(number, head="_", its=column):
        columns = [draw(column) for _ in range(5)]
        forms.append(columns[0])
        return "\t".join([str(number), *columns, str(head), draw(its), draw(column), draw(column)])

    forms: list[str] = []
    comments = draw(st.lists(st.just("") | column.map(lambda c: c + "\t"), max_size=2))
    lines, words, covered = [f"#{comment}" for comment in comments], [], 0
    for word in range(count + 1):
        if word:
            if word > covered and draw(st.booleans()):
                covered = draw(st.integers(word, count))
                lines.append(line(f"{word}-{covered}"))
            lines.append(line(word, heads[word - 1], relation))
            words.append(forms[-1])
        for empty in range(draw(st.sampled_from([0, 0, 1, 2]))):
            lines.append(line(f"{word}.{empty + 1}"))
    return lines, words, heads


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.lists(sentences(), min_size=1, max_size=3))
def test_round_trip(documents):
    text = "".join(text_of(*lines, "") for lines, _, _ in documents)
    got = read(text)
    assert written(got) == text
    assert read_conllu(io.BytesIO(text.replace("\n", "\r\n").encode())) == got
    assert [list(sentence.forms) for sentence in got] == [words for _, words, _ in documents]
    assert [sentence.heads.tolist() for sentence in got] == [heads for _, _, heads in documents]


pieces = st.sampled_from(
    [*"01239-._#\t\n\r x", "\n\n", "1-2", "1.1", "\ufeff", "\0", "\u2028", "é"]
)


@hypothesis.given(st.data())
def test_any_text_is_read_or_refused(data):
    text = text_of(*TWO)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.sampled_from([start, start + 1, start + 9]))
        text = text[:start] + "".join(data.draw(st.lists(pieces, max_size=3))) + text[end:]
    for trees in (True, False):
        try:
            got = read(text, trees=trees)
        except DataError as error:
            lines = re.split("\r\n|\r|\n", text)
            assert error.line is None or 1 <= error.line <= len(lines)
            continue
        assert got and read(written(got), trees=trees) == got
        for sentence in got if trees else ():
            assert sentence.with_tree(sentence.heads, sentence.relations).forms == sentence.forms


@hypothesis.given(st.binary(max_size=40))
def test_any_bytes_are_refused(content):
    with pytest.raises(DataError):
        read_conllu(io.BytesIO(content))


@pytest.mark.skipif(not (SHARED / "ud_ewt").is_dir(), reason="no copy of UD English-EWT here")
@pytest.mark.parametrize(
    ("split", "sentences", "words"),
    [("train", 12_544, 204_577), ("dev", 2_001, 25_147), ("test", 2_077, 25_094)],
)
def test_ud_ewt(split, sentences, words, tmp_path: Path):
    source = corpora.find("ud_ewt", SHARED)[split]
    got = read_conllu(source)
    assert len(got) == sentences and sum(len(sentence.forms) for sentence in got) == words
    write_conllu(tmp_path / "copy.conllu", got)
    assert (tmp_path / "copy.conllu").read_bytes() == source.read_bytes()


@pytest.mark.skipif(not (SHARED / "ud_ewt").is_dir(), reason="no copy of UD English-EWT here")
def test_mutations_of_ud_ewt():
    """Bytes of real sentences changed: sentences or DataError, never another exception."""
    content = corpora.find("ud_ewt", SHARED)["dev"].read_bytes()
    blocks = [block + b"\n\n" for block in content.split(b"\n\n") if b"-" in block or b"." in block]
    chance = random.Random(0)
    read_well = 0
    for _ in range(1500):
        mutated = bytearray(chance.choice(blocks))
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(mutated))
            new = bytes(chance.choices(b"0123456789-._#\t\n\r\xff\xc3 x", k=chance.randint(0, 2)))
            mutated[place : place + chance.randint(0, 2)] = new
        try:
            got = read_conllu(io.BytesIO(bytes(mutated)))
        except DataError:
            continue
        read_well += 1
        assert read(written(got)) == got
    assert 200 < read_well < 1300  # both happen
