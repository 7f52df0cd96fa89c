"""Compiles programs for chips that are not there, and tells what they would do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from experiments.benchmark import interleave
from experiments.benchmark.compiled.hlo import collectives
from experiments.benchmark.compiled.programs import PROGRAMS, Program, step_of
from rntn_jax.training.devices import DATA

__all__ = ["EXPORTED", "compiled_for", "exported", "mesh_of", "run"]

# What each count of chips is a part of.
TOPOLOGIES = {1: "v5e:2x4", 8: "v5e:2x4", 256: "v5e:16x16"}
EXPORTED = ("cuda", "rocm", "tpu")


def mesh_of(chips: int) -> Mesh:
    """TPU v5e chips as a mesh of one axis, to compile for.

    Raises:
        RuntimeError: when the TPU's compiler is not installed.
        ValueError: for another count of chips.
    """
    if chips not in TOPOLOGIES:
        raise ValueError(f"chips must be of {sorted(TOPOLOGIES)}, got {chips}")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # this machine is none of a TPU's
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # and it holds none
    found = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[chips])
    return Mesh(np.array(found.devices[:chips]), (DATA,))


def compiled_for(program: Program, mesh: Mesh) -> dict[str, Any]:
    """Compiles a training step for a mesh.

    Returns:
        Chips, bytes a chip (arguments, temporaries, code), collectives by kind and those in loops,
        seconds of compiling.
    """
    begun = time.monotonic()
    step, shapes = step_of(program, mesh)
    done = step.lower(*shapes).compile()
    everywhere, in_loops = collectives(done)
    memory = done.memory_analysis()
    return {
        "chips": mesh.size,
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
        "collectives": dict(everywhere),
        "in_loops": dict(in_loops),
        "seconds": round(time.monotonic() - begun, 1),
    }


def exported(program: Program, platforms: Sequence[str] = EXPORTED) -> dict[str, int]:
    """Bytes of a training step as `jax.export` writes it for each platform, none being there."""
    step, shapes = step_of(program, None)
    return {
        name: len(jax.export.export(step, platforms=(name,))(*shapes).mlir_module_serialized)
        for name in platforms
    }


def run(names: Sequence[str], chips: Sequence[int], output: str | None) -> None:
    """Prints the table, and writes the figures to a file."""
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        raise ValueError(f"no program {unknown[0]!r}; there are: {', '.join(PROGRAMS)}")
    meshes = [mesh_of(count) for count in chips]
    heads = [f"{count} chip{'s' * (count > 1)}: MB, all-reduces, in loops" for count in chips]
    print("| training step of | " + " | ".join(heads) + " |")
    print("| --- |" + " --- |" * len(chips), flush=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names or PROGRAMS:
        found[name] = [compiled_for(PROGRAMS[name], mesh) for mesh in meshes]
        print(f"| {name} | " + " | ".join(_cells(found[name])) + " |", flush=True)
        print(f"{name}: {[own['seconds'] for own in found[name]]} s", file=sys.stderr)
    about = {"jax": jax.__version__, "platform": "TPU v5e", "programs": found}
    interleave.write(output, about)


def _cells(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for own in found:
        needed = (own["arguments"] + own["temporaries"]) / 1e6
        total, inside = (sum(own[kind].values()) for kind in ("collectives", "in_loops"))
        yield f"{needed:.1f}, {total}, {inside}"
