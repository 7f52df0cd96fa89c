"""Files that nobody wrote: the loader of checkpoints refuses them, whatever they hold."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rntn_jax.training import CheckpointError, load_pytree, save_pytree
from rntn_jax.training.checkpoint import _manifest

TREE = {"a": np.arange(3, dtype=np.float32), "b": np.int32(7)}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


def containers(inner: Any) -> Any:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)


JSON = st.recursive(LEAVES, containers, max_leaves=6)


def read(path: Path, content: bytes) -> bool:
    """Whether a file is read, and then as it was written; refused is fine, too."""
    path.write_bytes(content)
    try:
        found, _ = load_pytree(path, TREE)
    except CheckpointError:
        return False
    assert all(np.array_equal(found[name], TREE[name]) for name in TREE)
    return True


def crafted(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def signed(info: str, notes: str, manifest: str) -> dict[str, str]:
    """Metadata with the right checksum, whatever it says."""
    sha = hashlib.sha256((info + notes + manifest).encode()).hexdigest()
    return {"info": info, "notes": notes, "manifest": manifest, "sha256": sha}


HEADER = {
    "['a']": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
    "['b']": {"dtype": "I32", "shape": [], "data_offsets": [12, 16]},
}
DATA = np.arange(3, dtype=np.float32).tobytes() + np.int32(7).tobytes()
MANIFEST = _manifest({"['a']": TREE["a"], "['b']": np.asarray(TREE["b"])})


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file.safetensors"


def test_a_file_made_by_hand_is_read_where_it_is_right(file: Path):
    right = {"__metadata__": signed("{}", "", MANIFEST), **HEADER}
    assert read(file, crafted(right, DATA))
    assert not read(file, crafted(right, DATA[:-1] + b"\1"))


@given(info=JSON, notes=JSON, manifest=JSON | st.just(None))
@settings(max_examples=60)
def test_checksums_that_are_right_over_nonsense(file: Path, info, notes, manifest):
    texts = json.dumps(info), json.dumps(notes), json.dumps(manifest)
    read(file, crafted({"__metadata__": signed(*texts), **HEADER}, DATA))
    read(file, crafted({"__metadata__": signed(*texts[:2], MANIFEST), **HEADER}, DATA))


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes(file: Path, content: bytes):
    assert not read(file, content)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_files_with_faults(file: Path):
    """Bits flipped, bytes replaced, cut out, doubled, and numbers of the header changed."""
    save_pytree(file, TREE, {"epoch": 3})
    whole = file.read_bytes()
    chance = random.Random(0)
    for _ in range(1_000_000):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content))
            match chance.randrange(4):
                case 0:
                    content[at] ^= 1 << chance.randrange(8)
                case 1:
                    content[at] = chance.randrange(256)
                case 2:
                    del content[at : at + chance.randint(1, 9)]
                case _:
                    content[at:at] = content[at : at + chance.randint(1, 9)]
            if not content:
                break
        read(file, bytes(content))  # white space of the header may be any
