"""Minibatches of trees: every tree once an epoch, few shapes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from experiments.sentiment.batches import EpochLoader
from rntn_jax import data, trees


def loader_of(forest: list[data.Tree], **options: Any) -> tuple[EpochLoader, trees.Treebank]:
    bank = trees.encode(forest, data.Vocabulary.build(w for t in forest for w in t.tokens))
    options = {"batch_size": 9, "lanes": 4, "per_dispatch": 2, "seed": 0} | options
    return EpochLoader(bank, **options), bank


def test_every_epoch_holds_every_tree_once_in_an_order_of_its_own():
    forest = data.demo_sentiment.sentiment_trees(40, seed=0)
    loader, bank = loader_of(forest)
    orders = []
    for number in (1, 2, 3):
        dispatches = list(loader.epoch(number, last=number == 3))
        assert [d.first for d in dispatches] == [0, 2, 4]
        assert [len(d.members) for d in dispatches] == [2, 2, 1]
        for dispatch in dispatches:
            for i, members in enumerate(dispatch.members):
                batch = jax.tree.map(lambda x, i=i: x[i], dispatch.batch)
                assert int(batch.batch.num_trees) == len(members)
                words = batch.words[batch.batch.tokens]
                expected = [
                    bank.tokens[bank.leaf_offsets[m] : bank.leaf_offsets[m + 1]] for m in members
                ]
                np.testing.assert_array_equal(words[words > 0], np.concatenate(expected))
        orders.append(np.concatenate([m for d in dispatches for m in d.members]).tolist())
        assert sorted(orders[-1]) == list(range(40))
    loader.close()
    assert len({tuple(order) for order in orders}) == 3

    # The order is a function of seed and epoch, whatever came before.
    again, _ = loader_of(forest)
    assert (
        np.concatenate([m for d in again.epoch(3, last=True) for m in d.members]).tolist()
        == orders[2]
    )
    again.close()
    other, _ = loader_of(forest, seed=1)
    assert (
        np.concatenate([m for d in other.epoch(3, last=True) for m in d.members]).tolist()
        != orders[2]
    )
    other.close()


@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_no_order_of_the_trees_needs_a_third_shape(lanes: int):
    chain = "(2 w)"
    for _ in range(30):
        chain = f"(2 (2 w) {chain})"
    short = [data.parse_tree("(2 (2 a) (2 b))"), data.parse_tree("(2 a)")]
    forest = (
        [data.parse_tree(chain)] * 3 + short * 30 + data.demo_sentiment.sentiment_trees(20, seed=1)
    )
    loader, _ = loader_of(forest, batch_size=4, lanes=lanes, per_dispatch=3)
    shapes = set()
    for number in range(1, 40):
        for dispatch in loader.epoch(number, last=number == 39):
            assert len(dispatch.members) in (1, 3)
            shapes.add(dispatch.batch.batch.shape)
    loader.close()
    assert shapes <= set(loader.shapes) and len(loader.shapes) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_trees_than_a_minibatch(count: int):
    loader, _ = loader_of(data.demo_sentiment.sentiment_trees(count, seed=0))
    (dispatch,) = loader.epoch(1, last=True)
    loader.close()
    assert sorted(dispatch.members[0].tolist()) == list(range(count))
    assert loader.num_batches == 1


def test_trees_of_one_word_alone():
    loader, _ = loader_of([data.parse_tree("(3 good)"), data.parse_tree("(1 bad)")])
    (dispatch,) = loader.epoch(1, last=True)
    loader.close()
    assert int(dispatch.batch.batch.num_steps[0]) == 0


@pytest.mark.parametrize("count", [2, 3])
def test_pieces_hold_the_trees_of_the_minibatch_and_count_its_words_together(count: int):
    forest = data.demo_sentiment.sentiment_trees(10, seed=0)
    loader, bank = loader_of(forest, batch_size=9, per_dispatch=1, pieces=count)
    for dispatch in loader.epoch(1, last=True):  # nine trees, and one, so that pieces are empty
        (members,) = dispatch.members
        batch, words = jax.tree.map(lambda x: x[0], dispatch.batch)
        assert batch.forest.num_trees.tolist() == [len(p) for p in np.array_split(members, count)]
        found = words[batch.forest.tokens]
        expected = [bank.tokens[bank.leaf_offsets[m] : bank.leaf_offsets[m + 1]] for m in members]
        np.testing.assert_array_equal(found[found > 0], np.concatenate(expected))
        seen = words[batch.seen]
        assert sorted(seen[seen > 0]) == sorted({*np.concatenate(expected).tolist()})
    loader.close()
