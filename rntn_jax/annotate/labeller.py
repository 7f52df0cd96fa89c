"""A trained RNTN as one file, and its answers for trees."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data, trees
from rntn_jax.models import rntn
from rntn_jax.training import load_model, require, save_pytree, shapes_of

__all__ = [
    "CLASS_NAMES",
    "Labeller",
    "label_trees",
    "load_labeller",
    "predict",
    "save_labeller",
    "two_classes",
]

FEW = 8  # trees
CLASS_NAMES = {
    2: ("negative", "positive"),
    5: ("very negative", "negative", "neutral", "positive", "very positive"),
}


_OPTIONS = {
    "activation": ("tanh", "sigmoid", "relu", "identity"),
    "leaf_activation": ("tanh", "identity"),
}


def two_classes(tree: data.Tree) -> data.Tree:
    """Five classes as two: negative against positive, neutral nodes unlabelled."""
    two = np.array([0, 0, -1, 1, 1, -1], np.int32)  # the last for -1, unlabelled
    return dataclasses.replace(tree, labels=two[tree.labels])


class Labeller(NamedTuple):
    """Everything needed to label a tree."""

    params: rntn.Params
    vocabulary: data.Vocabulary
    options: dict[str, Any]  # keyword arguments of `rntn.apply`
    info: dict[str, Any]  # how it was trained


def info_of(labeller: Labeller) -> dict[str, Any]:
    """What a file has to say about a labeller besides its parameters."""
    cell, head = labeller.params.cell, labeller.params.head
    sizes = {
        "vocab_size": len(labeller.vocabulary),
        "dim": int(cell.b.shape[0]),
        "num_classes": int(head.b.shape[0]),
        "tensor": cell.v is not None,
    }
    return {
        "config": sizes,
        "vocabulary": json.loads(labeller.vocabulary.to_json()),
        "options": labeller.options,
        "info": labeller.info,
    }


def from_info(info: dict[str, Any]) -> Labeller:
    """A labeller with the shapes of its parameters in their place.

    Raises:
        ValueError: for an object that is none of `info_of`; of malformed ones others too.
    """
    config = rntn.Config(**info["config"])
    vocabulary = data.Vocabulary.from_json(json.dumps(info["vocabulary"]))
    require(
        len(vocabulary) == config.vocab_size,
        f"the vocabulary has {len(vocabulary)} words, the model {config.vocab_size}",
    )
    require(config.num_classes in CLASS_NAMES, f"num_classes is {config.num_classes}")
    options = info["options"]
    require(options.keys() <= _OPTIONS.keys(), f"unknown options: {sorted(options)}")
    for name, value in options.items():
        require(value in _OPTIONS[name], f"{name} is {value!r:.40}")
    return Labeller(shapes_of(rntn.init, config), vocabulary, options, dict(info["info"]))


def save_labeller(path: str | os.PathLike[str], labeller: Labeller) -> None:
    """Writes a labeller to one safetensors file."""
    save_pytree(path, labeller.params, {"kind": "rntn", **info_of(labeller)})


def load_labeller(path: str | os.PathLike[str]) -> Labeller:
    """Reads what `save_labeller` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """

    def describe(info: dict[str, Any]) -> tuple[Any, Any]:
        labeller = from_info(info)
        return labeller.params, lambda params: labeller._replace(params=params)

    return load_model(path, "rntn", "an RNTN model", describe)


@lru_cache(maxsize=8)
def _jitted(options: tuple[tuple[str, Any], ...]):
    return jax.jit(lambda params, forest: rntn.predict(params, forest, **dict(options)))


def predict(
    params: rntn.Params,
    bank: trees.Treebank,
    options: dict[str, Any],
    *,
    batch_size: int = 256,
    lanes: int = 64,
) -> list[np.ndarray]:
    """Class probabilities ``[2L-1, C]`` for every node of every tree, in the order given."""
    run = _jitted(tuple(sorted(options.items())))
    batches = np.split(np.arange(len(bank)), range(batch_size, len(bank), batch_size))
    answers: list[np.ndarray] = []
    for forest in trees.pack_batches(bank, batches, lanes=lanes):
        answers += trees.unpack(forest, np.asarray(run(params, forest)))
    return answers


def label_trees(labeller: Labeller, forest: Sequence[data.Tree]) -> list[np.ndarray]:
    """Class probabilities ``[2L-1, C]`` for every node of every tree, in the order given.

    A few trees share a few compiled programs, whatever their sizes.

    Raises:
        ValueError: when there is no tree.
    """
    bank = trees.encode(forest, labeller.vocabulary)
    if len(forest) > FEW:
        return predict(labeller.params, bank, labeller.options)
    words = sum(tree.num_leaves for tree in forest)
    steps = 32
    while steps < words:
        steps *= 4
    shape = trees.Shape(leaves=steps, steps=steps, lanes=FEW, trees=FEW)
    (forest_,) = trees.pack_batches(bank, [np.arange(len(bank))], shapes=[shape], lanes=FEW)
    run = _jitted(tuple(sorted(labeller.options.items())))
    return trees.unpack(forest_, np.asarray(run(labeller.params, forest_)))
