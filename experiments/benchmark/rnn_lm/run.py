"""Language model training: milliseconds a segment, temporary memory, growth with its length."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from experiments.benchmark import interleave, problem_file
from experiments.benchmark.rnn_lm import layers as gated
from experiments.benchmark.rnn_lm.baselines import Problem

__all__ = ["run"]

LAYERS = (32, 25, 200, 200), (64, 50, 100, 100), (16, 200, 256, 256), (20, 35, 200, 200)

# Key for `--systems` and the worker, and what it is.
SYSTEMS = {
    "ours": "rntn_jax, hand rule",
    "autodiff": "JAX autodiff of the plain scan",
    "flax": "flax.nnx.RNN, optax",
    "torch": "PyTorch nn.RNN, eager",
    "torch_chunked": "PyTorch, softmax by chunks",
    "ours_bf16": "rntn_jax, bfloat16",
    "torch_bf16": "PyTorch, bfloat16 autocast",
    "products": "softmax's three products, XLA",
    "torch_products": "the same, PyTorch",
}


def _problem(dim: int, batch_size: int, steps: int, vocab_size: int, chunk: int) -> Problem:
    rng = np.random.default_rng(0)
    # Words as rare as in text: Zipf's law.
    frequency = 1 / np.arange(1, vocab_size + 1)
    count = max(2, min(20, 14_000 // (batch_size * steps)) * 200 // max(dim, 200))
    tokens = rng.choice(vocab_size, (count, batch_size, steps + 1), p=frequency / frequency.sum())

    def uniform(*shape: int, r: float) -> np.ndarray:
        return rng.uniform(-r, r, shape).astype(np.float32)

    params = {
        "embedding": uniform(vocab_size, dim, r=0.1),
        "h": (0.9 * np.linalg.qr(rng.standard_normal((dim, dim)))[0]).astype(np.float32),
        "i": uniform(dim, dim, r=(3 / dim) ** 0.5),
        "b": np.zeros(dim, np.float32),
        "w": uniform(dim, vocab_size, r=0.1),
        "head_b": np.zeros(vocab_size, np.float32),
    }
    return Problem(tokens.astype(np.int32), params, 0.1, 5.0, chunk)


def run(
    *,
    dims: list[int],
    batch_sizes: list[int],
    steps: int,
    vocab_size: int,
    chunks: list[int],
    rounds: int,
    threads: int,
    systems: list[str],
    parts: list[str],
    output: str | None,
) -> dict[str, Any]:
    """Runs the benchmark, prints tables, and returns all figures.

    Args:
        dims: widths of embeddings and states.
        batch_sizes: as many, one for each width.
        chunks: as many: rows whose logits exist at a time.

    Raises:
        ValueError: for an unknown system or part, for lists of different lengths, or when a worker
            failed.
    """
    interleave.check_words(systems, [*SYSTEMS, *gated.SYSTEMS])
    interleave.check_words(parts, ("speed", "growth", "layers"))
    if not len(dims) == len(batch_sizes) == len(chunks):
        raise ValueError(
            f"{len(dims)} dims, {len(batch_sizes)} batch_sizes, {len(chunks)} chunks: give as many"
        )
    figures: dict[str, Any] = {"threads": threads, "machine": interleave.machine(), "speed": []}
    if "speed" in parts:
        for dim, size, chunk in zip(dims, batch_sizes, chunks, strict=True):
            problem = _problem(dim, size, steps, vocab_size, chunk)
            rows = problem_file.take_turns(
                problem,
                "experiments.benchmark.rnn_lm.baselines",
                [name for name in SYSTEMS if name in (systems or SYSTEMS)],
                rounds=rounds,
                threads=threads,
            )
            sizes = {"dim": dim, "batch_size": size, "steps": steps, "vocab_size": vocab_size}
            sizes["chunk"] = chunk
            rows = [{**sizes, **row} for row in rows]
            figures["speed"] += rows
            _print_speed(rows)
            interleave.write(output, figures)
    if "growth" in parts:
        figures["growth"] = _growth()
    if "layers" in parts:
        names = [name for name in gated.SYSTEMS if name in (systems or gated.SYSTEMS)]
        figures["layers"] = _layers(names, rounds, threads)
    interleave.write(output, figures)
    return figures


def _print_speed(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    tokens = first["batch_size"] * first["steps"]
    print(
        f"\nD = E = {first['dim']}, V = {first['vocab_size']}, B = {first['batch_size']}, "
        f"T = {first['steps']}, {first['chunk']} rows of logits at a time"
    )
    columns: list[interleave.Column] = [
        ("ms", "9.2f", "ms"),
        ("least", "9.2f", "ms_least"),
        ("ratio", "7.2f", "ratio"),
        ("tokens/s", "10.0f", lambda row: 1e3 * tokens / row["ms"]),
        ("temp MB", "9.0f", "temp_mb"),
        ("peak MB", "9.0f", "peak_mb"),
        ("first s", "9.2f", "first_seconds"),
    ]
    interleave.print_table(rows, SYSTEMS, columns)


def _layers(
    systems: list[str], rounds: int, threads: int, sizes: tuple[tuple[int, ...], ...] = LAYERS
) -> list[dict[str, Any]]:
    """One gated layer; losses must agree."""
    found: list[dict[str, Any]] = []
    for batch, steps, inputs, dim in sizes:
        rows = problem_file.take_turns(
            gated.problem(batch, steps, inputs, dim),
            "experiments.benchmark.rnn_lm.layers",
            systems,
            rounds=rounds,
            threads=threads,
        )
        for row in rows:
            row |= {"batch_size": batch, "steps": steps, "inputs": inputs, "dim": dim}
            if "losses" in row:
                row["equal"] = abs(row["losses"][0] / rows[0]["losses"][0] - 1) < 1e-4
        print(f"\none gated layer, B = {batch}, T = {steps}, E = {inputs}, D = {dim}")
        interleave.print_table(
            rows,
            gated.SYSTEMS,
            [("ms", "9.2f", "ms"), ("ratio", "7.2f", "ratio"), ("temp MB", "9.1f", "temp_mb")],
        )
        found += rows
    return found


def _growth(lengths: tuple[int, ...] = (1_000, 10_000, 100_000)) -> list[dict[str, Any]]:
    """Time and memory a step of one gradient through T steps, B = 1, D = 64, E = 16."""
    import jax
    import jax.numpy as jnp

    from rntn_jax.recurrent import Cell, rnn

    rng = np.random.default_rng(0)
    h = 0.9 * np.linalg.qr(rng.standard_normal((64, 64)))[0]
    cell = Cell(*map(jnp.float32, (h, rng.standard_normal((16, 64)) / 4, np.zeros(64))))
    rows = []
    print("\ngrowth, B = 1, E = 16, D = 64: one gradient")
    for steps in lengths:
        x = jnp.asarray(rng.standard_normal((1, steps, 16)), jnp.float32)
        for segment in (None, round(steps**0.5)):

            def objective(cell, x, segment=segment):
                return rnn(cell, x, remat_every=segment)[1].sum()

            grad = jax.jit(jax.grad(objective)).lower(cell, x).compile()
            jax.block_until_ready(grad(cell, x))
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                jax.block_until_ready(grad(cell, x))
                seconds.append(time.perf_counter() - start)
            analysis: Any = grad.memory_analysis()
            row = {
                "steps": steps,
                "segment": segment,
                "us_per_step": 1e6 * min(seconds) / steps,
                "temp_mb": analysis.temp_size_in_bytes / 2**20,
            }
            rows.append(row)
            print(
                f"T = {steps:>7}, {f'segments of {segment}' if segment else 'all states kept':18}"
                f"{row['us_per_step']:8.2f} us a step {row['temp_mb']:8.1f} MB",
                flush=True,
            )
    return rows
