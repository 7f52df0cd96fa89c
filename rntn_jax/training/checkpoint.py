"""Checkpoints: one self-checking safetensors file each, written atomically, never unpickled.

A file holds the leaves of a pytree by their paths, a JSON object of your own, and a manifest:
shape, dtype and SHA-256 of every array, with a SHA-256 over manifest and object. A file that was
cut short, or in which one bit has flipped, is noticed, and the array is named; a file of other
shapes, dtypes or names is refused with what differs. Equal content makes equal files. Files of
before the manifest, with one SHA-256 over everything, are still read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from rntn_jax.training.files import DamagedFileError, write_whole
from rntn_jax.training.keys import is_key

__all__ = ["CheckpointError", "Checkpointer", "load_pytree", "read_info", "save_pytree"]

Tree = TypeVar("Tree")

# Names of dtypes in the format; what is not among them is stored as bytes, with a note of its kind.
_NATIVE = {"bool": "BOOL", "bfloat16": "BF16"}
_NATIVE |= {f"float{bits}": f"F{bits}" for bits in (16, 32, 64)}
_NATIVE |= {f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)}
_NATIVE |= {f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)}
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class CheckpointError(DamagedFileError):
    """A checkpoint that cannot be used; the message names the file and says what is wrong."""


def _named_leaves(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(path).lstrip(".") or "value": leaf for path, leaf in flat}
    if len(named) < len(flat):
        raise TypeError("two leaves of the tree have the same name, so that they cannot be saved")
    return named


def _kind(leaf: Any) -> str:
    """What a leaf is besides its numbers: a key's implementation, a Python number, or an array."""
    if is_key(leaf):
        impl = leaf.dtype._impl  # what `jax.ShapeDtypeStruct` has too
        return f"key<{impl.name}>"
    return "Python number" if type(leaf) in (bool, int, float, complex) else "array"


def _stored(name: str, leaf: Any) -> tuple[np.ndarray, list[Any] | None]:
    """The array to store for a leaf, and a note of its kind, dtype and shape where needed.

    Raises:
        TypeError: for what is neither array, number nor key, naming it.
    """
    kind = _kind(leaf)
    array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf, order="C")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    dtype = array.dtype
    if type(leaf) is int and dtype != np.int64:
        raise TypeError(f"{name} cannot be saved: {str(leaf)[:40]} takes more than 64 bits")
    if dtype.name in _NATIVE:
        return array, None if kind == "array" else [kind]
    if not (jnp.issubdtype(dtype, jnp.number) and jnp.dtype(dtype.name) == dtype):
        raise TypeError(f"{name} cannot be saved: its dtype is {dtype}, which holds no numbers")
    return np.frombuffer(array.tobytes(), np.uint8), [kind, dtype.name, list(array.shape)]


def _digest(arrays: dict[str, np.ndarray], info: str, notes: str) -> str:
    """The one checksum of files without a manifest."""
    sha = hashlib.sha256((info + notes).encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _manifest(arrays: dict[str, np.ndarray]) -> str:
    """Dtype, shape and checksum of every array, as JSON."""
    return json.dumps(
        {
            name: [str(x.dtype), list(x.shape), hashlib.sha256(x.tobytes()).hexdigest()]
            for name, x in sorted(arrays.items())
        }
    )


def _faults(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """What of a file does not match its checksums; empty: nothing."""
    info, notes = metadata["info"], metadata.get("notes", "")
    if "manifest" not in metadata:
        whole = _digest(arrays, info, notes)
        return "" if whole == metadata["sha256"] else "its checksum does not match its content"
    text = metadata["manifest"]
    if hashlib.sha256((info + notes + text).encode()).hexdigest() != metadata["sha256"]:
        return "its checksum does not match its content"
    found = _manifest(arrays)
    if text == found:
        return ""
    try:
        wanted, found = dict(json.loads(text)), json.loads(found)
    except (ValueError, TypeError, RecursionError):
        return "its manifest cannot be read"
    wrong = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    return f"the checksum of {', '.join(wrong[:5])} does not match"


def _parts(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> Iterator[bytes]:
    """The pieces of a safetensors file; the widest numbers first, so that all are aligned."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": _NATIVE[arrays[name].dtype.name],
            "shape": arrays[name].shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        yield arrays[name].tobytes()


def save_pytree(path: str | os.PathLike[str], tree: Any, info: dict[str, Any]) -> None:
    """Writes a pytree of arrays and a JSON object to one file, all or nothing.

    What is saved is loaded the same: arrays of all dtypes of numbers (8-bit floats and smaller
    integers too), of any shape, Python's numbers, PRNG keys.

    Args:
        path: the file; its folder must exist. An existing file is replaced in one step.
        tree: arrays, numbers and PRNG keys in any containers.
        info: anything JSON can hold.

    Raises:
        TypeError: for a leaf that is none of these, or an ``info`` that JSON cannot hold.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save_pytree(path, {"w": np.ones(2)}, {"step": 3})
        >>> load_pytree(path, {"w": np.zeros(2)})
        ({'w': array([1., 1.])}, {'step': 3})
    """
    stored = {
        name: _stored(name, leaf) for name, leaf in _named_leaves(jax.device_get(tree)).items()
    }
    arrays = {name: array for name, (array, _) in stored.items()}
    noted = {name: note for name, (_, note) in stored.items() if note is not None}
    text = json.dumps(info, sort_keys=True)
    notes = json.dumps(noted, sort_keys=True) if noted else ""
    manifest = _manifest(arrays)
    sha = hashlib.sha256((text + notes + manifest).encode()).hexdigest()
    metadata = {"info": text, "manifest": manifest, "sha256": sha}
    write_whole(path, _parts(arrays, metadata | ({"notes": notes} if noted else {})))


def _read(path: Path) -> tuple[dict[str, tuple[np.ndarray, str]], dict[str, Any]]:
    """Arrays, each with what it is, and the JSON object of a whole file."""
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
    if fault := _faults(arrays, metadata):
        raise CheckpointError(f"{path} is damaged: {fault}")
    try:
        info = json.loads(metadata["info"])
        noted = json.loads(metadata.get("notes", "") or "{}")
        found = {name: _restored(array, noted.get(name)) for name, array in arrays.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise CheckpointError(f"{path} holds what cannot be read: {error}") from None
    if not isinstance(info, dict):
        raise CheckpointError(f"{path} holds {str(info)[:40]} where a JSON object must be")
    return found, info


def _restored(array: np.ndarray, note: list[Any] | None) -> tuple[np.ndarray, str]:
    """What `_stored` was given: the array, and its kind."""
    if note is None:
        return array, "array"
    if len(note) > 1:
        array = np.frombuffer(array.tobytes(), jnp.dtype(note[1])).reshape(note[2]).copy()
    return array, str(note[0])


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object of a file written by `save_pytree`, after checking the whole file.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged.
    """
    return _read(Path(path))[1]


def load_pytree(path: str | os.PathLike[str], like: Tree) -> tuple[Tree, dict[str, Any]]:
    """Reads what `save_pytree` wrote.

    Args:
        path: the file.
        like: a pytree of arrays (or of `jax.ShapeDtypeStruct`) with the expected structure.

    Returns:
        ``(tree, info)``; the leaves are NumPy arrays, or what ``like`` has: PRNG keys, Python's
        numbers.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged, or differs from ``like`` in names, shapes or
            dtypes; the message lists the differences.
    """
    found, info = _read(Path(path))
    return _matched(path, found, like), info


def _matched(path: Any, found: dict[str, tuple[np.ndarray, str]], like: Tree) -> Tree:
    """The arrays of a file in the structure of ``like``, or what differs."""
    wanted = _named_leaves(like)
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is not expected" for name in found if name not in wanted]
    for name, leaf in wanted.items():
        if name in found:
            have, want = _described(*found[name]), _described(leaf, _kind(leaf))
            if have != want:
                problems.append(f"{name} is {have}, expected {want}")
    if problems:
        raise CheckpointError(f"{path} does not match: " + "; ".join(problems))
    leaves = [_as(leaf, found[name][0]) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _described(leaf: Any, kind: str) -> str:
    """Dtype and shape, and what the leaf is besides."""
    if is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    dtype = np.dtype(leaf.dtype) if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    text = f"{dtype.newbyteorder('=')}{list(np.shape(leaf))}"
    return text if kind == "array" else f"{text} of a {kind}"


def _as(leaf: Any, array: np.ndarray) -> Any:
    """An array as what the leaf in its place is."""
    if is_key(leaf):
        impl = jax.random.key_impl(leaf) if isinstance(leaf, jax.Array) else leaf.dtype._impl
        return jax.random.wrap_key_data(jnp.asarray(array), impl=impl)
    return array.item() if _kind(leaf) == "Python number" else array


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
        for leftover in self.folder.glob(".step-*.tmp"):
            leftover.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """Existing checkpoints, oldest first."""
        return sorted(
            path
            for path in self.folder.iterdir()
            if re.fullmatch(r"step-\d{10}\.safetensors", path.name)
        )

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step:010d}.safetensors"

    def save(self, step: int, tree: Any, info: dict[str, Any], drop: Sequence[int] = ()) -> Path:
        """Writes a checkpoint and deletes those beyond ``keep``.

        Where the disk is full, older checkpoints than the newest make room, the oldest first.

        Args:
            step: number of updates so far.
            tree: a pytree of arrays.
            info: anything JSON can hold.
            drop: steps whose checkpoints this one replaces.

        Returns:
            The file.

        Raises:
            OSError: when it cannot be written; the newest checkpoint before it is as it was.
        """
        path = self.path(step)
        while True:
            try:
                save_pytree(path, tree, info)
                break
            except OSError as error:
                older = [old for old in self.paths() if old != path]
                if error.errno not in _FULL or len(older) < 2:
                    kept = older[-1] if older else "none was written before"
                    raise OSError(
                        error.errno, f"{error.strerror}; the last checkpoint: {kept}", str(path)
                    ) from error
                older[0].unlink()
        for step_before in drop:
            if step_before != step:
                self.path(step_before).unlink(missing_ok=True)
        for old in self.paths()[: -self.keep]:
            if old != path:
                old.unlink()
        return path

    def restore(self, like: Tree) -> tuple[Tree, dict[str, Any], list[str]] | None:
        """The newest intact checkpoint.

        Returns:
            ``(tree, info, skipped)``: what is wrong with each newer checkpoint that was damaged
            and passed over; None when the folder holds no checkpoint.

        Raises:
            CheckpointError: when all are damaged, or the newest intact one does not match.
        """
        skipped: list[str] = []
        for path in reversed(self.paths()):
            try:
                _read(path)
            except CheckpointError as error:
                skipped.append(str(error))
                continue
            return *load_pytree(path, like), skipped
        if skipped:
            raise CheckpointError("no intact checkpoint: " + "; ".join(skipped))
        return None
