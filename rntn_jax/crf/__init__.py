"""Exponential softmax: distributions over labellings, and every question about them.

- `chain`: sequences, exact.
- `enumerate`: any small graph, by brute force.
"""

from rntn_jax.crf import chain, enumerate

__all__ = ["chain", "enumerate"]
