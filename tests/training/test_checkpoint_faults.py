"""Checkpoints: damage, other contents and objects are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from rntn_jax.training import (
    Checkpointer,
    CheckpointError,
    load_pytree,
    read_info,
    save_pytree,
)
from tests.training.checkpoint_samples import (
    Inner,
)

LIKE = {"step": np.int32(0), "w": np.zeros((2, 3), np.float32), "b": jnp.zeros(2, jnp.bfloat16)}


def write_sample(path: Path) -> bytes:
    tree = {
        "step": np.int32(7),
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": jnp.array([1.0, -2.0], jnp.bfloat16),
    }
    save_pytree(path, tree, {"epoch": 1})
    return path.read_bytes()


def test_every_truncation_is_noticed(path: Path):
    content = write_sample(path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=path.name):
            load_pytree(path, LIKE)
    for more in (b"\0", b" ", content):
        path.write_bytes(content + more)
        with pytest.raises(CheckpointError, match=path.name):
            load_pytree(path, LIKE)
    path.write_bytes(content)
    assert load_pytree(path, LIKE)[0]["step"] == 7


@pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed(bits: int, path: Path):
    """Of every byte one of its bits, or all."""
    content = bytearray(write_sample(path))
    assert len(content) < 2000
    for at in range(len(content)):
        for bit in [at % 8] if bits == 1 else range(8):
            content[at] ^= 1 << bit
            path.write_bytes(content)
            try:
                found = load_pytree(path, LIKE)
            except CheckpointError as error:
                assert path.name in str(error)
            else:
                pytest.fail(f"bit {bit} of byte {at} ({content[at]:#x}) was not noticed: {found}")
            content[at] ^= 1 << bit


def test_flipped_bits_of_a_larger_file_are_noticed(path: Path):
    rng = np.random.default_rng(0)
    tree = {f"layer {i}": rng.normal(size=(40, 30)) for i in range(5)}
    save_pytree(path, tree, {"words": [f"word {i}" for i in range(300)]})
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, len(content), 100):
        flip = 1 << int(rng.integers(8))
        content[at] ^= flip
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_pytree(path, tree)
        with pytest.raises(CheckpointError):
            read_info(path)
        content[at] ^= flip


def test_what_differs_is_listed(path: Path):
    saved = {
        "old": np.ones(1),
        "shape": np.ones((2, 3)),
        "dtype": np.ones(2, np.float32),
        "same": np.ones(2),
        "rank": np.ones(1),
    }
    save_pytree(path, saved, {})
    wanted = {
        "new": np.ones(1),
        "shape": np.ones((3, 2)),
        "dtype": np.ones(2, np.float64),
        "same": np.ones(2),
        "rank": np.float64(1),
    }
    with pytest.raises(CheckpointError) as caught:
        load_pytree(path, wanted)
    message = str(caught.value)
    for part in (
        str(path),
        "['new'] is missing",
        "['old'] is not expected",
        "['shape'] is float64[2, 3], expected float64[3, 2]",
        "['dtype'] is float32[2], expected float64[2]",
        "['rank'] is float64[1], expected float64[]",
    ):
        assert part in message
    assert "same" not in message
    with pytest.raises(CheckpointError, match=r"w is missing.*'same'\] is not expected"):
        load_pytree(path, Inner(None, np.ones(1)))


def test_a_key_is_not_taken_for_another_kind_of_key(path: Path):
    save_pytree(path, {"key": jax.random.key(0)}, {})
    with pytest.raises(CheckpointError, match="key"):
        load_pytree(path, {"key": jax.random.key(0, impl="rbg")})


def test_files_of_others_are_refused(path: Path):
    arrays = {"['w']": np.ones(2)}
    for metadata in (None, {"format": "pt"}, {"info": "{}"}, {"sha256": "0" * 64}):
        safetensors.numpy.save_file(arrays, path, metadata=metadata)
        with pytest.raises(CheckpointError, match="not written by rntn_jax"):
            load_pytree(path, {"w": np.ones(2)})
    safetensors.numpy.save_file(arrays, path, metadata={"info": "{}", "sha256": "0" * 64})
    with pytest.raises(CheckpointError, match="checksum"):
        read_info(path)


def test_a_missing_file_is_not_found(path: Path):
    with pytest.raises(FileNotFoundError, match=path.name):
        load_pytree(path, {})
    with pytest.raises(FileNotFoundError, match=path.name):
        read_info(path)


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, where: Path):
        self.where = where

    def __reduce__(self):
        return Path.touch, (self.where,)


def test_nothing_unpickles(tmp_path: Path):
    trap = tmp_path / "sprung"
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    victim = checkpointer.folder / "step-0000000001.safetensors"
    attacks = [pickle.dumps(Trap(trap), protocol) for protocol in (0, 2, 5)]
    np.save(tmp_path / "a.npy", np.array([Trap(trap)], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", np.array([Trap(trap)], object), allow_pickle=True)
    attacks += [(tmp_path / name).read_bytes() for name in ("a.npy", "a.npz")]
    header = json.dumps({"__metadata__": {"info": "cos\nsystem\n", "sha256": "0"}}).encode()
    attacks.append(len(header).to_bytes(8, "little") + header)
    for content in attacks:
        victim.write_bytes(content)
        for read in (read_info, lambda path: load_pytree(path, {"w": np.ones(1)})):
            with pytest.raises(CheckpointError):
                read(victim)
        with pytest.raises(CheckpointError, match="no intact checkpoint"):
            checkpointer.restore({"w": np.ones(1)})
        assert not trap.exists()
    pickle.loads(attacks[0])
    assert trap.exists()  # the trap does work


def test_objects_are_not_saved(path: Path):
    with pytest.raises(TypeError, match=r"\['x'\] cannot be saved: its dtype is object"):
        save_pytree(path, {"x": np.array([1, None], object)}, {})
    assert not path.exists()
