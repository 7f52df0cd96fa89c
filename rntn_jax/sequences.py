"""Sequences as padded arrays: contiguous segments of a long text, and sentences by length.

Everything here runs on the host and returns NumPy arrays. Padding has id 0 and a false mask.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.shapes import shapes_repr

__all__ = [
    "Segments",
    "SequenceBatch",
    "buckets",
    "jittered_batches",
    "pack_rows",
    "pad",
    "padded_batches",
    "power_of_two",
    "segments",
]


class SequenceBatch(NamedTuple):
    """Tokens to read and tokens to predict.

    Axes: ``B`` batch, ``T`` time.
    """

    tokens: Any  # int32 [B, T]
    targets: Any  # int32 [B, T]
    mask: Any  # bool [B, T], where there is something to predict

    __repr__ = shapes_repr


def segments(ids: np.ndarray, batch_size: int, steps: int) -> list[SequenceBatch]:
    """A long text as contiguous segments, for truncated backpropagation with carried state.

    The text is cut into ``batch_size`` streams of equal length; segment ``i`` of a stream goes on
    where segment ``i - 1`` ended, and all segments have the same shape. Every token but the first
    of the text is predicted once: where streams are cut the target is the next stream's first
    token, so nothing is lost; the last segments are padded.

    Args:
        ids: integer ``[N]``, ``N >= 2``, none of them 0.
        batch_size: streams ``B``; fewer when the text is too short for them.
        steps: length ``T`` of a segment.

    Returns:
        ``ceil(ceil((N - 1) / B) / T)`` batches ``[B, T]``.

    Raises:
        ValueError: for a text of fewer than two tokens, an id below 1, or sizes below 1.

    Example:
        >>> first, last = segments(np.arange(1, 10), batch_size=2, steps=3)
        >>> first.tokens.tolist(), first.targets.tolist()
        ([[1, 2, 3], [5, 6, 7]], [[2, 3, 4], [6, 7, 8]])
        >>> last.tokens.tolist(), last.mask.tolist()
        ([[4, 0, 0], [8, 0, 0]], [[True, False, False], [True, False, False]])
    """
    ids = _checked(ids)
    if len(ids) < 2:
        raise ValueError(f"a text of {len(ids)} tokens leaves nothing to predict")
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    pairs = len(ids) - 1
    batch_size = min(batch_size, pairs)
    length = -(-pairs // batch_size)
    count = -(-length // steps)
    full = np.zeros((2, batch_size, count * steps), np.int32)
    mask = np.zeros((batch_size, count * steps), bool)
    for side in range(2):
        stream = np.zeros(batch_size * length, np.int32)
        stream[:pairs] = ids[side : side + pairs]
        full[side, :, :length] = stream.reshape(batch_size, length)
    mask[:, :length] = (np.arange(batch_size * length) < pairs).reshape(batch_size, length)
    cuts = [slice(i * steps, (i + 1) * steps) for i in range(count)]
    return [SequenceBatch(full[0][:, cut], full[1][:, cut], mask[:, cut]) for cut in cuts]


class Segments(Sequence[SequenceBatch]):
    """`segments` that are made when they are asked for, of a text that may be larger than memory.

    Args:
        ids: int ``[N]``, ``N >= 2``, none of them 0; anything that has a length and gives slices,
            `rntn_jax.data.TokenFile` for example.
        batch_size: streams, as in `segments`.
        steps: length of a segment.

    Raises:
        ValueError: for a text of fewer than two tokens, or sizes below 1.

    Example:
        >>> first, last = Segments(np.arange(1, 10), batch_size=2, steps=3)
        >>> first.tokens.tolist(), last.targets.tolist()
        ([[1, 2, 3], [5, 6, 7]], [[5, 0, 0], [9, 0, 0]])
    """

    def __init__(self, ids: Any, batch_size: int, steps: int):
        if len(ids) < 2:
            raise ValueError(f"a text of {len(ids)} tokens leaves nothing to predict")
        for name, value in (("batch_size", batch_size), ("steps", steps)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._ids, self._steps, self._pairs = ids, steps, len(ids) - 1
        self._rows = min(batch_size, self._pairs)
        self._length = -(-self._pairs // self._rows)
        self._count = -(-self._length // steps)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        first = number % len(self) * self._steps
        size = min(self._steps, self._length - first)
        tokens, targets = np.zeros((2, self._rows, self._steps), np.int32)
        for row in range(self._rows):
            begin = row * self._length + first
            own = self._ids[begin : min(begin + size, self._pairs) + 1]
            count = max(len(own) - 1, 0)
            tokens[row, :count], targets[row, :count] = own[:count], own[1:]
        return SequenceBatch(tokens, targets, tokens > 0)


def pad(sentences: Sequence[np.ndarray], start: int, length: int | None = None) -> SequenceBatch:
    """Sentences as rows; each is read from ``start`` on and every token of it predicted.

    Args:
        sentences: integer arrays, each of at least one token (its last the end of sentence, if
            that is to be predicted), none of them 0.
        start: id read before the first token; usually that of the end of sentence.
        length: ``T``; by default the longest sentence's.

    Returns:
        tokens, targets int32 ``[B, T]`` and mask bool ``[B, T]``.

    Raises:
        ValueError: naming the sentence that is empty, too long, or holds an id below 1.

    Example:
        >>> batch = pad([np.array([5, 6, 2]), np.array([7, 2])], start=2)
        >>> batch.tokens.tolist(), batch.targets.tolist()
        ([[2, 5, 6], [2, 7, 0]], [[5, 6, 2], [7, 2, 0]])
    """
    sizes = [len(sentence) for sentence in sentences]
    if not sizes:
        raise ValueError("there is no sentence")
    length = max(sizes) if length is None else length
    targets = np.zeros((len(sizes), length), np.int32)
    for row, sentence in enumerate(sentences):
        if not 1 <= sizes[row] <= length:
            raise ValueError(f"sentence {row} has {sizes[row]} tokens; there must be 1 to {length}")
        targets[row, : sizes[row]] = _checked(sentence, f" of sentence {row}")
    mask = np.arange(length)[None] < np.array(sizes)[:, None]
    tokens = np.zeros_like(targets)
    tokens[:, 0], tokens[:, 1:] = start, targets[:, :-1]
    return SequenceBatch(np.where(mask, tokens, 0), targets, mask)


def buckets(
    lengths: Sequence[int], batch_size: int, seed: int | None = None, granularity: int = 8
) -> Iterator[tuple[np.ndarray, int]]:
    """Sentences of like length together: members of each batch, and the length to pad them to.

    Lengths are rounded up to a multiple of ``granularity``, so that few programs are compiled.

    Args:
        lengths: of all sentences.
        batch_size: most sentences a batch.
        seed: shuffles sentences within a bucket and the batches; None keeps them in order.
        granularity: of the lengths.

    Yields:
        ``(members, length)``: numbers of sentences int ``[n]``, and the length to pad them to.

    Raises:
        ValueError: when a length, ``batch_size`` or ``granularity`` is below 1.

    Example:
        >>> [(m.tolist(), length) for m, length in buckets([3, 9, 2], 2, granularity=4)]
        [([0, 2], 4), ([1], 12)]
    """
    sizes = np.asarray(lengths)
    if batch_size < 1 or granularity < 1 or (sizes < 1).any():
        raise ValueError("lengths, batch_size and granularity must be at least 1")
    rng = None if seed is None else np.random.default_rng(seed)
    rounded = -(-sizes // granularity) * granularity
    batches = []
    for length in np.unique(rounded):
        members = np.flatnonzero(rounded == length)
        if rng is not None:
            rng.shuffle(members)
        batches += [
            (members[i : i + batch_size], int(length)) for i in range(0, len(members), batch_size)
        ]
    if rng is not None:
        rng.shuffle(batches)  # pyright: ignore[reportArgumentType]
    yield from batches


def padded_batches(
    lengths: Sequence[int] | np.ndarray,
    padded: Callable[[int], int],
    rows: Callable[[int, int], int],
    *,
    longest_first: bool = False,
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Sequences of like length together, padded to shapes of which there are few.

    Args:
        lengths: of all sequences; those of length 0 are left out.
        padded: from a length to the length to pad to, not decreasing.
        rows: from that, and the number of sequences that fit, to the rows to pad to.
        longest_first: from the longest on, so that shorter ones fill up its batch; otherwise only
            sequences of one padded length come together.

    Yields:
        Members of each batch, its rows, and its length.

    Example:
        >>> batches = padded_batches([3, 9, 2], power_of_two, lambda length, count: 2)
        >>> [(members.tolist(), rows, length) for members, rows, length in batches]
        [([2], 2, 2), ([0], 2, 4), ([1], 2, 16)]
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    if longest_first:
        order = order[::-1]
    while len(order):
        length = padded(int(sizes[order[0]]))
        fitting = len(order)
        if not longest_first:
            fitting = int(np.searchsorted(sizes[order], length, side="right"))
        count = rows(length, fitting)
        members = order[: min(fitting, count)]
        yield members, count, length
        order = order[len(members) :]


def jittered_batches(
    lengths: Sequence[int] | np.ndarray,
    batch_size: int,
    padded: Callable[[int], int],
    rng: np.random.Generator,
    jitter: float = 4.0,
) -> Iterator[tuple[np.ndarray, int]]:
    """Sequences of about one length together, other ones in each epoch, in full batches.

    They are sorted by their length plus a random number, and cut into batches.

    Args:
        lengths: of all sequences.
        batch_size: sequences a batch; the last may have fewer.
        padded: from the longest of a batch to the length to pad to.
        rng: of the random numbers; one draw a sequence.
        jitter: these lie from 0 to that.

    Yields:
        ``(members, length)``: numbers of sequences int ``[n]``, and the length to pad them to.

    Raises:
        ValueError: when ``batch_size`` is below 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> batches = jittered_batches([3, 9, 2, 8], 2, power_of_two, rng, jitter=0.5)
        >>> [(sorted(members.tolist()), length) for members, length in batches]
        [([0, 2], 4), ([1, 3], 16)]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(sizes + rng.uniform(0, jitter, len(sizes)), kind="stable")
    for at in range(0, len(order), batch_size):
        members = order[at : at + batch_size]
        yield members, padded(int(sizes[members].max()))


def power_of_two(length: int, least: int = 1) -> int:
    """The next power of two, and at least ``least``.

    Args:
        length: at least 1.
        least: a power of two.

    Returns:
        A power of two.

    Example:
        >>> power_of_two(5), power_of_two(5, least=32)
        (8, 32)
    """
    return max(least, 1 << (length - 1).bit_length())


def pack_rows(lengths: Sequence[int] | np.ndarray, num_rows: int) -> tuple[Any, Any, int]:
    """Places sequences one after the other in rows of like total length.

    The longest first, each into the row with most room: little is padding unless there are few.

    Args:
        lengths: of all sequences ``[S]``.
        num_rows: rows to fill.

    Returns:
        int64 ``[S]``, the row of each sequence; int64 ``[S]``, its place in it; the length of the
        fullest row.

    Raises:
        ValueError: when ``num_rows`` is below 1.

    Example:
        >>> row, start, length = pack_rows([2, 5, 3], 2)
        >>> row.tolist(), start.tolist(), length
        ([1, 0, 1], [3, 0, 0], 5)
    """
    if num_rows < 1:
        raise ValueError(f"num_rows must be at least 1, got {num_rows}")
    lengths = np.asarray(lengths, np.int64)
    row, start = np.zeros((2, len(lengths)), np.int64)
    filled = [(0, number) for number in range(num_rows)]
    for at in np.argsort(-lengths, kind="stable"):
        used, row[at] = filled[0]
        start[at] = used
        heapq.heapreplace(filled, (used + int(lengths[at]), int(row[at])))
    return row, start, max(used for used, _ in filled)


def _checked(ids: np.ndarray, where: str = "") -> np.ndarray:
    ids = np.asarray(ids)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids{where} must be a row of integers, got {ids.dtype} {ids.shape}")
    if len(ids) and ids.min() < 1:
        at = int(np.argmin(ids))
        raise ValueError(f"id {int(ids[at])} at place {at}{where}: 0 is padding, ids start at 1")
    return ids
