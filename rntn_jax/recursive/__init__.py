"""Recursive networks: the bottom-up sweep over packed trees, and its hand-derived rule.

One file a cell: `sweep` and `Cell` are those of the tensor network; `mv_rnn` and `tree_lstm` have
their own, of the same names, `child_sum` for trees of any number of children; `span_sum` is the
recursion without weights.
"""

from rntn_jax.recursive import child_sum, mv_rnn, tree_lstm
from rntn_jax.recursive.rntn import Cell, sweep
from rntn_jax.recursive.span_sum import span_sum

__all__ = ["Cell", "child_sum", "mv_rnn", "span_sum", "sweep", "tree_lstm"]


def __dir__() -> list[str]:
    return sorted(__all__)
