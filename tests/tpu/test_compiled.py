"""Training steps compiled for TPUs, none being there: they compile, and chips talk once a step."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments.benchmark.compiled.programs import PROGRAMS
from experiments.benchmark.compiled.run import EXPORTED, compiled_for, exported, mesh_of
from rntn_jax.crf import chain
from rntn_jax.crf.chain import shared_edges
from tests.helpers import enable_x64

NO_COMPILER = "no libtpu here: ./launch.sh test-tpu installs it in an environment of its own"
on_tpu = [
    pytest.mark.tpu,
    pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason=NO_COMPILER),
]


@pytest.fixture(autouse=True)
def as_users_run_it() -> Iterator[None]:
    with enable_x64(False), jax.numpy_rank_promotion("allow"):
        yield


# Loops with a collective in them wait for the slowest chip in every pass.
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    "chips",
    [pytest.param(n, marks=[*on_tpu, *slow]) for n, slow in ((8, ()), (256, (pytest.mark.slow,)))],
)
def test_a_training_step_compiles_and_chips_talk_once(name, chips):
    found = compiled_for(PROGRAMS[name], mesh_of(chips))
    assert found["chips"] == chips
    assert found["collectives"] == {"all-reduce": 1} and not found["in_loops"]
    assert found["arguments"] + found["temporaries"] < 1e9


@pytest.mark.tpu
@on_tpu[1]
def test_the_chain_needs_a_fraction_of_the_memory_of_autodiff():
    device = NamedSharding(mesh_of(1), PartitionSpec())
    node = jax.ShapeDtypeStruct((16, 512, 64), jnp.float32, sharding=device)
    edge = jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=device)

    def temporaries(log_partition) -> int:
        step = jax.jit(jax.grad(lambda node, edge: log_partition(node, edge).sum(), (0, 1)))
        return step.lower(node, edge).compile().memory_analysis().temp_size_in_bytes

    mask = jnp.ones((16, 512), bool)
    ours = temporaries(lambda node, edge: chain.log_partition(chain.Scores(node, edge)))
    plain = temporaries(lambda node, edge: shared_edges.reference(node, edge, mask))
    assert ours < plain / 10


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_training_step_is_written_for_platforms_that_are_not_here(name):
    assert all(size > 1000 for size in exported(PROGRAMS[name], EXPORTED).values())
