"""`rntn_jax.sequences`: texts and sentences as padded arrays."""

from __future__ import annotations

import itertools
from functools import partial

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from rntn_jax.sequences import (
    buckets,
    jittered_batches,
    pad,
    padded_batches,
    power_of_two,
    segments,
)


@hypothesis.given(
    st.integers(2, 60), st.integers(1, 9), st.integers(1, 7)
)  # fmt: skip
def test_segments_predict_every_token_but_the_first_once_and_in_order(count, batch_size, steps):
    ids = np.arange(1, count + 1)
    batches = segments(ids, batch_size, steps)
    rows = min(batch_size, count - 1)
    assert {batch.tokens.shape for batch in batches} == {(rows, steps)}
    predicted = np.concatenate([b.targets[b.mask] for b in batches])
    assert sorted(predicted) == list(range(2, count + 1))
    for batch in batches:
        assert (batch.tokens[batch.mask] + 1 == batch.targets[batch.mask]).all()
        assert not batch.tokens[~batch.mask].any() and not batch.targets[~batch.mask].any()
    for before, after in itertools.pairwise(batches):
        goes_on = after.mask[:, 0]
        assert (after.tokens[goes_on, 0] == before.targets[goes_on, -1]).all()


@pytest.mark.parametrize(
    ("ids", "batch_size", "steps", "message"),
    [
        ([1], 1, 1, "1 tokens"),
        ([1, 0, 2], 1, 1, "place 1"),
        ([1, -3, 2], 1, 1, "-3"),
        ([[1, 2]], 1, 1, "row of integers"),
        ([1.0, 2.0], 1, 1, "row of integers"),
        ([1, 2], 0, 1, "batch_size"),
        ([1, 2], 1, 0, "steps"),
    ],
)
def test_bad_texts(ids, batch_size, steps, message):
    with pytest.raises(ValueError, match=message):
        segments(np.array(ids), batch_size, steps)


def test_sentences_as_rows():
    batch = pad([np.array([5, 6, 2]), np.array([2])], start=2, length=4)
    assert batch.tokens.tolist() == [[2, 5, 6, 0], [2, 0, 0, 0]]
    assert batch.targets.tolist() == [[5, 6, 2, 0], [2, 0, 0, 0]]
    assert batch.mask.tolist() == [[True, True, True, False], [True, False, False, False]]


@pytest.mark.parametrize(
    ("sentences", "length", "message"),
    [
        ([], None, "no sentence"),
        ([[3], []], None, "sentence 1 has 0"),
        ([[3, 4], [3]], 1, "sentence 0 has 2"),
        ([[3], [4, 0]], None, "of sentence 1"),
    ],
)
def test_bad_sentences(sentences, length, message):
    with pytest.raises(ValueError, match=message):
        pad([np.array(s, np.int32) for s in sentences], start=2, length=length)


@hypothesis.given(
    st.lists(st.integers(1, 40), max_size=30), st.integers(1, 5), st.none() | st.integers(0, 3)
)
def test_buckets_hold_every_sentence_once_and_long_enough(lengths, batch_size, seed):
    found = list(buckets(lengths, batch_size, seed))
    members = [m for batch, _ in found for m in batch.tolist()]
    assert sorted(members) == list(range(len(lengths)))
    for batch, length in found:
        assert 1 <= len(batch) <= batch_size and length % 8 == 0
        assert all(length - 8 < lengths[m] <= length for m in batch)


def test_buckets_are_a_function_of_the_seed():
    lengths = list(range(1, 50))
    runs = [[m.tolist() for m, _ in buckets(lengths, 4, seed)] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("arguments", [([3], 0), ([0], 1), ([3], 1, None, 0)])
def test_bad_buckets(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        list(buckets(*arguments))


@pytest.mark.parametrize("longest_first", [False, True])
def test_padded_batches_hold_every_sequence_once(longest_first):
    lengths = np.random.default_rng(0).integers(0, 50, 200)
    seen, shapes = [], set()
    batches = padded_batches(
        lengths, partial(power_of_two, least=8), lambda n, _: 320 // n, longest_first=longest_first
    )
    for members, rows, length in batches:
        assert 1 <= len(members) <= rows == 320 // length
        assert lengths[members].max() <= length == power_of_two(int(lengths[members].max()), 8)
        seen += members.tolist()
        shapes.add((rows, length))
    assert sorted(seen) == np.flatnonzero(lengths).tolist()
    assert len(shapes) == 4  # 8, 16, 32, 64
    assert not list(padded_batches([], power_of_two, lambda *_: 1))


def test_jittered_batches_hold_every_sequence_once_and_differ_from_draw_to_draw():
    lengths = np.random.default_rng(0).integers(1, 50, 201)
    draws = []
    for seed in (0, 0, 1):
        rng = np.random.default_rng(seed)
        found = list(jittered_batches(lengths, 20, partial(power_of_two, least=8), rng))
        assert [len(members) for members, _ in found] == [20] * 10 + [1]
        for members, length in found:
            assert length == power_of_two(int(lengths[members].max()), 8)
            assert np.ptp(lengths[members]) <= 20  # of 50: neighbours in length, within the jitter
        draws.append([members.tolist() for members, _ in found])
        assert sorted(itertools.chain.from_iterable(draws[-1])) == list(range(201))
    assert draws[0] == draws[1] != draws[2]
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        list(jittered_batches(lengths, 0, power_of_two, np.random.default_rng(0)))
