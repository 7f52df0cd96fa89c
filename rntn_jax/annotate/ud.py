"""From raw text to Universal Dependencies: sentences, words, tags, features and trees."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from importlib import resources
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax.annotate import dependency_parser, morphology
from rntn_jax.annotate.dependency_parser import DependencyParser, parse_tagged
from rntn_jax.annotate.morphology import Morphology, predict_tags, word_columns
from rntn_jax.annotate.parsed_text import ParsedSentence, ParsedText
from rntn_jax.annotate.segmenter import LABELS, Segmenter, character_columns, paragraphs, segment
from rntn_jax.compilation import cached
from rntn_jax.data import ConlluSentence, DataError, Vocabulary
from rntn_jax.data.text_scores import TextScores, text_scores
from rntn_jax.data.treebank_text import TextToken, treebank_text
from rntn_jax.models import encoder, tagger
from rntn_jax.shapes import shapes_repr
from rntn_jax.training import load_model, require, save_pytree, shapes_of, tuples

__all__ = [
    "LICENCES",
    "UDParser",
    "default_ud_parser",
    "evaluate_text",
    "load_ud_parser",
    "parse",
    "save_ud_parser",
    "with_tags",
]

LICENCES = {  # of the treebanks that models were trained on
    "ud_ewt": "CC BY-SA 4.0: Universal Dependencies English Web Treebank (UD_English-EWT), "
    "universaldependencies.org"
}
_STRANGE = re.compile("[\0\ud800-\udfff]")
_NO_FORM = frozenset("\t\r\n")  # in no column of CoNLL-U


class UDParser(NamedTuple):
    """What it takes to parse raw text."""

    segmenter: Segmenter
    tagger: Morphology
    parser: DependencyParser
    info: dict[str, Any]  # corpus, licence, and what else is to be known

    __repr__ = shapes_repr


def with_tags(sentence: ConlluSentence, tags: Iterable[tuple[str, str]]) -> ConlluSentence:
    """A copy whose words have these parts of speech and features.

    Args:
        sentence: the sentence.
        tags: UPOS and FEATS of each word.

    Returns:
        The copy; what is no word stays as it is.
    """
    own = iter(tags)
    rows = []
    for row in sentence.rows:
        if row[0].isdigit():
            upos, feats = next(own)
            row = (*row[:3], upos, row[4], feats, *row[6:])
        rows.append(row)
    return ConlluSentence(sentence.comments, tuple(rows))


def parse(text: str, model: UDParser | None = None) -> ParsedText:
    """Sentences of a text, with words, tags, features and dependency trees.

    By three networks: one over characters finds sentences, tokens and words (`don't` is `do` and
    `n't`), one over words the parts of speech and features of Universal Dependencies, and a
    transition parser the trees. The model in the package was trained on UD English-EWT 2.16 and is
    licensed as that, CC BY-SA 4.0 (``ud_ewt.LICENSE.txt`` beside it). The first call reads it and
    compiles, which takes seconds and is then kept in the user's cache (`rntn_jax.compilation`); it
    needs no network.

    Args:
        text: any; a blank line ends a sentence, other line ends are blanks. Long texts are quicker
            in one call than in many.
        model: another one, of `load_ud_parser`.

    Returns:
        The sentences, a list: each has ``words``, ``upos``, ``feats``, ``heads``, ``relations``,
        ``text``, ``tokens`` (with their places in the text), ``to_conllu()``, ``to_text()``,
        ``to_svg()`` and ``to_dict()``; the list has the first three of these, and ``to_html()``.
        Empty for a text of blanks.

    Raises:
        TypeError: when it is no text.
        DataError: for the character NUL and lone surrogates, which CoNLL-U cannot hold.

    Example:
        >>> sentence, *_ = parse("She doesn't like the old film.")
        >>> sentence.words
        ('She', 'does', "n't", 'like', 'the', 'old', 'film', '.')
        >>> sentence.heads.tolist(), sentence.relations[:4]
        ([4, 4, 4, 0, 7, 7, 4, 4], ('nsubj', 'aux', 'advmod', 'root'))
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    if strange := _STRANGE.search(text):
        value, at = strange[0], strange.start()
        raise DataError(f"text[{at}] is {value!r}, which CoNLL-U cannot hold", value=value)
    with cached():
        return _parse(text, default_ud_parser() if model is None else model)


def _parse(text: str, model: UDParser) -> ParsedText:
    sentences = segment(model.segmenter, text)
    if not sentences:
        return ParsedText()
    forms = [[word for token in own for word in token.words] for own in sentences]
    tags = predict_tags(model.tagger, forms)
    tagged = list(map(with_tags, _untagged(text, sentences), tags))
    trees = parse_tagged(model.parser, tagged)
    return ParsedText(
        ParsedSentence(tuple(own), sentence.with_tree(*tree))
        for own, sentence, tree in zip(sentences, tagged, trees)
    )


def _untagged(text: str, sentences: Sequence[Sequence[TextToken]]) -> list[ConlluSentence]:
    """Rows with ids, forms and MISC: places in the text, and where no blank follows."""
    begins = {begin for begin, _ in paragraphs(text)}
    following = [token.begin for own in sentences for token in own][1:] + [-1]
    after = iter(following)
    found = []
    for number, own in enumerate(sentences, 1):
        rows, parts, word = [], [], 0
        for begin, end, words in own:
            glued = next(after) == end
            form = text[begin:end]
            parts += [form, "" if glued else " "]
            misc = ("SpaceAfter=No|" if glued else "") + f"TokenRange={begin}:{end}"
            if len(words) > 1:
                rows.append((f"{word + 1}-{word + len(words)}", form, *"______", "_", misc))
                misc = "_"
            for one in words:
                word += 1
                rows.append((str(word), one, *"______", "_", misc))
        comments = ["# newpar"] if own[0].begin in begins else []
        comments += [f"# sent_id = {number}", f"# text = {''.join(parts).rstrip()}"]
        found.append(ConlluSentence(tuple(comments), tuple(rows)))
    return found


def evaluate_text(model: UDParser, sentences: Sequence[ConlluSentence]) -> TextScores:
    """F1 scores of the analysis of a treebank's raw text.

    Args:
        model: of `load_ud_parser` or `default_ud_parser`.
        sentences: the treebank.

    Returns:
        Scores of tokens, words, sentences, tags, features and trees.
    """
    answer = parse(treebank_text(sentences).text, model)
    return text_scores(sentences, [sentence.conllu for sentence in answer])


@lru_cache(maxsize=1)
def default_ud_parser() -> UDParser:
    """The model in the package (`experiments/ud_pipeline/README.md` says how it is made).

    Raises:
        FileNotFoundError: when this package came without one: name a model that was trained.
    """
    with resources.as_file(resources.files("rntn_jax.annotate") / "ud_ewt.safetensors") as path:
        return load_ud_parser(path)


def save_ud_parser(path: str | os.PathLike[str], model: UDParser) -> None:
    """Writes a model to one safetensors file, its weights rounded to float16.

    Args:
        path: of the file.
        model: segmenter, tagger and parser.
    """
    segmenter, tags = model.segmenter, model.tagger
    info = {
        "kind": "ud_parser",
        "info": model.info,
        "segmenter": {
            "config": dataclasses.asdict(segmenter.config),
            "vocabularies": [json.loads(v.to_json()) for v in segmenter.vocabularies],
            "splits": segmenter.splits,
        },
        "tagger": {
            "config": dataclasses.asdict(tags.config),
            "vocabularies": [json.loads(v.to_json()) for v in tags.vocabularies],
            "tags": tags.tags,
        },
        "parser": dependency_parser.info_of(model.parser),
    }
    params = segmenter.params, tags.params, model.parser.params
    save_pytree(path, jax.tree.map(lambda x: np.asarray(x, np.float16), params), info)


def load_ud_parser(path: str | os.PathLike[str]) -> UDParser:
    """Reads what `save_ud_parser` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """

    def describe(info: dict[str, Any]) -> tuple[Any, Any]:
        cut = _segmenter(info["segmenter"])
        tags = _morphology(info["tagger"])
        trees = dependency_parser.from_info(info["parser"])
        require(trees.options["feats"], "the parser does not read features")
        require(isinstance(info["info"], dict), "info must be an object")
        like = cut.params, tags.params, trees.params
        halves = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float16), like)

        def make(stored: Any) -> UDParser:
            params = jax.device_put(jax.tree.map(lambda x: np.asarray(x, np.float32), stored))
            return UDParser(
                cut._replace(params=params[0]),
                tags._replace(params=params[1]),
                trees._replace(params=params[2]),
                info["info"],
            )

        return halves, make

    return load_model(path, "ud_parser", "a parser of raw text", describe)


def _segmenter(info: dict[str, Any]) -> Segmenter:
    """What was saved of it; in the place of the parameters are their shapes."""
    config, vocabularies = tagger.Config(**tuples(info["config"])), _vocabularies(info)
    _check_columns(vocabularies, config.vocab_sizes, len(character_columns("")))
    require(config.num_classes == len(LABELS), f"the segmenter has {config.num_classes} labels")
    splits = {token: tuple(words) for token, words in info["splits"].items()}
    for words in splits.values():
        fits = words and all(isinstance(w, str) and w and not set(w) & _NO_FORM for w in words)
        require(bool(fits), f"{words!r:.40} are no words")
    return Segmenter(shapes_of(tagger.init, config), vocabularies, config, splits)


def _morphology(info: dict[str, Any]) -> Morphology:
    config, vocabularies = encoder.Config(**tuples(info["config"])), _vocabularies(info)
    _check_columns(vocabularies, config.vocab_sizes, len(word_columns([])))
    tags = [(upos, feats) for upos, feats in info["tags"]]
    for name in (name for pair in tags for name in pair):
        fits = isinstance(name, str) and name and not set(name) & _NO_FORM
        require(bool(fits), f"{name!r:.40} is no part of speech or feature")
    init = partial(morphology.init, num_tags=len(tags))
    return Morphology(shapes_of(init, config), vocabularies, config, tags)


def _vocabularies(info: dict[str, Any]) -> tuple[Vocabulary, ...]:
    return tuple(Vocabulary.from_json(json.dumps(words)) for words in info["vocabularies"])


def _check_columns(
    vocabularies: Sequence[Vocabulary], sizes: tuple[int, ...], columns: int
) -> None:
    found = tuple(map(len, vocabularies))
    require(found == sizes, f"the vocabularies have {found} words, the model {sizes}")
    require(len(found) == columns, f"the model has {len(found)} columns instead of {columns}")
