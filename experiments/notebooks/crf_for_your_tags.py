# %% [markdown]
# # A CRF for your own tags
#
# From a table of words and tags to a tagger, its mistakes, and the probability of every tag in
# colour. Change `sentences` to your own: any list of `(word, tag)` rows will do
# (`rj.data.read_columns` reads files).

# %%
import jax
import jax.numpy as jnp
import numpy as np

import rntn_jax as rj

splits = rj.data.demo_tags.splits(num_train=300, num_dev=0, num_test=100)
sentences = [[(word, tag) for word, _, tag in rows] for rows in splits["train"]]
for word, tag in sentences[0]:
    print(f"{word:12} {tag}")

# %% [markdown]
# ## The quick way: an estimator over features, as sklearn-crfsuite has it


# %%
def features(rows, t):
    word = rows[t][0]
    before = rows[t - 1][0] if t else "<s>"
    return {"word": word, "before": before, "suffix": word[-2:]}


X = [[features(rows, t) for t in range(len(rows))] for rows in sentences]
y = [[tag for _, tag in rows] for rows in sentences]
crf = rj.tagger.CRF(c2=0.1, max_iterations=50).fit(X, y)

test = [[(word, tag) for word, _, tag in rows] for rows in splits["test"]]
X_test = [[features(rows, t) for t in range(len(rows))] for rows in test]
predicted = crf.predict(X_test)
pairs = [(p, tag) for own, rows in zip(predicted, test) for p, (_, tag) in zip(own, rows)]
accuracy = np.mean([p == tag for p, tag in pairs])
print(f"accuracy {accuracy:.1%}")
assert accuracy > 0.8

# %% [markdown]
# ## How sure it is
# Marginals: $P(y_t = c)$ given the whole sentence. Framed cells are the right tags.

# %%
labels = crf.classes_
marginals = crf.predict_marginals(X_test[:1])[0]
table = [[token[label] for label in labels] for token in marginals]
words, gold = zip(*test[0])
rj.plots.marginals_html(words, labels, table, gold=gold)

# %% [markdown]
# ## The same by hand, in fifteen lines of JAX
# Emissions from an embedding, transitions, and `crf.chain`: the loss is `-log_prob`, and its
# gradient is marginals minus gold.

# %%
vocabulary = rj.data.Vocabulary.build(word for rows in sentences for word, _ in rows)
number = {label: i for i, label in enumerate(labels)}
T = max(map(len, sentences))


def pad(rows):
    ids = np.zeros(T, np.int32)
    tags = np.zeros(T, np.int32)
    ids[: len(rows)] = vocabulary.encode([word for word, _ in rows])
    tags[: len(rows)] = [number[tag] for _, tag in rows]
    return ids, tags


ids, tags = (jnp.array(part) for part in zip(*map(pad, sentences)))
params = {"emit": jnp.zeros((len(vocabulary), len(labels))), "edge": jnp.zeros((len(labels),) * 2)}


def scores_of(params, ids):
    emissions = rj.ops.embed(params["emit"], ids)
    return rj.crf.chain.Scores(node=emissions, edge=params["edge"], mask=ids > 0)


@jax.jit
def step(params):
    loss, grads = jax.value_and_grad(
        lambda p: -rj.crf.chain.log_prob(scores_of(p, ids), tags).mean()
    )(params)
    return loss, jax.tree.map(lambda p, g: p - 2.0 * g, params, grads)


for i in range(101):
    loss, params = step(params)
    if i % 25 == 0:
        print(f"step {i:3}: {loss:.3f} nats a sentence")
assert loss < 6

# %% [markdown]
# ## Transitions that it has learnt

# %%
rj.plots.heatmap_html(params["edge"], labels, labels, label="transitions")
