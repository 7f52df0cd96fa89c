# %% [markdown]
# # Reading digits without knowing where they stand
#
# Handwritten digits side by side are one wide image. A recurrent network reads it column by column,
# from both sides; the training data say which digits there are, not where. CTC
# (`rntn_jax.crf.ctc`) sums over all alignments of the digits with the columns, and its gradient is
# the softmax minus the probability of each symbol at each column, given the digits.
#
# The digits are scikit-learn's (extra `images`): 1,797 images of 8 by 8 pixels. Strings of the test
# are of other writers than those of the training.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import rntn_jax as rj

STEPS = int(os.environ.get("STEPS", "400"))
LONGEST, WIDTH, WINDOW, HIDDEN = 5, 50, 5, 64
digits = load_digits()
images = digits.images / 16.0  # [N, 8, 8], in the order of the writers


def strings(rng, pool, count):
    """Images of three to five digits with gaps of up to two columns, and the digits plus 1."""
    pictures = np.zeros((count, 8, WIDTH), np.float32)
    targets = np.zeros((count, LONGEST), np.int32)
    lengths = np.zeros(count, np.int32)
    for row in range(count):
        at = rng.integers(0, 3)
        for place in range(rng.integers(3, LONGEST + 1)):
            one = rng.choice(pool)
            pictures[row, :, at : at + 8] = images[one]
            targets[row, place] = digits.target[one] + 1  # 0 is CTC's blank
            at += 8 + rng.integers(0, 3)
        lengths[row] = at  # columns; a gap after the last digit included
    return pictures, targets, np.minimum(lengths, WIDTH)


train_pool, test_pool = np.arange(1300), np.arange(1300, len(images))
pictures, targets, lengths = strings(np.random.default_rng(1), test_pool, 6)
plt.figure(figsize=(7, 1.2))
plt.imshow(pictures[0], cmap="gray_r", aspect="auto")
plt.title(f"digits {[int(d) - 1 for d in targets[0] if d]}")
plt.axis("off")
plt.show()

# %% [markdown]
# ## The network: a window of five columns at a time, read from both sides


# %%
def init(key):
    def cell(key):
        recurrent, inputs = jax.random.split(key)
        return rj.recurrent.Cell(
            h=jax.random.orthogonal(recurrent, HIDDEN),
            i=jax.random.normal(inputs, (8 * WINDOW, HIDDEN)) / np.sqrt(8 * WINDOW),
            b=jnp.zeros(HIDDEN),
        )

    keys = jax.random.split(key, 3)
    head = jax.random.normal(keys[2], (2 * HIDDEN, 11)) / np.sqrt(2 * HIDDEN)
    return cell(keys[0]), cell(keys[1]), head, jnp.zeros(11)


def logits_of(params, pictures, lengths):
    forward, backward, head, bias = params
    half = WINDOW // 2
    padded = jnp.pad(pictures, ((0, 0), (0, 0), (half, half)))
    columns = [padded[:, :, shift : shift + WIDTH] for shift in range(WINDOW)]
    x = jnp.concatenate(columns, axis=1).swapaxes(1, 2)  # [B, columns, pixels]
    mask = jnp.arange(WIDTH)[None] < lengths[:, None]
    return rj.recurrent.birnn(forward, backward, x, mask) @ head + bias, mask


def loss(params, pictures, targets, lengths):
    logits, mask = logits_of(params, pictures, lengths)
    return rj.crf.ctc.loss(logits, ~mask, targets, targets == 0).mean()


optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(4e-3))


@jax.jit
def step(params, state, *batch):
    value, gradient = jax.value_and_grad(loss)(params, *batch)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value


params = init(jax.random.key(0))
state, rng, losses = optimizer.init(params), np.random.default_rng(0), []
for _ in range(STEPS):
    params, state, value = step(params, state, *strings(rng, train_pool, 64))
    losses.append(float(value))
print(f"{losses[0]:.1f} nats a string, after {STEPS} steps {np.mean(losses[-10:]):.2f}")

# %% [markdown]
# ## How well it reads: digits wrong, missing or too many
#
# Counted by the best monotone alignment of the two strings (`rntn_jax.crf.alignment`), which with
# these scores is the edit distance.


# %%
def edits(found, right):
    n, m = (np.array([np.count_nonzero(row) for row in rows]) for rows in (found, right))
    unlike = (found[:, :, None] != right[:, None]).astype(np.float32)
    both = np.stack([n, m], axis=1)
    scores = rj.crf.alignment.with_gaps(jnp.asarray(-unlike), -1.0, both)
    return -np.asarray(rj.crf.alignment.argmax(scores)[1])


test = strings(np.random.default_rng(2), test_pool, 300)
logits, mask = jax.jit(logits_of)(params, test[0], test[2])
node = jax.nn.log_softmax(logits)
read = {
    "greedy": rj.crf.ctc.greedy(node, mask),
    "beams of 8": rj.crf.ctc.beam_search(node, 8, mask),
}
errors = {}
for name, found in read.items():
    labels = np.asarray(found.labels if name == "greedy" else found.labels[:, 0])
    wrong = edits(labels, test[1])
    errors[name] = wrong.sum() / np.count_nonzero(test[1])
    print(f"{name}: {errors[name]:.1%} of the digits, {np.mean(wrong > 0):.1%} of the strings")
if STEPS >= 400:
    assert max(errors.values()) < 0.1

# %% [markdown]
# ## Where each digit stands
#
# The marginals given the digits, over the columns, and the best alignment (forced alignment) as
# dots: nothing in the training data said where a digit is.

# %%
row = 0
scores = rj.crf.ctc.Scores(
    node=node[row : row + 1],
    targets=jnp.asarray(test[1][row : row + 1]),
    mask=mask[row : row + 1],
    target_mask=jnp.asarray(test[1][row : row + 1] > 0),
)
p = np.asarray(rj.crf.ctc.marginals(scores).node[0])
best = np.asarray(rj.crf.ctc.argmax(scores)[0][0])
figure, (above, below) = plt.subplots(
    2, 1, sharex=True, figsize=(7, 3.6), height_ratios=(1, 1.6), layout="constrained"
)
above.imshow(test[0][row], cmap="gray_r", aspect="auto")
above.set_yticks([])
below.imshow(p.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
below.plot(np.arange(test[2][row]), best[: test[2][row]], ".", color="tab:orange")
below.set(yticks=range(11), yticklabels=["blank", *map(str, range(10))], xlabel="column")
plt.show()
assert np.allclose(p.sum(axis=1)[np.asarray(mask[row])], 1, atol=1e-4)
