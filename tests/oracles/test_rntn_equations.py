"""Source 000, every equation by its number, three ways: NumPy, autodiff of the formula, library.

The node is the source's ``p2`` with children ``a`` and ``p1``. The library sees it as a tree of
two leaves, whose states are ``a`` and ``p1``; from (16) on it is a whole tree.

The second half shows the source's errors: what is printed fails where the corrected form holds.
"""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax import data, recursive, trees
from rntn_jax.models import rntn
from rntn_jax.ops import linear_cross_entropy, tensor_product
from tests.helpers import assert_close, random_params, random_tree
from tests.oracles import rntn_numpy as eq

D, C = 3, 4  # unequal: the source confuses them
TOL = 1e-12


# The plain formulas, for autodiff. Columns, as in the source.
def state(V, W, b, x):
    """``p = f(x^T V^[1:d] x + W x + b)``."""
    return jnp.tanh(jnp.einsum("i,kij,j->k", x, V, x) + W @ x + b)


def posterior(Ws, bs, p):
    """``y = softmax(W^s p + b^s)``."""
    return jax.nn.softmax(Ws @ p + bs)


def error(Ws, bs, p, t):
    """``E = - sum_c t_c log y_c``."""
    return -jnp.sum(t * jax.nn.log_softmax(Ws @ p + bs))


def _plain(n):
    """Derivatives of the formulas by autodiff."""
    V, W, b, Ws, bs = n.V, n.W, n.b, n.Ws, n.bs

    def top(V, W, b, Ws, bs, x):
        return error(Ws, bs, state(V, W, b, x), n.t)

    def with_children(z):  # all three nodes labelled; z are the children's pre-activations
        x = jnp.tanh(z)
        own = error(Ws, bs, x[:D], n.t_a) + error(Ws, bs, x[D:], n.t_p1)
        return top(V, W, b, Ws, bs, x) + own

    def tensor(x):
        return jnp.einsum("i,kij,j->k", x, V, x) @ n.delta

    dp_dV, dp_dW, dp_db = jax.jacrev(state, (0, 1, 2))(V, W, b, n.x)
    dV, dW, db, dWs, dbs = jax.grad(top, (0, 1, 2, 3, 4))(V, W, b, Ws, bs, n.x)
    return SimpleNamespace(
        p2=state(V, W, b, n.x),
        y=posterior(Ws, bs, n.p2),
        dE_dp=jax.grad(error, 2)(Ws, bs, n.p2, n.t),
        dp_dV=dp_dV,
        dp_dW=dp_dW,
        dp_db=dp_db,
        dV=dV,
        dW=dW,
        db=db,
        dWs=dWs,
        dbs=dbs,
        dy_dWs=jax.jacrev(posterior)(Ws, bs, n.p2),
        down=jax.grad(lambda z: top(V, W, b, Ws, bs, jnp.tanh(z)))(n.z),
        S=jax.grad(tensor)(n.x),
        children=jax.grad(with_children)(n.z),
    )


def _library(n):
    """The same from the library; rows are turned into columns."""
    pair = data.Tree(("a", "p1"), np.array([[0, 1]]), np.array([n.r_a, n.r_p1, n.r]))
    vocabulary = data.Vocabulary.build(pair.tokens)
    both = trees.pack([pair], vocabulary, lanes=1)
    root = int(both.roots[0])
    only_root = both._replace(labelled=np.arange(both.shape.slots) == root)
    special = np.zeros((2, D))
    raw = rntn.Params(
        embedding=jnp.concatenate([special, n.x.reshape(2, D)]),
        cell=recursive.Cell(v=n.V, w=n.W.T, b=n.b),
        head=rntn.Head(w=n.Ws.T, b=n.bs),
    )
    below = raw._replace(embedding=np.concatenate([special, n.z.reshape(2, D)]))

    def state_of_root(params):
        return rntn.states(params, both, leaf_activation="identity")[root]

    def posterior_of_root(params):
        return rntn.predict(params, both, leaf_activation="identity")[root]

    def gradient(params, forest, **options):
        return jax.grad(lambda params: rntn.loss(params, forest, **options)[0])(params)

    top = gradient(raw, only_root, leaf_activation="identity")
    jacobian = jax.jacrev(state_of_root)(raw).cell
    return SimpleNamespace(
        p2=state_of_root(raw),
        y=posterior_of_root(raw),
        dE_dp=jax.grad(lambda p: _head_error(p, n))(n.p2),
        dp_dV=jacobian.v,
        dp_dW=jacobian.w.swapaxes(1, 2),
        dp_db=jacobian.b,
        dV=top.cell.v,
        dW=top.cell.w.T,
        db=top.cell.b,
        dWs=top.head.w.T,
        dbs=top.head.b,
        dy_dWs=jax.jacrev(posterior_of_root)(raw).head.w.swapaxes(1, 2),
        # Leaves that pass through f: their embedding is their pre-activation.
        down=gradient(below, only_root).embedding[2:].reshape(-1),
        raw_down=top.embedding[2:].reshape(-1),
        S=jax.grad(lambda x: tensor_product(x, n.V) @ n.delta)(n.x),
        children=gradient(below, both).embedding[2:].reshape(-1),
    )


def _head_error(p, n):
    return linear_cross_entropy(p[None], n.Ws.T, n.bs, jnp.array([n.r]))[0]


@pytest.fixture(scope="module")
def node():
    """The source's node p2 and everything around it, in NumPy."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape) / 2
    n = SimpleNamespace(V=draw(D, 2 * D, 2 * D), W=draw(D, 2 * D), b=draw(D), Ws=draw(C, D))
    n.bs, n.z = draw(C), draw(2 * D)
    n.x = np.tanh(n.z)
    n.r_a, n.r_p1, n.r = 3, 0, 2
    n.t_a, n.t_p1, n.t = np.eye(C)[[n.r_a, n.r_p1, n.r]]
    n.p2 = eq.eq2_state(n.V, n.W, n.b, n.x)
    n.y = eq.eq9_posterior(n.Ws, n.bs, n.p2)
    n.delta = eq.delta_s(n.Ws, n.y, n.t, eq.f_prime(n.p2))
    n.S = eq.eq14_S(n.V, n.delta, n.x)
    n.slope = eq.f_prime(n.x)
    n.down = eq.eq13_down(n.W, n.delta, n.S, n.slope)
    n.own = [
        eq.delta_s(n.Ws, eq.eq9_posterior(n.Ws, n.bs, h), t, eq.f_prime(h))
        for h, t in ((n.x[:D], n.t_a), (n.x[D:], n.t_p1))
    ]
    return n


@pytest.fixture(scope="module")
def ways(node):
    """Autodiff of the formulas, and the library."""
    return jax.jit(lambda: (vars(_plain(node)), vars(_library(node))))()


def both_give(ways, name, value):
    """The formula's autodiff and the library give this value."""
    for way in ways:
        assert_close(way[name], value, TOL)


def test_eq1_error_at_node(node, ways):
    both_give(ways, "dE_dp", eq.eq1_error_at_node(node.Ws, node.y, node.t))


def test_eq2_state_and_its_derivative_by_every_slice(node, ways):
    both_give(ways, "p2", node.p2)
    jacobian = eq.eq2_dp_dV(node.p2, node.x)
    both_give(ways, "dp_dV", jacobian)
    assert not jacobian[~np.eye(D, dtype=bool)].any()


def test_eq3_derivative_by_the_own_slice(node, ways):
    for way in ways:
        for k in range(D):
            assert_close(way["dp_dV"][k, k], eq.eq3_dp_dV(node.p2, node.x, k), TOL)


def test_eq4_tensor_gradient(node, ways):
    dV = eq.eq4_dV_at_node(node.delta, node.x)
    both_give(ways, "dV", dV)
    np.testing.assert_array_equal(dV, dV.swapaxes(1, 2))  # symmetric, though V is not
    np.testing.assert_array_equal(ways[1]["dV"], ways[1]["dV"].swapaxes(1, 2))


def test_eq5_derivative_by_w(node, ways):
    both_give(ways, "dp_dW", eq.eq5_dp_dW(node.p2, node.x))


def test_eq6_weight_gradient(node, ways):
    both_give(ways, "dW", eq.eq6_dW_at_node(node.delta, node.x))


def test_eq7_derivative_by_b(node, ways):
    both_give(ways, "dp_db", eq.eq7_dp_db(node.p2))


def test_eq8_bias_gradient(node, ways):
    both_give(ways, "db", eq.eq8_db_at_node(node.delta))


def test_eq9_posterior(node, ways):
    both_give(ways, "y", node.y)


def test_eq10_derivative_of_the_posterior(node, ways):
    both_give(ways, "dy_dWs", eq.eq10_dy_dWs(node.y, node.p2))


def test_eq10_classification_weight(node, ways):
    both_give(ways, "dWs", eq.eq10_dWs_at_node(node.y, node.t, node.p2))


def test_eq11_entry_of_the_classification_bias(node, ways):
    both_give(ways, "dbs", np.array([eq.eq11_dbs_entry(node.y, node.t, i) for i in range(C)]))


def test_eq12_classification_bias(node, ways):
    both_give(ways, "dbs", eq.eq12_dbs_at_node(node.y, node.t))


def test_eq13_error_sent_down(node, ways):
    both_give(ways, "down", node.down)


def test_eq14_tensor_part_of_the_error_sent_down(node, ways):
    both_give(ways, "S", node.S)


def test_eq15_errors_of_the_children(node, ways):
    both_give(ways, "children", np.concatenate(eq.eq15_children(node.down, *node.own)))


# From here on a whole tree, words occurring several times.
@pytest.fixture(scope="module")
def whole():
    """A tree, its parameters, and loss and gradients of the formula by autodiff."""
    rng = np.random.default_rng(1)
    tree = random_tree(rng, 7, num_classes=C, num_words=2)
    vocabulary = data.Vocabulary.build(["w0", "w1"])
    params = random_params(rng, len(vocabulary), D, C)
    columns = eq.from_rows(params.embedding, *params.cell, *params.head)
    ids = vocabulary.encode(tree.tokens)
    loss = lambda columns: _plain_loss(columns, ids, tree.children, tree.labels)
    plain = jax.jit(jax.value_and_grad(loss))(columns)
    return SimpleNamespace(
        tree=tree, vocabulary=vocabulary, params=params, columns=columns, ids=ids, plain=plain
    )


def _plain_loss(columns, ids, children, labels):
    """The whole tree's E, written out for autodiff."""
    L, V, W, b, Ws, bs = columns
    p = [jnp.tanh(L[:, w]) for w in ids]
    for left, right in children:
        p.append(state(V, W, b, jnp.concatenate([p[left], p[right]])))
    return sum(error(Ws, bs, h, jnp.eye(C)[c]) for h, c in zip(p, labels, strict=True))


def test_eq16_totals(whole):
    loss, totals = eq.gradients(whole.columns, whole.ids, whole.tree.children, whole.tree.labels)
    assert_close(whole.plain, (loss, totals), TOL)
    forest = trees.pack([whole.tree], whole.vocabulary, lanes=2)
    (value, _), grads = jax.jit(jax.value_and_grad(rntn.loss, has_aux=True))(whole.params, forest)
    assert_close(value, loss, TOL)
    assert_close((grads.embedding, *grads.cell, *grads.head), eq.to_rows(totals), TOL)


# What is printed, where it is wrong. `right` holds, `printed` does not.
def only_right(way, right, printed):
    assert_close(way, right, TOL)
    assert np.shape(printed) != np.shape(right) or not np.allclose(printed, right, rtol=1e-3)


def test_printed_error_has_the_sign_of_a_likelihood(node, ways):
    printed = node.Ws.T @ (node.t - node.y)
    only_right(ways[0]["dE_dp"], -printed, printed)
    assert np.log(node.y[node.r]) < 0 < eq.error(node.y, node.t)


def test_printed_eq1_and_eq11_sum_to_d_and_not_over_the_classes(node, ways):
    exponentials = np.exp(node.Ws @ node.p2 + node.bs)
    printed_y = exponentials / exponentials[:D].sum()
    only_right(ways[0]["y"], node.y, printed_y)
    printed = node.Ws[:D].T @ (node.y - node.t)[:D]
    only_right(ways[0]["dE_dp"], eq.eq1_error_at_node(node.Ws, node.y, node.t), printed)


def test_printed_eq5_is_a_matrix_and_holds_only_after_contraction(node, ways):
    printed = np.outer(eq.f_prime(node.p2), node.x)
    only_right(ways[0]["dp_dW"], eq.eq5_dp_dW(node.p2, node.x), printed)
    dE_dp = eq.eq1_error_at_node(node.Ws, node.y, node.t)
    assert_close(ways[0]["dW"], dE_dp[:, None] * printed, TOL)


def test_printed_eq7_is_a_vector_and_not_its_diagonal_matrix(node, ways):
    only_right(ways[0]["dp_db"], eq.eq7_dp_db(node.p2), eq.f_prime(node.p2))


def test_printed_cases_of_section_4_are_swapped(node, ways):
    y, p = node.y, node.p2
    printed = np.array(
        [
            [-y[r] * y[i] * p if r == i else y[r] * p - y[r] * y[i] * p for i in range(C)]
            for r in range(C)
        ]
    )
    only_right(ways[0]["dy_dWs"], eq.eq10_dy_dWs(y, p), printed)


def test_printed_eq13_takes_f_prime_of_outputs(node, ways):
    printed = eq.eq13_down(node.W, node.delta, node.S, 1 - np.tanh(node.x) ** 2)
    only_right(ways[0]["down"], node.down, printed)


def test_printed_eq13_has_a_factor_too_many_for_raw_word_vectors(node, ways):
    right = eq.eq13_down(node.W, node.delta, node.S, np.ones(2 * D))
    only_right(ways[1]["raw_down"], right, node.down)


def test_printed_eq14_lacks_the_index_of_delta(node, ways):
    assert_close(ways[0]["S"], node.S, TOL)
    with pytest.raises(ValueError, match="not aligned"):
        np.dot(
            node.delta, node.V[0] + node.V[0].T
        )  # as printed, a [d] vector times a [2d, 2d] matrix
    printed = sum((v + v.T) @ node.x * d for v in node.V for d in node.delta)  # every k with every
    only_right(ways[1]["S"], node.S, printed)


def test_printed_eq15_gives_leaf_a_no_error_of_its_own(node, ways):
    right = np.concatenate(eq.eq15_children(node.down, *node.own))
    printed = np.concatenate(eq.eq15_children(node.down, np.zeros(D), node.own[1]))
    only_right(ways[0]["children"], right, printed)


def test_printed_eq16_sums_two_nodes_and_eq10_one(whole):
    (L, V, W, b, Ws, bs), ids, tree = whole.columns, whole.ids, whole.tree
    _, right = eq.gradients(whole.columns, ids, tree.children, tree.labels)
    _, autodiff = whole.plain

    # The root p2, and p1, its child that is no leaf.
    p = [np.tanh(L[:, w]) for w in ids]
    for pair in tree.children:
        p.append(eq.eq2_state(V, W, b, np.concatenate([p[i] for i in pair])))
    x = np.concatenate([p[i] for i in tree.children[-1]])
    y = [eq.eq9_posterior(Ws, bs, h) for h in p]
    t = np.eye(C)[tree.labels]
    own = [eq.delta_s(Ws, y[n], t[n], eq.f_prime(p[n])) for n in range(len(p))]
    down = eq.eq13_down(W, own[-1], eq.eq14_S(V, own[-1], x), eq.f_prime(x))
    p1 = int(tree.children[-1].max())
    side = list(tree.children[-1]).index(p1)
    delta_p1 = eq.eq15_children(down, *(own[n] for n in tree.children[-1]))[side]
    only_right(autodiff.b, right.b, own[-1] + delta_p1)
    only_right(autodiff.Ws, right.Ws, eq.eq10_dWs_at_node(y[-1], t[-1], p[-1]))
