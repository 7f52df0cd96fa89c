# %% [markdown]
# # Sentiment trees of your own sentences
#
# The model in the package cuts a text into Penn Treebank tokens, builds a binary tree of them and
# labels every node with a recursive neural tensor network. No download; the first call compiles.

# %%
import numpy as np

import rntn_jax as rj

answer = rj.sentiment("This film doesn't care about cleverness, wit or any other kind of humor.")
print(answer.label, answer.name, np.round(answer.probabilities, 3))

# %% [markdown]
# The last line of a cell shows the answer: colours are labels, and hovering shows distributions.

# %%
answer

# %% [markdown]
# A tree of one's own shows itself as a picture.

# %%
rj.data.parse_tree("(3 (1 (2 not) (1 bad)) (2 .))")

# %% [markdown]
# ## Many sentences are much quicker than one after the other

# %%
texts = [
    "A gorgeous, witty, seductive movie.",
    "The plot is thin, but the cast is wonderful.",
    "Neither funny nor sad.",
    "I have seen worse.",
    "Dull.",
]
for answer in rj.sentiment(texts):
    print(f"{answer.name:14} {answer.probabilities.max():4.0%}  {answer.tree.text}")

# %% [markdown]
# ## Where a sentence turns
# Every node is an array row: node ids are the leaves in order, then the internal nodes, the root
# last. Here are the phrases of one sentence, from short ones to long ones, with their mean label.

# %%
tree = rj.sentiment("The plot is thin, but the cast is wonderful.").tree
means = tree.probabilities @ np.arange(5)
spans = {i: (i, i + 1) for i in range(len(tree.tokens))}
for j, (left, right) in enumerate(tree.children):
    spans[len(tree.tokens) + j] = (spans[left][0], spans[right][1])
for node, (begin, end) in spans.items():
    if end - begin > 1:
        print(f"{means[node]:.2f}  {' '.join(tree.tokens[begin:end])}")

# %% [markdown]
# ## What it cannot do
# It has read film reviews only, so it may miss what is good or bad about other things, and double
# negation and irony are hard for it.

# %%
for answer in rj.sentiment(["It's not bad.", "Oh great, the battery died again."]):
    print(f"{answer.name:14} {answer.probabilities.max():4.0%}  {answer.tree.text}")

# %% [markdown]
# ## Take the trees away
# As brackets, to correct and to train on: `./launch.sh sentiment --train=FILE`. To type sentences
# and correct their trees on a page: `./launch.sh sentiment --serve`.

# %%
print(tree.to_brackets())
assert rj.data.parse_tree(tree.to_brackets()).tokens == tree.tokens
