"""Trees over sentences that need no model: what learnt ones are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rntn_jax.data import Tree

__all__ = ["BASELINES", "balanced", "right_branching", "right_branching_with_stop"]


def _tree(tokens: Sequence[str], split: Callable[[int, int], int]) -> Tree:
    """The tree whose spans ``begin .. end`` are split where ``split`` says."""
    words = len(tokens)
    children: list[tuple[int, int]] = []
    # A span waits twice: before its parts, and after them.
    waiting: list[tuple[int, int, bool]] = [(0, words, False)]
    nodes: list[int] = []
    while waiting:
        begin, end, done = waiting.pop()
        if end - begin == 1:
            nodes.append(begin)
        elif done:
            right, left = nodes.pop(), nodes.pop()
            nodes.append(words + len(children))
            children.append((left, right))
        else:
            middle = split(begin, end)
            waiting += [(begin, end, True), (middle, end, False), (begin, middle, False)]
    return Tree(tuple(tokens), children, np.full(2 * words - 1, -1))


def right_branching(tokens: Sequence[str]) -> Tree:
    """Each word beside all that follows."""
    return _tree(tokens, lambda begin, end: begin + 1)


def right_branching_with_stop(tokens: Sequence[str]) -> Tree:
    """Right-branching, a final full stop (or ! ?) joined last."""
    stop = len(tokens) > 1 and tokens[-1] in {".", "!", "?"}
    words = len(tokens)
    return _tree(
        tokens,
        lambda begin, end: words - 1 if stop and (begin, end) == (0, words) else begin + 1,
    )


def balanced(tokens: Sequence[str]) -> Tree:
    """Halves of halves."""
    return _tree(tokens, lambda begin, end: (begin + end) // 2)


BASELINES: dict[str, Callable[[Sequence[str]], Tree]] = {
    "right-branching": right_branching,
    "right-branching, final stop on top": right_branching_with_stop,
    "balanced": balanced,
}
