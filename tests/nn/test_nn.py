"""The flax layers: the functions' values and gradients, and flax's conventions."""

from __future__ import annotations

import inspect
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import linen, nnx

from rntn_jax import crf, data, nn, rnn_lm, rntn, tree_lstm, trees, window
from rntn_jax.sequences import SequenceBatch
from tests.helpers import assert_close

B, T, C = 3, 5, 4


def a_forest():
    sentences = ["(3 (2 not) (4 (2 very) (0 bad)))", "(1 (1 a) (2 film))"]
    forest = [data.parse_tree(text) for text in sentences]
    vocabulary = data.Vocabulary.build(word for tree in forest for word in tree.tokens)
    return trees.pack(forest, vocabulary), len(vocabulary)


def emissions_and_labels(seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(T)[None] < np.array([[5], [3], [1]])
    emissions = jnp.asarray(rng.normal(size=(B, T, C)), jnp.float32)
    return emissions, jnp.asarray(rng.integers(0, C, (B, T))), jnp.asarray(mask)


def random_edges(layer, seed=1):
    rng = np.random.default_rng(seed)
    for name in ("edge", "start", "end"):
        param = getattr(layer, name, None)
        if param is not None:
            param[...] = jnp.asarray(rng.normal(size=param.shape), param.dtype)
    return layer


@pytest.mark.parametrize("boundaries", [True, False])
def test_the_loss_of_a_chain_is_that_of_all_labellings_written_down(boundaries):
    layer = random_edges(nn.ChainCRF(C, rngs=nnx.Rngs(0), boundaries=boundaries))
    emissions, labels, mask = emissions_and_labels()
    scores = layer(emissions, mask)
    expected = []
    for row, size in enumerate((5, 3, 1)):
        table = crf.enumerate.of_chain(scores, row)
        own = table[tuple(labels[row, :size])]
        expected.append(crf.enumerate.log_partition(table) - own)
        best = np.unravel_index(int(table.argmax()), table.shape)
        np.testing.assert_array_equal(layer.decode(emissions, mask)[row, :size], best)
        first = crf.enumerate.marginal(table, 0)
        np.testing.assert_allclose(layer.marginals(emissions, mask)[row, 0], first, rtol=1e-4)
    np.testing.assert_allclose(layer.loss(emissions, labels, mask), np.mean(expected), rtol=1e-5)


def test_the_gradient_of_a_chain_is_marginals_minus_counts():
    layer = random_edges(nn.ChainCRF(C, rngs=nnx.Rngs(0)))
    emissions, labels, mask = emissions_and_labels()
    grads = nnx.grad(lambda layer: layer.loss(emissions, labels, mask))(layer)
    counts = np.zeros((C, C))
    for row, size in enumerate((5, 3, 1)):
        np.add.at(counts, (labels[row, : size - 1], labels[row, 1:size]), 1)
    model = crf.chain.marginals(layer(emissions, mask)).edge
    np.testing.assert_allclose(grads["edge"][...], (model - counts) / B, atol=1e-5)


def test_a_network_with_a_crf_learns_under_flax():
    emissions, labels, mask = emissions_and_labels()

    class Tagger(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(C, C, rngs=rngs)
            self.crf = nn.ChainCRF(C, rngs=rngs)

        def loss(self, x):
            return self.crf.loss(self.linear(x), labels, mask)

    model = Tagger(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: model.loss(emissions))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    decoded = model.crf.decode(model.linear(emissions), mask)
    np.testing.assert_array_equal(decoded, np.where(mask, labels, 0))


def test_trees_and_graphs():
    rng = np.random.default_rng(0)
    emissions = jnp.asarray(rng.normal(size=(4, C)), jnp.float32)
    labels = jnp.array([0, 3, 1, 2])
    on_trees = random_edges(nn.ForestCRF(C, rngs=nnx.Rngs(0)))
    on_graphs = random_edges(nn.GraphCRF(C, rngs=nnx.Rngs(0)))
    parent = np.array([-1, 0, 0, 1])
    edges = np.array([[0, 1], [0, 2], [1, 3]])
    tables = [layer.edge[...] for layer in (on_trees, on_graphs)]
    for table, loss, best in (
        (tables[0], on_trees.loss(emissions, parent, labels), on_trees.decode(emissions, parent)),
        (tables[1], on_graphs.loss(emissions, edges, labels), on_graphs.decode(emissions, edges)),
    ):
        every = crf.enumerate.table(emissions, jnp.stack([table] * 3), edges)
        expected = crf.enumerate.log_partition(every) - every[tuple(labels)]
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        np.testing.assert_array_equal(best, np.unravel_index(int(every.argmax()), every.shape))


def test_the_recurrent_layer_agrees_with_that_of_flax():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, 2)), jnp.float32)
    for reverse in (False, True):
        mine = nn.ElmanRNN(2, 3, rngs=nnx.Rngs(0), reverse=reverse)
        other = nnx.RNN(nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0)), reverse=reverse, keep_order=True)
        other.cell.dense_i.kernel[...] = mine.kernel[...]
        other.cell.dense_i.bias[...] = mine.bias[...]
        other.cell.dense_h.kernel[...] = mine.recurrent_kernel[...]

        def losses(layer):
            return jnp.sin(layer(x)).sum()

        np.testing.assert_allclose(mine(x), other(x), rtol=1e-5, atol=1e-6)
        of_mine, of_other = nnx.grad(losses)(mine), nnx.grad(losses)(other)
        np.testing.assert_allclose(
            of_mine["recurrent_kernel"][...], of_other["cell"]["dense_h"]["kernel"][...], rtol=1e-4
        )
    hidden, carry = nn.ElmanRNN(2, 3, rngs=nnx.Rngs(0))(x, return_carry=True)
    np.testing.assert_array_equal(hidden[:, -1], carry)


def test_the_gated_layer_agrees_with_that_of_flax():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(B, T, 2)), jnp.float32)
    for reverse in (False, True):
        mine = nn.LSTM(2, 3, rngs=nnx.Rngs(0), reverse=reverse)
        other = nnx.RNN(nnx.LSTMCell(2, 3, rngs=nnx.Rngs(0)), reverse=reverse, keep_order=True)
        theirs = other.cell
        gates = (theirs.ii, theirs.hi), (theirs.if_, theirs.hf), (theirs.io, theirs.ho)
        for k, (of_input, of_state) in enumerate((*gates, (theirs.ig, theirs.hg))):
            cut = slice(3 * k, 3 * k + 3)
            of_input.kernel[...] = mine.kernel[:, cut]
            of_state.kernel[...] = mine.recurrent_kernel[:, cut]
            of_state.bias[...] = mine.bias[cut]

        def losses(layer):
            return jnp.sin(layer(x)).sum()

        np.testing.assert_allclose(mine(x), other(x), rtol=1e-5, atol=1e-6)
        of_mine, of_other = nnx.grad(losses)(mine), nnx.grad(losses)(other)
        kernels = [of_other["cell"][f"h{gate}"]["kernel"][...] for gate in "ifog"]
        expected = jnp.concatenate(kernels, axis=1)
        np.testing.assert_allclose(of_mine["recurrent_kernel"][...], expected, rtol=1e-4, atol=1e-6)
    hidden, carry = nn.LSTM(2, 3, rngs=nnx.Rngs(0))(x, return_carry=True)
    np.testing.assert_array_equal(hidden[:, -1], carry.h)


def models():
    forest, words = a_forest()
    tokens = jnp.arange(8).reshape(2, 4) % words
    batch = SequenceBatch(tokens, tokens, tokens > 0)
    windows = window.Batch(tokens[:, :3], jnp.array([0, 1]))
    yield nn.RNTN(words, 3, rngs=nnx.Rngs(0)), rntn.loss, (forest,)
    yield nn.RNTN(words, 3, rngs=nnx.Rngs(0), tensor=False), rntn.loss, (forest,)
    yield nn.RNNLM(words, 3, 3, rngs=nnx.Rngs(0)), rnn_lm.loss, (batch,)
    yield nn.RNNLM(words, 3, 3, rngs=nnx.Rngs(0), tied=True), rnn_lm.loss, (batch,)
    yield nn.WindowClassifier(words, 3, 2, 4, rngs=nnx.Rngs(0)), window.loss, (windows,)
    yield nn.TreeLSTM(words, 4, 3, rngs=nnx.Rngs(0)), tree_lstm.loss, (forest,)


@pytest.mark.parametrize("which", range(6))
def test_models_are_their_functions(which):
    model, loss, args = list(models())[which]
    value, grads = nnx.value_and_grad(lambda model: model.loss(*args)[0])(model)
    expected, of_params = jax.value_and_grad(lambda params: loss(params, *args)[0])(model.params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    found = sorted(jax.tree.leaves(jax.tree.map(jnp.linalg.norm, nnx.to_pure_dict(grads))))
    wanted = sorted(jax.tree.leaves(jax.tree.map(jnp.linalg.norm, of_params)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert all(
        isinstance(p, nnx.Param)
        for p in jax.tree.leaves(nnx.state(model), is_leaf=lambda x: isinstance(x, nnx.Variable))
    )


def test_orbax_saves_and_loads_a_layer(tmp_path):
    saved = random_edges(nn.ChainCRF(C, rngs=nnx.Rngs(0)))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "layer", nnx.state(saved))
        checkpointer.wait_until_finished()
        graph, empty = nnx.split(nnx.eval_shape(lambda: nn.ChainCRF(C, rngs=nnx.Rngs(0))))
        loaded = nnx.merge(graph, checkpointer.restore(tmp_path / "layer", empty))
    assert_close(loaded.edge[...], saved.edge[...], 0)
    emissions, labels, mask = emissions_and_labels()
    assert float(loaded.loss(emissions, labels, mask)) == float(saved.loss(emissions, labels, mask))


def test_the_recipe_for_linen_is_the_layer():
    recipe = nn.__doc__.split("::\n", 1)[1]
    names = {"linen": linen, "crf": crf}
    exec(inspect.cleandoc(recipe), names)
    emissions, labels, mask = emissions_and_labels()
    layer = names["ChainCRF"](C)
    params = layer.init(jax.random.key(0), emissions)

    def loss(params):
        return -crf.chain.log_prob(layer.apply(params, emissions, mask), labels).mean()

    ours = nn.ChainCRF(C, rngs=nnx.Rngs(0), boundaries=False)
    expected, grads = nnx.value_and_grad(lambda m: m.loss(emissions, labels, mask))(ours)
    value, found = jax.value_and_grad(loss)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(found["params"]["edge"], grads["edge"][...], atol=1e-6)


def test_wrong_sizes_are_named():
    for layer in (nn.ChainCRF, nn.ForestCRF, nn.GraphCRF):
        with pytest.raises(ValueError, match="num_labels must be at least 1, got 0"):
            layer(0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="dim must be an integer of at least 1, got 0"):
        nn.RNTN(9, 0, rngs=nnx.Rngs(0))


def test_flax_is_imported_with_the_layers_only():
    code = """if True:
        import sys, rntn_jax as rj
        rj.rntn, rj.crf, rj.rnn_lm, rj.training
        assert "flax" not in sys.modules
        rj.nn
        assert "flax" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
