# %% [markdown]
# # Marginals are gradients
#
# An exponential softmax gives every labelling of a structure the probability
# $P(y) = e^{s(y)} / Z$. The one theorem behind all CRF layers of this library (source 004:
# McAllester, *The model marginals*): the gradient of $-\ln P(y)$ with respect to the scores is
# **model marginals minus gold indicators**. Here it is seen with numbers, three times: by brute
# force, by finite differences, and by `jax.grad` through the forward recursion.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rntn_jax as rj

jax.config.update("jax_enable_x64", True)
np.set_printoptions(precision=4, suppress=True)

rng = np.random.default_rng(0)
T, C = 4, 3
node = jnp.asarray(rng.normal(size=(1, T, C)))
edge = jnp.asarray(rng.normal(size=(C, C)))
scores = rj.crf.chain.Scores(node=node, edge=edge)
gold = jnp.array([[0, 2, 1, 1]])

# %% [markdown]
# ## Brute force: all $3^4 = 81$ labellings written down

# %%
table = rj.crf.enumerate.of_chain(scores, row=0)  # one axis a position
log_z = rj.crf.enumerate.log_partition(table)
by_force = np.stack([rj.crf.enumerate.marginal(table, t) for t in range(T)])
print(
    f"ln Z = {log_z:.10f} by enumeration, {rj.crf.chain.log_partition(scores)[0]:.10f} by recursion"
)
print(by_force)

# %% [markdown]
# ## Finite differences of $\ln Z$
# Raise one score by a little: $\ln Z$ grows by the probability of that label.

# %%
epsilon = 1e-6
by_differences = np.zeros((T, C))
for t in range(T):
    for c in range(C):
        up = scores._replace(node=node.at[0, t, c].add(epsilon))
        low = scores._replace(node=node.at[0, t, c].add(-epsilon))
        change = rj.crf.chain.log_partition(up) - rj.crf.chain.log_partition(low)
        by_differences[t, c] = change[0] / (2 * epsilon)
print(np.abs(by_differences - by_force).max())

# %% [markdown]
# ## `jax.grad`
# The container that holds the scores holds the probabilities. Edge scores that all steps share get
# the *expected number* of each transition.

# %%
gradient = jax.grad(lambda s: rj.crf.chain.log_partition(s).sum())(scores)
marginals = rj.crf.chain.marginals(scores)
np.testing.assert_allclose(gradient.node[0], by_force, atol=1e-12)
np.testing.assert_allclose(marginals.node[0], by_force, atol=1e-12)
print("expected transitions\n", marginals.edge, "\nsum", marginals.edge.sum(), "= T - 1")
marginals

# %% [markdown]
# ## The loss
# $-\ln P(y) = \ln Z - s(y)$, and its gradient is marginals minus indicators.

# %%
loss_gradient = jax.grad(lambda s: -rj.crf.chain.log_prob(s, gold).sum())(scores)
indicators = np.eye(C)[gold[0]]
np.testing.assert_allclose(loss_gradient.node[0], by_force - indicators, atol=1e-12)

figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for axis, (title, values) in zip(
    axes,
    (
        ("marginals", by_force),
        ("gold indicators", indicators),
        ("gradient of the loss", np.asarray(loss_gradient.node[0])),
    ),
):
    axis.imshow(values.T, cmap="RdBu", vmin=-1, vmax=1)
    axis.set(title=title, xlabel="position", ylabel="label", xticks=range(T), yticks=range(C))
    for t in range(T):
        for c in range(C):
            ink = "white" if abs(values[t, c]) > 0.6 else "black"
            axis.text(t, c, f"{values[t, c]:.2f}", ha="center", va="center", fontsize=8, color=ink)
plt.show()

# %% [markdown]
# ## The same for a tree and for a graph with cycles
# One theorem, other recursions: the functions have the same names.

# %%
tree = rj.crf.forest.Scores(node=node[0], edge=edge, parent=np.array([-1, 0, 0, 1]))
square = rj.crf.graph.Scores(
    node=node[0], edge=jnp.stack([edge] * 4), edges=rj.crf.graph.grid_edges(2, 2)
)
for module, problem, edges in (
    (rj.crf.forest, tree, [(0, 1), (0, 2), (1, 3)]),
    (rj.crf.graph, square, rj.crf.graph.grid_edges(2, 2)),
):
    table = rj.crf.enumerate.table(node[0], jnp.stack([edge] * len(edges)), edges)
    expected = [rj.crf.enumerate.marginal(table, i) for i in range(T)]
    np.testing.assert_allclose(module.marginals(problem).node, expected, atol=1e-10)
    print(module.__name__, module.marginals(problem).node[0])
