"""A trained recursive model as one file, and the class probabilities it gives to trees."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax import data, trees
from rntn_jax.models import mv_rnn, rntn, tree_lstm, vec_avg
from rntn_jax.shapes import shapes_repr
from rntn_jax.training import load_record, require, save_pytree, shapes_of

__all__ = [
    "CLASS_NAMES",
    "MODELS",
    "Ensemble",
    "SentimentClassifier",
    "class_probabilities",
    "ensemble",
    "label_trees",
    "load_classifier",
    "model_of",
    "num_classes",
    "save_classifier",
    "two_classes",
]

FEW = 8  # trees
CLASS_NAMES = {
    2: ("negative", "positive"),
    5: ("very negative", "negative", "neutral", "positive", "very positive"),
}


MODELS: dict[str, Any] = {
    "rntn": rntn,
    "mv_rnn": mv_rnn,
    "tree_lstm": tree_lstm,
    "vec_avg": vec_avg,
}
_ACTIVATIONS = {
    "activation": ("tanh", "sigmoid", "relu", "identity"),
    "leaf_activation": ("tanh", "identity"),
}
_OPTIONS = {"rntn": _ACTIVATIONS, "mv_rnn": _ACTIVATIONS}


def model_of(params: Any) -> Any:
    """The module whose parameters they are: `rntn_jax.models.rntn`, for example.

    Args:
        params: made by the ``init`` of one of the recursive models.

    Returns:
        A module with ``apply``, ``predict``, ``loss`` and so on.

    Raises:
        StopIteration: when they are of none of them.
    """
    return next(model for model in MODELS.values() if isinstance(params, model.Params))


def _sizes(params: Any) -> dict[str, Any]:
    """The fields of the model's ``Config`` that the shapes of its parameters tell."""
    words, embed = params.embedding.shape
    width, classes = params.head.w.shape
    sizes = {"vocab_size": words, "num_classes": classes}
    if isinstance(params, tree_lstm.Params):
        kind = "binary" if params.cell.u.shape[0] == 2 * width else "child_sum"
        if params.leaf.w.shape[1] == 4 * width:
            kind = "dependency"
        return sizes | {"embed_dim": embed, "hidden_dim": width, "kind": kind}
    sizes["dim"] = width
    if isinstance(params, rntn.Params):
        sizes["tensor"] = params.cell.v is not None
    if isinstance(params, mv_rnn.Params) and embed != width + width**2:
        sizes["rank"] = (embed - 2 * width) // (2 * width)
    return sizes


def two_classes(tree: data.Tree) -> data.Tree:
    """Five classes as two: negative against positive, neutral nodes unlabelled."""
    two = np.array([0, 0, -1, 1, 1, -1], np.int32)  # the last for -1, unlabelled
    return dataclasses.replace(tree, labels=two[tree.labels])


class SentimentClassifier(NamedTuple):
    """Everything needed to label a tree."""

    params: Any  # of one of MODELS
    vocabulary: data.Vocabulary
    options: dict[str, Any]  # keyword arguments of the model's `apply`
    info: dict[str, Any]  # how it was trained

    __repr__ = shapes_repr


class Ensemble(NamedTuple):
    """Classifiers that answer together: the mean of their probabilities at each node."""

    members: tuple[SentimentClassifier, ...]
    vocabulary: data.Vocabulary  # the words that one of them knows

    __repr__ = shapes_repr


def ensemble(members: Sequence[SentimentClassifier]) -> Ensemble:
    """Classifiers as one: seeds of a model, or different models.

    Args:
        members: of the same classes.

    Returns:
        What `label_trees`, `predict` and a `Pipeline` take in place of a single classifier.

    Raises:
        ValueError: for none, or for different numbers of classes.
    """
    classes = {num_classes(member) for member in members}
    if len(classes) != 1:
        raise ValueError(f"members must have the same classes, got numbers {sorted(classes)}")
    known = dict.fromkeys(word for member in members for word in member.vocabulary.words)
    lowercase = all(member.vocabulary.lowercase for member in members)
    return Ensemble(tuple(members), data.Vocabulary(tuple(known), lowercase))


def num_classes(classifier: SentimentClassifier | Ensemble) -> int:
    """How many classes a classifier, or several together, tells apart.

    Args:
        classifier: what answers.

    Returns:
        2 or 5.
    """
    one = classifier.members[0] if isinstance(classifier, Ensemble) else classifier
    return int(one.params.head.b.shape[0])


def info_of(classifier: SentimentClassifier) -> dict[str, Any]:
    """What a file has to say about a classifier besides its parameters."""
    name = next(n for n, model in MODELS.items() if model is model_of(classifier.params))
    return {
        "model": name,
        "config": _sizes(classifier.params),
        "vocabulary": json.loads(classifier.vocabulary.to_json()),
        "options": classifier.options,
        "info": classifier.info,
    }


def from_info(info: dict[str, Any]) -> SentimentClassifier:
    """A classifier with the shapes of its parameters in their place.

    Raises:
        ValueError: for an object that is none of `info_of`; of malformed ones others too.
    """
    name = info.get("model", "rntn")  # files of version 0.2 hold no other
    require(name in MODELS, f"model is {name!r:.40}")
    config = MODELS[name].Config(**info["config"])
    vocabulary = data.Vocabulary.from_json(json.dumps(info["vocabulary"]))
    require(
        len(vocabulary) == config.vocab_size,
        f"the vocabulary has {len(vocabulary)} words, the model {config.vocab_size}",
    )
    require(config.num_classes in CLASS_NAMES, f"num_classes is {config.num_classes}")
    options, known = info["options"], _OPTIONS.get(name, {})
    require(options.keys() <= known.keys(), f"unknown options: {sorted(options)}")
    for option, value in options.items():
        require(value in known[option], f"{option} is {value!r:.40}")
    return SentimentClassifier(
        shapes_of(MODELS[name].init, config), vocabulary, options, dict(info["info"])
    )


def save_classifier(path: str | os.PathLike[str], classifier: SentimentClassifier) -> None:
    """Writes a classifier to one safetensors file.

    Args:
        path: the file; it is replaced if it exists.
        classifier: what is written.
    """
    info = info_of(classifier)
    save_pytree(path, classifier.params, {"kind": info["model"], **info})


def load_classifier(path: str | os.PathLike[str]) -> SentimentClassifier:
    """Reads what `save_classifier` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    return load_record(path, MODELS, "a classifier of tree nodes", from_info)


def class_probabilities(
    params: Any,
    bank: trees.Treebank,
    options: dict[str, Any],
    *,
    batch_size: int = 256,
    lanes: int = 64,
) -> list[np.ndarray]:
    """Class probabilities ``[2L-1, C]`` for every node of every tree, in the order given.

    Args:
        params: of the network, any of `MODELS`.
        bank: the encoded trees.
        options: further arguments of the model's ``predict``.
        batch_size: trees a batch.
        lanes: nodes a step, see `rntn_jax.trees.pack`.

    Returns:
        One array for each tree, nodes in the order of `rntn_jax.data.Tree`.
    """
    batches = np.split(np.arange(len(bank)), range(batch_size, len(bank), batch_size))
    found: list[np.ndarray] = []
    predict = model_of(params).predict
    for forest in trees.pack_batches(bank, batches, lanes=lanes):
        found += trees.unpack(forest, np.asarray(predict(params, forest, **options)))
    return found


def label_trees(
    classifier: SentimentClassifier | Ensemble, forest: Sequence[data.Tree]
) -> list[np.ndarray]:
    """Class probabilities ``[2L-1, C]`` for every node of every tree, in the order given.

    A few trees share a few compiled programs, whatever their sizes.

    Args:
        classifier: vocabulary and network, or several whose mean is taken.
        forest: the trees; their labels are not read.

    Returns:
        One array for each tree, nodes in the order of `rntn_jax.data.Tree`.

    Raises:
        ValueError: when there is no tree.
    """
    if isinstance(classifier, Ensemble):
        answers = zip(*(label_trees(member, forest) for member in classifier.members))
        return [np.mean(own, axis=0) for own in answers]
    bank = trees.encode(forest, classifier.vocabulary)
    if len(forest) > FEW:
        return class_probabilities(classifier.params, bank, classifier.options)
    words = sum(tree.num_leaves for tree in forest)
    steps = 32
    while steps < words:
        steps *= 4
    shape = trees.Shape(leaves=steps, steps=steps, lanes=FEW, trees=FEW)
    (forest_,) = trees.pack_batches(bank, [np.arange(len(bank))], shapes=[shape], lanes=FEW)
    predict = model_of(classifier.params).predict
    probabilities = predict(classifier.params, forest_, **classifier.options)
    return trees.unpack(forest_, np.asarray(probabilities))
