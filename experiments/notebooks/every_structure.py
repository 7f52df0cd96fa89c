# %% [markdown]
# # Every structure in five lines, and its marginals
#
# All distributions of `rntn_jax.crf` are an exponential softmax over the structures of a kind, and
# all have the same verbs. Here is each with random scores, its `marginals` as a picture: blue is
# probable. They are the gradient of `log_partition`, and `sample`, `argmax`, `top_k`, `entropy`,
# `kl`, `log_prob` take the same scores.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from rntn_jax import crf

rng = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(2 * rng.normal(size=shape), jnp.float32)


def show(title, *pictures, labels=("", "")):
    """Probabilities side by side."""
    size = (2.4 * len(pictures) + 0.6, 2.6)
    _, axes = plt.subplots(1, len(pictures), figsize=size, layout="constrained", squeeze=False)
    for axis, p in zip(axes[0], pictures):
        axis.imshow(np.asarray(p), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set(xlabel=labels[0], ylabel=labels[1])
    axes[0][0].set_title(title, loc="left")
    plt.show()


# %% [markdown]
# ## Chains: a label for each step

# %%
scores = crf.chain.Scores(node=draw(1, 12, 4), edge=draw(4, 4))
p = crf.chain.marginals(scores).node[0]
labels, best = crf.chain.argmax(scores)
show("chain", p.T, labels=("step", "label"))
assert np.allclose(p.sum(-1), 1, atol=1e-5)

# %% [markdown]
# ## Hidden Markov models: what is known as one goes, and afterwards

# %%
stay = jnp.log(jnp.array([[0.9, 0.1], [0.2, 0.8]]))
hmm = crf.chain.from_hmm(jnp.log(jnp.array([0.5, 0.5])), stay, observed=draw(1, 20, 2))
afterwards, so_far = crf.chain.marginals(hmm).node[0], crf.chain.filtered(hmm)[0]
show("filtered, smoothed", so_far.T, afterwards.T, labels=("step", "state"))

# %% [markdown]
# ## Segments with labels, of up to four tokens

# %%
segments = crf.semi_markov.Scores(span=draw(1, 10, 4, 3), edge=draw(3, 3))
p = crf.semi_markov.marginals(segments).span[0]  # [begin, length - 1, label]
found, best = crf.semi_markov.argmax(segments)
show("a segment begins here, of this length", p.sum(-1).T, labels=("token", "length - 1"))

# %% [markdown]
# ## CTC: symbols whose places are unknown

# %%
frames = jax.nn.log_softmax(draw(1, 16, 5))  # symbol 0 is the blank
spoken = crf.ctc.Scores(node=frames, targets=jnp.array([[3, 1, 1, 4]]))
p = crf.ctc.marginals(spoken).node[0]
show("CTC of 3 1 1 4", p.T, labels=("frame", "symbol"))

# %% [markdown]
# ## Monotone alignments of two sequences

# %%
left, right = np.array([2, 7, 1, 8, 2, 8]), np.array([2, 1, 8, 8, 4])
alike = jnp.asarray(4.0 * (left[:, None] == right) - 2.0)[None]
both = crf.alignment.with_gaps(alike, gap=-1.0)
p = crf.alignment.marginals(both).match[0, 1:, 1:]
show("match", p, labels=("right", "left"))

# %% [markdown]
# ## Dependency trees: without crossing arcs, and all of them

# %%
arcs = crf.dependency.Scores(arc=draw(1, 8, 8), length=jnp.array([7]))
projective, every = (
    crf.dependency.marginals(arcs, projective=kind).arc[0] for kind in (True, False)
)
show("projective, all", projective, every, labels=("dependent", "head (0: root)"))
assert np.allclose(every.sum(0)[1:], 1, atol=1e-5)  # each word has one head

# %% [markdown]
# ## Spanning trees of a graph without directions

# %%
edge = draw(1, 7, 7)
kind = {"projective": False, "single_root": False}
total = lambda e: crf.dependency.log_partition(crf.dependency.undirected(e, jnp.array([7])), **kind)
p = jax.grad(lambda e: total(e).sum())(edge)[0]
show("edge is in the tree", p, labels=("node", "node"))
assert np.isclose(p.sum(), 6, atol=1e-4)  # a tree over 7 nodes has 6 edges

# %% [markdown]
# ## Binary trees over a sentence, with labels

# %%
spans = crf.constituency.Scores(span=draw(1, 8, 8, 3), length=jnp.array([7]))
p = crf.constituency.marginals(spans).span[0]  # [begin, end, label]
(children, labels), best = crf.constituency.argmax(spans)
show("span with label 0, 1, 2", p[..., 0], p[..., 1], p[..., 2], labels=("end", "begin"))
assert np.isclose(p.sum(), 13, atol=1e-4)  # 7 words and 6 nodes above them

# %% [markdown]
# ## Parses by a grammar: expected uses of its rules, and the words' tags

# %%
rules = crf.grammar.Scores(root=draw(2), rule=draw(2, 5, 5), terminal=draw(1, 6, 3))
counts = crf.grammar.marginals(rules)
show("tag", counts.terminal[0].T, labels=("word", "preterminal"))
assert np.isclose(counts.rule.sum(), 5, atol=1e-4)  # a node joins two: 5 over 6 words

# %% [markdown]
# ## Trees of labels, and graphs

# %%
parent = jnp.array([-1, 0, 0, 1, 1, 2, 5])
on_tree = crf.forest.Scores(draw(7, 3), draw(3, 3), parent)
grid = crf.graph.grid_edges(4, 5)
on_grid = crf.graph.Scores(draw(20, 2), jnp.tile(1.5 * jnp.eye(2), (len(grid), 1, 1)), grid)
p = crf.graph.marginals(on_grid).node[:, 1].reshape(4, 5)
show("a tree's nodes; label 1 on a grid", crf.forest.marginals(on_tree).node.T, p)

# %% [markdown]
# ## Tables over several variables, each with labels of its own number

# %%
scopes = crf.factor_graph.Scopes([(0, 1, 2), (1, 3), (3, 4, 0)])
tables = draw(2, 3, 2), draw(3, 4), draw(4, 2, 2)
factors = crf.factor_graph.Scores(tables, scopes)
p = crf.factor_graph.marginals(factors).tables[1]  # of variables 1 and 3 together
show("variables 1 and 3", p, labels=("label of 3", "label of 1"))
assert np.isclose(p.sum(), 1, atol=1e-5)
