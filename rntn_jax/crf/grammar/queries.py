"""Grammars in Chomsky normal form: an exponential softmax over all parses of a sentence.

A parse is a binary tree over the words, whose inner nodes have nonterminals and whose words have
preterminals; it scores the sum of its rules, of its tags and of its root, and has probability
``exp(score - ln Z)`` among the parses of its sentence (source 004). Where scores are logarithms of
a grammar's probabilities, ``exp(score)`` is the probability of parse and sentence together,
``exp(ln Z)`` that of the sentence, and `marginals` are expected numbers of uses of the rules, the
E-step of inside-outside; an EM step normalises them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.crf import expectations
from rntn_jax.crf.grammar import inside
from rntn_jax.crf.grammar.inside import at
from rntn_jax.crf.grammar.scores import (
    Parse,
    Parts,
    Scores,
    check_parse,
    check_scores,
    complete,
    full_rules,
    parse_score,
)
from rntn_jax.crf.nats import Nats
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like

__all__ = [
    "alike",
    "constrain",
    "expected_score",
    "log_partition",
    "log_prob",
    "marginals",
    "no_tree",
    "of_none",
    "score",
    "with_full_rules",
]


def no_tree(parts: Parts) -> bool:
    """Whether there is no sentence of two words, no nonterminal or no preterminal."""
    return parts.terminal.whole.shape[1] < 2 or 0 in (
        parts.root.whole.shape[0],
        parts.terminal.whole.shape[2],
    )


def of_none(parts: Parts) -> Nats:
    """``ln Z [B]`` where there is no tree: 0 of sentences of no word."""
    whole = jnp.where(parts.length == 0, 0, -jnp.inf).astype(parts.terminal.whole.dtype)
    return Nats(whole + parts.bad, jnp.zeros_like(whole))


def _rule(parts: Parts) -> Nats:
    if no_tree(parts):
        return of_none(parts)
    total = inside.log_partition(parts)
    whole = jnp.where(jnp.isnan(parts.bad), jnp.nan, total.whole)
    return Nats(whole, total.fraction + parts.bad)


@jax.jit
def log_partition(scores: Scores) -> jax.Array:
    """``ln`` of the sum over all parses of ``exp`` of their scores: ``ln P(sentence)``.

    Gradient: the marginals (model marginals theorem, 004).

    Args:
        scores: of the grammar, and of the words.

    Returns:
        ``[B]`` nats, in at least float32; 0 for rows of no word, ``-inf`` for those of one word and
        where every parse is forbidden. Cost O(B T^2 (T M^2 + N M^2)) with ``M = N + P``; of rules
        of low rank O(B T^2 R (T + M)). Residuals O(B T^2 M), or O(B T^2 R).

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 4, 1)))
        >>> round(float(jnp.exp(log_partition(grammar)[0])), 3)  # trees over four words
        5.0
    """
    return _rule(complete(check_scores(scores))).value


@jax.jit
def constrain(scores: Scores, allowed: jax.Array) -> Scores:
    """Forbids preterminals of words, by ``-inf``.

    So one learns from sentences in which some tags are known, and
    ``log_partition(constrain(scores, allowed)) - log_partition(scores)`` is ``ln P`` of them.

    Args:
        scores: of the grammar, and of the words.
        allowed: bool ``[B, T, P]``, tags that a word may have.

    Returns:
        The scores, ``-inf`` where not allowed.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 3, 3)), jnp.zeros((1, 2, 2)))
        >>> known = constrain(grammar, jnp.array([[[True, True], [True, False]]]))
        >>> round(float(jnp.exp(log_partition(known) - log_partition(grammar))[0]), 3)
        0.5
    """
    terminal = check("scores.terminal", scores.terminal, "float", "B T P")
    allowed = check("allowed", allowed, "bool", "B T P", dict(zip("BTP", terminal.shape)))
    return scores._replace(terminal=jnp.where(allowed, terminal, -jnp.inf))


@jax.jit
def score(scores: Scores, parse: Parse) -> jax.Array:
    """Scores of parses: ``s(y)`` of source 004.

    Args:
        scores: of the grammar, and of the words.
        parse: one a row; what lies behind the end may hold anything.

    Returns:
        ``[B]`` nats, in at least float32; NaN where the nodes are no tree or a label cannot be.
        Cost O(B T^2); of rules of low rank O(N M^2 R) more.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.ones(1), jnp.full((1, 2, 2), 10.0), jnp.full((1, 2, 1), 100.0))
        >>> parse = Parse(jnp.array([[[0, 1]]]), jnp.array([[0]]), jnp.array([[0, 0]]))
        >>> score(grammar, parse).tolist()
        [211.0]
    """
    scores = check_scores(scores)
    parse = check_parse(parse, scores)
    parts = complete(scores, False)
    return parse_score(parts._replace(rule=full_rules(parts.rule)), parse).value


@jax.jit
def log_prob(scores: Scores, parse: Parse) -> jax.Array:
    """Log-probability of one parse a row, given the sentence; its negative is the training loss.

    Gradient: numbers of uses of the rules in the parse minus expected ones.

    Source: 004, L and the model marginals theorem (of ``-log_prob``).

    Args:
        scores: of the grammar, and of the words.
        parse: as `score` takes it.

    Returns:
        ``[B]`` nats, ``-inf`` where the parse is forbidden, NaN where it is none. Cost as of
        `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 3, 1)))
        >>> labels, tags = jnp.zeros((1, 2), int), jnp.zeros((1, 3), int)
        >>> parse = Parse(jnp.array([[[0, 1], [3, 2]]]), labels, tags)
        >>> round(float(jnp.exp(log_prob(grammar, parse))[0]), 3)
        0.5
    """
    scores = check_scores(scores)
    parse = check_parse(parse, scores)
    parts = complete(scores)
    total = _rule(parts)
    own = parse_score(parts._replace(rule=full_rules(parts.rule)), parse)
    whole = own.whole - jnp.where(total.whole == -jnp.inf, 0, total.whole)
    return expectations.log_prob(whole + own.fraction, total.fraction)


@jax.jit
def marginals(scores: Scores) -> Scores:
    """Expected numbers of uses of rules, and probabilities of tags, in the scores' container.

    The gradient of ``log_partition(scores).sum()``.

    Source: 004, the model marginals theorem.

    Args:
        scores: of the grammar, and of the words.

    Returns:
        ``terminal[b, t, p] = P(word t has tag p)``; ``root`` and ``rule`` are expected counts,
        summed over rows; of rules of low rank, those of each factor's entries. 0 in rows where
        every parse is forbidden. Cost as of `log_partition`.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 3, 1)))
        >>> marginals(grammar).rule.tolist()  # [[w w] w] or [w [w w]]
        [[[0.0, 0.5], [0.5, 1.0]]]
    """
    length, own = scores.length, vary_like(scores._replace(length=None), scores.length)
    total = lambda own: log_partition(own._replace(length=length)).sum()
    return jax.grad(total)(jax.tree.map(jnp.asarray, own))._replace(length=length)


def with_full_rules(parts: Parts) -> Parts:
    """The same with rules ``[N, M, M]``."""
    return parts._replace(rule=full_rules(parts.rule))


def alike(scores: Scores, name: str, like: Scores) -> Scores:
    """Another grammar of the same symbols and words, with these lengths.

    Args:
        scores: the other grammar.
        name: of the argument, for messages.
        like: the grammar whose lengths are taken, of `check_scores`.

    Returns:
        `Scores` of arrays.

    Raises:
        AssertionError: when shapes or dtypes do not match.
    """
    sizes = dict(zip("BTP", like.terminal.shape))
    check(f"{name}.terminal", scores.terminal, "float", "B T P", sizes)
    check(f"{name}.root", scores.root, "float", "N", {"N": like.root.shape[0]})
    return check_scores(scores._replace(length=like.length), name)


def _likely(parts: Parts) -> tuple[Nats, Any]:
    """``ln Z [B]``, expected counts of each row of root and rules, and of tags."""
    zero = jnp.zeros_like(parts.bad, shape=(1,))

    def of_row(root, rule, terminal, length):
        return inside.log_partition(
            Parts(root, rule, jax.tree.map(lambda x: x[None], terminal), length[None], zero)
        )

    def one(inputs):
        terminal, length = inputs
        call = lambda root, rule, terminal: of_row(root, rule, terminal, length)
        total, pull = jax.vjp(call, *vary_like((parts.root, parts.rule, terminal), length))
        counts = pull(Nats(jnp.zeros_like(total.whole), jnp.ones_like(total.whole)))
        return at(total, 0), tuple(x.fraction for x in counts)

    return lax.map(one, (parts.terminal, parts.length))


@jax.jit
def expected_score(scores: Scores, values: Scores) -> jax.Array:
    """Mean of another score under the distribution: expected costs, numbers of rules.

    Computes ``sum_y P(y) v(y)``, ``v(y)`` being ``score(values, y)``. What has probability 0 counts
    0, whatever its value; ``-inf`` of positive probability makes the mean ``-inf``.

    Source: 004, the model marginals theorem.

    Args:
        scores: the distribution.
        values: the other score, of the same shapes; its lengths are not read.

    Returns:
        ``[B]``, in at least float32; NaN where every parse is forbidden, there being no
        distribution. Cost as of `marginals`, a sentence at a time, of full rules.

    Raises:
        AssertionError: when shapes or dtypes do not match.

    Example:
        >>> grammar = Scores(jnp.zeros(1), jnp.zeros((1, 2, 2)), jnp.zeros((1, 3, 1)))
        >>> count = grammar._replace(rule=jnp.ones((1, 2, 2)))
        >>> expected_score(grammar, count).tolist()  # nodes
        [2.0]
    """
    scores = check_scores(scores)
    values = alike(values, "values", scores)
    parts = with_full_rules(complete(scores))
    if no_tree(parts):
        return jnp.where(of_none(parts).whole == 0, 0, jnp.nan)
    total, (root, rule, terminal) = _likely(parts)
    own = with_full_rules(complete(values, False))
    over = expectations.weighted_sum
    read = terminal != 0
    mean = over(terminal, jnp.where(read, own.terminal.value, 0), (1, 2))
    mean = mean + over(root, own.root.value[None], (1,))
    mean = mean + over(rule, own.rule.value[None], (1, 2, 3))
    return jnp.where(total.whole == -jnp.inf, jnp.nan, mean) + parts.bad
