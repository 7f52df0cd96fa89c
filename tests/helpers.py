"""What the tests of all hand-derived rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from rntn_jax.data import Tree
from rntn_jax.models import rntn

enable_x64 = jax.enable_x64

DTYPES = (jnp.bfloat16, jnp.float32, jnp.float64)

_compiled: list[str] = []
# Once for all tests.
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: (
        _compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
)


@contextmanager
def compilations() -> Iterator[list[str]]:
    """What is compiled inside, one entry a program."""
    _compiled.clear()
    yield _compiled


def assert_close(actual: Any, expected: Any, rtol: float = 1e-10) -> None:
    """Equal structure, and each leaf equal up to ``rtol`` of its largest finite entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    leaves = jax.tree_util.tree_leaves_with_path(expected)
    for (path, right), left in zip(leaves, jax.tree.leaves(actual), strict=True):
        right = np.asarray(right, np.float64)
        assert np.shape(left) == right.shape, jax.tree_util.keystr(path)
        scale = np.abs(right, where=np.isfinite(right), out=np.zeros_like(right)).max(initial=0)
        np.testing.assert_allclose(
            np.asarray(left, np.float64),
            right,
            rtol=rtol,
            atol=rtol * scale,
            err_msg=jax.tree_util.keystr(path),
        )


def random_tree(
    rng: np.random.Generator,
    num_leaves: int,
    shape: str = "random",
    num_classes: int = 5,
    unlabelled: float = 0.0,
    num_words: int = 7,
) -> Tree:
    """A tree over words ``w0, w1, ...``, without recursion.

    Args:
        rng: where everything random comes from.
        num_leaves: at least 1.
        shape: ``random``, or a chain leaning ``left`` or ``right``.
        num_classes: labels are uniform in ``0 .. num_classes-1``.
        unlabelled: probability that a node has none.
        num_words: how many different words there may be; few make repetitions.
    """
    stack: list[int] = []
    children: list[tuple[int, int]] = []
    shifted = 0
    while shifted < num_leaves or len(stack) > 1:
        can_shift, can_join = shifted < num_leaves, len(stack) > 1
        prefer_join = {"left": True, "right": False}.get(shape, rng.random() < 0.5)
        if can_join and (prefer_join or not can_shift):
            right, left = stack.pop(), stack.pop()
            stack.append(num_leaves + len(children))
            children.append((left, right))
        else:
            stack.append(shifted)
            shifted += 1
    labels = rng.integers(0, num_classes, 2 * num_leaves - 1)
    labels[rng.random(len(labels)) < unlabelled] = -1
    words = tuple(f"w{i}" for i in rng.integers(0, num_words, num_leaves))
    return Tree(words, np.array(children, np.int32).reshape(-1, 2), labels.astype(np.int32))


def random_params(
    rng: np.random.Generator,
    vocab_size: int,
    dim: int,
    num_classes: int = 5,
    *,
    tensor: bool = True,
    scale: float = 1.0,
) -> rntn.Params:
    """Parameters in float64, none of them special: no zeros, no identity blocks."""

    def draw(*shape: int) -> Any:
        return scale * rng.normal(size=shape) / np.sqrt(shape[0])

    return rntn.Params(
        embedding=draw(1, vocab_size, dim)[0] / scale,
        cell=rntn.Cell(
            v=draw(dim, 2 * dim, 2 * dim) / (4 * dim) if tensor else None,
            w=draw(2 * dim, dim),
            b=draw(dim),
        ),
        head=rntn.Head(w=draw(dim, num_classes), b=draw(num_classes)),
    )


def residual_bytes(f: Callable[..., Any], *args: Any) -> int:
    """Bytes that ``f`` keeps for its backward pass, its arguments among them."""
    kept = jax.eval_shape(lambda *args: jax.vjp(f, *args)[1], *args)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def size_in_bytes(tree: Any) -> int:
    """Bytes of all arrays of a pytree."""
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(tree))


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)


def _differentiable(args: Sequence[Any]) -> tuple[int, ...]:
    """Positions of the arguments that consist of floating point arrays."""
    leaves = [jax.tree.leaves(arg) for arg in args]
    return tuple(i for i, own in enumerate(leaves) if own and all(map(_is_float, own)))


def _cast(arg: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype) if _is_float(x) else x, arg)


def _dot(tree: Any, seed: int) -> jax.Array:
    """Inner product of a pytree with fixed random numbers."""
    rng = np.random.default_rng(seed)
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(tree):
        weights = jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape) * rng.choice([-1, 1], leaf.shape))
        total += jnp.sum(leaf.astype(total.dtype) * weights.astype(total.dtype))
    return total


def _total(f: Callable[..., Any], *args: Any) -> jax.Array:
    """A scalar of ``f``'s value, bent, so that the cotangents depend on the arguments too."""
    return _dot(jax.tree.map(jnp.sin, f(*args)), 0)


def _gradient(f: Callable[..., Any], wrt: tuple[int, ...]) -> Callable[..., Any]:
    return jax.grad(lambda *args: _total(f, *args), wrt)


def _all_orders(f: Callable[..., Any], wrt: tuple[int, ...]) -> Callable[..., Any]:
    """Value, gradient, and gradient of (a scalar of) the gradient."""
    gradient = _gradient(f, wrt)
    second = jax.grad(lambda *args: _dot(gradient(*args), 1), wrt)
    return jax.jit(lambda *args: (f(*args), gradient(*args), second(*args)))


def check_orders(
    rule: Callable[..., Any],
    reference: Callable[..., Any],
    args: Sequence[Any],
    *,
    oracle: Callable[..., tuple[Any, tuple[Any, ...]]] | None = None,
    rtol: float = 1e-10,
) -> tuple[Callable[..., Any], Any]:
    """The part of `check_rule` that compares with ``reference`` and ``oracle``.

    Returns:
        The compiled function of the rule's value, gradient and gradient of the gradient, and what
        it gave.
    """
    args = tuple(jax.tree.map(jnp.asarray, arg) for arg in args)
    wrt = _differentiable(args)
    assert wrt, "nothing to differentiate"
    of_rule = _all_orders(rule, wrt)
    actual, expected = of_rule(*args), _all_orders(reference, wrt)(*args)
    for order in range(3):
        assert_close(actual[order], expected[order], rtol)
    if oracle is not None:
        cotangent = jax.jit(jax.grad(lambda out: _total(lambda: out)))(actual[0])
        value, gradients = oracle(
            jax.tree.map(np.asarray, cotangent), *jax.tree.map(np.asarray, args)
        )
        assert_close(actual[0], value, rtol)
        assert_close(actual[1], gradients, rtol)
    return of_rule, actual


def check_rule(
    rule: Callable[..., Any],
    reference: Callable[..., Any],
    args: Sequence[Any],
    *,
    oracle: Callable[..., tuple[Any, tuple[Any, ...]]] | None = None,
    rtol: float = 1e-10,
    fd_tol: float = 1e-4,
    dtypes: Sequence[Any] = DTYPES,
    mixed: bool = True,
) -> None:
    """Everything that is asked of a function with a hand-derived gradient, in float64.

    - value, gradient and gradient of the gradient equal those of ``reference`` under autodiff;
    - value and gradient equal the ``oracle``'s;
    - finite differences agree, to second order (reverse over reverse);
    - every cotangent has its argument's dtype, also where arguments have different ones;
    - jit, vmap, scan and remat change nothing.

    Args:
        rule: the function with its own rule.
        reference: the plain function.
        args: arguments of both; those made of floating point arrays are differentiated.
        oracle: ``oracle(cotangent, *args)`` returns the value, and the gradients of the
            differentiated arguments for that cotangent of the value.
        rtol: relative tolerance of everything but finite differences.
        fd_tol: absolute and relative tolerance of finite differences.
        dtypes: dtypes that the arguments may have.
        mixed: whether each argument may have its own.
    """
    args = tuple(jax.tree.map(jnp.asarray, arg) for arg in args)
    wrt = _differentiable(args)
    of_rule, actual = check_orders(rule, reference, args, oracle=oracle, rtol=rtol)
    gradient = _gradient(rule, wrt)

    def of_floats(*floats):
        full = list(args)
        for i, x in zip(wrt, floats, strict=True):
            full[i] = x
        return rule(*full)

    floats = tuple(args[i] for i in wrt)
    check_grads(jax.jit(of_floats), floats, 2, ("rev",), atol=fd_tol, rtol=fd_tol)

    # dtypes: all alike, then one argument unlike the others.
    cases = [tuple(_cast(arg, dtype) for arg in args) for dtype in dtypes]
    if mixed and len(wrt) > 1:
        for i in wrt:
            for own, others in ((jnp.bfloat16, jnp.float32), (jnp.float32, jnp.bfloat16)):
                cases.append(tuple(_cast(a, own if i == j else others) for j, a in enumerate(args)))
    with jax.numpy_dtype_promotion("standard"):
        for case in cases:
            gradients = jax.eval_shape(gradient, *case)
            for i, own in zip(wrt, gradients, strict=True):
                assert [x.dtype for x in jax.tree.leaves(own)] == [
                    x.dtype for x in jax.tree.leaves(case[i])
                ]

    other = tuple(jax.tree.map(lambda x: x * 0.5 if _is_float(x) else x, arg) for arg in args)
    stack = lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    batch = stack(args, other)
    _, firsts, seconds = stack(actual, of_rule(*other))

    @jax.jit
    def transformed(*batch):
        def scanned(*batch):
            step = lambda sum_, args: (sum_ + _total(rule, *args), None)
            return jax.lax.scan(step, jnp.zeros(()), batch)[0]

        def of_gradient(*batch):
            gradients = jax.grad(scanned, wrt)(*batch)
            first, second = (jax.tree.map(itemgetter(i), gradients) for i in range(2))
            return _dot(first, 1) + _dot(second, 1), gradients

        seconds, firsts = jax.grad(of_gradient, wrt, has_aux=True)(*batch)
        return firsts, seconds, jax.vmap(_gradient(jax.checkpoint(rule), wrt))(*batch)

    in_scan, twice_in_scan, in_vmap = transformed(*batch)
    assert_close(in_scan, firsts, rtol)
    assert_close(twice_in_scan, seconds, rtol)
    assert_close(in_vmap, firsts, rtol)
