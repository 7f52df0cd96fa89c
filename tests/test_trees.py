"""`trees`: packing, scheduling, unpacking. NumPy only."""

from __future__ import annotations

import heapq
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rntn_jax import trees
from rntn_jax.data import Tree, Vocabulary
from tests.helpers import random_tree

VOCABULARY = Vocabulary.build([f"w{i}" for i in range(5)])  # w5 and w6 are unknown


def random_trees(seed: int, sizes, **options) -> list[Tree]:
    """One tree of each number of leaves."""
    rng = np.random.default_rng(seed)
    return [random_tree(rng, int(n), **options) for n in sizes]


def sentence_lengths(seed: int, count: int):
    """Numbers of leaves like those of a treebank."""
    return np.clip(np.random.default_rng(seed).poisson(19, count), 1, 52)


def check(forest: trees.Forest, packed: list[Tree]) -> None:
    """Everything a forest of these trees must be, by the definitions of its fields."""
    shape = forest.shape
    leaves, steps, lanes, room = shape
    assert shape.slots == 1 + leaves + steps * lanes == len(forest.parent)
    assert forest.tokens.shape == (leaves,)
    assert forest.children.shape == (steps, lanes, 2)
    assert forest.roots.shape == forest.sizes.shape == (room,)
    for name, field in forest._asdict().items():
        assert field.dtype == (bool if name == "labelled" else np.int32), name
    assert int(forest.num_trees) == len(packed)
    np.testing.assert_array_equal(forest.sizes[: len(packed)], [len(tree) for tree in packed])
    assert not forest.sizes[len(packed) :].any() and not forest.roots[len(packed) :].any()

    # Each node has a slot of its own; the others are padding.
    total = sum(map(len, packed))
    used = forest.slots[:total]
    assert used.min() >= 1 and len(np.unique(used)) == total
    assert not forest.slots[total:].any()
    padding = np.ones(shape.slots, bool)
    padding[used] = False
    assert padding[0]
    assert not forest.labels[padding].any() and not forest.labelled[padding].any()
    assert not forest.parent[padding].any()
    assert not forest.tokens[padding[1 : 1 + leaves]].any()
    flat = forest.children.reshape(-1, 2)
    assert not flat[padding[shape.first :]].any()

    # Unpacking gives the trees back.
    slots = trees.unpack(forest, np.arange(shape.slots))
    words = np.append(np.append(-1, forest.tokens), np.full(steps * lanes, -1))
    for tree, own, root, labels, labelled, tokens in zip(
        packed,
        slots,
        forest.roots,
        trees.unpack(forest, forest.labels),
        trees.unpack(forest, forest.labelled),
        trees.unpack(forest, words),
        strict=False,
    ):
        n = tree.num_leaves
        assert root == own[-1]
        np.testing.assert_array_equal(np.where(labelled, labels, -1), tree.labels)
        np.testing.assert_array_equal(tokens[:n], VOCABULARY.encode(tree.tokens))
        assert (own[:n] < shape.first).all() and (own[n:] >= shape.first).all()
        np.testing.assert_array_equal(flat[own[n:] - shape.first], own[tree.children])

        # `parent` is the inverse of `children`; a root has none.
        rows = np.repeat(own[n:] - shape.first, 2)
        sides = np.tile([0, 1], n - 1)
        np.testing.assert_array_equal(
            forest.parent[own[tree.children].ravel()], 2 * rows + sides + 2
        )
        assert forest.parent[root] == 0

    # A node comes in a later step than its children; no step is empty before the last.
    step_of = np.full(shape.slots, -1)
    step_of[shape.first :] = np.repeat(np.arange(steps), lanes)
    real = ~padding[shape.first :]
    assert (step_of[flat].max(1) < np.repeat(np.arange(steps), lanes))[real].all()
    filled = np.zeros(steps, int)
    np.add.at(filled, np.repeat(np.arange(steps), lanes)[real], 1)
    used_steps = int(forest.num_steps)
    assert filled[:used_steps].all() and not filled[used_steps:].any()


def schedule_length(packed: list[Tree], lanes: int) -> int:
    """Highest level first with a heap: the least number of steps (Hu 1961)."""
    heap, waiting, parents, depths = [], {}, {}, {}
    for t, tree in enumerate(packed):
        n = tree.num_leaves
        up = tree.parents()
        depth = np.zeros(len(tree), int)
        for node in range(len(tree) - 2, -1, -1):
            depth[node] = depth[up[node]] + 1
        for node in range(n, len(tree)):
            waiting[t, node] = int((tree.children[node - n] >= n).sum())
            parents[t, node], depths[t, node] = (t, int(up[node])), int(depth[node])
            if not waiting[t, node]:
                heapq.heappush(heap, (-depths[t, node], t, node))
    steps = 0
    while heap:
        batch = [heapq.heappop(heap)[1:] for _ in range(min(lanes, len(heap)))]
        for node in batch:
            up = parents[node]
            if up in waiting:
                waiting[up] -= 1
                if not waiting[up]:
                    heapq.heappush(heap, (-depths[up], *up))
        steps += 1
    return steps


def lower_bound(packed: list[Tree], lanes: int) -> int:
    """Nodes of depth ``j`` and more take ``ceil(count / lanes)`` steps, then ``j`` more follow."""
    depths = []
    for tree in packed:
        up = tree.parents()
        depth = np.zeros(len(tree), int)
        for node in range(len(tree) - 2, -1, -1):
            depth[node] = depth[up[node]] + 1
        depths.append(depth[tree.num_leaves :])
    counts = np.bincount(np.concatenate(depths), minlength=1)
    deeper = np.cumsum(counts[::-1])[::-1]
    return max((-(-int(n) // lanes) + j for j, n in enumerate(deeper) if n), default=0)


MIXED = [
    *random_trees(0, [1, 7, 1, 30, 2, 3, 12]),
    *random_trees(1, [9, 1, 40], shape="left"),
    *random_trees(2, [2, 33], shape="right", unlabelled=0.5),
]


@pytest.mark.parametrize("lanes", [None, 1, 2, 3, 16, 200])
def test_mixed_batch(lanes):
    forest = trees.pack(MIXED, VOCABULARY, lanes=lanes)
    check(forest, MIXED)
    assert lanes is None or forest.shape.lanes == lanes


def test_one_leaf_trees():
    packed = random_trees(0, [1, 1, 1])
    forest = trees.pack(packed, VOCABULARY)
    check(forest, packed)
    assert int(forest.num_steps) == 0
    np.testing.assert_array_equal(forest.roots, [1, 2, 3])
    np.testing.assert_array_equal(
        np.concatenate(trees.unpack(forest, forest.labels)), [tree.labels[0] for tree in packed]
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_chain_of_5000_leaves(side):
    packed = random_trees(0, [5000], shape=side)
    forest = trees.pack(packed, VOCABULARY)
    check(forest, packed)
    assert int(forest.num_steps) == 4999


def test_two_chains_share_their_steps():
    packed = [*random_trees(0, [300], shape="left"), *random_trees(1, [300], shape="right")]
    forest = trees.pack(packed, VOCABULARY)
    check(forest, packed)
    assert forest.shape.lanes == 2 and int(forest.num_steps) == 299


@pytest.mark.parametrize("lanes", [1, 2, 5, 16, 64])
def test_schedule_is_as_short_as_can_be(lanes):
    batches = [MIXED] + [random_trees(seed, sentence_lengths(seed, 12)) for seed in range(4)]
    flat = [tree for batch in batches for tree in batch]
    ends = np.cumsum([len(batch) for batch in batches])
    ids = np.split(np.arange(len(flat)), ends[:-1])
    bank = trees.encode(flat, VOCABULARY)
    for batch, forest in zip(batches, trees.pack_batches(bank, ids, lanes=lanes), strict=True):
        best = schedule_length(batch, lanes)
        assert int(forest.num_steps) == best == lower_bound(batch, lanes)


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    lanes=st.integers(1, 12),
    shape=st.sampled_from(["random", "left", "right"]),
    seed=st.integers(0, 2**32 - 1),
    unlabelled=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_any_forest(sizes, lanes, shape, seed, unlabelled):
    packed = random_trees(seed, sizes, shape=shape, unlabelled=unlabelled)
    forest = trees.pack(packed, VOCABULARY, lanes=lanes)
    check(forest, packed)
    assert int(forest.num_steps) == lower_bound(packed, lanes)


def test_many_batches_are_packed_like_each_alone():
    bank = trees.encode(MIXED, VOCABULARY)
    batches = [np.array([3, 0]), np.array([11, 11, 5]), np.array([2]), np.arange(12)[::-1]]
    forests = list(trees.pack_batches(bank, batches, lanes=4))
    assert len(forests) == len(batches)
    for ids, forest in zip(batches, forests, strict=True):
        own = [MIXED[i] for i in ids]
        check(forest, own)
        for left, right in zip(forest, trees.pack(own, VOCABULARY, lanes=4), strict=True):
            np.testing.assert_array_equal(left, right)


def test_packing_is_deterministic_and_leaves_its_arguments_alone():
    bank = trees.encode(MIXED, VOCABULARY)
    before = [np.copy(field) for field in bank]
    first = list(trees.pack_batches(bank, [np.arange(12), np.arange(4)]))
    again = list(trees.pack_batches(bank, [np.arange(12), np.arange(4)]))
    for left, right in zip(first, again, strict=True):
        assert all(map(np.array_equal, left, right))
    assert all(map(np.array_equal, before, bank))


def test_an_epoch_has_few_shapes_and_they_are_not_wasteful():
    bank = trees.encode(random_trees(0, sentence_lengths(0, 27 * 60)), VOCABULARY)
    order = np.random.default_rng(1).permutation(len(bank)).reshape(60, 27)
    forests = list(trees.pack_batches(bank, list(order)))
    shapes = {forest.shape for forest in forests}
    exact = {(int(bank.num_leaves[ids].sum()), int(f.num_steps)) for ids, f in zip(order, forests)}
    assert len(shapes) <= 6 < 40 < len(exact)
    for ids, forest in zip(order, forests, strict=True):
        real = bank.num_leaves[ids].sum()
        assert real <= forest.shape.leaves <= 1.5 * real
        assert forest.num_steps <= forest.shape.steps <= 1.5 * forest.num_steps


def test_given_shapes_are_taken_in_order():
    small, large = trees.Shape(12, 8, 2, 3), trees.Shape(200, 120, 2, 12)
    bank = trees.encode(MIXED, VOCABULARY)
    batches = [np.array([0]), np.arange(12), np.array([2, 4])]
    forests = list(trees.pack_batches(bank, batches, shapes=[small, large]))
    assert [forest.shape for forest in forests] == [small, large, small]
    for ids, forest in zip(batches, forests, strict=True):
        check(forest, [MIXED[i] for i in ids])


@pytest.mark.parametrize("field", ["leaves", "steps", "trees"])
def test_too_small_a_shape_names_what_is_needed(field):
    forest = trees.pack(MIXED, VOCABULARY, lanes=4)
    need = trees.Shape(sum(tree.num_leaves for tree in MIXED), int(forest.num_steps), 4, len(MIXED))
    check(trees.pack(MIXED, VOCABULARY, shape=need), MIXED)
    small = need._replace(**{field: getattr(need, field) - 1})
    with pytest.raises(ValueError) as error:
        trees.pack(MIXED, VOCABULARY, shape=small)
    assert f"{field}={getattr(need, field)}" in str(error.value)
    assert f"{field}={getattr(small, field)}" in str(error.value)


def test_no_trees():
    with pytest.raises(ValueError, match="empty"):
        trees.pack([], VOCABULARY)
    bank = trees.encode(MIXED, VOCABULARY)
    with pytest.raises(ValueError, match="minibatch 1 is empty"):
        list(trees.pack_batches(bank, [np.array([0]), np.array([], int)]))


@pytest.mark.parametrize(
    ("tokens", "children", "labels"),
    [
        ((), np.zeros((0, 2)), []),
        (("a", "b"), [[0, 1], [2, 1]], [0, 0, 0]),  # a row too many
        (("a", "b"), [[0, 1]], [0, 0]),  # a label too few
        (("a", "b"), [0, 1], [0, 0, 0]),  # not pairs
        (("a", "b"), [[0, 0]], [0, 0, 0]),  # a child twice
        (("a", "b"), [[0, 2]], [0, 0, 0]),  # its own child
        (("a", "b"), [[0, -1]], [0, 0, 0]),
        (("a", "b"), [[0, 7]], [0, 0, 0]),
        (("a", "b", "c"), [[4, 0], [1, 2]], [0] * 5),  # a parent before its child
        (("a", "b", "c"), [[0, 1], [0, 2]], [0] * 5),  # two parents, and a node without
    ],
)
def test_malformed_trees(tokens, children, labels):
    # `Tree` itself would refuse all of these.
    bad = SimpleNamespace(
        tokens=tokens, children=np.array(children, np.int32), labels=np.array(labels, np.int32)
    )
    with pytest.raises(ValueError):
        trees.encode([MIXED[1], bad, MIXED[0]], VOCABULARY)


def test_encode():
    bank = trees.encode(MIXED, VOCABULARY)
    assert len(bank) == len(MIXED)
    np.testing.assert_array_equal(bank.num_leaves, [tree.num_leaves for tree in MIXED])
    np.testing.assert_array_equal(bank.height, [tree.heights()[-1] for tree in MIXED])
    np.testing.assert_array_equal(bank.parent, np.concatenate([t.parents() for t in MIXED]))
    up = np.concatenate([t.parents() for t in MIXED])
    sides = [
        int(t.children[t.parents()[n] - t.num_leaves, 1] == n) if t.parents()[n] >= 0 else 0
        for t in MIXED
        for n in range(len(t))
    ]
    np.testing.assert_array_equal(bank.side, sides)
    assert (bank.depth[up < 0] == 0).all() and (bank.depth[up >= 0] > 0).all()


def test_required_shape_holds_a_batch_that_is_bound_by_height_or_by_work():
    for packed, lanes in ((MIXED, 1), (MIXED, 200), (random_trees(0, [16] * 8), None)):
        bank = trees.encode(packed, VOCABULARY)
        shape = trees.required_shape(bank.num_leaves, bank.height, lanes)
        check(trees.pack(packed, VOCABULARY, shape=shape), packed)


def test_padding_words_may_not_occur_in_a_tree():
    """Id 0 means padding, so a word with that id would silently lose its state."""
    with pytest.raises(ValueError):
        trees.pack([Tree(("<pad>", "w0"), [[0, 1]], [0, 0, 0])], VOCABULARY)


def test_local_tokens():
    forest = trees.pack(MIXED, VOCABULARY)
    local, words = trees.local_tokens(forest)
    assert words.dtype == local.tokens.dtype == np.int32
    np.testing.assert_array_equal(words[local.tokens], forest.tokens)
    np.testing.assert_array_equal(local.tokens == 0, forest.tokens == 0)
    assert words[0] == 0
    distinct = len(np.unique(np.append(0, forest.tokens)))
    assert local.tokens.max() == distinct - 1
    assert len(np.unique(words)) == distinct and not words[distinct:].any()
    assert len(words) >= len(forest.tokens)  # whatever the batch, one shape
    for name in forest._fields:
        if name != "tokens":
            assert getattr(local, name) is getattr(forest, name)


def test_local_tokens_of_a_batch_whose_words_are_all_different():
    packed = [Tree(("w0", "w1", "w2", "w3"), [[0, 1], [4, 2], [5, 3]], [0] * 7)]
    forest = trees.pack(packed, VOCABULARY)
    assert forest.shape.leaves == 4  # no padding: the padding word needs a row of its own
    local, words = trees.local_tokens(forest)
    np.testing.assert_array_equal(words[local.tokens], forest.tokens)
    assert words[0] == 0 and (local.tokens > 0).all()


@pytest.mark.parametrize("trailing", [(), (3,), (2, 2)])
def test_unpack_keeps_trailing_axes(trailing):
    forest = trees.pack(MIXED, VOCABULARY)
    values = np.random.default_rng(0).normal(size=(forest.shape.slots, *trailing))
    parts = trees.unpack(forest, values)
    assert [part.shape for part in parts] == [(len(tree), *trailing) for tree in MIXED]
    np.testing.assert_array_equal(
        np.concatenate(parts), values[forest.slots[: sum(map(len, MIXED))]]
    )


def test_unpack_refuses_values_of_another_forest():
    forest = trees.pack(MIXED, VOCABULARY)
    with pytest.raises(ValueError, match=str(forest.shape.slots)):
        trees.unpack(forest, np.zeros(forest.shape.slots - 1))
