"""Checkpoints: what goes in comes out, or an error does."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from rntn_jax.training import (
    Checkpointer,
    CheckpointError,
    init_state,
    load_pytree,
    read_info,
    save_pytree,
)

ROOT = Path(__file__).resolve().parents[2]
INFO = {"epoch": 3, "score": 0.5, "words": ["é", '"', "\\", "\n"], "none": None}


class Inner(NamedTuple):
    """A part with an optional leaf."""

    v: Any
    w: Any


class Outer(NamedTuple):
    """Parts of all kinds."""

    inner: Inner
    parts: list[Any]
    named: dict[str, Any]


def plain(tree: Any) -> Any:
    """Arrays only: keys as their data."""

    def convert(leaf):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(convert, tree)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal structure, dtypes, shapes and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(plain(actual)), jax.tree.leaves(plain(expected)), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def blank(tree: Any) -> Any:
    """The same structure, shapes and types with other values."""

    def convert(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                jnp.zeros_like(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        return jnp.zeros_like(leaf)

    return jax.tree.map(convert, tree)


def trip(path: Path, tree: Any, like: Any = None) -> Any:
    save_pytree(path, tree, INFO)
    answer, info = load_pytree(path, blank(tree) if like is None else like)
    assert info == INFO == read_info(path)
    return answer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.safetensors"


DTYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 bfloat16"


@pytest.mark.parametrize("dtype", DTYPES.split())
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 4)], ids=str)
def test_every_dtype_and_shape_comes_back(path: Path, dtype: str, shape: tuple[int, ...]):
    value = jnp.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
    assert value.dtype == dtype
    assert_same(trip(path, {"x": value}), {"x": value})


SMALL = "float8_e4m3fn float8_e5m2 float8_e4m3b11fnuz float8_e4m3fnuz float8_e5m2fnuz int4 uint4"


@pytest.mark.parametrize("dtype", [*SMALL.split(), "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(), (0, 4), (2, 3)], ids=str)
def test_dtypes_that_the_format_lacks_come_back(path: Path, dtype: str, shape: tuple[int, ...]):
    value = np.random.default_rng(0).integers(0, 3, shape).astype(jnp.dtype(dtype))
    answer = trip(path, {"x": value}, {"x": np.zeros_like(value)})["x"]
    assert (answer.dtype, answer.shape, answer.tobytes()) == (dtype, shape, value.tobytes())
    answer += answer  # it is the caller's own
    with pytest.raises(CheckpointError, match=rf"\['x'\] is {dtype}\[.*expected uint8"):
        load_pytree(path, {"x": np.zeros(shape, np.uint8)})


@pytest.mark.parametrize("value", [2.5, -3, True, False, 1 + 2j, 2**63 - 1, float("inf")], ids=repr)
def test_numbers_of_python_come_back_as_such(path: Path, value: Any):
    tree = {"x": value, "none": None, "more": [value, np.ones(1)]}
    answer = trip(path, tree, {"x": type(value)(0), "none": None, "more": [value, np.zeros(1)]})
    assert type(answer["x"]) is type(value) and answer["x"] == value == answer["more"][0]
    assert answer["none"] is None
    with pytest.raises(CheckpointError, match=r"\['x'\] is .* of a Python number, expected"):
        load_pytree(path, tree | {"x": np.asarray(value)})


@pytest.mark.parametrize(
    "value", [2**63, 10**30, "text", b"bytes", np.array(["a"]), np.datetime64("2020-01-01"),
              np.array([(1, 2)], "i4,i4"), object()], ids=lambda value: str(value)[:12]
)  # fmt: skip
def test_what_would_not_come_back_is_refused_by_name(path: Path, value: Any):
    with pytest.raises(TypeError, match=r"\['x'\] cannot be saved"):
        save_pytree(path, {"x": value, "y": np.ones(1)}, {})
    assert not path.exists()


def test_bytes_in_another_order_come_back_as_numbers(path: Path):
    value = np.array([1, 2], ">i4")
    np.testing.assert_array_equal(trip(path, value, np.zeros_like(value)), [1, 2])


def test_a_key_of_another_kind_with_as_many_words_is_refused(path: Path):
    save_pytree(path, {"key": jax.random.key(0, impl="rbg")}, {})
    with pytest.raises(CheckpointError, match=r"key<rbg>, expected .* key<unsafe_rbg>"):
        load_pytree(path, {"key": jax.random.key(0, impl="unsafe_rbg")})
    with pytest.raises(CheckpointError, match=r"key<rbg>, expected uint32\[4\]"):
        load_pytree(path, {"key": np.zeros(4, np.uint32)})


def test_equal_content_makes_equal_files(path: Path):
    rng = np.random.default_rng(0)
    tree = {
        f"{d} {i}": rng.integers(0, 2, i).astype(d) for i in range(4) for d in DTYPES.split()[:12]
    }
    contents = set()
    for order in (list(tree), list(tree)[::-1]):
        save_pytree(path, {name: tree[name] for name in order}, {"b": 1, "a": [2]})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    sizes = [(name, array.size, array.dtype.name) for name, array in tree.items()]
    script = f"""
import numpy as np
from rntn_jax.training import load_pytree, save_pytree
tree = {{name: np.zeros(i, d) for name, i, d in {sizes!r}}}
save_pytree({str(path)!r}, *load_pytree({str(path)!r}, tree))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert path.read_bytes() in contents


@pytest.mark.parametrize(
    "value", [np.float64(2.5), np.int32(-3), np.bool_(True), np.float32("nan")]
)
def test_numpy_scalars_come_back(path: Path, value: Any):
    answer = trip(path, [value])[0]
    assert answer.shape == () and answer.dtype == value.dtype
    assert answer.tobytes() == value.tobytes()


def test_special_values_come_back_bit_for_bit(path: Path):
    value = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e308])
    assert_same(trip(path, value), value)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_come_back_as_keys(path: Path, impl: str):
    key = jax.random.key(7, impl=impl)
    tree = {"one": key, "many": jax.random.split(key, 3)}
    answer = trip(path, tree)
    assert_same(answer, tree)
    assert answer["one"].dtype == key.dtype
    np.testing.assert_array_equal(
        jax.random.normal(answer["many"][2], (4,)), jax.random.normal(tree["many"][2], (4,))
    )


@pytest.mark.parametrize("v", [None, np.arange(4.0).reshape(2, 2)], ids=["none", "array"])
def test_nested_containers_and_none_come_back(path: Path, v: Any):
    tree = Outer(
        Inner(v, jnp.arange(3, dtype=jnp.float32)),
        [np.int32(1), (np.float64(2), None), [], np.ones((2, 1))],
        {"a.b": np.ones(1), "a": {"b": np.zeros(1)}, "é ": Inner(None, np.ones(2))},
    )
    assert_same(trip(path, tree), tree)


def test_a_transposed_array_comes_back(path: Path):
    value = np.arange(6.0).reshape(2, 3).T
    assert_same(trip(path, value), np.ascontiguousarray(value))


OPTIMIZERS = {
    "adam with a schedule": lambda: optax.adam(optax.linear_schedule(0.1, 0.0, 3)),
    "adagrad, clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adagrad(0.1)),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "masked": lambda: optax.masked(optax.adam(0.1), Inner(True, False)),
    "lamb": lambda: optax.lamb(0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_train_states_come_back(path: Path, optimizer):
    params = Inner(jnp.ones((2, 2)), jnp.arange(3.0))
    state = init_state(params, optimizer(), jax.random.key(1))
    _, opt_state = optimizer().update(params, state.opt_state, params)
    state = state._replace(opt_state=opt_state, step=jnp.int32(5))
    like = init_state(jax.tree.map(jnp.zeros_like, params), optimizer(), jax.random.key(0))
    assert_same(trip(path, state, like), state)


def test_shapes_are_enough_to_load(path: Path):
    state = init_state({"w": jnp.ones((2, 3))}, optax.adam(0.1), jax.random.key(4))
    without_key = state._replace(key=None)
    assert_same(trip(path, without_key, jax.eval_shape(lambda: without_key)), without_key)
    assert_same(trip(path, state, jax.eval_shape(lambda: state)), state)


def test_a_file_is_replaced_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch):
    save_pytree(path, {"x": np.ones(2)}, {"number": 1})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_pytree(path, {"x": np.ones(2)}, {"number": object()})

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            save_pytree(path, {"x": np.zeros(2)}, {"number": 2})
    assert path.read_bytes() == before
    save_pytree(path, {"x": np.zeros(2)}, {"number": 3})
    assert read_info(path) == {"number": 3}
    assert [p for p in path.parent.iterdir() if not p.name.endswith(".tmp")] == [path]


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


def test_every_flipped_bit_is_noticed(path: Path):
    content = bytearray(write_sample(path))
    assert len(content) < 2000
    for at in range(len(content)):
        for bit in range(8):
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


def names(checkpointer: Checkpointer) -> list[str]:
    return [path.name for path in checkpointer.paths()]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int):
    checkpointer = Checkpointer(tmp_path / "a" / "b", keep=keep)
    assert names(checkpointer) == [] and checkpointer.restore({"x": np.zeros(1)}) is None
    steps = [0, 9, 10, 100, 2_000_000]
    for count, step in enumerate(steps, 1):
        written = checkpointer.save(step, {"x": np.full(1, step)}, {"step": step})
        assert written.exists()
        assert names(checkpointer) == [
            f"step-{s:010d}.safetensors" for s in steps[max(0, count - keep) : count]
        ]
    tree, info, skipped = Checkpointer(checkpointer.folder).restore({"x": np.zeros(1, int)})
    assert tree["x"] == 2_000_000 and info == {"step": 2_000_000} and skipped == []


def test_keep_must_be_positive(tmp_path: Path):
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpointer(tmp_path, keep=0)


def test_a_step_saved_again_replaces_the_file(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    for value in (1.0, 2.0):
        checkpointer.save(4, {"x": np.full(1, value)}, {"value": value})
    assert names(checkpointer) == ["step-0000000004.safetensors"]
    assert checkpointer.restore({"x": np.zeros(1)})[1] == {"value": 2.0}


def test_what_has_just_been_saved_is_never_deleted(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path, keep=2)
    for step in (5, 6, 1):
        assert checkpointer.save(step, {"x": np.ones(1)}, {}).exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_damaged_checkpoints_are_passed_over_and_told_of(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpointer.save(step, {"x": np.full(1, float(step))}, {"step": step})
    like = {"x": np.zeros(1)}
    paths = checkpointer.paths()
    damage(paths[2])
    tree, info, skipped = checkpointer.restore(like)
    assert tree["x"] == 2 and info == {"step": 2}
    assert len(skipped) == 1 and str(paths[2]) in skipped[0] and "damaged" in skipped[0]

    paths[1].write_bytes(b"")
    tree, info, skipped = checkpointer.restore(like)
    assert tree["x"] == 1
    assert [str(path) in text for path, text in zip(paths[:0:-1], skipped)] == [True, True]

    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="no intact checkpoint") as caught:
        checkpointer.restore(like)
    assert all(path.name in str(caught.value) for path in paths)


def test_a_damaged_old_checkpoint_does_not_matter(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    for step in (1, 2):
        checkpointer.save(step, {"x": np.ones(1)}, {"step": step})
    damage(checkpointer.paths()[0])
    assert checkpointer.restore({"x": np.zeros(1)})[1:] == ({"step": 2}, [])


def test_an_intact_checkpoint_of_other_shapes_is_refused_not_passed_over(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, {"x": np.ones(2)}, {})
    checkpointer.save(2, {"x": np.ones(3)}, {})
    with pytest.raises(CheckpointError, match=r"\['x'\] is float64\[3\], expected float64\[2\]"):
        checkpointer.restore({"x": np.ones(2)})


def test_left_overs_are_swept_and_other_files_left_alone(tmp_path: Path):
    checkpointer = Checkpointer(tmp_path)
    kept = checkpointer.save(3, {"x": np.ones(1)}, {"step": 3})
    leftover = tmp_path / ".step-0000000004.safetensors.4711.tmp"
    leftover.write_bytes(b"half")
    others = [tmp_path / name for name in ("notes.txt", "step-4.safetensors", "step-0000000009.st")]
    for other in others:
        other.write_text("mine")
    again = Checkpointer(tmp_path)
    assert not leftover.exists() and all(other.read_text() == "mine" for other in others)
    assert again.paths() == [kept]
    assert again.restore({"x": np.zeros(1)})[1] == {"step": 3}


KILLER = '''
"""Forks a writer again and again, kills it, and restores what it left."""
import os, random, signal, sys, time
import numpy as np
from rntn_jax.training.checkpoint import Checkpointer

folder, rounds = sys.argv[1], int(sys.argv[2])
like = {"x": np.zeros((200, 300)), "step": np.int32(0)}
chance = random.Random(0)
newest = 0
for attempt in range(rounds):
    writer = os.fork()
    if not writer:
        checkpointer = Checkpointer(folder)
        for step in range(newest + 1, 1_000_000):
            tree = {"x": np.full((200, 300), float(step)), "step": np.int32(step)}
            checkpointer.save(step, tree, {"step": step})
        os._exit(0)
    begin = time.monotonic()
    while attempt and not reader.paths() and time.monotonic() - begin < 30:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    reader = Checkpointer(folder)
    restored = reader.restore(like)
    if restored is None:
        assert newest == 0
        continue
    tree, info, skipped = restored
    assert not skipped, skipped
    assert (tree["x"] == info["step"]).all() and tree["step"] == info["step"] >= newest
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
    assert len(os.listdir(folder)) <= 3
    newest = info["step"]
print(newest)
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_killed_writer_leaves_something_to_go_on_from(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", KILLER, tmp_path / "c", "12"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 0
