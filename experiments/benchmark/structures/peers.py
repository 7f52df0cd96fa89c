"""Other libraries for the same tasks, on the CPU; in interpreters of their own.

torch-struct, SuPar, flash-semicrf and NetworkX (flag ``--peers_python``), Python 3.11::

    pip install torch==2.13.0 torch-struct==0.5 flash-semicrf==0.2.0 networkx==3.6.1
    pip install --no-deps supar==1.1.4

(of SuPar only its structures are imported, so that nothing it needs for its parsers is missed), and
dynamax (flag ``--dynamax_python``)::

    pip install dynamax==1.0.3
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark.structures.problem import Problem

__all__ = ["make"]

NEVER = -1e9


def make(
    system: str, problem: Problem, threads: int
) -> tuple[Callable[[], list[float]], dict[str, Any]]:
    """The task as the library does it, and the library's version."""
    once, package = SYSTEMS[system](problem, threads)

    def train() -> list[float]:
        return [float(once()) for _ in range(problem.repeats)]

    return train, {"version": importlib.metadata.version(package)}


def _gradients(total: Callable[..., Any], *arrays: np.ndarray) -> Callable[[], float]:
    """A call for ``total`` and its gradients by PyTorch's autograd."""
    import torch

    tensors = [torch.from_numpy(x) for x in arrays]

    def once() -> float:
        leaves = [x.clone().requires_grad_() for x in tensors]
        value = total(*leaves)
        value.backward()
        return value.item()

    return once


def _roots_on_the_diagonal(scores: Any) -> Any:
    """``[B, T, T]`` as torch-struct wants them, of ours ``[B, T + 1, T + 1]``."""
    import torch

    inner, size = scores[:, 1:, 1:], scores.shape[1] - 1
    here = torch.eye(size, dtype=torch.bool)[None]
    return torch.where(here, scores[:, 0, 1:][:, None].expand_as(inner), inner)


def torch_struct(problem: Problem, threads: int) -> tuple[Callable[[], float], str]:
    """torch-struct: all structures but CTC."""
    import torch
    import torch_struct as structures

    torch.set_num_threads(threads)
    arrays, package = problem.arrays, "torch-struct"
    if problem.task == "projective":
        total = lambda s: structures.DependencyCRF(_roots_on_the_diagonal(s)).partition.sum()
        return _gradients(total, arrays["scores"]), package
    if problem.task == "nonprojective":
        crf = structures.NonProjectiveDependencyCRF
        total = lambda s: crf(_roots_on_the_diagonal(s)).partition.sum()
        return _gradients(total, arrays["scores"]), package
    if problem.task == "eisner":
        given = torch.from_numpy(arrays["scores"])

        def best() -> float:
            # It writes to its scores, which must not be a leaf.
            scores = _roots_on_the_diagonal(given.clone().requires_grad_())
            found = structures.DependencyCRF(scores).argmax
            return (found * _roots_on_the_diagonal(given)).sum().item()

        return best, package
    if problem.task == "constituency":
        # Its spans end with their last word, and have a label.
        total = lambda s: structures.TreeCRF(_spans(s)[..., None]).partition.sum()
        return _gradients(total, arrays["scores"]), package
    assert problem.task == "semi_markov"

    def segments(node, width, edge):
        rows, tokens, labels = node.shape
        sums = torch.cat([node.new_zeros(rows, 1, labels), node.cumsum(1)], dim=1)
        spans = [node.new_full((rows, tokens, labels), NEVER)]
        for k in range(1, len(width) + 1):
            own = sums[:, k:] - sums[:, : tokens + 1 - k] + width[k - 1]
            spans.append(torch.nn.functional.pad(own, (0, 0, 0, k - 1), value=NEVER))
        span = torch.stack(spans, dim=2)[..., None]  # to the label
        return structures.SemiMarkovCRF(span + edge.T[None, None, None]).partition.sum()

    return _gradients(segments, arrays["node"], arrays["width"], arrays["edge"]), package


def _spans(scores: Any) -> Any:
    """``[B, T, T]`` of the words i .. j of ours ``[B, T + 1, T + 1]``; single words score 0."""
    import torch

    own, size = scores[:, :-1, 1:], scores.shape[1] - 1
    return torch.where(torch.eye(size, dtype=torch.bool)[None], torch.zeros_like(own), own)


def supar(problem: Problem, threads: int) -> tuple[Callable[[], float], str]:
    """SuPar's structures: dependency and constituency."""
    for name in ("supar", "supar.utils"):  # without what their own __init__ wants
        if name in sys.modules:
            continue
        found = types.ModuleType(name)
        if name == "supar":
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise ImportError("No module named 'supar'")
            root = spec.submodule_search_locations
            assert root is not None
            found.__path__ = list(root)
        else:
            found.__path__ = [f"{path}/utils" for path in sys.modules["supar"].__path__]
        sys.modules[name] = found
    import torch
    from supar.structs import tree

    torch.set_num_threads(threads)
    scores, package = problem.arrays["scores"], "supar"
    if problem.task == "constituency":
        total = lambda s: tree.ConstituencyCRF(_without_words(s)).log_partition.sum()
        return _gradients(total, scores), package
    by_word = np.ascontiguousarray(scores.swapaxes(1, 2))  # [b, dependent, head]
    if problem.task == "projective":
        total = lambda s: tree.DependencyCRF(s, multiroot=True).log_partition.sum()
        return _gradients(total, by_word), package
    if problem.task == "nonprojective":
        total = lambda s: tree.MatrixTree(s, multiroot=False).log_partition.sum()
        return _gradients(total, by_word), package
    tensor, projective = torch.from_numpy(by_word), problem.task == "eisner"
    crf = tree.DependencyCRF if projective else tree.MatrixTree

    def best() -> float:
        heads = crf(tensor.clone(), multiroot=projective).argmax[:, 1:]
        return tensor[:, 1:].gather(2, heads[..., None]).sum().item()

    return best, package


def _without_words(scores: Any) -> Any:
    """Ours with 0 for spans of one word, which SuPar scores too."""
    import torch

    size = scores.shape[1]
    words = torch.diag(torch.ones(size - 1, dtype=torch.bool), 1)[None]
    return torch.where(words, torch.zeros_like(scores), scores)


def flash_semicrf(problem: Problem, threads: int) -> tuple[Callable[[], float], str]:
    """flash-semicrf's streaming form, which on a CPU is its PyTorch code."""
    import torch
    from flash_semicrf.streaming import semi_crf_streaming_forward

    torch.set_num_threads(threads)
    rows, tokens, labels = problem.arrays["node"].shape
    lengths = torch.full((rows,), tokens)

    def total(node, width, edge):
        sums = torch.cat([node.new_zeros(rows, 1, labels), node.cumsum(1)], dim=1)
        return semi_crf_streaming_forward(sums, edge, width, lengths, len(width)).sum()

    arrays = (problem.arrays[name] for name in ("node", "width", "edge"))
    return _gradients(total, *arrays), "flash-semicrf"


def networkx(problem: Problem, threads: int) -> tuple[Callable[[], float], str]:
    """NetworkX's maximum spanning arborescence, sentence by sentence; one root by low scores."""
    import networkx as nx

    scores = problem.arrays["scores"].astype(float)
    words = range(1, scores.shape[1])
    graphs = []
    for own in scores:
        own[0] -= 1e3
        graph = nx.DiGraph()
        graph.add_weighted_edges_from(
            (h, d, own[h, d]) for d in words for h in (0, *words) if h != d
        )
        graphs.append(graph)

    def best() -> float:
        trees = map(nx.maximum_spanning_arborescence, graphs)
        return sum(tree.size(weight="weight") for tree in trees) + 1e3 * len(graphs)

    return best, "networkx"


def torch_ctc(problem: Problem, threads: int) -> tuple[Callable[[], float], str]:
    """PyTorch's own loss for the CPU, ``log_softmax`` included as everywhere."""
    import torch

    torch.set_num_threads(threads)
    node = problem.arrays["node"]
    targets = torch.from_numpy(problem.arrays["targets"].astype(np.int64))
    rows, steps, _ = node.shape
    frames, symbols = (torch.full((rows,), n) for n in (steps, targets.shape[1]))

    def total(node):
        logs = node.log_softmax(-1).transpose(0, 1)
        return torch.nn.functional.ctc_loss(logs, targets, frames, symbols, reduction="sum")

    return _gradients(total, node), "torch"


def dynamax(problem: Problem, threads: int) -> tuple[Callable[[], float], str]:
    """dynamax's smoother, which sums the transition probabilities too."""
    import jax
    from dynamax.hidden_markov_model import hmm_smoother

    arrays = [jax.numpy.asarray(problem.arrays[k]) for k in ("initial", "transition", "observed")]

    @jax.jit
    def smooth(initial, transition, observed):
        found = hmm_smoother(initial, transition, observed[0])
        return found.smoothed_probs[:, 0].sum(), (found.smoothed_probs, found.trans_probs)

    return lambda: float(jax.block_until_ready(smooth(*arrays))[0]), "dynamax"


SYSTEMS: dict[str, Callable[[Problem, int], tuple[Callable[[], float], str]]] = {
    "torch_struct": torch_struct,
    "supar": supar,
    "flash_semicrf": flash_semicrf,
    "networkx": networkx,
    "torch_ctc": torch_ctc,
    "dynamax": dynamax,
}
