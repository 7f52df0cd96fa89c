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
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree

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
    """A labeller with the shapes of its parameters in their place."""
    config = rntn.Config(**info["config"])
    like = jax.eval_shape(lambda: rntn.init(jax.random.key(0), config))
    vocabulary = data.Vocabulary.from_json(json.dumps(info["vocabulary"]))
    if len(vocabulary) != config.vocab_size:
        raise CheckpointError(
            f"the vocabulary has {len(vocabulary)} words, the model {config.vocab_size}"
        )
    return Labeller(like, vocabulary, info["options"], info["info"])


def save_labeller(path: str | os.PathLike[str], labeller: Labeller) -> None:
    """Writes a labeller to one safetensors file."""
    save_pytree(path, labeller.params, {"kind": "rntn", **info_of(labeller)})


def load_labeller(path: str | os.PathLike[str]) -> Labeller:
    """Reads what `save_labeller` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    info = read_info(path)
    if info.get("kind") != "rntn":
        raise CheckpointError(f"{path} does not hold an RNTN model")
    try:
        labeller = from_info(info)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return labeller._replace(params=load_pytree(path, labeller.params)[0])


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
