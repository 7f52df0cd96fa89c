"""Checkpoints: one self-checking safetensors file each, written atomically, never unpickled.

A file holds the leaves of a pytree by their paths, a JSON object of your own, and a SHA-256 over
both. A file that was cut short, or in which one bit has flipped, is noticed; a file of other
shapes, dtypes or names is refused with what differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

__all__ = ["CheckpointError", "Checkpointer", "load_pytree", "read_info", "save_pytree"]

Tree = TypeVar("Tree")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says what is wrong."""


def _named_leaves(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path).lstrip(".") or "value": leaf for path, leaf in flat}


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, order="C")


def _digest(arrays: dict[str, np.ndarray], info: str) -> str:
    sha = hashlib.sha256(info.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def save_pytree(path: str | os.PathLike[str], tree: Any, info: dict[str, Any]) -> None:
    """Writes a pytree of arrays and a JSON object to one file, all or nothing.

    Args:
        path: the file; its folder must exist. An existing file is replaced in one step.
        tree: arrays of any kind, PRNG keys included.
        info: anything JSON can hold.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_pytree(path, {"w": np.ones(2)}, {"step": 3})
        >>> load_pytree(path, {"w": np.zeros(2)})
        ({'w': array([1., 1.])}, {'step': 3})
    """
    path = Path(path)
    arrays = {name: _to_numpy(leaf) for name, leaf in _named_leaves(jax.device_get(tree)).items()}
    text = json.dumps(info, sort_keys=True)
    content = safetensors.numpy.save(
        arrays, metadata={"info": text, "sha256": _digest(arrays, text)}
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own and several standard types
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    if "info" not in metadata or "sha256" not in metadata:
        raise CheckpointError(f"{path} was not written by rntn_jax: it has no checksum")
    if _digest(arrays, metadata["info"]) != metadata["sha256"]:
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content")
    return arrays, json.loads(metadata["info"])


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object of a file written by `save_pytree`, after checking the whole file."""
    return _read(Path(path))[1]


def load_pytree(path: str | os.PathLike[str], like: Tree) -> tuple[Tree, dict[str, Any]]:
    """Reads what `save_pytree` wrote.

    Args:
        path: the file.
        like: a pytree of arrays (or of `jax.ShapeDtypeStruct`) with the expected structure.

    Returns:
        ``(tree, info)``; the leaves are NumPy arrays, or PRNG keys where ``like`` has them.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged, or differs from ``like`` in names, shapes or
            dtypes; the message lists the differences.
    """
    arrays, info = _read(Path(path))
    wanted = _named_leaves(like)
    problems = [f"{name} is missing" for name in wanted if name not in arrays]
    problems += [f"{name} is not expected" for name in arrays if name not in wanted]
    for name, leaf in wanted.items():
        if name in arrays:
            expected = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
            have, want = arrays[name], (tuple(np.shape(expected)), np.dtype(expected.dtype))
            if (have.shape, have.dtype) != want:
                problems.append(
                    f"{name} is {have.dtype}{list(have.shape)}, expected {want[1]}{list(want[0])}"
                )
    if problems:
        raise CheckpointError(f"{path} does not match: " + "; ".join(problems))
    leaves = [
        jax.random.wrap_key_data(
            jnp.asarray(arrays[name]),
            impl=jax.random.key_impl(leaf) if isinstance(leaf, jax.Array) else leaf.dtype._impl,
        )
        if _is_key(leaf)
        else arrays[name]
        for name, leaf in wanted.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), info


class Checkpointer:
    """Numbered checkpoints in a folder; the newest intact one is what a run resumes from.

    Args:
        folder: made if need be; left-overs of killed writers are swept out.
        keep: how many checkpoints to keep.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.folder, self.keep = Path(folder), keep
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """Existing checkpoints, oldest first."""
        return sorted(
            path
            for path in self.folder.iterdir()
            if re.fullmatch(r"step-\d{10}\.safetensors", path.name)
        )

    def save(self, step: int, tree: Any, info: dict[str, Any]) -> Path:
        """Writes a checkpoint and deletes those beyond ``keep``."""
        path = self.folder / f"step-{step:010d}.safetensors"
        save_pytree(path, tree, info)
        for old in self.paths()[: -self.keep]:
            if old != path:
                old.unlink()
        return path

    def restore(self, like: Tree) -> tuple[Tree, dict[str, Any], list[str]] | None:
        """The newest intact checkpoint.

        Returns:
            ``(tree, info, complaints)``, the complaints naming newer checkpoints that were
            damaged and passed over; None when the folder holds no checkpoint.

        Raises:
            CheckpointError: when all are damaged, or the newest intact one does not match.
        """
        complaints: list[str] = []
        for path in reversed(self.paths()):
            try:
                _read(path)
            except CheckpointError as error:
                complaints.append(str(error))
                continue
            return *load_pytree(path, like), complaints
        if complaints:
            raise CheckpointError("no intact checkpoint: " + "; ".join(complaints))
        return None
