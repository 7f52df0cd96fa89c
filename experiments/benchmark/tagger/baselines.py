"""The systems of the tagger benchmark: one whole training of a CRF over sparse features.

Both are given the features of CRFsuite's chunking tutorial as lists of strings. python-crfsuite may
live in an interpreter of its own (``--peers_python``): ``pip install python-crfsuite==0.9.12``.
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rntn_jax import data
from rntn_jax.tagger.column_features import attributes

__all__ = ["EPOCHS", "make"]

Train = Callable[[], list[float]]
EPOCHS = 10  # of the online algorithms


def make(system: str, problem: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name.

    Args:
        system: ``ours`` or ``crfsuite``, trained by L-BFGS; with ``_`` and the name of another
            algorithm behind, by that one.
        problem: a JSON object with the paths of ``train`` and ``test``.
        threads: not read: `interleave` sets them.

    Returns:
        ``train()``, which returns the loss that training ended at, and what it fills: version,
        iterations, seconds of the training alone, F1 and token accuracy on test.
    """
    paths = json.loads(problem.read_text(encoding="utf-8"))
    (X, y), (X_test, y_test) = (_columns(paths[split]) for split in ("train", "test"))
    who, _, algorithm = system.partition("_")
    algorithm = algorithm or "lbfgs"
    options = {} if algorithm == "lbfgs" else {"max_iterations": EPOCHS}
    facts: dict[str, Any] = {"iterations": 0}
    fit = {"ours": _fit_ours, "crfsuite": _fit_crfsuite}[who](facts)

    def train() -> list[float]:
        start = time.perf_counter()
        loss, predict = fit(algorithm, options, X, y)
        facts["seconds"] = time.perf_counter() - start
        scores = data.chunks.evaluate(y_test, predict(X_test))
        facts["f1"], facts["accuracy"] = scores.overall.f1, scores.accuracy
        return [loss]

    return train, facts


def _columns(path: str) -> tuple[list[Any], list[list[str]]]:
    """Features and tags of a file of columns."""
    sentences = data.read_columns(path)
    X = [attributes([row[:-1] for row in rows], "crfsuite") for rows in sentences]
    return X, [[row[-1] for row in rows] for rows in sentences]


def _fit_ours(facts: dict[str, Any]) -> Callable[..., tuple[float, Any]]:
    import jax

    from rntn_jax import tagger

    facts["version"] = jax.__version__

    def fit(algorithm: str, options: dict[str, Any], X: Any, y: Any) -> tuple[float, Any]:
        crf = tagger.CRF(algorithm, **options).fit(X, y)
        facts["iterations"] = len(crf.training_log_)
        return crf.training_log_[-1]["loss"], crf.predict

    return fit


def _fit_crfsuite(facts: dict[str, Any]) -> Callable[..., tuple[float, Any]]:
    import pycrfsuite

    facts["version"] = importlib.metadata.version("python-crfsuite")

    def fit(algorithm: str, options: dict[str, Any], X: Any, y: Any) -> tuple[float, Any]:
        trainer = pycrfsuite.Trainer(algorithm=algorithm, verbose=False)
        trainer.set_params(options)
        for tokens, labels in zip(X, y):
            trainer.append(tokens, labels)
        tagger = pycrfsuite.Tagger()
        with tempfile.TemporaryDirectory() as folder:
            trainer.train(str(Path(folder) / "model"))
            tagger.open(str(Path(folder) / "model"))
        last: Any = trainer.logparser.last_iteration
        facts["iterations"] = int(last["num"])
        return float(last["loss"]), lambda sentences: [tagger.tag(tokens) for tokens in sentences]

    return fit
