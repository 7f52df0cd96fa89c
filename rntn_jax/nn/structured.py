"""CRF layers whose answers are no label for each word: trees of heads, segments with labels.

Calling a layer gives the `Scores` of the distribution; every function of `rntn_jax.crf` takes them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rntn_jax.crf import dependency, semi_markov
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import einsum

__all__ = ["DependencyCRF", "SemiMarkovCRF"]

Initializer = Any  # a key, a shape and a dtype to an array

ZEROS = nnx.initializers.zeros_init()


def _lengths(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Words of each row, int32 ``[B]``: real ones stand first."""
    if mask is None:
        return jnp.full(len(x), x.shape[1], jnp.int32)
    return check("mask", mask, "bool", "B T", dict(zip("BT", x.shape))).sum(axis=1, dtype=jnp.int32)


class DependencyCRF(nnx.Module):
    """A distribution over dependency trees: biaffine scores of arcs between vectors of words.

    Computes ``arc[h, d, r] = (x_h, 1) W_r (x_d, 1)``, ``x_0`` being the root's own vector (Dozat
    and Manning 2017; here with the exact likelihood of the tree).

    Args:
        in_features: ``D``, of a word's vector, as any encoder makes them.
        num_labels: ``R``; None: arcs without labels.
        rngs: for the initial weights; zeros need none of it, other initialisers do.
        projective: whether arcs may not cross; otherwise all trees.
        single_root: whether one word hangs from the root.
        arc_init: initialiser of ``W``; the root's vector starts at 0.
        param_dtype: of the weights.

    Attributes:
        arc: ``[R, D + 1, D + 1]``, 1 for R without labels.
        root: ``[D]``.

    Example:
        >>> crf = DependencyCRF(4, rngs=nnx.Rngs(0), projective=True)
        >>> words, heads = jnp.zeros((2, 3, 4)), jnp.array([[2, 0, 2], [0, 1, 1]])
        >>> round(float(jnp.exp(crf.loss(words, heads))), 3)  # as many trees
        7.0
        >>> crf.decode(words).shape, crf.marginals(words).shape
        ((2, 3), (2, 4, 4))
    """

    def __init__(
        self,
        in_features: int,
        num_labels: int | None = None,
        *,
        rngs: nnx.Rngs,
        projective: bool = False,
        single_root: bool = True,
        arc_init: Initializer = ZEROS,
        param_dtype: Any = jnp.float32,
    ):
        if in_features < 1:
            raise ValueError(f"in_features must be at least 1, got {in_features}")
        if num_labels is not None and num_labels < 1:
            raise ValueError(f"num_labels must be at least 1 or None, got {num_labels}")
        self.num_labels = num_labels
        self.projective, self.single_root = projective, single_root
        shape = (num_labels or 1, in_features + 1, in_features + 1)
        self.arc = nnx.Param(arc_init(rngs.params(), shape, param_dtype))
        self.root = nnx.Param(jnp.zeros(in_features, param_dtype))

    def __call__(self, words: jax.Array, mask: jax.Array | None = None) -> dependency.Scores:
        """The distribution over trees.

        Args:
            words: ``[B, T, D]``.
            mask: bool ``[B, T]``, real words first; None: all are real.

        Returns:
            `dependency.Scores`, which all functions of `rntn_jax.crf.dependency` take.

        Raises:
            AssertionError: when shapes or dtypes do not match.
        """
        sizes = {"D": self.root.shape[0]}
        words = check("words", words, "float", "B T D", sizes)
        root = jnp.broadcast_to(self.root[...], (len(words), 1, sizes["D"]))
        x = jnp.concatenate([root.astype(words.dtype), words], axis=1)
        x = jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=2)
        arc = einsum("bhi,rij,bdj->bhdr", x, self.arc[...], x)
        arc = arc[..., 0] if self.num_labels is None else arc
        return dependency.Scores(arc, _lengths(words, mask))

    def loss(self, words: jax.Array, tree: Any, mask: jax.Array | None = None) -> jax.Array:
        """Mean of ``-ln P(tree)`` over the sentences, in nats.

        Source: 004, L. Gradient: marginals minus indicators of the trees' arcs.

        Args:
            words: ``[B, T, D]``.
            tree: heads int ``[B, T]``, or `dependency.Arcs` of labelled arcs.
            mask: bool ``[B, T]``.

        Returns:
            A scalar; ``inf`` where a tree is none of the kind that the layer is for.
        """
        return -dependency.log_prob(self(words, mask), tree, **self._kind()).mean()

    def decode(self, words: jax.Array, mask: jax.Array | None = None) -> Any:
        """The best trees.

        Args:
            words: ``[B, T, D]``.
            mask: bool ``[B, T]``.

        Returns:
            Heads int32 ``[B, T]``, 0 where masked, or `dependency.Arcs` of labelled arcs.
        """
        return dependency.argmax(self(words, mask), **self._kind())[0]

    def marginals(self, words: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The probability of each arc, ``P(h is the head of d)`` at ``[h, d]``.

        Args:
            words: ``[B, T, D]``.
            mask: bool ``[B, T]``.

        Returns:
            ``[B, T + 1, T + 1]``, with labels ``[B, T + 1, T + 1, R]``; 0 where masked.
        """
        return dependency.marginals(self(words, mask), **self._kind()).arc

    def _kind(self) -> dict[str, bool]:
        return {"projective": self.projective, "single_root": self.single_root}


class SemiMarkovCRF(nnx.Module):
    """A semi-Markov CRF: scores of transitions, of widths, and of the first and last label.

    A segment's score is the sum of its tokens' emissions, and of the score of its width; or
    emissions are those of segments themselves.

    Args:
        num_labels: ``C``.
        max_width: ``K``, tokens of a segment at most.
        rngs: for the initial scores; zeros need none of it, other initialisers do.
        boundaries: hold scores of the first and the last label of a sequence.
        edge_init: initialiser of the transition scores; the others start at 0.
        param_dtype: of the scores.

    Attributes:
        edge: ``[C, C]``, from a segment's label (row) to the next one's.
        width: ``[K, C]``, of segments of ``k + 1`` tokens.
        start, end: ``[C]``, or None.

    Example:
        >>> crf = SemiMarkovCRF(1, 3, rngs=nnx.Rngs(0))
        >>> emissions = jnp.zeros((2, 3, 1))
        >>> segments = crf.decode(emissions)
        >>> round(float(jnp.exp(crf.loss(emissions, segments))), 3)  # 4 ways to cut three tokens
        4.0
        >>> crf.marginals(emissions).shape
        (2, 3, 3, 1)
    """

    def __init__(
        self,
        num_labels: int,
        max_width: int,
        *,
        rngs: nnx.Rngs,
        boundaries: bool = True,
        edge_init: Initializer = ZEROS,
        param_dtype: Any = jnp.float32,
    ):
        for name, value in (("num_labels", num_labels), ("max_width", max_width)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.num_labels, self.max_width = num_labels, max_width
        self.edge = nnx.Param(edge_init(rngs.params(), (num_labels, num_labels), param_dtype))
        self.width = nnx.Param(jnp.zeros((max_width, num_labels), param_dtype))
        self.start = nnx.Param(jnp.zeros(num_labels, param_dtype)) if boundaries else nnx.data(None)
        self.end = nnx.Param(jnp.zeros(num_labels, param_dtype)) if boundaries else nnx.data(None)

    def __call__(self, emissions: jax.Array, mask: jax.Array | None = None) -> semi_markov.Scores:
        """The distribution over segmentations.

        Args:
            emissions: ``[B, T, C]``, of tokens, or ``[B, T, K, C]``, of segments.
            mask: bool ``[B, T]``, real tokens first; None: all are real.

        Returns:
            `semi_markov.Scores`, which all functions of `rntn_jax.crf.semi_markov` take.

        Raises:
            AssertionError: when shapes or dtypes do not match.
        """
        if jnp.ndim(emissions) == 4:
            sizes = {"K": self.max_width, "C": self.num_labels}
            span = check("emissions", emissions, "float", "B T K C", sizes)
        else:
            own = check("emissions", emissions, "float", "B T C", {"C": self.num_labels})
            sums, shifted = [own], own
            for _ in range(self.max_width - 1):
                shifted = jnp.pad(shifted[:, 1:], ((0, 0), (0, own.shape[1] > 0), (0, 0)))
                sums.append(sums[-1] + shifted)
            span = jnp.stack(sums, axis=2)
        start = None if self.start is None else self.start[...]
        end = None if self.end is None else self.end[...]
        span = span + self.width[...][None, None]
        return semi_markov.Scores(span, self.edge[...], start, end, _lengths(emissions, mask))

    def loss(
        self, emissions: jax.Array, segments: semi_markov.Segments, mask: jax.Array | None = None
    ) -> jax.Array:
        """Mean of ``-ln P(segments)`` over the sequences, in nats.

        Source: 004, L. Gradient: marginals minus indicators of the segmentations.

        Args:
            emissions: as the layer takes them.
            segments: `semi_markov.Segments` ``[B, T]``.
            mask: bool ``[B, T]``.

        Returns:
            A scalar; ``inf`` where a segment is longer than K.
        """
        return -semi_markov.log_prob(self(emissions, mask), segments).mean()

    def decode(self, emissions: jax.Array, mask: jax.Array | None = None) -> semi_markov.Segments:
        """The best segmentations.

        Args:
            emissions: as the layer takes them.
            mask: bool ``[B, T]``.

        Returns:
            `semi_markov.Segments` ``[B, T]``, false and 0 where masked.
        """
        return semi_markov.argmax(self(emissions, mask))[0]

    def marginals(self, emissions: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The probability of each segment, ``P(t .. t + k is a segment of label c)``.

        Args:
            emissions: as the layer takes them.
            mask: bool ``[B, T]``.

        Returns:
            ``[B, T, K, C]``, 0 where it would not end within the sequence.
        """
        return semi_markov.marginals(self(emissions, mask)).span
