"""Layers for flax.nnx: the functions of this library with their parameters in modules.

They follow flax's conventions: ``rngs=`` makes the initial weights, each weight is an `nnx.Param`
of its own, and `nnx.jit`, `nnx.grad`, `nnx.Optimizer`, `nnx.state` and Orbax work on them as on any
module. All of the mathematics, gradients included, is in the functions that they call.

- `ChainCRF`, `ForestCRF`, `GraphCRF`: a CRF on top of any network (`rntn_jax.crf`).
- `DependencyCRF`: the same for dependency trees, with biaffine scores of arcs.
- `SemiMarkovCRF`: the same for segments with labels.
- `ElmanRNN`, `LSTM`: recurrent layers (`rntn_jax.recurrent`).
- `RNTN`, `TreeLSTM`, `RNNLM`, `WindowClassifier`: whole models (`rntn_jax.models`).

With flax.linen a layer is a method that declares the same parameters::

    class ChainCRF(linen.Module):
        num_labels: int

        @linen.compact
        def __call__(self, emissions, mask=None):
            edge = self.param("edge", linen.initializers.zeros, (self.num_labels,) * 2)
            return crf.chain.Scores(node=emissions, edge=edge, mask=mask)
"""

from rntn_jax.nn.crf import ChainCRF, ForestCRF, GraphCRF
from rntn_jax.nn.models import RNNLM, WindowClassifier
from rntn_jax.nn.recurrent import LSTM, ElmanRNN
from rntn_jax.nn.recursive import RNTN, TreeLSTM
from rntn_jax.nn.structured import DependencyCRF, SemiMarkovCRF

__all__ = [
    "LSTM",
    "RNNLM",
    "RNTN",
    "ChainCRF",
    "DependencyCRF",
    "ElmanRNN",
    "ForestCRF",
    "GraphCRF",
    "SemiMarkovCRF",
    "TreeLSTM",
    "WindowClassifier",
]


def __dir__() -> list[str]:
    return sorted(__all__)
