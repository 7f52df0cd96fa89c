"""Classic structured models of language as pure JAX functions with hand-derived gradients.

>>> import jax, rntn_jax as rj
>>> trees = [rj.data.parse_tree("(3 (2 not) (4 (2 very) (0 bad)))")]
>>> vocab = rj.data.Vocabulary.build(w for t in trees for w in t.tokens)
>>> batch = rj.trees.pack(trees, vocab)
>>> config = rj.rntn.Config(vocab_size=len(vocab), dim=4, num_classes=5)
>>> params = rj.rntn.init(jax.random.key(0), config)
>>> grad = jax.jit(jax.value_and_grad(rj.rntn.loss, has_aux=True))
>>> (loss, aux), grads = grad(params, batch)
>>> grads.cell.v.shape
(4, 8, 8)

The modules are imported when they are first used, so that ``import rntn_jax`` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rntn_jax import (
        annotate,
        crf,
        data,
        nn,
        ops,
        plots,
        recurrent,
        recursive,
        sequences,
        tagger,
        training,
        trees,
    )
    from rntn_jax.annotate import parse, sentiment
    from rntn_jax.models import (
        mv_rnn,
        parser,
        rnn_lm,
        rntn,
        span_parser,
        tree_lstm,
        vec_avg,
        window,
    )

__version__ = "0.2.0"

_MODULES = {
    "annotate": "rntn_jax.annotate",
    "crf": "rntn_jax.crf",
    "data": "rntn_jax.data",
    "mv_rnn": "rntn_jax.models.mv_rnn",
    "nn": "rntn_jax.nn",
    "ops": "rntn_jax.ops",
    "parser": "rntn_jax.models.parser",
    "plots": "rntn_jax.plots",
    "recurrent": "rntn_jax.recurrent",
    "recursive": "rntn_jax.recursive",
    "rnn_lm": "rntn_jax.models.rnn_lm",
    "rntn": "rntn_jax.models.rntn",
    "sequences": "rntn_jax.sequences",
    "span_parser": "rntn_jax.models.span_parser",
    "tagger": "rntn_jax.tagger",
    "training": "rntn_jax.training",
    "tree_lstm": "rntn_jax.models.tree_lstm",
    "trees": "rntn_jax.trees",
    "vec_avg": "rntn_jax.models.vec_avg",
    "window": "rntn_jax.models.window",
}

__all__ = [
    "__version__",
    "annotate",
    "crf",
    "data",
    "mv_rnn",
    "nn",
    "ops",
    "parse",
    "parser",
    "plots",
    "recurrent",
    "recursive",
    "rnn_lm",
    "rntn",
    "sentiment",
    "sequences",
    "span_parser",
    "tagger",
    "training",
    "tree_lstm",
    "trees",
    "vec_avg",
    "window",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in ("parse", "sentiment"):
        return getattr(importlib.import_module("rntn_jax.annotate"), name)
    raise AttributeError(f"module 'rntn_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if "IPython" in sys.modules:  # a notebook: trees and marginals show themselves
    _shell = getattr(sys.modules["IPython"], "get_ipython", lambda: None)()
    if _shell is not None:
        importlib.import_module("rntn_jax.notebook").register(_shell.display_formatter)
