"""Raw text to Universal Dependencies."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import rntn_jax as rj
from rntn_jax import annotate, data
from rntn_jax.annotate import dependency_parser, morphology, segmenter
from rntn_jax.data import TextToken
from rntn_jax.models import context_parser, encoder, tagger
from rntn_jax.training import CheckpointError, read_info, save_pytree
from tests.helpers import compilations

SPECIALS = ("<pad>", "<unk>")


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


@pytest.fixture(scope="module")
def untrained() -> annotate.UDParser:
    """A model that knows nothing: its answers are arbitrary, and well-formed all the same."""
    few = data.Vocabulary((*SPECIALS, "a", "b", " ", "A", "\n", "0"))
    sizes = tagger.Config((8, 8, 8), (4, 4, 4), len(segmenter.LABELS), (3,), 1, 8, 2.0)
    cut = segmenter.Segmenter(
        tagger.init(jax.random.key(1), sizes), (few,) * 3, sizes, {"aux": ("à", "les")}
    )
    reader = encoder.Config((8,) * 7, (4,) * 7, rnn_dim=4, word_range=2.0)
    tags = [("NOUN", "Number=Sing"), ("VERB", "_"), ("PUNCT", "_")]
    tag = morphology.Morphology(
        morphology.init(jax.random.key(2), reader, 3), (few,) * 7, reader, tags
    )
    words = encoder.Config((9,) * 4, (4,) * 4, rnn_dim=4, word_range=2.0)
    parsing = context_parser.Config(words, num_relations=3, relation_dim=4, hidden_dim=8)
    trees = dependency_parser.DependencyParser(
        context_parser.init(jax.random.key(3), parsing),
        (few,) * 4,
        ["dep", "nsubj", "root"],
        parsing,
        {"feats": True, "suffixes": True, "activation": "relu"},
    )
    return annotate.UDParser(cut, tag, trees, {"licence": "none"})


TEXTS = (
    "ab Ab. a b!\n\nAux a 0a  \t b\nA",
    "\r\n\r\n a\r\nb a.\r\n \r\nAb\r\n",
    "Γειά σου 👩‍👩‍👧 ❤️\u00a0a\u200bb \U0001f1e9\U0001f1ea",
    "a" * 700,
    "aB 0, " * 300,
    "a\x0bb\x85a\u2028b",
)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_every_character_but_blanks_is_in_one_token(untrained, text):
    answer = annotate.parse(text, untrained)
    tokens = [token for sentence in answer for token in sentence.tokens]
    for token in tokens:
        form = text[token.begin : token.end]
        assert form and not any(map(str.isspace, form))
        if form.lower() not in untrained.segmenter.splits:
            assert "".join(token.words) == form and all(token.words)
    ends = [0, *(token.end for token in tokens)]
    begins = [*(token.begin for token in tokens), len(text)]
    assert all(not text[i:j].strip() for i, j in zip(ends, begins))
    # The file says the same: offsets, blanks, ranges, trees.
    again = data.read_conllu(io.StringIO(answer.to_conllu()))
    assert len(again) == len(answer)
    for sentence, own in zip(again, answer):
        assert sentence == own.conllu and sentence.forms == own.words
        assert list(own.relations).count("root") == 1
        places = [row[9] for row in sentence.rows if "TokenRange=" in row[9]]
        assert [tuple(map(int, p.split("TokenRange=")[1].split(":"))) for p in places] == [
            token[:2] for token in own.tokens
        ]
    told = data.treebank_text(again)
    forms = [[text[b:e] for b, e, _ in own.tokens] for own in answer]
    assert [[told.text[b:e] for b, e, _ in own] for own in told.sentences] == forms
    assert "".join(told.text.split()) == "".join(text.split())


def test_a_second_text_of_like_length_compiles_nothing(untrained):
    jax.clear_caches()
    with compilations() as compiled:
        annotate.parse("a b A.", untrained)
        assert len(compiled) >= 3  # segments, tags and trees
    with compilations() as compiled:
        annotate.parse("b 0 ab! A\na", untrained)
        assert not compiled


def test_words_that_are_not_their_token(untrained):
    found = [t for s in annotate.parse("Aux aux", untrained) for t in s.tokens]
    whole = [t for t in found if t.end - t.begin == 3]
    assert all(t.words in (("À", "les"), ("à", "les")) or len(t.words) > 1 for t in whole)
    token = segmenter._token(untrained.segmenter, "x Aux", 2, 5, [])
    assert token == TextToken(2, 5, ("À", "les"))


@pytest.mark.parametrize("text", ["", " ", "\n\n \r\n\t\u2003"])
def test_texts_of_blanks_have_no_sentences(untrained, text):
    answer = annotate.parse(text, untrained)
    assert answer == [] and answer.to_conllu() == "" == answer.to_text()
    with pytest.raises(ValueError, match="no sentences to draw"):
        answer.to_svg()
    assert "<html" in answer.to_html()


def test_what_is_no_text(untrained):
    with pytest.raises(TypeError, match="text must be a str, got bytes"):
        annotate.parse(b"a", untrained)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ["a \0", "a\ud800"])
def test_what_conllu_cannot_hold(untrained, text):
    with pytest.raises(data.DataError, match=r"text\[\d\] is"):
        annotate.parse(text, untrained)


def test_sentences_are_not_longer_than_what_is_parsed_in_one_piece(untrained, monkeypatch):
    monkeypatch.setattr(segmenter, "LONGEST", 5)
    for sentence in annotate.parse("a b " * 40, untrained):
        assert len(sentence.tokens) <= 5


def test_pieces_cover_every_character_once(untrained):
    text = "ab A0 " * 150 + "\n\nab"
    seen = np.zeros(len(text) + 1, int)
    for place, ids, own in segmenter.pieces(text, untrained.segmenter.vocabularies):
        assert len(ids) <= segmenter.SIZE
        seen[place + own.start : place + own.stop] += 1
    covered = np.zeros(len(text) + 1, int)
    for begin, end in segmenter.paragraphs(text):
        covered[begin:end] = 1
    np.testing.assert_array_equal(seen, covered)


def test_labels_of_characters_are_read_back(untrained, monkeypatch):
    # With the labels of the gold text, the segmenter gives the gold tokens.
    rows = [
        ("1-2", "don't", *"_______", "SpaceAfter=No"),
        ("1", "do", "_", "AUX", "_", "_", "0", "root", "_", "_"),
        ("2", "n't", "_", "PART", "_", "_", "1", "dep", "_", "_"),
        ("3", "!", "_", "PUNCT", "_", "_", "1", "dep", "_", "_"),
    ]
    one = data.ConlluSentence((), tuple(rows))
    rows = [
        ("1-2", "aux", *"_______", "_"),
        ("1", "à", "_", "ADP", "_", "_", "0", "root", "_", "_"),
        ("2", "les", "_", "DET", "_", "_", "1", "dep", "_", "_"),
    ]
    found = data.treebank_text([one, one, data.ConlluSentence(("# newpar",), tuple(rows))])
    labels, splits = segmenter.character_labels(found)
    assert splits == {"aux": ("à", "les")}
    assert [segmenter.LABELS[i] for i in labels[:6]] == [
        "inside",
        "word end",
        "inside",
        "inside",
        "token end",
        "sentence end",
    ]
    monkeypatch.setattr(segmenter, "predict_labels", lambda *_: labels)
    assert segmenter.segment(untrained.segmenter, found.text) == found.sentences


def test_drawings(untrained):
    answer = annotate.parse("a <b> A.\n\nb", untrained)
    assert answer._repr_html_().count("<svg") == len(answer)
    picture = answer.to_svg()
    assert picture.count("<svg") == len(answer) + 1 and "<b>" not in picture
    assert answer[0]._repr_svg_() == answer[0].to_svg()
    lines = answer[0].to_text().splitlines()
    assert len(lines) == len(answer[0].words) and lines[0].endswith(" root")
    assert "<b>" not in answer.to_html() and "<!doctype html>" in answer.to_html()


def test_files(untrained, tmp_path):
    path = tmp_path / "model.safetensors"
    annotate.save_ud_parser(path, untrained)
    loaded = annotate.load_ud_parser(path)
    for one, two in zip(loaded[:3], untrained[:3]):
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params)):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
        assert one.vocabularies == two.vocabularies and one.config == two.config
    assert loaded.info == untrained.info and loaded.tagger.tags == untrained.tagger.tags
    assert loaded.segmenter.splits == untrained.segmenter.splits
    # Whole files of what cannot be.
    params = jax.tree.map(
        lambda x: np.asarray(x, np.float16), tuple(part.params for part in untrained[:3])
    )
    info = read_info(path)

    def refused(message, *place, value):
        changed = json.loads(json.dumps(info))
        inner = changed
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        save_pytree(path, params, changed)
        with pytest.raises(CheckpointError, match=message):
            annotate.load_ud_parser(path)

    refused("does not hold a parser of raw text", "kind", value="parser")
    refused("vocabularies have", "tagger", "vocabularies", 0, value=json.loads(
        data.Vocabulary((*SPECIALS, "a")).to_json()))  # fmt: skip
    refused("is no part of speech", "tagger", "tags", 0, value=["A\tB", "_"])
    refused("are no words", "segmenter", "splits", value={"x": []})
    refused("there is no relation root", "parser", "relations", value=["a", "b", "c"])
    refused("expected float16", "segmenter", "config", "hidden_dim", value=7)
    refused("info must be", "info", value=3)
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError):
        annotate.load_ud_parser(tmp_path / "cut")


def test_text_is_scored(untrained):
    gold = data.demo_dependencies.sentences(6)
    scores = annotate.evaluate_text(untrained, gold)
    assert scores.words.gold == sum(len(s.forms) for s in gold)
    assert 0 <= scores.las.f1 <= scores.uas.f1 <= scores.words.f1 <= 1


def test_the_model_in_the_package():
    text = "She doesn't like the old film. The book that I bought is on the table!\n\nI see it"
    parsed = rj.parse(text)
    assert [" ".join(sentence.words) for sentence in parsed] == [
        "She does n't like the old film .", "The book that I bought is on the table !", "I see it"
    ]  # fmt: skip
    first, second, third = parsed
    assert first.upos == ("PRON", "AUX", "PART", "VERB", "DET", "ADJ", "NOUN", "PUNCT")
    assert first.heads.tolist() == [4, 4, 4, 0, 7, 7, 4, 4]
    assert first.relations == ("nsubj", "aux", "advmod", "root", "det", "amod", "obj", "punct")
    assert first.feats[0] == "Case=Nom|Gender=Fem|Number=Sing|Person=3|PronType=Prs"
    assert second.heads.tolist() == [2, 9, 5, 5, 2, 9, 9, 9, 0, 9]  # "is" is a copula
    assert second.relations[1] == "nsubj" and second.relations[4] == "acl:relcl"
    assert third.tokens[1] == TextToken(len(text) - 6, len(text) - 3, ("see",))
    assert repr(parsed[2:]) == "[ParsedSentence('I see it')]" and third.text == "I see it"
    assert third.to_text() == "see VERB root\n├─ I PRON nsubj\n└─ it PRON obj"


def test_the_models_file_is_small_and_names_its_licence():
    folder = Path(annotate.__file__).parent
    assert (folder / "ud_ewt.safetensors").stat().st_size < 10e6
    info = read_info(folder / "ud_ewt.safetensors")["info"]
    assert info["corpus"] == "ud_ewt" and info["licence"].startswith("CC BY-SA 4.0")
    assert "CC BY-SA 4.0" in (folder / "ud_ewt.LICENSE.txt").read_text("utf-8")


def test_with_tags():
    rows = (("1-2", "x", *"_______", "_"),) + tuple(
        (str(n), "x", "l", "A", "B", "C", "_", "_", "_", "M") for n in (1, 2)
    )
    changed = annotate.with_tags(data.ConlluSentence((), rows), [("X", "_"), ("Y", "Z=z")])
    assert changed.upos == ("X", "Y") and changed.feats == ("_", "Z=z")
    assert changed.rows[0] == rows[0] and changed.rows[1][9] == "M"
