"""The recursive networks of the experiment: parameters, loss and optimiser of a setting."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from experiments import optimizers
from experiments.loop import ONE_DEVICE
from experiments.sentiment.batches import Pieces
from experiments.sentiment.config import Config
from experiments.word_vectors import begin_with
from rntn_jax import data
from rntn_jax.annotate.classifier import MODELS
from rntn_jax.models import node_classifier, rntn
from rntn_jax.ops import softmax_cross_entropy
from rntn_jax.recursive import span_sum
from rntn_jax.training.devices import Placement

__all__ = ["init", "init_words", "make_loss", "make_optimizer", "model_options", "phrase_weights"]


def init(key: Any, config: Config, vocab_size: int) -> Any:
    """Initial parameters of the model of a setting: one line for each."""
    words = {"vocab_size": vocab_size, "word_scale": config.word_scale}
    sizes = words | {"dim": config.dim, "num_classes": config.num_classes}
    name, own = {
        "rntn": ("rntn", sizes | {"tensor_scale": config.tensor_scale}),
        "rnn": ("rntn", sizes | {"tensor": False}),
        "mv_rnn": ("mv_rnn", sizes | {"rank": config.rank}),
        "tree_lstm": (
            "tree_lstm",
            words
            | {"embed_dim": config.embed_dim or config.dim, "hidden_dim": config.dim}
            | {"num_classes": config.num_classes, "kind": config.kind},
        ),
        "vec_avg": ("vec_avg", sizes),
    }[config.model]
    return MODELS[name].init(key, MODELS[name].Config(**own))


def init_words(params: Any, vocabulary: data.Vocabulary, known: data.WordVectors) -> Any:
    """The parameters with the vectors of a file in place of random ones, where it has the word."""
    model = MODELS["mv_rnn"]
    width = params.cell.b.shape[0] if isinstance(params, model.Params) else None
    width = width or params.embedding.shape[1]  # a matrix stands behind the vector
    flags = "--dim or, of a Tree-LSTM, --embed_dim"
    return params._replace(embedding=begin_with(known, params.embedding, vocabulary, width, flags))


def model_options(config: Config) -> dict[str, Any]:
    """Keyword arguments of the model's ``apply`` that training and prediction share."""
    if config.model in ("tree_lstm", "vec_avg"):
        return {}
    return {"activation": config.activation, "leaf_activation": config.leaf_activation}


def make_loss(config: Config, place: Placement = ONE_DEVICE):
    """Cross-entropy plus L2; the cross-entropy alone is what is reported."""
    model = MODELS["rntn" if config.model == "rnn" else config.model]
    weights = {"weights": config.l2_weights, "head": config.l2_head, "words": config.l2_words}
    penalty = node_classifier.l2_penalty
    if model is rntn:
        penalty, weights = rntn.l2_penalty, weights | {"tensor": config.l2_tensor}

    rates = {"leaf_dropout": config.leaf_dropout, "hidden_dropout": config.hidden_dropout}

    def nats_of(params, forest, key):
        options = rates | model_options(config)
        if config.length_weight == 0:
            return model.loss(params, forest, key=key, **options)
        logits = model.apply(params, forest, key=key, **options)
        nats = softmax_cross_entropy(logits, forest.labels, forest.labelled)
        weighted = nats * phrase_weights(config.length_weight, forest)
        return weighted.sum() / jnp.maximum(forest.num_trees, 1), None

    of_pieces = place.loss(nats_of, lambda forest, _: forest.num_trees)

    def loss(params, batch, key):
        forest = batch
        if isinstance(batch, Pieces):  # whose words count once, wherever they are
            forest = batch.forest._replace(tokens=batch.seen)
            nats, _ = of_pieces(params, batch.forest, key)
        else:
            nats, _ = nats_of(params, forest, key)
        return nats + penalty(params, forest, **weights), nats

    return loss


def phrase_weights(exponent: float, forest: Any) -> Any:
    """``n ** -exponent`` of every slot, ``[N]``, where it has ``n`` words below it."""
    words = span_sum(jnp.ones((forest.shape.leaves, 1)), forest)[:, 0]
    return jnp.maximum(words, 1) ** -exponent


def make_optimizer(config: Config, num_updates: int) -> optax.GradientTransformation:
    """The optimiser, with step sizes of their own for the words, the tensor and the matrices."""
    slow, words = config.tensor_learning_rate, config.word_learning_rate

    def scaled(updates: Any, _: Any) -> Any:
        if config.model == "rntn":
            updates = updates._replace(cell=updates.cell._replace(v=slow * updates.cell.v))
        if config.model == "mv_rnn":  # a word's row is its vector, then its matrix
            row = jnp.arange(updates.embedding.shape[1])
            factors = jnp.where(row < config.dim, 1.0, slow)[None]
            updates = updates._replace(
                embedding=factors * updates.embedding,
                cell=updates.cell._replace(w_m=slow * updates.cell.w_m),
            )
        return updates if words == 1 else updates._replace(embedding=words * updates.embedding)

    rate = optimizers.schedule(config.schedule, config.learning_rate, num_updates)
    return optax.chain(
        optimizers.clip(config.clip_norm),
        optimizers.direction(config.optimizer, config.initial_accumulator),
        optax.stateless(scaled),
        optax.scale_by_learning_rate(rate),
    )
