"""A trained model as one file, and its answers for trees."""

from __future__ import annotations

import dataclasses
import json
import os
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax import data, trees
from rntn_jax.models import rntn
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree

__all__ = ["CLASS_NAMES", "Model", "load_model", "predict", "save_model", "two_classes"]

CLASS_NAMES = {
    2: ("negative", "positive"),
    5: ("very negative", "negative", "neutral", "positive", "very positive"),
}


def two_classes(tree: data.Tree) -> data.Tree:
    """Five classes as two: negative against positive, neutral nodes unlabelled."""
    two = np.array([0, 0, -1, 1, 1, -1], np.int32)  # the last for -1, unlabelled
    return dataclasses.replace(tree, labels=two[tree.labels])


class Model(NamedTuple):
    """Everything needed to label a tree."""

    params: rntn.Params
    vocabulary: data.Vocabulary
    options: dict[str, Any]  # keyword arguments of `rntn.apply`
    info: dict[str, Any]  # how it was trained


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Writes a model to one safetensors file."""
    sizes = {
        "vocab_size": len(model.vocabulary),
        "dim": int(model.params.cell.b.shape[0]),
        "num_classes": int(model.params.head.b.shape[0]),
        "tensor": model.params.cell.v is not None,
    }
    info = {
        "kind": "rntn",
        "config": sizes,
        "vocabulary": json.loads(model.vocabulary.to_json()),
        "options": model.options,
        "info": model.info,
    }
    save_pytree(path, model.params, info)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads what `save_model` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    info = read_info(path)
    if info.get("kind") != "rntn":
        raise CheckpointError(f"{path} does not hold an RNTN model")
    config = rntn.Config(**info["config"])
    like = jax.eval_shape(lambda: rntn.init(jax.random.key(0), config))
    params, _ = load_pytree(path, like)
    vocabulary = data.Vocabulary.from_json(json.dumps(info["vocabulary"]))
    if len(vocabulary) != config.vocab_size:
        raise CheckpointError(
            f"{path}: the vocabulary has {len(vocabulary)} words, the model {config.vocab_size}"
        )
    return Model(params, vocabulary, info["options"], info["info"])


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
