"""Trees and made-up results for the tests of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

HOSTILE = (
    "<script>document.body.dataset.pwned='1'</script>",
    "</title><img src=x onerror=alert(1)>",
    "a\"b'c&amp;&lt;",
    "]]><!--",
    "\x00\x1b[31m\x07",
    "\ud800\ufffe",
    "\u202egnp.exe",
    "",
    " ",
    "new\nline",
    "x" * 4000,
    "漢字仮名交じり文",
    "🙂🙃👩‍👩‍👧",
    "e\u0301\u0323" * 5,
    "مرحبا",
    "WWWWMMMM@@@@",
    "\ufdfd",
    "нещщжющ",
    "\\u003c",
    "{{x}}",
)


class Tree(NamedTuple):
    """A stand-in for `rntn_jax.data.Tree`, with nothing but its three arrays."""

    tokens: tuple[str, ...]
    children: np.ndarray
    labels: np.ndarray


def random_tree(words: Sequence[str], seed: int = 0, classes: int = 5) -> Tree:
    """A tree of random shape with random labels."""
    rng = np.random.default_rng(seed)
    leaves = len(words)
    children: list[tuple[int, int]] = []

    def build(start: int, stop: int) -> int:
        if stop - start == 1:
            return start
        split = int(rng.integers(start + 1, stop))
        children.append((build(start, split), build(split, stop)))
        return leaves + len(children) - 1

    build(0, leaves)
    pairs = np.array(children, np.int32).reshape(-1, 2)
    return Tree(tuple(words), pairs, rng.integers(0, classes, 2 * leaves - 1).astype(np.int32))


def chain(leaves: int, *, left: bool) -> Tree:
    """The deepest tree of a number of leaves."""
    inner = leaves + np.arange(leaves - 1)
    if left:
        pairs = np.stack([np.r_[0, inner[:-1]], np.arange(1, leaves)], axis=1)
    else:
        pairs = np.stack(
            [leaves - 2 - np.arange(leaves - 1), np.r_[leaves - 1, inner[:-1]]], axis=1
        )
    words = tuple(f"w{index}" for index in range(leaves))
    return Tree(words, pairs.astype(np.int32), np.full(2 * leaves - 1, 2, np.int32))


def random_probabilities(tree: Tree, seed: int = 0, classes: int = 5) -> np.ndarray:
    """A random distribution for each node."""
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), len(tree.labels))


def history() -> list[dict[str, Any]]:
    """Rows of 600 steps and 30 epochs."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for epoch in range(1, 31):
        for k in range(20):
            at = epoch - 1 + k / 20
            rows.append({"epoch": at, "train_loss": 20 * np.exp(-at / 10) + rng.normal()})
        rows.append(
            {
                "epoch": epoch,
                "dev_loss": 18 * np.exp(-epoch / 8) + 9,
                "dev_all_nodes": 0.82 - 0.4 * np.exp(-epoch / 4),
                "dev_root": 0.45 - 0.2 * np.exp(-epoch / 3),
            }
        )
    return rows
