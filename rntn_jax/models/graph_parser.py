"""The graph-based parser: dependency trees by scores of all arcs between words in context.

What is known of a word in its sentence comes from an encoder (`rntn_jax.models.encoder`). Two
hidden layers (source 002, h) describe it as a head and as a dependent, a bilinear product of the
two scores the arc, by how far the head stands to which side too, and the tree is an exponential
softmax over all trees (source 004, `rntn_jax.crf.dependency`); relations are labels of its arcs,
independent given the tree. So the likelihood of a labelled tree is exact (Koo et al. 2007; scores
as of Dozat and Manning 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.crf import dependency
from rntn_jax.models import encoder
from rntn_jax.models.layers import Layer, check_config, glorot, linear
from rntn_jax.ops import check_dropout, check_ids, dropout, softmax_cross_entropy
from rntn_jax.ops.checks import check
from rntn_jax.ops.embedding import is_concrete
from rntn_jax.shapes import shapes_repr

__all__ = ["Aux", "Batch", "Config", "Params", "Parse", "apply", "decode", "init", "loss"]

# Distances of a head from its word, from which on they count as one: 1 2 3 4 5-6 7-9 10-14 15-.
_DISTANCES = (1, 2, 3, 4, 5, 7, 10, 15)


@dataclass(frozen=True)
class Config:
    """Sizes.

    Raises:
        ValueError: naming the field and its value.
    """

    encoder: encoder.Config
    num_relations: int
    arc_dim: int = 200
    relation_dim: int = 100

    def __post_init__(self) -> None:
        check_config(self, {"num_relations": 1, "arc_dim": 1, "relation_dim": 1})


class Params(NamedTuple):
    """All parameters; H is ``arc_dim``, L ``relation_dim``."""

    encoder: encoder.Params
    root: jax.Array  # [F], what is known of the root
    head: Layer  # [F, H], words as heads
    word: Layer  # [F, H], words as dependents
    arc: jax.Array  # [H + 1, H], of the product; its last row: how likely a head each word is
    distance: jax.Array  # [H, 17], of how far to the right or left the head stands; of the root
    relation_head: Layer  # [F, L]
    relation_word: Layer  # [F, L]
    relation: Layer  # [3 L, R], of both, and of their products

    __repr__ = shapes_repr


class Batch(NamedTuple):
    """Sentences, and their trees."""

    ids: Any  # int [B, T, columns]
    length: Any  # int [B]
    heads: Any = None  # int [B, T], 0 the root; not read by `apply` and `decode`
    relations: Any = None  # int [B, T]

    __repr__ = shapes_repr


class Aux(NamedTuple):
    """What comes with the loss."""

    nats: jax.Array  # [B], -ln P(tree) of each sentence
    relation_nats: jax.Array  # [B], -ln P(relations given the tree)

    __repr__ = shapes_repr


class Parse(NamedTuple):
    """What `decode` finds; 0 behind a sentence's end."""

    heads: jax.Array  # int32 [B, T]
    relations: jax.Array  # int32 [B, T]
    probability: jax.Array  # [B, T], P(arc), whatever its relation

    __repr__ = shapes_repr


def init(key: jax.Array, config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters; products and distances start at 0, so that all trees are equally likely.

    Args:
        key: a PRNG key.
        config: sizes.
        dtype: of all parameters.

    Returns:
        `Params`.

    Example:
        >>> config = Config(encoder.Config((9,), (3,), rnn_dim=4), num_relations=3, arc_dim=5)
        >>> params = init(jax.random.key(0), config)
        >>> params.head.w.shape, params.arc.shape
        ((11, 5), (6, 5))
    """
    keys = jax.random.split(key, 7)
    width, h, l = config.encoder.width, config.arc_dim, config.relation_dim
    return Params(
        encoder.init(keys[0], config.encoder, dtype),
        jax.random.uniform(keys[6], (width,), dtype, -0.1, 0.1),
        linear(keys[1], width, h, dtype),
        linear(keys[2], width, h, dtype),
        jnp.zeros((h + 1, h), dtype),
        jnp.zeros((h, 2 * len(_DISTANCES) + 1), dtype),
        linear(keys[3], width, l, dtype),
        linear(keys[4], width, l, dtype),
        Layer(
            glorot(keys[5], 3 * l, config.num_relations, dtype),
            jnp.zeros(config.num_relations, dtype),
        ),
    )


_RATES = ("unknown_rate", "input_dropout", "hidden_dropout")


def apply(
    params: Params,
    batch: Batch,
    *,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> dependency.Scores:
    """Scores of all arcs.

    Computes ``s(h, d) = (relu(x_h W1 + b1), 1) U relu(x_d W2 + b2) + relu(x_d W2 + b2) . v(h - d)``
    of words in context ``x``, the root among the heads.

    Args:
        params: as `init` makes them.
        batch: trees are not read; what lies behind a sentence's end may hold anything.
        unknown_rate: as in `encoder.apply`.
        input_dropout: as in `encoder.apply`.
        hidden_dropout: as in `encoder.apply`, and rate on the hidden layers.
        key: PRNG key, needed when a rate is not 0.

    Returns:
        `crf.dependency.Scores`, which all its functions take. Cost O(B T^2 H).

    Raises:
        AssertionError: when shapes or dtypes do not match.
        ValueError: for a rate outside [0, 1), a missing key, and for ids outside of their tables,
            where they are not traced.

    Example:
        >>> config = Config(encoder.Config((9,), (3,), rnn_dim=4), num_relations=3)
        >>> batch = Batch(jnp.array([[[4], [5]]]), jnp.array([2]))
        >>> apply(init(jax.random.key(0), config), batch).arc.shape
        (1, 3, 3)
    """
    _check(params, batch)
    batch = batch._replace(heads=None, relations=None)
    rates = {
        "unknown_rate": unknown_rate,
        "input_dropout": input_dropout,
        "hidden_dropout": hidden_dropout,
    }
    return _apply(params, batch, key, **rates)


def _check(params: Params, batch: Batch) -> dict[str, int]:
    sizes: dict[str, int] = {}
    check("batch.length", batch.length, "int", "B", sizes)
    mask = None
    if is_concrete(batch.length):
        mask = np.arange(np.shape(batch.ids)[1])[None] < np.asarray(batch.length)[:, None]
    encoder.check_columns("batch.ids", batch.ids, params.encoder.embeddings, mask, sizes)
    return sizes


@partial(jax.jit, static_argnames=_RATES)
def _apply(
    params: Params, batch: Batch, key: jax.Array | None, **rates: float
) -> dependency.Scores:
    return _arcs(params, _known(params, batch, key, **rates), batch.length, key, **rates)


def _known(params: Params, batch: Batch, key: jax.Array | None, **rates: float) -> jax.Array:
    """What is known of root and words, ``[B, T + 1, F]``."""
    check_dropout(key, {"hidden_dropout": rates.get("hidden_dropout", 0.0)})
    words = encoder.apply(params.encoder, batch.ids, batch.length, key=key, **rates)
    root = jnp.broadcast_to(params.root[None, None], (len(words), 1, len(params.root)))
    return jnp.concatenate([root, words], axis=1)


def _hidden(layer: Layer, x: jax.Array, key, number: int, rate: float) -> jax.Array:
    h = jax.nn.relu(x @ layer.w + layer.b[None, None])
    return dropout(None if key is None else jax.random.fold_in(key, 1), number, h, rate)


def _buckets(words: int) -> np.ndarray:
    """Which distance stands for the arc from ``h`` to ``d``, ``[T + 1, T + 1]``."""
    h, d = np.indices((words + 1, words + 1))
    count = len(_DISTANCES)
    near = np.searchsorted(_DISTANCES, np.maximum(np.abs(h - d), 1), side="right") - 1
    return np.where(h == 0, 2 * count, np.where(h > d, count, 0) + near)


def _arcs(
    params: Params, x: jax.Array, length: jax.Array, key, *, hidden_dropout: float = 0.0, **_: float
) -> dependency.Scores:
    heads = _hidden(params.head, x, key, 0, hidden_dropout)
    words = _hidden(params.word, x, key, 1, hidden_dropout)
    product = heads @ params.arc[:-1] + params.arc[-1][None, None]
    far = words @ params.distance  # [B, T + 1, 17]
    at = _buckets(x.shape[1] - 1)
    # A sum over the few distances: its gradient gathers where that of an index scatters.
    which = jnp.asarray(at[..., None] == np.arange(params.distance.shape[1]), far.dtype)
    arc = jnp.einsum("bhk,bdk->bhd", product, words) + jnp.einsum("hdk,bdk->bhd", which, far)
    return dependency.Scores(arc, length)


def _relations(
    params: Params, x: jax.Array, heads: jax.Array, key, hidden_dropout: float
) -> jax.Array:
    """Logits ``[B, T, R]`` of the relations of words to heads."""
    of_heads = _hidden(params.relation_head, x, key, 2, hidden_dropout)
    of_words = _hidden(params.relation_word, x, key, 3, hidden_dropout)[:, 1:]
    at = jnp.clip(heads, 0, x.shape[1] - 1)
    which = (at[..., None] == jnp.arange(x.shape[1])[None, None]).astype(of_heads.dtype)
    p = which @ of_heads  # its gradient gathers, too
    both = jnp.concatenate([p, of_words, p * of_words], axis=-1)
    return both @ params.relation.w + params.relation.b[None, None]


def loss(
    params: Params,
    batch: Batch,
    *,
    projective: bool = False,
    unknown_rate: float = 0.0,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Aux]:
    """``-ln P(tree, relations)`` in nats, summed over sentences, divided by the number of words.

    Source: 004, L (with s of source 002), of trees with one root; 002, J, of relations.

    Args:
        params: as `init` makes them.
        batch: sentences with trees.
        projective: whether only trees without crossing arcs are possible; others then have the
            loss ``inf``.
        unknown_rate: as in `apply`.
        input_dropout: as in `apply`.
        hidden_dropout: as in `apply`.
        key: as in `apply`.

    Returns:
        ``(nats a word, aux)``; 0 where there is no word.

    Raises:
        AssertionError: as `apply`.
        ValueError: as `apply`, and for relations that there are not, where they are not traced.

    Example:
        >>> config = Config(encoder.Config((9,), (3,), rnn_dim=4), num_relations=3)
        >>> heads, relations = jnp.array([[2, 0]]), jnp.array([[0, 2]])
        >>> batch = Batch(jnp.array([[[4], [5]]]), jnp.array([2]), heads, relations)
        >>> nats, aux = loss(init(jax.random.key(0), config), batch)
        >>> round(float(jnp.exp(-aux.nats[0])), 3)  # of two trees
        0.5
    """
    sizes = _check(params, batch)
    check("batch.heads", batch.heads, "int", "B T", sizes)
    check("batch.relations", batch.relations, "int", "B T", sizes)
    if is_concrete(batch.length):
        real = np.arange(sizes["T"])[None] < np.asarray(batch.length)[:, None]
        check_ids("batch.relations", batch.relations, params.relation.b.shape[0], real)
    rates = {
        "unknown_rate": unknown_rate,
        "input_dropout": input_dropout,
        "hidden_dropout": hidden_dropout,
    }
    return _loss(params, batch, key, projective=projective, **rates)


@partial(jax.jit, static_argnames=("projective", *_RATES))
def _loss(
    params: Params, batch: Batch, key: jax.Array | None, *, projective: bool, **rates: float
) -> tuple[jax.Array, Aux]:
    x = _known(params, batch, key, **rates)
    scores = _arcs(params, x, batch.length, key, **rates)
    nats = -dependency.log_prob(scores, batch.heads, projective=projective)
    logits = _relations(params, x, batch.heads, key, rates["hidden_dropout"])
    real = jnp.arange(x.shape[1] - 1)[None] < batch.length[:, None]
    relations = jnp.where(real, batch.relations, 0)
    relation_nats = softmax_cross_entropy(logits, relations, real).sum(axis=1)
    count = jnp.maximum(real.sum(), 1).astype(nats.dtype)
    return (nats.sum() + relation_nats.sum()) / count, Aux(nats, relation_nats)


def decode(params: Params, batch: Batch, root: int, *, projective: bool = False) -> Parse:
    """The tree with the greatest expected number of right heads, and each arc's best relation.

    Args:
        params: as `init` makes them.
        batch: trees are not read.
        root: the relation of the root's child, and of no other word.
        projective: as in `loss`.

    Returns:
        `Parse`; trees have one root. Cost O(B T^2 (H + T)).

    Raises:
        AssertionError: as `apply`.
        ValueError: as `apply`, and for a root that is no relation.

    Example:
        >>> config = Config(encoder.Config((9,), (3,), rnn_dim=4), num_relations=3)
        >>> batch = Batch(jnp.array([[[4], [5]]]), jnp.array([2]))
        >>> parse = decode(init(jax.random.key(0), config), batch, root=2)
        >>> sorted(parse.relations[0].tolist())[-1], parse.probability.tolist()
        (2, [[0.5, 0.5]])
    """
    _check(params, batch)
    if not 0 <= root < params.relation.b.shape[0]:
        raise ValueError(f"root must be one of {params.relation.b.shape[0]} relations, got {root}")
    batch = batch._replace(heads=None, relations=None)
    return _decode(params, batch, root=root, projective=projective)


@partial(jax.jit, static_argnames=("root", "projective"))
def _decode(params: Params, batch: Batch, *, root: int, projective: bool) -> Parse:
    x = _known(params, batch, None)
    scores = _arcs(params, x, batch.length, None)
    p = dependency.marginals(scores, projective=projective)
    heads, _ = dependency.argmax(p, projective=projective)
    logits = _relations(params, x, heads, None, 0.0)
    is_root = (heads == 0)[..., None] == (jnp.arange(logits.shape[2]) == root)[None, None]
    relations = jnp.argmax(jnp.where(is_root, logits, -jnp.inf), axis=2)
    real = jnp.arange(heads.shape[1])[None] < batch.length[:, None]
    own = jnp.take_along_axis(p.arc[:, :, 1:], heads[:, None], axis=1)[:, 0]
    return Parse(
        jnp.where(real, heads, 0),
        jnp.where(real, relations.astype(jnp.int32), 0),
        jnp.where(real, own, 0),
    )
