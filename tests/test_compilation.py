"""Compiled programs in the user's cache, and the line that says what is waited for."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from rntn_jax import compilation
from rntn_jax.compilation import cached, folder

NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A user who has chosen nothing, with a cache of his own; yields where programs will lie."""
    before = [getattr(jax.config, name) for name in NAMES]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("RNTN_JAX_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(compilation, "LEAST", 0.0)
    jax.config.update(NAMES[0], None)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()
    yield tmp_path / "cache" / "rntn_jax" / "compiled" / f"jax-{jax.__version__}"
    for name, value in zip(NAMES, before):
        jax.config.update(name, value)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()


def compile_something(number: float) -> None:
    """A program that is not yet compiled, which differs by the number."""
    jax.jit(lambda x: jnp.sin(x) * number)(1.0).block_until_ready()


def test_programs_are_kept_within_and_settings_are_put_back(user: Path):
    before = [getattr(jax.config, name) for name in NAMES]
    compile_something(1.25)  # JAX has looked for a folder before
    assert not user.exists()
    with cached():
        with cached():
            compile_something(2.25)
        compile_something(3.25)  # still within
        assert jax.config.jax_compilation_cache_dir == str(user)
    kept = set(os.listdir(user))
    assert len([name for name in kept if name.endswith("-cache")]) >= 2
    assert user.stat().st_mode & 0o077 == 0, "what others may write is not run"
    assert [getattr(jax.config, name) for name in NAMES] == before
    compile_something(4.25)
    assert set(os.listdir(user)) == kept, "outside nothing is written"


def test_a_second_process_would_read_them(user: Path):
    with cached():
        compile_something(5.25)
        kept = set(os.listdir(user))
        hits = []
        listen = lambda event, **_: hits.append(event) if "cache_hits" in event else None
        jax.monitoring.register_event_listener(listen)
        compile_something(5.25)
    assert hits and set(os.listdir(user)) == kept


def test_what_the_user_chose_is_left_alone(user: Path, monkeypatch, tmp_path: Path):
    assert folder() == str(user)
    for name, value in [
        ("RNTN_JAX_CACHE", "0"),
        ("JAX_COMPILATION_CACHE_DIR", ""),
        ("JAX_COMPILATION_CACHE_DIR", str(tmp_path)),
    ]:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert folder() is None
            with cached():
                assert jax.config.jax_compilation_cache_dir is None
    jax.config.update(NAMES[0], str(tmp_path / "own"))
    assert folder() is None
    with cached():
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    jax.config.update(NAMES[0], None)
    assert not user.exists()


def test_a_folder_that_cannot_be_made_is_no_fault(user: Path, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with cached():
        assert jax.config.jax_compilation_cache_dir is None


def test_settings_are_put_back_after_the_last_thread_and_after_errors(user: Path):
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with cached():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    with pytest.raises(KeyError), cached():
        raise KeyError
    assert jax.config.jax_compilation_cache_dir == str(user)
    leave.set()
    thread.join()
    assert jax.config.jax_compilation_cache_dir is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """What `jax.monitoring` tells, told by the test; no patience."""
    monkeypatch.delenv("RNTN_JAX_QUIET", raising=False)
    monkeypatch.setattr(compilation, "PATIENCE", 0.01)
    clock = compilation._Clock()
    monkeypatch.setattr(compilation, "_clock", clock)
    clock.listens = True  # not to JAX
    return clock


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.001)


def test_a_long_compilation_is_told_once(user: Path, clock, capsys):
    for _ in range(2):
        with cached():
            clock.listen("/jax/core/compile/jaxpr_to_mlir_module_duration", 0.0)
            wait_for(lambda: clock.told)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("compiling: ") and err.endswith(f"; kept in {user}\n")


def test_many_short_ones_are_told_and_work_is_not(clock, capsys, monkeypatch):
    with cached():
        time.sleep(0.05)  # work, whatever it takes
    assert not clock.told
    monkeypatch.setenv("RNTN_JAX_QUIET", "1")
    with cached():
        clock.listen("/jax/core/compile/backend_compile_duration", 1.0)
        time.sleep(0.05)
    assert not clock.told and capsys.readouterr().err == ""
    monkeypatch.delenv("RNTN_JAX_QUIET")
    with cached():
        clock.listen("/jax/core/compile/backend_compile_duration", 1.0)
        wait_for(lambda: clock.told)
    assert capsys.readouterr().err.startswith("compiling: ")


def test_jax_tells_of_compilations(monkeypatch):
    """The events have the names that are listened to."""
    monkeypatch.delenv("RNTN_JAX_QUIET", raising=False)
    monkeypatch.setattr(compilation, "PATIENCE", 1e9)
    clock = compilation._Clock()
    monkeypatch.setattr(compilation, "_clock", clock)
    begun: list[str] = []
    listen = clock.listen

    def note(event: str, duration_secs: float, **more: str) -> None:
        begun.append(event)
        listen(event, duration_secs, **more)

    monkeypatch.setattr(clock, "listen", note)
    with cached():
        compile_something(6.25)
    assert clock.seconds > 0 and clock.since is None
    assert "/jax/core/compile/jaxpr_to_mlir_module_duration" in begun
