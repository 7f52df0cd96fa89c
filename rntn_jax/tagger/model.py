"""A trained CRF, and its file: safetensors, nothing is pickled."""

from __future__ import annotations

import os
import tempfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.models import sparse_crf
from rntn_jax.training import CheckpointError, load_pytree, read_info, save_pytree

__all__ = ["Model", "file_size", "pruned", "read", "write"]


class Model(NamedTuple):
    """What training found.

    Example:
        >>> zero, pair = np.zeros(1, np.int32), np.ones((1, 1), bool)
        >>> features = sparse_crf.Features(zero, zero, pair)
        >>> params = sparse_crf.Params(np.ones(1, np.float32), np.ones((1, 1), np.float32))
        >>> model = Model(["word:a"], ["N"], features, params)
        >>> model.state_features(), model.transition_features()
        ({('word:a', 'N'): 1.0}, {('N', 'N'): 1.0})
    """

    attributes: list[str]
    classes: list[str]
    features: sparse_crf.Features
    params: sparse_crf.Params

    def state_features(self) -> dict[tuple[str, str], float]:
        """Weights of attributes with labels, where they are not 0."""
        pairs = zip(self.features.attribute, self.features.label, self.params.state)
        return {(self.attributes[a], self.classes[c]): float(w) for a, c, w in pairs if w}

    def transition_features(self) -> dict[tuple[str, str], float]:
        """Weights of labels followed by labels, where they are not 0."""
        edge, classes = np.asarray(self.params.edge), self.classes
        return {(classes[i], classes[j]): float(edge[i, j]) for i, j in np.argwhere(edge != 0)}


class _File(NamedTuple):
    """The arrays in the file."""

    attributes: Any  # uint8, their names as UTF-8, a line each
    features: sparse_crf.Features
    params: sparse_crf.Params


def _names_as_bytes(names: list[str]) -> np.ndarray:
    text = "\n".join(name.replace("\\", "\\\\").replace("\n", "\\n") for name in names)
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _bytes_as_names(content: np.ndarray, count: int) -> list[str]:
    lines = content.tobytes().decode("utf-8", "surrogatepass").split("\n") if count else []
    return ["\\".join(part.replace("\\n", "\n") for part in x.split("\\\\")) for x in lines]


def pruned(model: Model) -> Model:
    """Without the features of weight 0, and without attributes that have no other.

    Example:
        >>> pair = np.ones((1, 1), bool)
        >>> features = sparse_crf.Features(np.array([0, 1]), np.array([0, 0]), pair)
        >>> params = sparse_crf.Params(np.array([0.0, 2.0]), np.zeros((1, 1)))
        >>> pruned(Model(["a", "b"], ["N"], features, params)).attributes
        ['b']
    """
    names, classes, features, params = model
    kept = np.asarray(params.state) != 0
    used, attribute = np.unique(features.attribute[kept], return_inverse=True)
    return Model(
        [names[a] for a in used],
        classes,
        features._replace(attribute=attribute.astype(np.int32), label=features.label[kept]),
        params._replace(state=np.asarray(params.state)[kept]),
    )


def _arrays(model: Model) -> _File:
    return _File(_names_as_bytes(model.attributes), model.features, model.params)


def write(
    path: str | os.PathLike[str], model: Model, arguments: dict[str, Any], info: Any = None
) -> None:
    """Writes the model, the arguments of its estimator, and anything JSON can hold.

    Args:
        path: the file; it is replaced if it exists.
        model: the model.
        arguments: of its estimator.
        info: anything JSON can hold.
    """
    content = _arrays(model)
    about = {
        "kind": "sparse_crf",
        "classes": model.classes,
        "sizes": [len(content.attributes), len(model.attributes), len(model.features.label)],
        "arguments": arguments,
        "info": info,
    }
    save_pytree(path, content, about)


def file_size(model: Model, arguments: dict[str, Any]) -> int:
    """Bytes of the file that `write` writes.

    Args:
        model: the model.
        arguments: of its estimator.

    Returns:
        The number of bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        write(path, model, arguments)
        return os.path.getsize(path)


def read(path: str | os.PathLike[str]) -> tuple[Model, dict[str, Any]]:
    """Reads what `write` wrote: the model, and the arguments of its estimator.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """
    with open(path, "rb") as file:
        if file.read(4) == b"lCRF":
            raise CheckpointError(f"{path} is a model of CRFsuite, whose files are not read here")
    about = read_info(path)
    if about.get("kind") != "sparse_crf":
        raise CheckpointError(f"{path} does not hold a CRF over sparse features")
    try:
        classes, arguments = about["classes"], about["arguments"]
        num_bytes, num_attributes, f = map(int, about["sizes"])
        c = len(classes)
        if not (isinstance(arguments, dict) and all(isinstance(name, str) for name in classes)):
            raise ValueError("arguments or classes of another kind")

        def array(shape: tuple[int, ...], dtype: Any) -> Any:
            return jax.ShapeDtypeStruct(shape, dtype)

        integers = array((f,), jnp.int32)
        like = _File(
            array((num_bytes,), jnp.uint8),
            sparse_crf.Features(integers, integers, array((c, c), jnp.bool_)),
            sparse_crf.Params(array((f,), jnp.float32), array((c, c), jnp.float32)),
        )
        file, _ = load_pytree(path, like)
        names = _bytes_as_names(file.attributes, num_attributes)
        for ids, limit in ((file.features.attribute, num_attributes), (file.features.label, c)):
            if len(ids) and not (0 <= ids.min() and ids.max() < limit):
                raise ValueError("features of attributes or labels that there are not")
        if len(names) != num_attributes or len(set(names)) != num_attributes:
            raise ValueError(f"{len(names)} attributes, not {num_attributes} different ones")
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} holds no whole CRF: {error!r:.200}") from None
    return Model(names, classes, file.features, file.params), arguments
