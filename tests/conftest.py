"""Settings of all tests: float64, no silent rank promotion, four devices on the CPU."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)  # before anything starts the backend

# What several tests compile, a run that is resumed or repeated above all, is compiled once.
# Test processes that run side by side share the folder of the one that began them.
if "RNTN_JAX_TESTS_CACHE" not in os.environ:
    os.environ["RNTN_JAX_TESTS_CACHE"] = tempfile.mkdtemp(prefix="rntn_jax-tests-")
    atexit.register(shutil.rmtree, os.environ["RNTN_JAX_TESTS_CACHE"], ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", os.environ["RNTN_JAX_TESTS_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
os.environ.setdefault("RNTN_JAX_QUIET", "1")  # what is told depends on the clock


def pytest_configure(config: pytest.Config) -> None:
    """Compiles quickly, the quick tests as quickly as possible: that is most of their time."""
    gc.set_threshold(100_000)  # tracing makes many objects that stay
    jax.config.update("jax_traceback_in_locations_limit", 0)
    flags = ["--xla_cpu_parallel_codegen_split_count=1"]
    if config.getoption("markexpr") == "not slow":
        jax.config.update("jax_disable_most_optimizations", True)
        flags.append("--xla_cpu_use_fusion_emitters=false")
    if jax.__version_info__[:2] == (0, 10):  # XLA stops at flags that it does not know
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names of tests do not hold bytes: archives have the time in them, and processes differ."""
    return argname if isinstance(val, bytes) else None


# The same examples in every run, and none judged by the clock.
hypothesis.settings.register_profile("rntn_jax", deadline=None, derandomize=True)
hypothesis.settings.load_profile("rntn_jax")


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forgets compiled programs before they are more than a process of Linux may map."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 25_000:  # of 65,530
        jax.clear_caches()


@pytest.fixture
def float32() -> Iterator[None]:
    """Runs a test as users run the library, without 64-bit types."""
    from tests.helpers import enable_x64  # it imports what must be configured first

    with enable_x64(False):
        yield
