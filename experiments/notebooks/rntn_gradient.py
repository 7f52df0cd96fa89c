# %% [markdown]
# # The gradient of the recursive neural tensor network, equation by equation
#
# One tree of two internal nodes, small enough that every number can be printed. Each equation of
# the derivation (source 000: Soltani, *Derivations for gradient equations*) stands beside the line
# that computes it; at the end all of them are compared with `jax.grad` of `rntn_jax.rntn.loss`.
#
# The source differentiates the log-likelihood; here `E` is the loss, its negative, so that
# `y - t` stands where the source has `t - y`. Vectors are columns, as in the source.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rntn_jax as rj

jax.config.update("jax_enable_x64", True)
np.set_printoptions(precision=4, suppress=True)

tree = rj.data.parse_tree("(1 (2 not) (4 (3 very) (4 good)))")
rj.plots.tree_svg(tree)

# %% [markdown]
# ## Parameters
# `d = 2`, five classes: the tensor `V` has two slices of 4 x 4.

# %%
vocabulary = rj.data.Vocabulary.build(tree.tokens)
config = rj.rntn.Config(vocab_size=len(vocabulary), dim=2, num_classes=5)
params = rj.rntn.init(jax.random.key(0), config, jnp.float64)
L, V = np.asarray(params.embedding).T, np.asarray(params.cell.v)
W, b = np.asarray(params.cell.w).T, np.asarray(params.cell.b)
Ws, bs = np.asarray(params.head.w).T, np.asarray(params.head.b)
print("V", V.shape, " W", W.shape, " W^s", Ws.shape)

# %% [markdown]
# ## Forward: equation (2) for the states, (9) for the posteriors
# $p = f(x^T V^{[1:d]} x + W x + b)$ with $x = [a; p_1]$, and $y = \mathrm{softmax}(W^s p + b^s)$.

# %%
f, f_prime = np.tanh, lambda h: 1 - h**2  # f' of the output h = f(z)


def compose(x):
    return f(np.einsum("i,kij,j->k", x, V, x) + W @ x + b)


def posterior(h):
    scores = np.exp(Ws @ h + bs)
    return scores / scores.sum()


a, very, good = (f(L[:, i]) for i in vocabulary.encode(tree.tokens))
x1 = np.concatenate([very, good])
p1 = compose(x1)
x2 = np.concatenate([a, p1])
p2 = compose(x2)
nodes = {"not": a, "very": very, "good": good, "very good": p1, "not very good": p2}
labels = dict(zip(nodes, tree.labels))
for name, h in nodes.items():
    print(f"{name:14} label {labels[name]}  h = {h}  y = {posterior(h)}")

# %% [markdown]
# ## Backward: each node's own error, (1), then what comes down from the parent, (13) to (15)
# $\delta^{s} = (W^s)^T (y - t) \circ f'(h)$.
#
# The parent sends down
# $\left(W^T \delta + \sum_k \delta_{[k]} (V^{[k]} + V^{[k]T}) x\right) \circ f'$, and each child
# adds its half: it *reads* from its one parent; nothing is scattered. That is the whole reverse
# sweep: the state it carries is one vector a node.


# %%
def own_error(name):
    t = np.eye(5)[labels[name]]
    return Ws.T @ (posterior(nodes[name]) - t) * f_prime(nodes[name])


def down(delta, x):
    tensor = sum(delta[k] * (V[k] + V[k].T) @ x for k in range(2))  # (14), with its index [k]
    return (W.T @ delta + tensor) * f_prime(x)  # (13)


delta2 = own_error("not very good")
half = down(delta2, x2)
delta1 = own_error("very good") + half[2:]  # (15)
delta = {
    "not": own_error("not") + half[:2],  # every word is labelled and has an error of its own
    "very": own_error("very") + down(delta1, x1)[:2],
    "good": own_error("good") + down(delta1, x1)[2:],
    "very good": delta1,
    "not very good": delta2,
}
for name, value in delta.items():
    print(f"{name:14} delta = {value}")

# %% [markdown]
# ## Weights: one sum over the nodes each, (4), (6), (8), (10), (12), (16)

# %%
inner = [(delta1, x1), (delta2, x2)]
dV = sum(d[:, None, None] * np.outer(x, x) for d, x in inner)  # (4), (16)
dW = sum(np.outer(d, x) for d, x in inner)  # (6)
db = sum(d for d, _ in inner)  # (8)
errors = {name: posterior(h) - np.eye(5)[labels[name]] for name, h in nodes.items()}
dWs = sum(np.outer(errors[name], h) for name, h in nodes.items())  # (10)
dbs = sum(errors.values())  # (12)
dL = np.zeros_like(L)
for word in tree.tokens:
    dL[:, vocabulary.encode([word])[0]] += delta[word]

# %% [markdown]
# ## The same by the library
# Its rule is this derivation, for many packed trees at once: the reverse sweep carries the
# `delta`s, and each weight's gradient is one contraction after the sweep.

# %%
forest = rj.trees.pack([tree], vocabulary)
(loss, aux), grads = jax.value_and_grad(rj.rntn.loss, has_aux=True)(params, forest)
rows = {
    "V": (dV, grads.cell.v),
    "W": (dW.T, grads.cell.w),
    "b": (db, grads.cell.b),
    "W^s": (dWs.T, grads.head.w),
    "b^s": (dbs, grads.head.b),
    "L": (dL.T, grads.embedding),
}
by_hand = -sum(np.log(posterior(h)[labels[name]]) for name, h in nodes.items())
print(f"loss: {by_hand:.12f} by hand, {loss:.12f} by the library")
differences = {name: float(np.abs(mine - np.asarray(g)).max()) for name, (mine, g) in rows.items()}
for name, difference in differences.items():
    print(f"{name:4} largest difference {difference:.1e}")
assert max(differences.values()) < 1e-12

# %% [markdown]
# ## The tensor's gradient, drawn
# $\partial E / \partial V^{[k]}$ is symmetric: `V` acts only through its symmetric part.

# %%
figure, axes = plt.subplots(1, 2, figsize=(6, 2.8), layout="constrained")
size = np.abs(dV).max()
for k, axis in enumerate(axes):
    picture = axis.imshow(dV[k], cmap="RdBu", vmin=-size, vmax=size)
    axis.set(title=f"slice {k + 1}", xticks=range(4), yticks=range(4))
figure.colorbar(picture, ax=axes, label="dE/dV")
plt.show()
