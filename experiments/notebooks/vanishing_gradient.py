# %% [markdown]
# # Backpropagation through time, and the vanishing gradient
#
# A recurrent network $h_t = f(h_{t-1} H + x_t I + b)$ uses the same weights at every step, so their
# gradient is a sum over steps, of what each step's error $\delta_t$ and inputs contribute (source
# 001, an answer on backpropagation in RNN language models; source 003: Brown, *Gradients for an
# RNN*, equations 17 to 24). Here the sum is done by hand and compared with the library's rule, and
# then one looks at how far an error travels.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rntn_jax as rj

jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
T, E, D = 30, 3, 8
x = jnp.asarray(rng.normal(size=(1, T, E)))


def random_cell(scale):
    rotation = jax.random.orthogonal(jax.random.key(0), D, dtype=jnp.float64)
    kernel = jnp.asarray(rng.normal(size=(E, D)) * 0.3)
    return rj.recurrent.Cell(h=scale * rotation, i=kernel, b=jnp.zeros(D))


# %% [markdown]
# ## The reverse recursion by hand
# With $g_t$ the error that reaches $h_t$ from outside:
# $\delta_t = (g_t + \delta_{t+1} H^T) \circ f'(h_t)$, then
# $dH = \sum_t h_{t-1}^T \delta_t$, $dI = \sum_t x_t^T \delta_t$, $db = \sum_t \delta_t$.
# Equation 21 of source 003, a double sum over $r \le t$, is this one loop.

# %%
cell = random_cell(0.9)
hidden, _ = rj.recurrent.rnn(cell, x)
h = np.asarray(hidden[0])
g = np.zeros((T, D))
g[-1] = 1.0  # the loss: the sum of the last state

delta, after = np.zeros((T, D)), np.zeros(D)
for t in reversed(range(T)):
    delta[t] = (g[t] + after) * (1 - h[t] ** 2)
    after = delta[t] @ np.asarray(cell.h).T
before = np.concatenate([np.zeros((1, D)), h[:-1]])
by_hand = rj.recurrent.Cell(before.T @ delta, np.asarray(x[0]).T @ delta, delta.sum(axis=0))

grads = jax.grad(lambda cell: rj.recurrent.rnn(cell, x)[0][0, -1].sum())(cell)
for name, mine, theirs in zip(cell._fields, by_hand, grads):
    difference = np.abs(mine - np.asarray(theirs)).max()
    print(f"d{name.upper()}: largest difference {difference:.1e}")
    assert difference < 1e-12

# %% [markdown]
# ## How far an error travels
# $\partial h_t / \partial h_{t-k}$ is a product of $k$ factors $\mathrm{diag}(f'(h)) H^T$. When
# they shrink, so does the product, exponentially; sigmoids, whose slope is at most 1/4, are worst.

# %%
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
lags = np.arange(21)
for activation, scale in (("tanh", 0.9), ("tanh", 1.2), ("relu", 0.9), ("sigmoid", 0.9)):
    cell = random_cell(scale)
    hidden, _ = rj.recurrent.rnn(cell, x, activation=activation)
    norms = rj.recurrent.jacobian_norms(cell, hidden, 20, activation=activation)
    axis.semilogy(lags, norms, label=f"{activation}, |H| = {scale}")
axis.set(xlabel="steps back", ylabel="size of $dh_t/dh_{t-k}$", ylim=(1e-14, 10))
axis.legend()
plt.show()

# %% [markdown]
# ## What a language model does about it
# Truncated backpropagation stops errors at the borders of segments, which costs little where they
# would have vanished anyway. The carry goes on, through `jax.lax.stop_gradient`.

# %%
text = [sentence.split() for sentence in ("the film is good", "the plot is bad")] * 4
vocabulary = rj.data.Vocabulary.build(word for sentence in text for word in sentence)
ids = jnp.asarray(vocabulary.encode([word for s in text for word in s]))[None]
batch = rj.sequences.SequenceBatch(ids[:, :-1], ids[:, 1:], jnp.ones((1, ids.shape[1] - 1), bool))
params = rj.rnn_lm.init(jax.random.key(0), rj.rnn_lm.Config(len(vocabulary), 8, 8), jnp.float64)


@jax.jit
def step(params, carry):
    carry = jax.lax.stop_gradient(carry)
    (loss, aux), grads = jax.value_and_grad(rj.rnn_lm.loss, has_aux=True)(params, batch, carry)
    return loss, aux.carry, jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)


carry = rj.rnn_lm.initial_carry(params, 1)
losses = []
for _ in range(200):
    loss, carry, params = step(params, carry)
    losses.append(float(loss))
print(f"perplexity {np.exp(losses[0]):.2f} at first, {np.exp(losses[-1]):.2f} at the end")
assert losses[-1] < 0.5 * losses[0]
