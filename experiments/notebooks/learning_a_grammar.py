# %% [markdown]
# # Learning a grammar from sentences
#
# A probabilistic grammar gives each sentence a probability, the sum over all its parses.
# `rntn_jax.crf.grammar` computes it, and its gradient is the expected number of uses of each rule.
# Divided by their sums, these are the next probabilities: a step of EM (inside-outside, Baker
# 1979), which never makes the sentences less probable.
#
# The sentences are those of the embedded text (`rntn_jax.data.demo_text`), whose true probabilities
# are known, so that one sees how much there is left to learn.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import rntn_jax as rj
from rntn_jax.crf import grammar
from rntn_jax.data import demo_text

LONGEST = 6
STEPS = int(os.environ.get("STEPS", "60"))


def short_sentences(seed, count):
    drawn = demo_text.sentences(20 * count, seed)
    return [words for words in drawn if len(words) <= LONGEST][:count]


train, test = short_sentences(0, 200), short_sentences(1, 200)
vocabulary = sorted({word for s in [*train, *test] for word in s})
number = {word: i for i, word in enumerate(vocabulary)}


def encode(sentences):
    ids = [[number[word] for word in s] + [0] * (LONGEST - len(s)) for s in sentences]
    return jnp.array(ids), jnp.array([len(s) for s in sentences])


# The true grammar's cost; and that of its short sentences among themselves, which no grammar can
# beat in the long run.
states, short = {"start": 1.0}, 0.0
for _ in range(LONGEST):
    following: dict[str, float] = {}
    for state, share in states.items():
        for _, own, target in demo_text.RULES[state]:
            following[target] = following.get(target, 0.0) + share * own
    short += following.pop("end", 0.0)
    states = following
truth = {
    name: float(np.mean([sum(demo_text.nats(s)) for s in own]))
    for name, own in (("train", train), ("test", test))
}
print(f"true grammar: {truth['train']:.3f} nats a sentence, of the test {truth['test']:.3f}")
print(f"given that they are short (probability {short:.3f}): {-np.log(short):.3f} less")

# %% [markdown]
# ## A step of EM


# %%
def total(probabilities, words, length):
    root, rule, emission = probabilities  # [N], [N, N + P, N + P], [P, V]; logarithms
    return grammar.log_partition(grammar.Scores(root, rule, emission.T[words], length)).sum()


def normalized(counts, axes):
    return jnp.log(counts / jnp.maximum(counts.sum(axes, keepdims=True), 1e-30))


@jax.jit
def em_step(probabilities, words, length):
    log_p, counts = jax.value_and_grad(total)(probabilities, words, length)
    return tuple(map(normalized, counts, (0, (1, 2), 1))), -log_p / len(words)


def learn(guess, steps):
    """The grammar learnt, its costs before each step, and the cost of the test.

    For the test a hundredth of the guess is mixed in: for what the training never showed.
    """
    probabilities, costs = guess, []
    for _ in range(steps):
        probabilities, cost = em_step(probabilities, *encode(train))
        costs.append(float(cost))
    mixed = jax.tree.map(
        lambda p, q: jnp.logaddexp(jnp.log(0.99) + p, jnp.log(0.01) + q), probabilities, guess
    )
    return probabilities, costs, -float(total(mixed, *encode(test))) / len(test)


# %% [markdown]
# ## Rules known, probabilities not
#
# The text comes from an automaton. As a grammar: a state is a nonterminal, and a preterminal stands
# for each move from a state to another one, its words being those of that move. What is possible is
# given, how probable it is is drawn at random.

# %%
rng = np.random.default_rng(0)
names = [state for state in demo_text.RULES if state != "end"]
moves = sorted({(s, t) for s in names for _, _, t in demo_text.RULES[s]})
n, p = len(names), len(moves)
possible = np.zeros((n, n + p, n + p), bool)
emits = np.zeros((p, len(vocabulary)), bool)
for m, (state, target) in enumerate(moves):
    for word, _, own in demo_text.RULES[state]:
        if own == target and word in number:
            emits[m, number[word]] = True
    if target != "end":
        possible[names.index(state), n + m, names.index(target)] = True
        last = [k for k, move in enumerate(moves) if move == (target, "end")]
        possible[names.index(state), n + m, n + np.array(last, int)] = True

start = np.where(np.array(names) == "start", 0.0, -np.inf)
guess = [
    normalized(jnp.asarray(rng.random(own.shape) * own), axes)
    for own, axes in ((possible, (1, 2)), (emits, 1))
]
known, costs, held_out = learn((jnp.asarray(start), *guess), 6)
print(f"{n} nonterminals, {p} preterminals")
print(f"{costs[0]:.3f} -> {costs[-1]:.3f} nats a sentence, test {held_out:.3f}")
assert costs[-1] <= truth["train"] + 1e-3 and all(np.diff(costs) < 1e-3)
assert held_out < truth["test"]

# %% [markdown]
# No grammar of these rules fits the training sentences better, the true one neither. Every sentence
# has one parse by these rules, so that the first step counts right and the second finds nothing to
# change. Short sentences alone were shown, and the grammar has learnt to be brief.
#
# ## From nothing: any rule, any word
#
# Six nonterminals and ten preterminals that mean nothing yet, of random probabilities. EM finds a
# grammar of its own; it stays in the best one near where it began.

# %%
n, p = 6, 10
sizes = ((n,), 0), ((n, n + p, n + p), (1, 2)), ((p, len(vocabulary)), 1)
from_nothing = tuple(
    normalized(jnp.asarray(rng.gamma(1.0, size=shape) + 0.1), axes) for shape, axes in sizes
)
learnt, curve, held_out = learn(from_nothing, STEPS)
print(f"{curve[0]:.3f} -> {curve[-1]:.3f} nats a sentence, test {held_out:.3f}")
assert all(np.diff(curve) < 1e-3)

plt.figure(figsize=(5, 3), layout="constrained")
plt.plot(curve, label="any rule")
plt.plot(costs, label="rules known")
plt.axhline(truth["train"], color="black", linestyle=":", label="the true grammar")
plt.axhline(truth["train"] + np.log(short), color="gray", linestyle=":", label="short ones of it")
plt.xlabel("step of EM")
plt.ylabel("nats a sentence")
plt.legend()
plt.show()

# %% [markdown]
# ## What a preterminal has become, and the parse of a sentence

# %%
emission = np.exp(np.asarray(learnt[2]))
for row in emission:
    best = np.argsort(-row)[:5]
    print(", ".join(f"{vocabulary[word]} {row[word]:.2f}" for word in best if row[word] > 0.01))
sentence = max(test, key=len)
scores = grammar.Scores(learnt[0], learnt[1], learnt[2].T[encode([sentence])[0]])
parse, _ = grammar.argmax(scores)
rj.data.Tree(tuple(sentence), np.asarray(parse.children[0]), [-1] * (2 * len(sentence) - 1))
