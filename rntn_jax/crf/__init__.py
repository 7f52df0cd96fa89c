"""Exponential softmax: distributions over labellings, and every question about them.

- `chain`: sequences, exact.
- `forest`: trees of any shape, many at once, exact.
- `dependency`: trees of heads over sentences, by scores of arcs, exact.
- `constituency`: binary trees over sentences, by scores of spans, exact.
- `semi_markov`: sequences cut into segments with labels, exact.
- `ctc`: targets aligned with the frames of a sequence, exact.
- `alignment`: monotone alignments of two sequences, exact.
- `grammar`: parses by a (probabilistic) grammar, exact.
- `graph`: any graph of pairs, exact where it is narrow, and approximations.
- `factor_graph`: tables over any number of variables, exact where they and their graph are narrow.
- `enumerate`: any small graph, by brute force.
"""

from rntn_jax.crf import (
    alignment,
    chain,
    constituency,
    ctc,
    dependency,
    enumerate,
    factor_graph,
    forest,
    grammar,
    graph,
    semi_markov,
)

__all__ = [
    "alignment",
    "chain",
    "constituency",
    "ctc",
    "dependency",
    "enumerate",
    "factor_graph",
    "forest",
    "grammar",
    "graph",
    "semi_markov",
]


def __dir__() -> list[str]:
    return sorted(__all__)
