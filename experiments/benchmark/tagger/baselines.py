"""The systems of the tagger benchmark: one whole training of a CRF over sparse features.

Both are given the features of CRFsuite's chunking tutorial as lists of strings. python-crfsuite may
live in an interpreter of its own (``--peers_python``): ``pip install python-crfsuite==0.9.12``.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.chunking.features import attributes
from rntn_jax import data

__all__ = ["make"]

Train = Callable[[], list[float]]


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name; ``train()`` returns the loss that training ended at."""
    sentences = data.read_columns(path)
    X = [attributes([row[:-1] for row in rows], "crfsuite") for rows in sentences]
    y = [[row[-1] for row in rows] for rows in sentences]
    if system == "ours":
        import jax

        from rntn_jax import tagger

        facts: dict[str, Any] = {"version": jax.__version__, "iterations": 0}

        def train() -> list[float]:
            crf = tagger.CRF(c2=1.0).fit(X, y)
            facts["iterations"] = len(crf.training_log_)
            return [crf.training_log_[-1]["loss"]]

        return train, facts
    import pycrfsuite

    facts = {"version": importlib.metadata.version("python-crfsuite"), "iterations": 0}

    def train_crfsuite() -> list[float]:
        trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
        trainer.set_params({"c1": 0.0, "c2": 1.0})
        for tokens, labels in zip(X, y):
            trainer.append(tokens, labels)
        with tempfile.TemporaryDirectory() as folder:
            trainer.train(str(Path(folder) / "model"))
        last: Any = trainer.logparser.last_iteration
        facts["iterations"] = int(last["num"])
        return [float(last["loss"])]

    return train_crfsuite, facts
