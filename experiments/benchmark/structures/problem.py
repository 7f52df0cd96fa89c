"""What the systems of the benchmark of structures are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["SHAPES", "TASKS", "Problem", "make"]

TASKS = {
    "projective": "ln Z and marginals of projective dependency trees, any number of roots",
    "nonprojective": "ln Z and marginals of all dependency trees, one root",
    "eisner": "best projective dependency tree",
    "arborescence": "best dependency tree, crossing arcs or not",
    "semi_markov": "ln Z and marginals of segmentations; scores of tokens, widths, transitions",
    "ctc": "CTC loss and gradient of logits",
    "constituency": "ln Z and marginals of binary trees",
    "hmm": "smoothed probabilities and expected transitions of a hidden Markov model",
}
SHAPES = {  # of each task, the sizes of its problems
    "projective": ["32,25", "32,50", "32,100"],  # B,T
    "nonprojective": ["32,25", "32,50", "32,100"],
    "eisner": ["32,50"],
    "arborescence": ["32,50"],
    "semi_markov": ["32,100,8,9"],  # B,T,K,C
    "ctc": ["16,200,40,32", "16,1000,100,64"],  # B,T,L,V
    "constituency": ["32,40"],
    "hmm": ["1,1000,8", "1,1000,64", "1,100000,8", "1,100000,64"],  # B,T,C
}


class Problem(NamedTuple):
    """One task, its arrays, and how often a pass does it."""

    task: str
    arrays: dict[str, np.ndarray]
    repeats: int


def make(task: str, sizes: list[int]) -> Problem:
    """Random scores of standard deviation 1, float32.

    Args:
        task: one of `TASKS`.
        sizes: as `SHAPES` has them.
    """
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    rows, steps, *rest = sizes
    work: Any = rows * steps
    if task in ("projective", "nonprojective", "eisner", "arborescence", "constituency"):
        arrays = {"scores": normal(rows, steps + 1, steps + 1)}
        work *= steps * (steps if task in ("projective", "eisner", "constituency") else 8)
    elif task == "semi_markov":
        widest, labels = rest
        arrays = {
            "node": normal(rows, steps, labels),
            "width": normal(widest, labels),
            "edge": normal(labels, labels),
        }
        work *= 8 * labels * (widest + labels)
    elif task == "ctc":
        targets, symbols = rest
        arrays = {
            "node": normal(rows, steps, symbols),
            "targets": rng.integers(1, symbols, (rows, targets)).astype(np.int32),
        }
        work *= 16 * targets
    else:
        (states,) = rest
        chances = lambda x: (x / x.sum(-1, keepdims=True)).astype(np.float32)
        arrays = {
            "initial": chances(rng.uniform(size=states)),
            "transition": chances(rng.uniform(0.1, 1, (states, states))),
            "observed": normal(rows, steps, states),
        }
        work *= 8 * states * (8 + states)
    return Problem(task, arrays, repeats=int(np.clip(3e7 // work, 1, 20)))
