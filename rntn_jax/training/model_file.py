"""Model files: parameters, and a JSON object that says what they are the parameters of.

A file may come from anywhere. Its checksum says that it is whole, not that it makes sense: what
the object asks for is checked against what the file holds before anything of that size is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, TypeVar

import jax

from rntn_jax.training.checkpoint import CheckpointError, _matched, _read

__all__ = ["load_model", "load_record", "require", "shapes_of", "texts", "tuples"]

Model = TypeVar("Model")


def require(condition: bool, message: str) -> None:
    """Raises ValueError with the message unless the condition holds.

    Args:
        condition: what must hold.
        message: of the error.

    Raises:
        ValueError: unless it does.

    Example:
        >>> require(1 + 1 == 2, "arithmetic has changed")
    """
    if not condition:
        raise ValueError(message)


def texts(value: Any, name: str, count: int | None = None) -> list[str]:
    """A list of different strings, as labels and names of columns are.

    Args:
        value: what is to be one.
        name: of the value, for the message.
        count: how many there must be.

    Returns:
        The value.

    Raises:
        ValueError: when it is none.

    Example:
        >>> texts(["O", "B-NP"], "labels", 2)
        ['O', 'B-NP']
    """
    require(
        isinstance(value, list) and all(isinstance(text, str) for text in value),
        f"{name} must be a list of strings, got {value!r:.60}",
    )
    require(len(set(value)) == len(value), f"{name} must differ, got {value!r:.60}")
    require(
        count is None or len(value) == count, f"{name} must be {count} strings, got {len(value)}"
    )
    return value


def tuples(value: Any) -> Any:
    """Lists as tuples, at any depth: JSON has no tuples, and configurations have no lists.

    Example:
        >>> tuples({"windows": [5, 3]})
        {'windows': (5, 3)}
    """
    if isinstance(value, dict):
        return {name: tuples(inner) for name, inner in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def shapes_of(init: Callable[..., Any], config: Any) -> Any:
    """Shapes and dtypes of the parameters that ``init(key, config)`` makes, without making them.

    Args:
        init: ``init(key, config) -> params``.
        config: of the model.

    Returns:
        A pytree of `jax.ShapeDtypeStruct`.
    """
    return jax.eval_shape(lambda: init(jax.random.key(0), config))


def load_model(
    path: str | os.PathLike[str],
    kind: str | Container[str],
    what: str,
    describe: Callable[[dict[str, Any]], tuple[Any, Callable[[Any], Model]]],
) -> Model:
    """Reads a model file, which `save_pytree` wrote with ``{"kind": kind, ...}`` as its object.

    Args:
        path: the file.
        kind: of model; or several kinds, of which ``describe`` finds out which it is.
        what: the model in words, for messages: "a parser".
        describe: makes of the object the shapes of the parameters (by `shapes_of`) and a function
            from the parameters to the model. What it raises means that the object makes no sense.

    Returns:
        The model, its parameters on the device.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged, holds something else, or what cannot be: sizes
            of more than its arrays hold, or whatever ``describe`` raises.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from rntn_jax.training import save_pytree
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_pytree(path, np.ones(2), {"kind": "mean", "config": {"size": 2}})
        >>> def describe(info):
        ...     return jax.ShapeDtypeStruct((info["config"]["size"],), float), np.sum
        >>> float(load_model(path, "mean", "a mean", describe))
        2.0
    """
    found, info = _read(Path(path))
    own = info.get("kind")
    if not isinstance(own, str) or own not in ((kind,) if isinstance(kind, str) else kind):
        raise CheckpointError(f"{path} does not hold {what}")
    numbers = sum(array.size for array, _ in found.values())
    try:
        _check_sizes(info, numbers, len(found))
        like, make = describe(info)
    except Exception as error:  # of a file with any content, anything may come
        raise CheckpointError(f"{path} does not hold {what} that can be: {_said(error)}") from error
    params = jax.device_put(_matched(path, found, like))  # once, not at each call
    try:
        return make(params)
    except Exception as error:
        raise CheckpointError(f"{path} does not hold {what} that can be: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What an error says, with its type where that alone says what it is about."""
    text = str(error)[:500]
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def _check_sizes(info: dict[str, Any], numbers: int, arrays: int) -> None:
    """Refuses a configuration of sizes that the file's arrays cannot have.

    No width is above the count of all numbers in the file; layers, networks, and sizes in a list
    are not more than its arrays.
    """
    for name, value in info.items():
        if name in ("config", "networks"):
            _check_size(name, value, numbers, arrays)
        elif isinstance(value, dict) and name != "info":
            _check_sizes(value, numbers, arrays)


def _check_size(name: str, value: Any, numbers: int, arrays: int) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_size(key, inner, numbers, arrays)
    elif isinstance(value, list):
        require(len(value) <= arrays, f"{name} has {len(value)} entries, the file {arrays} arrays")
        for inner in value:
            _check_size(name, inner, numbers, arrays)
    elif isinstance(value, int) and not isinstance(value, bool):
        several = name.endswith("layers") or name == "networks"
        limit = arrays if several else max(numbers, 2)
        unit = "arrays" if several else "numbers"
        require(value <= limit, f"{name} is {str(value)[:20]}, and the file has {limit} {unit}")


def load_record(
    path: str | os.PathLike[str],
    kind: str | Container[str],
    what: str,
    from_info: Callable[[dict[str, Any]], Any],
) -> Any:
    """`load_model` of a NamedTuple that holds its parameters in a field ``params``.

    Args:
        path: the file.
        kind: of model.
        what: the model in words, for messages: "a parser".
        from_info: makes the tuple of the object, with shapes for parameters (by `shapes_of`).

    Returns:
        The tuple, its parameters on the device.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: as `load_model`.

    Example:
        >>> import tempfile
        >>> from typing import NamedTuple
        >>> import numpy as np
        >>> from rntn_jax.training import save_pytree
        >>> class Mean(NamedTuple):
        ...     params: Any
        ...     of: str
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_pytree(path, np.ones(2, np.float32), {"kind": "mean", "of": "films"})
        >>> def from_info(info):
        ...     return Mean(jax.ShapeDtypeStruct((2,), np.float32), info["of"])
        >>> load_record(path, "mean", "a mean", from_info).of
        'films'
    """

    def describe(info: dict[str, Any]) -> tuple[Any, Callable[[Any], Any]]:
        record = from_info(info)
        return record.params, lambda params: record._replace(params=params)

    return load_model(path, kind, what, describe)
