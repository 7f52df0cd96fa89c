"""Monotone alignments of two sequences: an exponential softmax over all of them.

An alignment matches elements of the left sequence with elements of the right one, in their order,
and skips elements of either; it scores the sum of its moves (`Scores`) and has probability
``exp(score - ln Z)`` (source 004). Global alignment with gaps, edit distance and dynamic time
warping are special cases: `argmax` finds the best alignment, `log_partition` is its soft
counterpart, and `marginals` are soft alignments.

Alignments that may cross, one to one, are another matter: ``ln Z`` is then the logarithm of a
permanent, for which no algorithm in polynomial time is known (Valiant 1979), so they are not here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rntn_jax.crf import expectations
from rntn_jax.crf.alignment import forward
from rntn_jax.crf.alignment.scores import (
    Parts,
    Scores,
    alignment_score,
    by_diagonal,
    check_moves,
    check_scores,
    complete,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.checks import check
from rntn_jax.ops.logspace import entropy_terms, kl_terms
from rntn_jax.ops.varying import vary_like

__all__ = [
    "entropy",
    "expected_score",
    "kl",
    "log_partition",
    "log_prob",
    "marginals",
    "no_cells",
    "of_empty",
    "score",
]


@jax.jit
def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all alignments of ``exp`` of their scores.

    Gradient: the marginals (model marginals theorem, 004). With ``match = skip_left = skip_right =
    -cost / temperature``, the value times ``-temperature`` is soft-DTW (Cuturi and Blondel 2017).

    Args:
        scores: of moves.

    Returns:
        ``[B]`` nats, in at least float32; ``-inf`` where every alignment is forbidden. Cost and
        residuals O(B (N + M) N): the shorter sequence best stands on the left.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> x, y = jnp.array([[0.0, 1.0, 2.0]]), jnp.array([[0.0, 2.0]])
        >>> cost, temperature = (x[:, :, None] - y[:, None]) ** 2, 0.01
        >>> warped = Scores(*3 * [-cost / temperature])
        >>> round(float(-temperature * log_partition(warped)[0]), 2)  # the cost of warping: 1
        0.99
    """
    scores = check_scores(scores)
    if no_cells(scores):
        return of_empty(scores)
    return forward.log_partition(complete(scores)).value


def no_cells(scores: Scores) -> bool:
    """Whether the grid has no cell."""
    return 0 in scores.match.shape[1:]


def of_empty(scores: Scores) -> jax.Array:
    """``ln Z [B]`` where the grid has no cell: 0 where both are empty."""
    lengths, room = scores.lengths, jnp.array(scores.match.shape[1:])[None]
    possible = ((lengths >= 0) & (lengths <= room)).all(axis=1)
    whole = jnp.where((lengths == 0).all(axis=1), 0, -jnp.inf)
    return jnp.where(possible, whole, jnp.nan).astype(jnp.result_type(scores.match, jnp.float32))


@jax.jit
def score(scores: Scores, moves: jax.Array) -> jax.Array:
    """Scores of alignments: ``s(y)`` of source 004.

    Args:
        scores: of moves.
        moves: int ``[B, N, M]``, how each cell of the way is entered: ``MATCH``, ``SKIP_LEFT`` or
            ``SKIP_RIGHT``; 0 in all other cells. Behind the ends they may hold anything.

    Returns:
        ``[B]`` nats, in at least float32; NaN where they are no way from the first cell to the
        last, ``-inf`` where a move is forbidden. Cost O(B N M).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> scores = Scores(jnp.ones((1, 2, 2)), *jnp.zeros((2, 1, 2, 2)))
        >>> score(scores, jnp.array([[[1, 0], [0, 1]]])).tolist()
        [2.0]
    """
    scores = check_scores(scores)
    moves = check_moves(moves, scores)
    if no_cells(scores):
        return jnp.where(of_empty(scores) == 0, 0, jnp.nan)
    return alignment_score(scores, moves, False).value


@jax.jit
def log_prob(scores: Scores, moves: jax.Array) -> jax.Array:
    """Log-probability of one alignment a row; its negative is the training loss.

    Gradient: indicators of the alignment's moves minus marginals.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Args:
        scores: of moves.
        moves: as `score` takes them.

    Returns:
        ``[B]`` nats, ``-inf`` where the alignment is forbidden, NaN where it is none. Cost as of
        `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> nats = log_prob(Scores(*jnp.zeros((3, 1, 2, 2))), jnp.array([[[1, 0], [0, 1]]]))
        >>> round(float(jnp.exp(nats)[0]), 4)
        0.3333
    """
    scores = check_scores(scores)
    moves = check_moves(moves, scores)
    if no_cells(scores):
        return jnp.where(of_empty(scores) == 0, 0, jnp.nan)
    total, own = forward.log_partition(complete(scores)), alignment_score(scores, moves, True)
    whole = own.whole - jnp.where(total.whole == -jnp.inf, 0, total.whole)
    return expectations.log_prob(whole + own.fraction, total.fraction)


@jax.jit
def marginals(scores: Scores) -> Scores:
    """Probabilities of moves, in the container of the scores.

    The gradient of ``log_partition(scores).sum()``. The three together are the probability that an
    alignment passes the cell.

    Source: 004, the model marginals theorem.

    Args:
        scores: of moves.

    Returns:
        Of each field the probability of the move; 0 where not read, and in rows where every
        alignment is forbidden. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = marginals(Scores(*jnp.zeros((3, 1, 2, 2))))
        >>> p.match[0].round(4).tolist()
        [[1.0, 0.0], [0.0, 0.33329999446868896]]
    """
    lengths, own = scores.lengths, vary_like(scores._replace(lengths=None), scores.lengths)
    total = lambda own: log_partition(own._replace(lengths=lengths)).sum()
    return jax.grad(total)(jax.tree.map(jnp.asarray, own))._replace(lengths=lengths)


def _likely(parts: Parts) -> tuple[Nats, jax.Array]:
    """``ln Z [B]``, and marginals ``[D, 3, B, N]``."""
    of_moves = lambda moves: forward.log_partition(Parts(moves, parts.lengths))
    total, pull = jax.vjp(of_moves, vary_like(parts.moves, parts.lengths))
    ones = Nats(jnp.zeros_like(total.whole), jnp.ones_like(total.fraction))
    return total, pull(ones)[0].fraction


def _alike(scores: Scores, name: str, like: Scores) -> Scores:
    """Other scores of the same shapes, with these lengths."""
    sizes = dict(zip("BNM", like.match.shape))
    check(f"{name}.match", scores.match, "float", "B N M", sizes)
    return check_scores(scores._replace(lengths=like.lengths), name)


@jax.jit
def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution: expected costs, expected numbers of moves.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0 counts
    0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the distribution.
        values: the other score, of the same shapes; its lengths are not read.

    Returns:
        ``[B]``, in at least float32; NaN where every alignment is forbidden, there being no
        distribution. Cost as of `marginals`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> ones = Scores(*jnp.ones((3, 1, 2, 2)))
        >>> round(float(expected_score(Scores(*jnp.zeros((3, 1, 2, 2))), ones)[0]), 4)  # moves
        2.6667
    """
    scores = check_scores(scores)
    values = _alike(values, "values", scores)
    if no_cells(scores):
        return jnp.where(of_empty(scores) == 0, 0, jnp.nan)
    total, p = _likely(complete(scores))
    own = jnp.stack([by_diagonal(x) for x in values[:3]], axis=1)
    mean = expectations.weighted_sum(p, jnp.where(p != 0, own, 0), (0, 1, 3))
    return jnp.where(total.whole == -jnp.inf, jnp.nan, mean)


@jax.jit
def entropy(scores: Scores) -> jax.Array:
    """Entropy ``-sum P ln P`` of the distribution over alignments.

    Computes, by the chain rule, the entropies of the choices of moves from the last cell back, each
    weighted by the probability of its cell: sums of what is positive, however large the scores.

    Source: 004, the model marginals theorem, and the chain rule of entropy.

    Args:
        scores: of moves.

    Returns:
        ``[B]`` nats, in at least float32; NaN where every alignment is forbidden, there being no
        distribution. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> round(float(jnp.exp(entropy(Scores(*jnp.zeros((3, 1, 2, 2))))[0])), 4)
        3.0
    """
    return _sum_over_choices(entropy_terms, check_scores(scores))


@jax.jit
def kl(p: Scores, q: Scores) -> jax.Array:
    """Kullback-Leibler divergence ``sum P ln(P / Q)`` of ``q`` from ``p``, as `entropy` goes.

    Source: 004, the model marginals theorem, and the chain rule of relative entropy.

    Args:
        p: the distribution that the mean is over.
        q: the other one, of the same shapes; its lengths are not read.

    Returns:
        ``[B]`` nats, in at least float32; ``inf`` where ``q`` forbids what ``p`` does not, NaN
        where ``p`` forbids everything. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> p = Scores(*jnp.zeros((3, 1, 2, 2)))
        >>> q = p._replace(match=p.match.at[0, 1, 1].set(jnp.log(2.0)))
        >>> round(float(kl(p, q)[0]), 4)  # ln(4 / 3) - 1 / 3 ln 2
        0.0566
    """
    p = check_scores(p, "p")
    q = _alike(q, "q", p)

    def terms(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
        lost = (log_q == -jnp.inf) & (log_p > -jnp.inf)
        return jnp.where(lost, jnp.inf, kl_terms(log_p, log_q))

    return _sum_over_choices(terms, p, q)


def _sum_over_choices(f, scores: Scores, *others: Scores) -> jax.Array:
    """``f`` of the conditional distributions of the moves into cells, each in proportion."""
    if no_cells(scores):
        return jnp.where(of_empty(scores) == 0, 0, jnp.nan)
    every = [complete(own) for own in (scores, *others)]
    total, p = _likely(every[0])
    cells = p.sum(axis=1)
    found = f(*(forward.log_conditionals(own, forward.run(own)) for own in every)).sum(axis=1)
    off = cells == 0
    found = jnp.where(off, 0, cells * jnp.where(off, 0, found)).sum(axis=(0, 2))
    found = jnp.where(jnp.isnan(total.whole), jnp.nan, found)
    # NaN in the others, too, where no cell of theirs has been looked at.
    for own in every[1:]:
        found = found + jnp.where(jnp.isnan(own.moves.whole[0, 0, :, 0]), jnp.nan, 0)
    return jnp.where(total.whole == -jnp.inf, jnp.nan, found)
