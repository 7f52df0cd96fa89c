"""Checkpoints: everything comes back as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rntn_jax.training import (
    CheckpointError,
    init_state,
    load_pytree,
    read_info,
    save_pytree,
)
from tests.training.checkpoint_samples import (
    ROOT,
    Inner,
    Outer,
    assert_same,
    trip,
)

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
