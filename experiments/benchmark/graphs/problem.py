"""What the systems of the graphs benchmark are given, what they answer, and the files of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# A pass, and facts of what was prepared for it, by name.
Prepared = tuple[Callable[[], "Answer"], dict[str, Any]]


class Problem(NamedTuple):
    """What all baselines are given."""

    task: str  # trees, grids, loopy or gibbs
    node: np.ndarray  # float32 [I, C]
    edge: np.ndarray  # float32 [E, C, C]
    edges: np.ndarray  # int32 [E, 2], in trees from the parent to the child
    part: np.ndarray  # int32 [I], which graph of a batch
    steps: int  # iterations, or sweeps
    chains: int
    damping: float


class Answer(NamedTuple):
    """What a system found; fields that it does not tell are None."""

    log_z: Any = None  # [], the sum over a batch
    node: Any = None  # [I, C]
    edge: Any = None  # [E, C, C]


def load_answer(path: Path, system: str) -> Answer:
    """What a system found for the problem of that file, in its first pass."""
    with np.load(answer_path(path, system), allow_pickle=False) as data:
        return Answer(**dict(data))


def answer_path(path: Path, system: str) -> Path:
    return path.with_name(f"{path.stem}-{system}.npz")


def split(problem: Problem) -> list[tuple[np.ndarray, np.ndarray, Problem]]:
    """The graphs of a batch, each with its nodes and its edges in the whole."""
    out = []
    of_edge = problem.part[problem.edges[:, 0]]
    for number in range(int(problem.part.max()) + 1):
        nodes, on = np.flatnonzero(problem.part == number), np.flatnonzero(of_edge == number)
        place = np.zeros(len(problem.part), np.int32)
        place[nodes] = np.arange(len(nodes))
        fields = {"node": problem.node[nodes], "edge": problem.edge[on]}
        edges, part = place[problem.edges[on]], np.zeros(len(nodes), np.int32)
        out.append((nodes, on, problem._replace(**fields, edges=edges, part=part)))
    return out


def one_by_one(
    make_one: Callable[[Problem], Callable[[], Answer]], problem: Problem
) -> Callable[[], Answer]:
    """The graphs of a batch one after another, for systems that know no batches of graphs."""
    parts = [(nodes, on, make_one(part)) for nodes, on, part in split(problem)]

    def run() -> Answer:
        found = [(nodes, on, one()) for nodes, on, one in parts]
        log_z = None
        if found[0][2].log_z is not None:
            log_z = sum(float(answer.log_z) for _, _, answer in found)
        node, edge = np.zeros(problem.node.shape), np.zeros(problem.edge.shape)
        for nodes, on, answer in found:
            node[nodes] = answer.node
            if answer.edge is not None:
                edge[on] = answer.edge
        return Answer(log_z, node, None if found[0][2].edge is None else edge)

    return run
