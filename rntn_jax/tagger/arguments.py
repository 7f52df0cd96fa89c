"""Arguments of `CRF`: what each algorithm takes, the defaults (CRFsuite's), and the checks."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping
from typing import Any

__all__ = ["ALGORITHMS", "defaults", "resolve"]

# Of each algorithm, the arguments that it takes and what None stands for.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "lbfgs": {
        "c1": 0.0,
        "c2": 1.0,
        "max_iterations": 2**31 - 1,
        "num_memories": 6,
        "epsilon": 1e-5,
        "period": 10,
        "delta": 1e-5,
        "linesearch": None,
        "max_linesearch": 20,
    },
    "l2sgd": {
        "c2": 1.0,
        "max_iterations": 1000,
        "period": 10,
        "delta": 1e-6,
        "calibration_eta": 0.1,
        "calibration_rate": 2.0,
        "calibration_samples": 1000,
        "calibration_candidates": 10,
        "calibration_max_trials": 20,
    },
    "ap": {"max_iterations": 100, "epsilon": 0.0},
    "pa": {
        "max_iterations": 100,
        "epsilon": 0.0,
        "pa_type": 1,
        "c": 1.0,
        "error_sensitive": True,
        "averaging": True,
    },
    "arow": {"max_iterations": 100, "epsilon": 0.0, "variance": 1.0, "gamma": 1.0},
    "adagrad": {"c2": 1.0, "max_iterations": 30, "learning_rate": 0.2, "batch_size": 2048},
}
_OF_ALL = {
    "min_freq": 0.0,
    "all_possible_states": False,
    "all_possible_transitions": False,
    "seed": 0,
    "verbose": False,
}
_LEAST = {
    **dict.fromkeys(("min_freq", "c1", "c2", "epsilon", "delta", "seed"), 0),
    **dict.fromkeys(("max_iterations", "num_memories", "period", "max_linesearch"), 1),
    **dict.fromkeys(("calibration_samples", "calibration_candidates", "batch_size"), 1),
    "calibration_max_trials": 1,
}
_POSITIVE = ("learning_rate", "calibration_eta", "c", "variance", "gamma")
_CHOICES = {
    "algorithm": tuple(ALGORITHMS),
    "linesearch": ("MoreThuente", "Backtracking", "StrongBacktracking"),
    "pa_type": (0, 1, 2),
}


def defaults(cls: type) -> dict[str, Any]:
    """The arguments of a class's constructor, and their defaults."""
    return {n: p.default for n, p in inspect.signature(cls).parameters.items()}


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of training, None replaced by the default of the algorithm.

    Args:
        given: the arguments of `CRF`'s constructor.

    Returns:
        ``algorithm``, the arguments that it takes, and those that all take.

    Raises:
        ValueError: for a value out of its range, or an argument that the algorithm does not take.

    Example:
        >>> resolve({"algorithm": "pa", "c": 0.5, "c2": None})["c"]
        0.5
        >>> resolve({"algorithm": "pa", "c2": 0.5})
        Traceback (most recent call last):
          ...
        ValueError: c2 needs algorithm='lbfgs', 'l2sgd' or 'adagrad', got 'pa'
    """
    values = {name: value for name, value in given.items() if value is not None}
    algorithm = values.setdefault("algorithm", "lbfgs")
    for name, value in values.items():
        _check(name, value)
    takes = {**_OF_ALL, **ALGORITHMS[algorithm]}
    for name in values:
        users = [a for a, arguments in ALGORITHMS.items() if name in arguments]
        if users and algorithm not in users:
            raise ValueError(f"{name} needs algorithm={_either(users)}, got {algorithm!r}")
    resolved = {name: values.get(name, default) for name, default in takes.items()}
    if algorithm == "l2sgd" and resolved["c2"] == 0:
        raise ValueError("c2 must be positive for algorithm='l2sgd', whose step sizes it sets")
    if resolved.get("c1") and resolved["linesearch"] not in (None, "MoreThuente"):
        raise ValueError(
            f"linesearch must be 'MoreThuente' or None where c1 is not 0, got "
            f"{resolved['linesearch']!r}"
        )
    return {"algorithm": algorithm, **resolved}


def _check(name: str, value: Any) -> None:
    """Refuses a value out of the argument's range."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} must be {_either(_CHOICES[name])}, got {value!r}")
    elif name in _LEAST or name in _POSITIVE or name == "calibration_rate":
        if not isinstance(value, numbers.Real):
            raise ValueError(f"{name} must be a number, got {value!r}")
        number, least = float(value), _LEAST.get(name)
        if least == 0 and not number >= 0:
            raise ValueError(f"{name} must not be negative, got {value!r}")
        if least == 1 and not number >= 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
        if name in _POSITIVE and not number > 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
        if name == "calibration_rate" and not number > 1:
            raise ValueError(f"calibration_rate must be above 1, got {value!r}")
    elif name == "keep_tempfiles" and value:
        raise ValueError(
            "keep_tempfiles must be False: no temporary files are written; name the model's file "
            "with model_filename, or use save"
        )
    elif name == "trainer_cls":
        raise ValueError(
            "trainer_cls must be None: trainers are pycrfsuite's; fit(X, y, report=function) calls "
            "a function of yours after each iteration"
        )


def _either(values: Any) -> str:
    """The values as ``'a', 'b' or 'c'``."""
    *most, last = map(repr, values)
    return f"{', '.join(most)} or {last}" if most else last
