"""Connectionist temporal classification: targets aligned with frames, all alignments summed.

Every frame shows a symbol or the blank; symbols in a row that are equal count once, and blanks not
at all. The alignments of some targets are a set of labellings of the frames, and this is the
exponential softmax over that set (source 004).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rntn_jax.crf.ctc import forward
from rntn_jax.crf.ctc.scores import Scores, check_scores, complete
from rntn_jax.ops import accumulator
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like

__all__ = ["log_prob", "loss", "marginals"]


@jax.jit
def log_prob(scores: Scores) -> jax.Array:
    """``ln`` of the summed ``exp`` of the scores of all alignments of the targets.

    Of logarithms of probabilities that sum to 1 at each frame, that is ``ln P(targets)``.
    Gradient: the marginals.

    Source: Graves et al. 2006; 004, the model marginals theorem.

    Args:
        scores: of frames, and the targets.

    Returns:
        ``[B]`` nats, in at least float32; ``-inf`` where there is no alignment, the targets being
        too many for the frames or forbidden. Cost O(B T L); residuals O(B T L).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> node = jnp.log(jnp.full((1, 3, 2), 0.5))
        >>> nats = log_prob(Scores(node, jnp.array([[1, 1]])))
        >>> round(float(jnp.exp(nats)[0]), 3)  # only 1 0 1
        0.125
    """
    return forward.log_partition(complete(check_scores(scores))).value


@jax.jit
def marginals(scores: Scores) -> Scores:
    """Probabilities of symbols at frames over the alignments of the targets.

    The gradient of ``log_prob(scores).sum()``.

    Source: 004, the model marginals theorem.

    Args:
        scores: of frames, and the targets.

    Returns:
        ``node[b, t, v] = P(frame t shows v | the targets)``, in the dtype of the scores; 0 where
        masked and where there is no alignment. The other fields pass through. Cost O(B T (L + V)).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> found = marginals(Scores(jnp.zeros((1, 2, 2)), jnp.array([[1]]))).node
        >>> [round(float(p), 2) for p in found[0, 0]]  # 0 1, 1 0 and 1 1
        [0.33, 0.67]
    """
    total = lambda node: log_prob(scores._replace(node=node)).sum()
    return scores._replace(node=jax.grad(total)(vary_like(jnp.asarray(scores.node), scores)))


@jax.jit
def loss(
    logits: jax.Array,
    logit_paddings: Any,
    labels: jax.Array,
    label_paddings: Any,
    *,
    blank_id: Any = 0,
    log_epsilon: Any = None,
) -> jax.Array:
    """``-ln P(labels)`` of each row, the probabilities being the softmax of the logits.

    It takes what `optax.losses.ctc_loss` takes and gives its values. Gradient: for each frame the
    softmax minus the `marginals`.

    Source: Graves et al. 2006, (3) and (16).
    Differs from source: where the labels are too many for the frames, the loss is ``inf`` and its
    gradient 0 (optax: about 1e5, with a gradient).

    Args:
        logits: ``[B, T, V]``.
        logit_paddings: ``[B, T]``, 1 or true where a frame does not count.
        labels: int ``[B, L]``.
        label_paddings: ``[B, L]``, 1 or true where a label does not count.
        blank_id: the symbol of the blank.
        log_epsilon: not read: what is impossible has the logarithm ``-inf`` here.

    Returns:
        ``[B]`` nats, in at least float32. Cost O(B T (L + V)).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> paddings = jnp.zeros((2, 3)), jnp.array([[0.0, 0.0], [0.0, 1.0]])
        >>> labels = jnp.array([[1, 1], [1, 0]])
        >>> found = loss(jnp.zeros((2, 3, 2)), paddings[0], labels, paddings[1])
        >>> [round(float(p), 3) for p in jnp.exp(-found)]  # 1 of 8 and 6 of 8 labellings
        [0.125, 0.75]
    """
    del log_epsilon
    logits = check("logits", logits, "float", "B T V")
    labels = check("labels", labels, "int", "B L", {"B": len(logits)})
    # The blank goes to the front, those before it one place up.
    blank = jnp.asarray(blank_id, jnp.int32)
    order = jnp.arange(logits.shape[2], dtype=jnp.int32)
    order = jnp.where(order == 0, blank, jnp.where(order <= blank, order - 1, order))
    labels = jnp.where(labels == blank, 0, jnp.where(labels < blank, labels + 1, labels))
    mask, real = jnp.asarray(logit_paddings) == 0, jnp.asarray(label_paddings) == 0
    wide = jnp.where(mask[..., None], logits.astype(accumulator(logits)), 0)
    node = jax.nn.log_softmax(wide[..., order], axis=-1)
    return -log_prob(Scores(node, labels, mask, real))
