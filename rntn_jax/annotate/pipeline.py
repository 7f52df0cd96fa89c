"""From raw text to a sentiment tree: tokens, brackets, labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple, overload

import numpy as np

from rntn_jax import plots
from rntn_jax.annotate import binary_parser, classifier
from rntn_jax.annotate.binary_parser import BinaryParser, build_trees
from rntn_jax.annotate.classifier import CLASS_NAMES, Ensemble, SentimentClassifier, label_trees
from rntn_jax.compilation import cached
from rntn_jax.data import DataError, Tree, tokenize
from rntn_jax.shapes import shapes_repr
from rntn_jax.training import load_model, save_pytree

__all__ = [
    "Pipeline",
    "Sentiment",
    "SentimentTree",
    "annotate",
    "default_model",
    "load_pipeline",
    "save_pipeline",
    "sentiment",
]


class SentimentTree(Tree):
    """A tree whose labels are the most probable classes.

    Attributes:
        gold: the tree as it was given; pictures show its labels beside the predicted ones.
        probabilities: ``[2L-1, C]``, of the classes at each node.
    """

    gold: Tree
    probabilities: np.ndarray

    def __init__(self, tree: Tree, probabilities: np.ndarray):
        labels = probabilities.argmax(axis=1).astype(np.int32)
        labels.flags.writeable = False
        # Of a tree there is nothing to check again.
        self.__dict__.update(vars(tree), labels=labels, gold=tree, probabilities=probabilities)

    def __reduce__(self) -> tuple[object, ...]:
        return SentimentTree, (self.gold, self.probabilities)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, the most negative first."""
        return CLASS_NAMES[self.probabilities.shape[1]]

    def to_svg(self) -> str:
        """A picture."""
        return plots.tree_svg(self.gold, self.probabilities, class_names=self.class_names)

    def to_text(self) -> str:
        """A drawing of lines for a terminal."""
        return plots.tree_text(self.gold, self.probabilities)

    def to_html(self, title: str = "Sentiment tree") -> str:
        """A page that loads nothing, to look at and to correct."""
        names = self.class_names
        return plots.trees_html(self.gold, self.probabilities, title=title, class_names=names)

    def _repr_html_(self) -> str:
        return self.to_svg()  # what a notebook shows


class Sentiment(NamedTuple):
    """What is found for a text."""

    label: int  # 0 very negative, 1 negative, 2 neutral, 3 positive, 4 very positive
    probabilities: np.ndarray  # [5]
    tree: SentimentTree

    @property
    def name(self) -> str:
        """The label's name."""
        return self.tree.class_names[self.label]

    def _repr_html_(self) -> str:
        """What a notebook shows: the label, and the tree."""
        share = float(self.probabilities[self.label])
        return f"<p><b>{self.name}</b> ({share:.0%})</p>{self.tree.to_svg()}"

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON can hold it."""
        return {
            "text": self.tree.text,
            "label": self.label,
            "name": self.name,
            "probabilities": np.round(self.probabilities.astype(float), 6).tolist(),
            "brackets": self.tree.to_brackets(),
            "nodes": np.round(self.tree.probabilities.astype(float), 6).tolist(),
        }


class Pipeline(NamedTuple):
    """What it takes to answer for raw text."""

    parser: BinaryParser
    classifier: SentimentClassifier | Ensemble

    __repr__ = shapes_repr


def predict(model: SentimentClassifier | Ensemble, trees: Sequence[Tree]) -> list[Sentiment]:
    """Labels for trees that are there already.

    Args:
        model: of `default_model` or `load_classifier`, or an `Ensemble` of several.
        trees: binary trees; their labels are not read.

    Returns:
        One result for each tree.
    """
    if not trees:
        return []
    labelled = [SentimentTree(*pair) for pair in zip(trees, label_trees(model, trees))]
    return [Sentiment(int(t.labels[-1]), t.probabilities[-1], t) for t in labelled]


def annotate(model: Pipeline, texts: Sequence[str]) -> list[Sentiment]:
    """Answers for texts, each taken as one sentence.

    Args:
        model: of `default_model` or `load_pipeline`.
        texts: each is cut into tokens and parsed.

    Returns:
        One result for each text.

    Raises:
        DataError: naming the text that has no words.
    """
    tokens = [tokenize(text) for text in texts]
    for number, (own, text) in enumerate(zip(tokens, texts), 1):
        if not own:
            raise DataError(f"text {number} has no words: {text[:40]!r}", value=text)
    return predict(model.classifier, build_trees(model.parser, tokens))


@overload  # a str is a sequence of str too, but comes first
def sentiment(text: str, model: Pipeline | None = None) -> Sentiment: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def sentiment(text: Sequence[str], model: Pipeline | None = None) -> list[Sentiment]: ...
def sentiment(text, model=None) -> Sentiment | list[Sentiment]:
    """The sentiment of a text, of English films best, and of each of its phrases.

    The text is cut into tokens as in the Penn Treebank, the span parser makes a binary tree
    of them, and a recursive neural tensor network labels its nodes (source 000). The first
    call reads the model in the package and compiles, which takes seconds and is then kept in the
    user's cache (`rntn_jax.compilation`); it needs no network.

    Args:
        text: taken as one sentence (`rntn_jax.data.sentences` splits longer texts); or several
            texts, which is much quicker than one after the other.
        model: another one, of `load_pipeline`.

    Returns:
        A `Sentiment`: ``label`` (0 to 4), ``probabilities [5]``, ``tree`` (``to_brackets()``,
        ``to_svg()``, ``to_text()``, ``to_html()``); a list of these for several texts.

    Raises:
        DataError: when a text has no words.
        TypeError: when it is no text.

    Example:
        >>> answer = sentiment("A gorgeous, witty, seductive movie.")
        >>> answer.name, answer.label > 2
        ('very positive', True)
    """
    if not isinstance(text, str | Iterable):
        raise TypeError(f"text must be a str or a sequence of str, got {type(text).__name__}")
    texts = [text] if isinstance(text, str) else list(text)
    for number, one in enumerate(texts):
        if not isinstance(one, str):
            raise TypeError(f"text[{number}] must be a str, got {type(one).__name__}")
    with cached():
        found = annotate(default_model() if model is None else model, texts)
    return found[0] if isinstance(text, str) else found


@lru_cache(maxsize=1)
def default_model() -> Pipeline:
    """The model in the package (`experiments/sentiment/README.md` says how it was made)."""
    with resources.as_file(resources.files("rntn_jax.annotate") / "shipped.safetensors") as path:
        return load_pipeline(path)


def save_pipeline(path: str | os.PathLike[str], model: Pipeline) -> None:
    """Writes a parser and a classifier to one safetensors file.

    Args:
        path: the file; it is replaced if it exists.
        model: what is written.

    Raises:
        ValueError: for an ensemble, whose members are files of their own.
    """
    if isinstance(model.classifier, Ensemble):
        raise ValueError(f"a file holds one classifier, got {len(model.classifier.members)}")
    info = {
        "kind": "annotator",
        "builder": binary_parser.info_of(model.parser),
        "labeller": classifier.info_of(model.classifier),
    }
    save_pytree(path, (model.parser.params, model.classifier.params), info)


def load_pipeline(path: str | os.PathLike[str]) -> Pipeline:
    """Reads what `save_pipeline` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """

    def describe(info: dict[str, Any]) -> tuple[Any, Any]:
        one, other = (
            binary_parser.from_info(info["builder"]),
            classifier.from_info(info["labeller"]),
        )
        return (one.params, other.params), lambda params: Pipeline(
            one._replace(params=params[0]), other._replace(params=params[1])
        )

    return load_model(path, "annotator", "a tree builder and a labeller", describe)
