# %% [markdown]
# # Learning on a graph
#
# A noisy picture is a graph: pixels are nodes with two labels, neighbours are joined by edges. The
# model learns from clean and noisy pictures how strongly neighbours agree, by exact gradients
# (elimination), and by loopy belief propagation, which is what one uses where exact is too wide.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rntn_jax as rj

ROWS = COLUMNS = 10
edges = rj.crf.graph.grid_edges(ROWS, COLUMNS)
rng = np.random.default_rng(0)


def picture():
    """A disc and a bar, somewhere."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    a, b, r = rng.uniform(2, 8), rng.uniform(2, 8), rng.uniform(1.5, 3)
    return (((y - a) ** 2 + (x - b) ** 2 < r**2) | (np.abs(x - rng.integers(10)) < 1)).astype(int)


clean = np.stack([picture() for _ in range(24)]).reshape(24, -1)
noisy = clean + rng.normal(scale=1.0, size=clean.shape)

# %% [markdown]
# ## Three weights: how much to trust a pixel, the share of ink, and how much neighbours agree


# %%
def scores_of(weights, pixels):
    trust, ink, agree = weights
    on = trust * (pixels - 0.5) + ink
    node = jnp.stack([jnp.zeros_like(on), on], axis=-1)
    edge = jnp.broadcast_to(agree * jnp.eye(2), (len(edges), 2, 2))
    return rj.crf.graph.Scores(node=node, edge=edge, edges=edges)


def learn(method):
    @jax.jit
    def step(weights):
        def loss(weights):
            def nats(pixels, labels):
                return -rj.crf.graph.log_prob(scores_of(weights, pixels), labels, method=method)

            return jax.vmap(nats)(jnp.asarray(noisy[:16]), jnp.asarray(clean[:16])).mean()

        value, gradient = jax.value_and_grad(loss)(weights)
        return value, weights - 0.02 * gradient

    weights, losses = jnp.zeros(3), []
    for _ in range(60):
        value, weights = step(weights)
        losses.append(float(value))
    return weights, losses


learned = {method: learn(method) for method in ("exact", "loopy")}
for method, (weights, losses) in learned.items():
    print(f"{method}: {losses[0]:.2f} -> {losses[-1]:.2f} nats, weights {np.round(weights, 2)}")

# %% [markdown]
# ## Test pictures: each pixel by its marginal

# %%
weights, _ = learned["exact"]
marginals = np.stack(
    [rj.crf.graph.marginals(scores_of(weights, pixels)).node[:, 1] for pixels in noisy[16:]]
)
alone = (noisy[16:] > 0.5) != clean[16:]
together = (marginals > 0.5) != clean[16:]
print(f"pixel error {alone.mean():.1%} each pixel alone, {together.mean():.1%} with neighbours")
assert together.mean() < alone.mean()

figure, axes = plt.subplots(3, 4, figsize=(7, 5.2), layout="constrained")
for i, column in enumerate(axes.T):
    for axis, (title, image) in zip(
        column, (("clean", clean[16 + i]), ("noisy", noisy[16 + i]), ("marginal", marginals[i]))
    ):
        axis.imshow(np.asarray(image).reshape(ROWS, COLUMNS), cmap="gray_r")
        axis.set(xticks=[], yticks=[], ylabel=title if not i else "")
plt.show()

# %% [markdown]
# ## How good is the approximation?

# %%
exact = rj.crf.graph.log_partition(scores_of(weights, noisy[16]))
for method in ("loopy", "tree_reweighted", "mean_field"):
    approximate = rj.crf.graph.log_partition(scores_of(weights, noisy[16]), method=method)
    print(f"{method:16} ln Z {approximate:9.4f}, exact {exact:9.4f}")
