"""Recurrent networks over whole sequences, by backpropagation through time.

One file a cell: `elman` (`Cell`, `rnn`, `stacked_rnn`, `birnn`, and how fast its gradients vanish)
and `gated` (`LSTMCell`, `lstm`, `bilstm`). Inside time comes first, in public the batch.
"""

from rntn_jax.recurrent.elman import Cell, birnn, jacobian_norms, rnn, stacked_rnn
from rntn_jax.recurrent.gated import LSTMCell, LSTMState, bilstm, lstm

__all__ = [
    "Cell",
    "LSTMCell",
    "LSTMState",
    "bilstm",
    "birnn",
    "jacobian_norms",
    "lstm",
    "rnn",
    "stacked_rnn",
]


def __dir__() -> list[str]:
    return sorted(__all__)
