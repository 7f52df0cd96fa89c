"""The kernels of a chain's two loops: interpreted, and lowered for what they are made for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.crf import chain, enumerate
from tests.helpers import assert_close, enable_x64


def problem(shape, seed=0, mask=0.7, dtype=jnp.float64):
    rng = np.random.default_rng(seed)
    node = jnp.asarray(3 * rng.normal(size=shape), dtype)
    edge = jnp.asarray(rng.normal(size=(shape[2], shape[2])), dtype)
    return chain.Scores(node, edge, mask=jnp.asarray(rng.random(shape[:2]) < mask))


def loss(scores, weights, method):
    return (chain.log_partition(scores, method=method) * weights).sum()


@pytest.mark.parametrize("shape", [(3, 5, 3), (9, 140, 5), (1, 1, 2)])
def test_values_and_gradients_are_those_of_the_scan(shape):
    scores, weights = problem(shape), jnp.arange(1.0, shape[0] + 1)

    @jax.jit
    def both(node, edge):
        def value(node, edge, method):
            return loss(scores._replace(node=node, edge=edge), weights, method)

        return [jax.value_and_grad(value, (0, 1))(node, edge, m) for m in ("kernel", "scan")]

    assert_close(*both(scores.node, scores.edge))


def test_values_are_those_of_all_labellings():
    scores = problem((2, 4, 3), mask=1.0)
    marginals = chain.marginals(scores, method="kernel")
    for row in range(2):
        table = enumerate.of_chain(scores, row)
        assert_close(
            chain.log_partition(scores, method="kernel")[row], enumerate.log_partition(table)
        )
        assert_close(marginals.node[row, 2], enumerate.marginal(table, 2))


def test_second_derivatives_and_vmap():
    scores, weights = problem((2, 4, 3)), jnp.array([1.0, -2.0])

    def twice(node, method):
        def value(node):
            return loss(scores._replace(node=node), weights, method)

        return jax.grad(lambda node: (jax.grad(value)(node) * jnp.sin(node)).sum())(node)

    def all_of(method):
        several = jnp.stack([scores.node, 2 * scores.node, -scores.node])
        each = jax.vmap(lambda n: chain.log_partition(scores._replace(node=n), method=method))
        return twice(scores.node, method), each(several)

    assert_close(*jax.jit(lambda: [all_of(m) for m in ("kernel", "scan")])())


@pytest.mark.parametrize("far", [20.0, 80.0, 1e4])
def test_scores_of_all_sizes_in_single_precision(far):
    """Beyond the range of products, the guard leads to logarithms."""
    with enable_x64(False):
        scores = problem((3, 6, 4), dtype=jnp.float32)
        scores = scores._replace(edge=far * scores.edge)
        mine = chain.marginals(scores, method="kernel")
        other = chain.marginals(scores)
        np.testing.assert_allclose(mine.node, other.node, atol=2e-6)
        np.testing.assert_allclose(mine.edge, other.edge, atol=2e-5)


def test_other_methods_and_edges_are_refused():
    scores = problem((2, 3, 2))
    steps = scores._replace(edge=jnp.zeros((2, 2, 2, 2)))
    with pytest.raises(ValueError, match="all steps share"):
        chain.log_partition(steps, method="kernel")
    with pytest.raises(ValueError, match="got 'kernels'"):
        chain.log_partition(scores, method="kernels")


@pytest.mark.parametrize(
    ("platform", "name"), [("tpu", "tpu_custom_call"), ("cuda", "__gpu$xla.gpu.triton")]
)
def test_programs_for_accelerators_hold_the_kernels(platform, name):
    with enable_x64(False):
        scores = problem((16, 512, 64), dtype=jnp.float32)

        def program(method):
            value = lambda node: chain.log_partition(
                scores._replace(node=node), method=method
            ).sum()
            traced = jax.jit(jax.grad(value)).trace(scores.node)
            return traced.lower(lowering_platforms=(platform,)).as_text()

        # The forward one stands in both branches of the guard, the backward one once.
        assert program("kernel").count(f"@{name}(") == 3
        assert f"@{name}(" not in program("scan")


def test_more_labels_than_fit_into_a_gpu_are_scanned_there():
    with enable_x64(False):
        scores = problem((2, 3, 200), dtype=jnp.float32)
        value = lambda node: chain.log_partition(scores._replace(node=node), method="kernel")
        traced = jax.jit(value).trace(scores.node)
        found = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("tpu", "cuda")}
    assert "tpu_custom_call" in found["tpu"] and "triton" not in found["cuda"]
