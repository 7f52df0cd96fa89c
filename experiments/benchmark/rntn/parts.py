"""What the benchmark can measure, and of which cells."""

from __future__ import annotations

__all__ = ["CELLS", "PARTS"]

# Parts of each cell: only two have whole training steps of other libraries beside ours.
PARTS = ("speed", "epoch", "growth", "rule")
CELLS = {
    "rntn": PARTS,
    "rnn": ("rule",),
    "mv_rnn": ("rule",),
    "tree_lstm": ("speed", "rule"),
    "child_sum": ("rule",),
}
