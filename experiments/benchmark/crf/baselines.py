"""The systems of the CRF benchmark: loss and gradients of a chain, and decoding.

All are given the same scores and labels, in float32. ``pytorch-crf`` and ``torch-struct`` may live
in an interpreter of their own (flag ``--peers_python``): Python 3.11 with
``pip install torch==2.13.0 pytorch-crf==0.7.2 torch-struct==0.5``.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark import problem_file

Train = Callable[[], list[float]]  # the task, a few times over; returns what it computed


class Problem(NamedTuple):
    """What all baselines are given."""

    task: str  # shared, steps or decode
    node: np.ndarray  # float32 [B, T, C]
    edge: np.ndarray  # float32 [C, C], or [B, T-1, C, C] for steps
    labels: np.ndarray  # int32 [B, T]
    repeats: int


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name, the version of its library, temporary memory of its program."""
    problem = problem_file.load(path, Problem)
    if system in ("ours", "parallel", "autodiff"):
        return jax_train(system, problem)
    import torch

    torch.set_num_threads(threads)
    if system == "pytorch_crf":
        return pytorch_crf(problem), {"version": importlib.metadata.version("pytorch-crf")}
    return torch_struct(problem), {"version": importlib.metadata.version("torch-struct")}


def jax_train(system: str, problem: Problem) -> tuple[Train, dict[str, Any]]:
    """Ours, or autodiff of the textbook's recursion; jitted, arguments on the device."""
    import jax
    import jax.numpy as jnp

    from rntn_jax.crf import chain

    node, edge, labels = map(jnp.asarray, problem[1:4])

    def loss(node, edge):
        if system == "autodiff":
            return plain_loss(node, edge, labels)
        method = "parallel" if system == "parallel" else "scan"
        return -chain.log_prob(chain.Scores(node, edge), labels, method=method).sum()

    def decode(node, edge):
        decoder = plain_argmax if system == "autodiff" else chain.argmax
        labels, score = decoder(chain.Scores(node, edge))
        return score.sum(), labels

    task = decode if problem.task == "decode" else jax.value_and_grad(loss, (0, 1))
    compiled = jax.jit(task).lower(node, edge).compile()
    analysis: Any = compiled.memory_analysis()

    def train() -> list[float]:
        out = [jax.block_until_ready(compiled(node, edge))[0] for _ in range(problem.repeats)]
        return [float(value) for value in out]

    return train, {"version": jax.__version__, "temp_mb": analysis.temp_size_in_bytes / 2**20}


def plain_loss(node: Any, edge: Any, labels: Any) -> Any:
    """``ln Z - score`` as the textbook has it, for autodiff."""
    import jax
    import jax.numpy as jnp

    def step(alpha, inputs):
        u, a = inputs
        return jax.nn.logsumexp(alpha[:, :, None] + a, axis=1) + u, None

    u = node.swapaxes(0, 1)
    if edge.ndim == 2:
        alpha, _ = jax.lax.scan(lambda alpha, u: step(alpha, (u, edge[None])), u[0], u[1:])
        between = edge[labels[:, :-1], labels[:, 1:]]
    else:
        alpha, _ = jax.lax.scan(step, u[0], (u[1:], edge.swapaxes(0, 1)))
        rows, steps = jnp.indices(labels[:, 1:].shape, sparse=True)
        between = edge[rows, steps, labels[:, :-1], labels[:, 1:]]
    score = jnp.take_along_axis(node, labels[..., None], axis=2).sum() + between.sum()
    return jax.nn.logsumexp(alpha, axis=1).sum() - score


def plain_argmax(scores: Any) -> Any:
    """Viterbi with stored back-pointers."""
    import jax
    import jax.numpy as jnp

    u = scores.node.swapaxes(0, 1)

    def forward(best, u):
        ways = best[:, :, None] + scores.edge[None]
        return ways.max(axis=1) + u, ways.argmax(axis=1)

    best, pointers = jax.lax.scan(forward, u[0], u[1:])
    last = best.argmax(axis=1)

    def back(label, pointer):
        label = jnp.take_along_axis(pointer, label[:, None], axis=1)[:, 0]
        return label, label

    _, rest = jax.lax.scan(back, last, pointers, reverse=True)
    return jnp.concatenate([rest, last[None]]).T, best.max(axis=1)


def pytorch_crf(problem: Problem) -> Train:
    """Shared edge scores and decoding."""
    import torch
    from torchcrf import CRF

    node = torch.from_numpy(problem.node)
    labels = torch.from_numpy(problem.labels.astype(np.int64))
    crf = CRF(node.shape[2], batch_first=True)
    with torch.no_grad():
        crf.transitions.copy_(torch.from_numpy(problem.edge))
        crf.start_transitions.zero_()
        crf.end_transitions.zero_()

    def once() -> float:
        if problem.task == "decode":
            with torch.no_grad():
                return float(len(crf.decode(node)))
        scores = node.clone().requires_grad_()
        crf.zero_grad()
        loss = -crf(scores, labels, reduction="sum")
        loss.backward()
        return loss.item()

    return lambda: [once() for _ in range(problem.repeats)]


def torch_struct(problem: Problem) -> Train:
    """Its potentials ``[B, T-1, C, C]`` (next label first) are made from the scores each time."""
    import torch
    from torch_struct import LinearChainCRF

    node, edge = torch.from_numpy(problem.node), torch.from_numpy(problem.edge)
    labels = torch.from_numpy(problem.labels.astype(np.int64))

    def potentials(node, edge):
        edge = edge.transpose(-1, -2)
        out = node[:, 1:, :, None] + (edge if edge.dim() == 4 else edge[None, None])
        first = node[:, :1, None, :].expand(-1, 1, node.shape[2], -1)
        return torch.cat([out[:, :1] + first, out[:, 1:]], dim=1)

    def once() -> float:
        if problem.task == "decode":
            return float(LinearChainCRF(potentials(node, edge)).argmax.sum())
        u, a = node.clone().requires_grad_(), edge.clone().requires_grad_()
        scores = potentials(u, a)
        before, after = labels[:, :-1, None, None], labels[:, 1:, None, None]
        rows = scores.gather(2, after.expand(-1, -1, 1, scores.shape[3]))
        gold = rows.gather(3, before).sum()
        loss = LinearChainCRF(scores).partition.sum() - gold
        loss.backward()
        return loss.item()

    return lambda: [once() for _ in range(problem.repeats)]
