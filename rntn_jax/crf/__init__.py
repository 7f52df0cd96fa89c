"""Exponential softmax: distributions over labellings, and every question about them.

- `chain`: sequences, exact.
- `forest`: trees of any shape, many at once, exact.
- `constituency`: binary trees over sentences, by scores of spans, exact.
- `graph`: any graph, exact where it is narrow.
- `enumerate`: any small graph, by brute force.
"""

from rntn_jax.crf import chain, constituency, enumerate, forest, graph

__all__ = ["chain", "constituency", "enumerate", "forest", "graph"]


def __dir__() -> list[str]:
    return sorted(__all__)
