"""The two loops of a chain with shared edges as kernels: all steps in one, ``exp(edge)`` held fast.

An accelerator starts several programs for each step of a `jax.lax.scan`, and reads ``E = exp(A)``
again in each. Here one program goes through all steps of a few rows: on a TPU (Mosaic) blocks of
time follow each other with the state in vector memory, on a GPU (Triton) each program walks through
the whole of time. The equations are those of `shared_edges`, to which everything else belongs: the
scores made ready, the guard against lost terms, the marginals.

On a CPU the kernels are interpreted, for tests. Second derivatives are those of the scans.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rntn_jax.ops.varying import mesh_axes

__all__ = ["backward_kernel", "forward_kernel"]

_TIME = 128  # steps of a block in a TPU's vector memory
_MOST_GPU = 128  # labels whose edges fit into a GPU's shared memory

_MASKED, _FIRST, _ENTERED = 0, 1, 2  # what a position is

Loop = Callable[..., jax.Array]


def _dot(x, e) -> jax.Array:
    return jnp.dot(x, e, precision=lax.Precision.HIGHEST, preferred_element_type=x.dtype)


def _forward_step(before, e, w, kind) -> tuple[jax.Array, jax.Array]:
    total = before.sum(axis=-1, keepdims=True)
    q = _dot(before, e) / jnp.where(total == 0, 1, total)
    n = jnp.where(kind == _ENTERED, w * q, jnp.where(kind == _FIRST, w, before))
    return n, n


def _backward_step(b, e, x, kind) -> tuple[jax.Array, jax.Array]:
    return jnp.where(kind == _ENTERED, _dot(x * b, e), b), b


def _body(step, reverse: bool, e_ref, x_ref, kind_ref, out_ref, *carry) -> None:
    """One block: ``steps`` steps of a few rows, from the state of the block before, if any."""
    from jax.experimental import pallas as pl  # late: half a second that few need

    steps, start = x_ref.shape[0], jnp.ones_like(x_ref[0])
    if carry:
        state = carry[0]

        @pl.when(pl.program_id(1) == 0)
        def _():
            state[...] = start

        start = state[...]
    e = e_ref[...]

    def one(i, before):
        t = steps - 1 - i if reverse else i
        after, out = step(before, e, x_ref[t], kind_ref[t])
        out_ref[t] = out
        return after

    last = lax.fori_loop(0, steps, one, start)
    if carry:
        carry[0][...] = last


def _call(step, reverse: bool, platform: str, e, x, kind) -> jax.Array:
    """All steps, the shapes being what the platform wants."""
    from jax.experimental import pallas as pl

    (steps, rows, classes), rows_block = x.shape, 16 if platform == "cuda" else 8
    block = steps if platform == "cuda" else min(steps, _TIME)
    blocks = steps // block
    place = (lambda i, t=0: (blocks - 1 - t, i, 0)) if reverse else (lambda i, t=0: (t, i, 0))
    spec = lambda width: pl.BlockSpec((block, rows_block, width), place)
    options: dict[str, Any] = {"interpret": platform == "cpu"}
    if platform == "cuda":
        from jax.experimental.pallas import triton

        options["compiler_params"] = triton.CompilerParams(num_warps=4, num_stages=1)
    else:
        from jax.experimental.pallas import tpu

        options["scratch_shapes"] = [tpu.VMEM((rows_block, classes), x.dtype)]
    return pl.pallas_call(
        partial(_body, step, reverse),
        out_shape=_like(x),
        grid=(rows // rows_block,) if platform == "cuda" else (rows // rows_block, blocks),
        in_specs=[pl.BlockSpec(e.shape, lambda *_: (0, 0)), spec(classes), spec(1)],
        out_specs=spec(classes),
        **options,
    )(e, x, kind)


def _like(x) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a result that varies over the same axes of a mesh."""
    name = "manual_axis_type" if hasattr(jax.typeof(x), "manual_axis_type") else "vma"
    return jax.ShapeDtypeStruct(x.shape, x.dtype, **{name: getattr(jax.typeof(x), name)})


def _padded(step, reverse: bool, platform: str, e, x, kind) -> jax.Array:
    """`_call` of arrays that are filled up to blocks: masked positions, labels that nobody has."""
    steps, rows, classes = x.shape
    if platform == "cuda":
        wide, times, rows_block = max(16, 1 << (classes - 1).bit_length()), 1, 16
    else:
        wide, rows_block = -(-classes // 128) * 128, 8
        times = 8 if steps <= _TIME else _TIME
    more = -steps % times, -rows % rows_block, wide - classes
    x = jnp.pad(x, [(0, size) for size in more])
    kind = jnp.pad(kind, ((0, more[0]), (0, more[1])))[..., None]
    e = jnp.pad(e, ((0, more[2]), (0, more[2])))
    return _call(step, reverse, platform, e, x, kind)[:steps, :rows, :classes]


def _by_platform(step, reverse: bool, scan: Callable[[], jax.Array], e, x, kind) -> jax.Array:
    run = partial(_padded, step, reverse)
    scanned = lambda *_: scan()
    return lax.platform_dependent(
        e,
        x,
        kind,
        # JAX cannot interpret kernels within `jax.shard_map`.
        cpu=scanned if mesh_axes(x) else partial(run, "cpu"),
        tpu=partial(run, "tpu"),
        cuda=scanned if len(e) > _MOST_GPU else partial(run, "cuda"),
        default=scanned,
    )


def _with_derivatives(kernel: Loop, scan: Loop) -> Loop:
    """The kernel, with the derivatives of the scan."""

    @jax.custom_vjp
    def states(e, x, *masks):
        return kernel(e, x, *masks)

    def forward(e, x, *masks):
        return kernel(e, x, *masks), (e, x, masks)

    def backward(residuals, ct):
        e, x, masks = residuals
        _, pull = jax.vjp(lambda e, x: scan(e, x, *masks), e, x)
        return *pull(ct), *(None for _ in masks)

    states.defvjp(forward, backward)
    return states


def forward_kernel(scan: Loop) -> Loop:
    """The kernel of ``n_t = w_t (n_{t-1} @ E) / sum(n_{t-1})``, see `shared_edges`.

    Args:
        scan: ``scan(e [C, C], w [T, B, C], mask [T, B], entered [T, B]) -> n [T, B, C]``. The first
            real position of a row has the state ``w``; where the mask is False, the state stays.

    Returns:
        a function of the same arguments; ``scan`` where there is no kernel, and for derivatives.
    """

    def kernel(e, w, mask, entered):
        kind = jnp.where(mask, jnp.where(entered, _ENTERED, _FIRST), _MASKED)
        return _by_platform(
            _forward_step, False, lambda: scan(e, w, mask, entered), e, w, kind.astype(jnp.int32)
        )

    return _with_derivatives(kernel, scan)


def backward_kernel(scan: Loop) -> Loop:
    """The kernel of ``b_{t-1} = (x_t b_t) @ E.T`` where an edge leads to ``t``, else ``b_t``.

    Args:
        scan: ``scan(e [C, C], x [T, B, C], entered [T, B]) -> b [T, B, C]``, the last one 1.

    Returns:
        a function of the same arguments; ``scan`` where there is no kernel, and for derivatives.
    """

    def kernel(e, x, entered):
        kind = jnp.where(entered, _ENTERED, _MASKED).astype(jnp.int32)
        return _by_platform(_backward_step, True, lambda: scan(e, x, entered), e.T, x, kind)

    return _with_derivatives(kernel, scan)
