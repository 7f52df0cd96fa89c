"""Trees as lists of heads: what is wrong with one, and what its words span; in linear time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rntn_jax.data.errors import DataError

__all__ = [
    "checked",
    "extents",
    "gaps",
    "integers",
    "nonprojective",
    "range_fault",
    "tree_fault",
]


def integers(heads: npt.ArrayLike) -> list[int]:
    """Heads as a list.

    Args:
        heads: integers `[n]`.

    Returns:
        Them as Python integers.

    Raises:
        ValueError: for another rank or what is no integer.
    """
    array = np.asarray(heads)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"heads must be integers [n], got {array.dtype.name} {list(array.shape)}")
    return array.tolist()


def checked(heads: npt.ArrayLike) -> list[int]:
    """A tree's heads as a new list.

    Args:
        heads: integers `[n]`.

    Returns:
        Them as Python integers.

    Raises:
        DataError: for heads that are no tree, see `tree_fault`.
        ValueError: as `integers` does.
    """
    tree = integers(heads)
    if fault := tree_fault(tree):
        raise DataError(fault[1], value=fault[2])
    return tree


def range_fault(heads: list[int]) -> tuple[int, str, object] | None:
    """The first head out of 0 to n, as `tree_fault` returns it; None when there is none."""
    words = len(heads)
    if not heads or (min(heads) >= 0 and max(heads) <= words):
        return None
    word, head = next((w, h) for w, h in enumerate(heads, 1) if not 0 <= h <= words)
    return word, f"the head of word {word} is {head}, not in 0..{words}", head


def tree_fault(heads: list[int]) -> tuple[int, str, object] | None:
    """Why heads are no tree: the word at fault, 0 when it is the sentence, in words, and a value.

    None when they are one. Linear time.
    """
    if not heads:
        return 0, "there are no words", None
    if fault := range_fault(heads):
        return fault
    for word, head in enumerate(heads, 1):
        if word == head:
            return word, f"word {word} is its own head", head
    roots = heads.count(0)
    if roots == 0:
        return 0, "no word is the root", heads
    if roots > 1:
        first = heads.index(0)
        second = heads.index(0, first + 1) + 1
        return second, f"{roots} roots, words {first + 1} and {second} among them", second
    seen = [0] * (len(heads) + 1)  # from which word it was reached first
    seen[0] = -1
    for word in range(1, len(heads) + 1):
        at = word
        while not seen[at]:
            seen[at] = word
            at = heads[at - 1]
        if seen[at] == word:
            return 0, f"a cycle goes through word {at}", at
    return None


def extents(heads: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Of each word, itself and its descendants: the first, the last, how many (place 0: of all)."""
    words = len(heads)
    left, right = list(range(words + 1)), list(range(words + 1))
    size, waiting = [1] * (words + 1), [0] * (words + 1)
    for head in heads:
        waiting[head] += 1
    for word in range(1, words + 1):
        while word and not waiting[word]:  # all its children are done
            waiting[word] = -1
            head = heads[word - 1]
            size[head] += size[word]
            left[head] = min(left[head], left[word])
            right[head] = max(right[head], right[word])
            waiting[head] -= 1
            word = head
    return left, right, size


def gaps(heads: list[int]) -> list[bool]:
    """Of each word, whether a word between its descendants is none of them (place 0 is unused)."""
    left, right, size = extents(heads)
    return [False] + [right[w] - left[w] >= size[w] for w in range(1, len(heads) + 1)]


def nonprojective(heads: list[int]) -> list[int]:
    """The dependents of the arcs that are not projective, grouped by head.

    Linear time, and for each head with a gap in its descendants that of walking from the words up.
    """
    found = []
    for head, gap in enumerate(gaps(heads)):
        if not gap:
            continue
        below = [False] * (len(heads) + 1)
        below[head] = True
        known = [False] * (len(heads) + 1)
        known[0] = known[head] = True
        for word in range(1, len(heads) + 1):
            path = []
            while not known[word]:
                known[word] = True
                path.append(word)
                word = heads[word - 1]
            for passed in path:
                below[passed] = below[word]
        first = last = head  # the words around the head that descend from it without a gap
        while below[first - 1]:
            first -= 1
        while last < len(heads) and below[last + 1]:
            last += 1
        found += [w for w, h in enumerate(heads, 1) if h == head and not first <= w <= last]
    return found
