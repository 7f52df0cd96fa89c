"""The softmax classifier of node states, which all recursive models share (source 000, section 3).

It sees the states ``[N, S]`` of all slots of a forest and nothing of the cell that made them. What
else the models share stands here too: the checks of their arguments, the L2 penalty, and the way
from states to logits, probabilities and loss (`logits_of`, `probabilities_of`, `loss_of`). A model
has parameters with fields ``embedding`` and ``head``, and one function for the states::

    states(options, params, forest, key) -> [N, S]

with ``options`` a tuple that can be hashed, so that each is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rntn_jax.ops import accumulator, check_dropout, check_ids, dropout, linear_cross_entropy
from rntn_jax.ops.checks import check
from rntn_jax.shapes import shapes_repr
from rntn_jax.trees import Forest, NaryForest

__all__ = ["Aux", "Head", "apply", "init", "l2_penalty", "loss"]

States = Callable[[Any, Any, Any, jax.Array | None], jax.Array]
_STATIC = ("states", "options", "hidden_dropout")


class Head(NamedTuple):
    """Classification weights ``W^s`` and ``b^s``."""

    w: jax.Array  # [S, C]
    b: jax.Array  # [C]

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """Counts that come with the loss."""

    nodes: jax.Array  # labelled nodes
    correct: jax.Array  # of these, how many the most probable class gets right
    roots: jax.Array  # labelled roots
    roots_correct: jax.Array

    __repr__ = shapes_repr


def init(
    w_key: jax.Array, b_key: jax.Array, width: int, num_classes: int, dtype: jnp.dtype = jnp.float32
) -> Head:
    """Random weights as CoreNLP draws them: ``W^s ~ U(+-1/sqrt S)``, ``b^s ~ U(0, 1)``.

    Args:
        w_key: a PRNG key, for the weights.
        b_key: a PRNG key, for the bias.
        width: of a state, ``S``.
        num_classes: ``C``.
        dtype: of the weights.

    Returns:
        Weights ``[S, C]`` and bias ``[C]``.

    Example:
        >>> init(*jax.random.split(jax.random.key(0)), width=3, num_classes=5).w.shape
        (3, 5)
    """
    r = width**-0.5
    return Head(
        w=jax.random.uniform(w_key, (width, num_classes), dtype, -r, r),
        b=jax.random.uniform(b_key, (num_classes,), dtype, 0.0, 1.0),
    )


def apply(head: Head, states: jax.Array) -> jax.Array:
    """Logits ``W^s h + b^s`` of every slot, ``[N, C]`` (source 000, equation 9 before the softmax).

    Args:
        head: the weights.
        states: ``[N, S]`` floating point.

    Returns:
        ``[N, C]`` of the states' dtype.

    Example:
        >>> apply(Head(jnp.ones((2, 1)), jnp.ones(1)), jnp.ones((3, 2))).ravel().tolist()
        [3.0, 3.0, 3.0]
    """
    return states @ head.w + head.b[None]


def loss(head: Head, states: jax.Array, forest: Forest | NaryForest) -> tuple[jax.Array, Aux]:
    """Cross-entropy summed over all labelled nodes, divided by the number of trees, in nats.

    Gradient, with ``delta = y_hat - y``: that of `rntn_jax.ops.linear_cross_entropy`.

    Source: 000, E before equation 1, equations 1, 10 and 12.
    Differs from source: E is the negative log-likelihood, over every labelled node (errata 000);
    division by trees as CoreNLP does.

    Args:
        head: the weights.
        states: ``[N, S]`` floating point.
        forest: arrays, made by `rntn_jax.trees.pack`; unlabelled nodes are skipped.

    Returns:
        ``(loss, aux)``.

    Example:
        >>> from rntn_jax import data, trees
        >>> tree = data.parse_tree("(1 (0 so) (1 good))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> head = Head(jnp.zeros((3, 2)), jnp.zeros(2))
        >>> nats, aux = loss(head, jnp.ones((forest.shape.slots, 3)), forest)
        >>> round(float(nats), 4), int(aux.nodes), int(aux.roots)  # 3 log 2
        (2.0794, 3, 1)
    """
    forest = jax.tree.map(jnp.asarray, forest)
    nats = linear_cross_entropy(states, *head, forest.labels, forest.labelled)
    best = jnp.argmax(jax.lax.stop_gradient(apply(head, states)), axis=-1)
    right = (best == forest.labels) & forest.labelled
    roots = forest.labelled[forest.roots] & (forest.roots > 0)
    aux = Aux(
        nodes=forest.labelled.sum(),
        correct=right.sum(),
        roots=roots.sum(),
        roots_correct=(right[forest.roots] & roots).sum(),
    )
    return nats.sum() / jnp.maximum(forest.num_trees, 1).astype(nats.dtype), aux


def check_model(
    params: Any,
    forest: Forest | NaryForest,
    width: int,
    labels: bool = False,
    containers: tuple[type, ...] = (Forest,),
) -> None:
    """Checks what all models have: a packed forest, words, a head for states of that width.

    Args:
        params: of a model; ``embedding [V, E]`` and ``head``.
        forest: what should be one.
        width: of the states that the head sees.
        labels: whether the labels will be read.
        containers: what ``forest`` may be.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for words beyond the embedding or labels beyond the classes, where ``forest`` is
            not traced.
    """
    if not isinstance(forest, containers):
        raise TypeError(
            f"forest must be a Forest, made by rntn_jax.trees.pack, got {type(forest).__name__}"
        )
    sizes = {"S": width}
    check("params.embedding", params.embedding, "float", "V E", sizes)
    check("params.head.w", params.head.w, "float", f"{width} C", sizes)
    check("params.head.b", params.head.b, "float", "C", sizes)
    check_ids("forest.tokens", forest.tokens, sizes["V"])
    if labels:
        check_ids("forest.labels", forest.labels, sizes["C"], forest.labelled)


def _features(states: States, options, params, forest, key, hidden_dropout: float) -> jax.Array:
    """States as the head sees them in training."""
    h = states(options, params, forest, key)
    check_dropout(key, {"hidden_dropout": hidden_dropout})
    return dropout(key, 1, h, hidden_dropout)


@partial(jax.jit, static_argnames=_STATIC)
def logits_of(
    states: States, options: Any, params: Any, forest: Any, key: Any, hidden_dropout: float
) -> jax.Array:
    """Logits of every slot, ``[N, C]``, of a model's states."""
    h = _features(states, options, params, forest, key, hidden_dropout)
    return apply(params.head, h)


@partial(jax.jit, static_argnames=_STATIC)
def probabilities_of(
    states: States, options: Any, params: Any, forest: Any, key: Any, hidden_dropout: float
) -> jax.Array:
    """Class probabilities of every slot, ``[N, C]``, of a model's states."""
    logits = logits_of(states, options, params, forest, key, hidden_dropout)
    return jax.nn.softmax(logits, axis=-1)


@partial(jax.jit, static_argnames=_STATIC)
def loss_of(
    states: States, options: Any, params: Any, forest: Any, key: Any, hidden_dropout: float
) -> tuple[jax.Array, Aux]:
    """`loss` of a model's states."""
    h = _features(states, options, params, forest, key, hidden_dropout)
    return loss(params.head, h, forest)


def l2_penalty(
    params: Any,
    forest: Forest | NaryForest,
    *,
    weights: float = 1e-3,
    head: float = 1e-4,
    words: float = 1e-4,
) -> jax.Array:
    """``sum_j (lambda_j / 2) |theta_j|^2``, of any recursive model.

    The penalty is of one minibatch, not divided by its size.

    Source: 000, E before equation 1; the regulariser is missing there (errata 000).

    Args:
        params: of a model: ``embedding``, ``head``, and whatever else.
        forest: made by `rntn_jax.trees.pack`.
        weights: lambda of all parameters but the embedding and the head.
        head: lambda of the head's weights; its bias is left out.
        words: lambda of the embeddings of the words of this forest; others do not count.

    Returns:
        A scalar, in at least float32.

    Raises:
        AssertionError: when shapes or dtypes do not match.
        TypeError: when ``forest`` is not packed.
        ValueError: for words beyond the embedding, where ``forest`` is not traced.

    Example:
        >>> from rntn_jax import data, trees
        >>> from rntn_jax.models import vec_avg
        >>> tree = data.parse_tree("(1 (0 so) (1 good))")
        >>> forest = trees.pack([tree], data.Vocabulary.build(tree.tokens))
        >>> params = vec_avg.Params(jnp.ones((4, 3)), Head(jnp.zeros((3, 2)), jnp.zeros(2)))
        >>> float(l2_penalty(params, forest, words=1.0))  # two words, three ones each
        3.0
    """
    check_model(params, forest, jnp.shape(params.head.w)[0], containers=(Forest, NaryForest))
    return _l2_penalty(params, forest.tokens, weights, head, words)


@jax.jit
def _l2_penalty(params: Any, tokens, weights, head, words) -> jax.Array:
    dtype = accumulator(params.embedding)

    def square(x):
        return jnp.sum(jnp.square(x.astype(dtype)))

    present = jnp.zeros(params.embedding.shape[0], dtype).at[tokens].set(1).at[0].set(0)
    others = jax.tree.leaves(params._replace(embedding=None, head=None))
    total = weights * sum(map(square, others), jnp.zeros((), dtype))
    total += head * square(params.head.w)
    total += words * jnp.sum(present[:, None] * jnp.square(params.embedding.astype(dtype)))
    return total / 2
