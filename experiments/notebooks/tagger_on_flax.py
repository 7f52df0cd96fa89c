# %% [markdown]
# # A tagger on flax: a BiLSTM or a transformer, with a CRF on top
#
# `rj.nn.ChainCRF` takes emissions of any network. Below are the whole models, 40 lines with
# training; on CoNLL-2000, set the environment variable
# `CONLL2000` to the folder of `train.txt` and `test.txt`.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import rntn_jax as rj

DATA = os.environ.get("CONLL2000", "")  # without it, the embedded corpus
STEPS = int(os.environ.get("STEPS", "150"))
if DATA:
    splits = {name: rj.data.read_columns(f"{DATA}/{name}.txt") for name in ("train", "test")}
else:
    splits = rj.data.demo_tags.splits(num_train=600, num_dev=0, num_test=100)
words = rj.data.Vocabulary.build((r[0].lower() for s in splits["train"] for r in s), min_count=2)
labels = sorted({row[-1] for rows in splits["train"] for row in rows})
number = {label: i for i, label in enumerate(labels)}
LENGTH = 80 if DATA else 20


# %%
def arrays(sentences):
    ids = np.zeros((len(sentences), LENGTH), np.int32)
    tags = np.zeros_like(ids)
    for i, rows in enumerate(sentences):
        rows = rows[:LENGTH]
        ids[i, : len(rows)] = words.encode([row[0].lower() for row in rows])
        tags[i, : len(rows)] = [number.get(row[-1], 0) for row in rows]
    return jnp.asarray(ids), jnp.asarray(tags)


# %% [markdown]
# ## The model: a BiLSTM of flax


# %%
class BiLSTMTagger(nnx.Module):
    def __init__(self, dim, rngs):
        self.embed = nnx.Embed(len(words), dim, rngs=rngs)
        self.forward = nnx.RNN(nnx.OptimizedLSTMCell(dim, dim, rngs=rngs))
        self.backward = nnx.RNN(
            nnx.OptimizedLSTMCell(dim, dim, rngs=rngs), reverse=True, keep_order=True
        )
        self.head = nnx.Linear(2 * dim, len(labels), rngs=rngs)
        self.crf = rj.nn.ChainCRF(len(labels), rngs=rngs)

    def __call__(self, ids):
        x, lengths = self.embed(ids), (ids > 0).sum(axis=1)
        both = [layer(x, seq_lengths=lengths) for layer in (self.forward, self.backward)]
        return self.head(jnp.concatenate(both, axis=-1))

    def loss(self, ids, tags):
        return self.crf.loss(self(ids), tags, mask=ids > 0)


# %% [markdown]
# ## Or a transformer encoder
# "BERT + CRF": whatever gives hidden states, three lines change: a head onto the labels, the CRF,
# and its loss instead of cross-entropy; `crf.decode` instead of `argmax`.


# %%
class TransformerTagger(nnx.Module):
    def __init__(self, dim, rngs):
        self.embed = nnx.Embed(len(words), dim, rngs=rngs)
        self.place = nnx.Embed(LENGTH, dim, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, dim, decode=False, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(dim, rngs=rngs) for _ in range(2)])
        self.mlp = nnx.Sequential(
            nnx.Linear(dim, 2 * dim, rngs=rngs), nnx.gelu, nnx.Linear(2 * dim, dim, rngs=rngs)
        )
        self.head = nnx.Linear(dim, len(labels), rngs=rngs)  # was: the classifier's head
        self.crf = rj.nn.ChainCRF(len(labels), rngs=rngs)  # new

    def __call__(self, ids):
        x = self.embed(ids) + self.place(jnp.arange(LENGTH))[None]
        mask = nnx.make_attention_mask(ids > 0, ids > 0)
        x = x + self.attention(self.norms[0](x), mask=mask)
        x = x + self.mlp(self.norms[1](x))
        return self.head(x)

    def loss(self, ids, tags):
        return self.crf.loss(self(ids), tags, mask=ids > 0)  # was: cross-entropy


# %% [markdown]
# ## Training is flax's own


# %%
@nnx.jit
def step(model, optimizer, ids, tags):
    loss, grads = nnx.value_and_grad(lambda model: model.loss(ids, tags))(model)
    optimizer.update(model, grads)
    return loss


def accuracy(model, ids, tags):
    right = (model.crf.decode(model(ids), ids > 0) == tags) & (ids > 0)
    return float(right.sum() / (ids > 0).sum())


def train(model, steps=STEPS, batch=32):
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    (ids, tags), rng = arrays(splits["train"]), np.random.default_rng(0)
    for i in range(steps):
        rows = rng.integers(0, len(ids), batch)
        loss = step(model, optimizer, ids[rows], tags[rows])
        if i % 50 == 0:
            print(f"  step {i:4}: {float(loss):.3f} nats a sentence")
    return accuracy(model, *arrays(splits["test"]))


results = {}
for kind in (BiLSTMTagger, TransformerTagger):
    print(kind.__name__)
    results[kind.__name__] = train(kind(32, nnx.Rngs(0)))
    print(f"  accuracy on test {results[kind.__name__]:.1%}")
tags = [number.get(row[-1], 0) for rows in splits["test"] for row in rows]
most_frequent = max(np.bincount(tags)) / len(tags)
print(f"always the most frequent tag: {most_frequent:.1%}")
assert STEPS < 100 or min(results.values()) > 1.5 * most_frequent

# %% [markdown]
# ## Weights as flax has them

# %%
model = BiLSTMTagger(32, nnx.Rngs(0))
print(jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(model.crf))))
