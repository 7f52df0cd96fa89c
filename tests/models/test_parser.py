"""`models.parser`: the arc-standard system, step by step against plain Python."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.models import parser
from tests.helpers import assert_close

R, ROOT, T = 3, 2, 7
RNG = np.random.default_rng(0)


def random_tree(n):
    """Heads of a projective tree over words 1 .. n with one child of the root, by a split."""

    def subtree(first, last, head):
        if first > last:
            return
        top = RNG.integers(first, last + 1)
        heads[top] = head
        # Left and right of it, some children each.
        for a, b in ((first, top - 1), (top + 1, last)):
            while a <= b:
                end = RNG.integers(a, b + 1)
                subtree(a, end, top)
                a = end + 1

    heads = np.full(n + 1, -1)
    subtree(1, n, 0)
    return heads


def make(count=40):
    heads, relations = np.full((2, count, T + 2), -1, np.int32)
    length = RNG.integers(1, T + 1, count)
    words = np.zeros((count, T + 2), np.int32)
    words[:, 0] = 1
    for row, n in enumerate(length):
        heads[row, : n + 1] = random_tree(n)
        relations[row, 1 : n + 1] = RNG.integers(0, R - 1, n)
        relations[row, : n + 1][heads[row, : n + 1] == 0] = ROOT
        words[row, 1 : n + 1] = RNG.integers(2, 9, n)
    tags = np.where(words > 1, words % 3 + 2, words).astype(np.int32)
    return parser.Sentences((words, tags), length.astype(np.int32)), heads, relations


SENTENCES, HEADS, RELATIONS = make()


class Machine:
    """One sentence, with lists; the textbook's system."""

    def __init__(self, n):
        self.n, self.stack, self.front = n, [0], 1
        self.head, self.relation = {}, {}

    def children(self, position, side):
        found = [c for c, h in self.head.items() if h == position]
        found = [c for c in found if (c < position) == (side == "left")]
        return sorted(found, reverse=side == "right")

    def legal(self):
        steps = set()
        if len(self.stack) >= 3:
            steps |= {r for r in range(R) if r != ROOT}
        if len(self.stack) >= 3:
            steps |= {R + r for r in range(R) if r != ROOT}
        if len(self.stack) == 2 and self.front > self.n:
            steps.add(R + ROOT)
        if self.front <= self.n:
            steps.add(2 * R)
        return steps

    def take(self, step):
        if step == 2 * R:
            self.stack.append(self.front)
            self.front += 1
        else:
            child = self.stack.pop(-2 if step < R else -1)
            self.head[child], self.relation[child] = self.stack[-1], step % R

    def places(self):
        nothing = T + 1

        def at(values, k):
            return values[k] if k < len(values) else nothing

        top = self.stack[::-1]
        buffer = list(range(self.front, self.n + 1))
        found = [at(top, k) for k in range(3)] + [at(buffer, k) for k in range(3)]
        for k in range(2):
            own = at(top, k)
            left, right = (self.children(own, side) for side in ("left", "right"))
            found += [at(left, 0), at(right, 0), at(left, 1), at(right, 1)]
            found.append(at(self.children(at(left, 0), "left"), 0))
            found.append(at(self.children(at(right, 0), "right"), 0))
        return found


def test_every_step_and_everything_seen_is_the_textbooks():
    """Random legal steps, to the end."""
    state = parser.initial_state(SENTENCES)
    machines = [Machine(int(n)) for n in SENTENCES.length]
    legal = jax.jit(lambda s: parser.legal_actions(s, SENTENCES.length, R, ROOT))
    advance = jax.jit(lambda s, a: parser.apply_action(s, a, R))
    read = jax.jit(lambda s: parser.extract_features(s, SENTENCES))
    for _ in range(2 * T):
        allowed, (words, tags, relations) = np.asarray(legal(state)), read(state)
        steps = []
        for row, machine in enumerate(machines):
            assert set(np.flatnonzero(allowed[row]).tolist()) == machine.legal()
            places = machine.places()
            assert words[row].tolist() == SENTENCES.ids[0][row, places].tolist()
            assert tags[row].tolist() == SENTENCES.ids[1][row, places].tolist()
            expected = [machine.relation.get(p, -1) + 1 for p in places[6:]]
            assert relations[row].tolist() == expected
            choice = int(RNG.choice(sorted(machine.legal()))) if machine.legal() else -1
            if choice >= 0:
                machine.take(choice)
            steps.append(choice)
        state = advance(state, jnp.array(steps))
    for row, machine in enumerate(machines):
        assert len(machine.head) == machine.n and machine.stack == [0]
        for word in range(1, machine.n + 1):
            assert state.heads[row, word] == machine.head[word]
            assert state.relations[row, word] == machine.relation[word]
        assert (np.asarray(state.heads[row, machine.n + 1 :]) == -1).all()


def test_oracle_rebuilds_every_projective_tree_by_legal_steps():
    _, steps = jax.jit(parser.oracle_transitions, static_argnums=3)(SENTENCES, HEADS, RELATIONS, R)
    assert ((steps >= 0).sum(0) == 2 * SENTENCES.length).all()
    state = parser.initial_state(SENTENCES)
    advance = jax.jit(lambda s, a: parser.apply_action(s, a, R))
    legal = jax.jit(lambda s: parser.legal_actions(s, SENTENCES.length, R, ROOT))
    for now in steps:
        allowed = np.asarray(legal(state))
        rows = np.flatnonzero(now >= 0)
        assert allowed[rows, np.asarray(now)[rows]].all()
        assert not allowed[np.asarray(now) < 0].any()
        state = advance(state, now)
    words = (np.arange(T + 2) >= 1) & (np.arange(T + 2) <= SENTENCES.length[:, None])
    np.testing.assert_array_equal(np.asarray(state.heads)[words], HEADS[words])
    np.testing.assert_array_equal(np.asarray(state.relations)[words], RELATIONS[words])


def test_examples_show_what_the_machine_sees():
    ids, steps = parser.oracle_transitions(SENTENCES, HEADS, RELATIONS, R)
    for row in range(5):
        machine = Machine(int(SENTENCES.length[row]))
        for now in range(2 * machine.n):
            places = machine.places()
            assert ids[0][now, row].tolist() == SENTENCES.ids[0][row, places].tolist()
            machine.take(int(steps[now, row]))


def params_of(columns=(9, 5)):
    config = parser.Config(columns, R, (4, 3, 2), 6)
    params = parser.init(jax.random.key(1), config, jnp.float64)
    return jax.tree.map(lambda a: a + RNG.normal(size=a.shape), params)


@pytest.mark.parametrize("activation", ["relu", "cube"])
def test_decoding_takes_the_best_legal_step(activation):
    params = params_of()
    decode = jax.jit(parser.decode, static_argnames=("root", "activation"))
    heads, relations = decode(params, SENTENCES, root=ROOT, activation=activation)
    quick = decode(
        params, SENTENCES, root=ROOT, activation=activation, products=parser.precompute(params)
    )
    np.testing.assert_array_equal(heads, quick[0])
    np.testing.assert_array_equal(relations, quick[1])
    score = jax.jit(lambda ids: parser.apply(params, ids, activation=activation))
    for row in range(8):
        machine = Machine(int(SENTENCES.length[row]))
        while machine.legal():
            places = machine.places()
            seen = [column[row : row + 1, places] for column in SENTENCES.ids]
            of_arcs = [machine.relation.get(p, -1) + 1 for p in places[6:]]
            logits = np.asarray(score((*seen, np.array([of_arcs]))))[0]
            machine.take(max(machine.legal(), key=lambda step: logits[step]))
        assert [machine.head[w] for w in range(1, machine.n + 1)] == heads[
            row, 1 : machine.n + 1
        ].tolist()


def test_decoded_are_trees_with_one_root_whatever_the_weights():
    heads, relations = parser.decode(params_of(), SENTENCES, ROOT)
    for row, n in enumerate(SENTENCES.length):
        own = np.asarray(heads[row, 1 : n + 1])
        assert (own == 0).sum() == 1 and (np.asarray(relations[row, 1 : n + 1]) == ROOT).sum() == 1
        for word in range(1, n + 1):
            at, steps = word, 0
            while at:
                at, steps = int(own[at - 1]), steps + 1
                assert steps <= n
        assert (np.asarray(heads[row, n + 1 :]) == -1).all() and heads[row, 0] == -1


def test_sentences_do_not_disturb_each_other():
    params = params_of()
    heads, _ = parser.decode(params, SENTENCES, ROOT)
    some = jax.tree.map(lambda a: a[3:5], SENTENCES)
    assert_close(parser.decode(params, some, ROOT)[0], heads[3:5])


@pytest.mark.slow
def test_the_network_learns_its_examples():
    import optax

    ids, steps = parser.oracle_transitions(SENTENCES, HEADS, RELATIONS, R)
    flat = [column.reshape(-1, column.shape[-1]) for column in ids]
    steps = steps.reshape(-1)
    batch = parser.Batch(tuple(flat), jnp.maximum(steps, 0), steps >= 0)
    params = parser.init(jax.random.key(0), parser.Config((9, 5), R, 4, 32), jnp.float64)
    optimizer = optax.adam(0.01)

    @jax.jit
    def update(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(lambda p: parser.loss(p, batch)[0])(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    (params, _), values = jax.lax.scan(update, (params, optimizer.init(params)), length=350)
    assert values[-1] < 0.1
    heads, _ = parser.decode(params, SENTENCES, ROOT)
    words = HEADS >= 0
    assert (np.asarray(heads)[words] == HEADS[words]).mean() > 0.9


def test_bad_settings_and_shapes():
    with pytest.raises(ValueError, match="num_relations"):
        parser.Config((9,), 0)
    with pytest.raises(ValueError, match="embed_dim"):
        parser.Config((9,), 3, 0)
    params = params_of()
    with pytest.raises(ValueError, match="3 vocabularies, but ids of 2"):
        parser.decode(params, SENTENCES._replace(ids=SENTENCES.ids[:1]), ROOT)
    with pytest.raises(AssertionError):
        parser.decode(params, SENTENCES._replace(length=SENTENCES.length[:, None]), ROOT)
