"""Exponential softmax: distributions over labellings, and every question about them.

- `chain`: sequences, exact.
- `forest`: trees of any shape, many at once, exact.
- `enumerate`: any small graph, by brute force.
"""

from rntn_jax.crf import chain, enumerate, forest

__all__ = ["chain", "enumerate", "forest"]
