"""Dependency trees as SVG pictures: the words in a row, an arc from each head to its dependent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rntn_jax.plots import text
from rntn_jax.plots.display import Svg

RIGHT, WRONG, GOLD = "#7a8696", "#cf5a1d", "#2f6fc0"
_FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_WORD, _TAG, _LABEL = 14.0, 10.5, 11.0  # sizes of letters, in pixels
_LEVEL, _FIRST = 21.0, 24.0  # heights of a level of arcs, and of the lowest one
_STEP, _GAP, _MARGIN = 8.0, 14.0, 14.0  # between arcs at a word, between words, around
_BEND = 7.0


class _Arc(NamedTuple):
    """An arc from a head, -1 for the root, to a dependent, both counted from 0."""

    head: int
    word: int
    label: str

    @property
    def first(self) -> int:
        return self.word if self.head < 0 else min(self.head, self.word)

    @property
    def last(self) -> int:
        return max(self.head, self.word)


def arcs_svg(
    tokens: Sequence[str],
    heads: npt.ArrayLike,
    labels: Sequence[str] | None = None,
    *,
    gold_heads: npt.ArrayLike | None = None,
    gold_labels: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
) -> Svg:
    """Draws a dependency tree, and where it differs from another one.

    The arcs stand above the words. With gold heads, arcs that are wrong (in head or label) are
    drawn bold in orange, and the gold arcs of their words in blue below the words. Pointing at an
    arc shows its words, and both labels. Arcs may cross.

    Args:
        tokens: The n words.
        heads: Integers `[n]`: the head of each word, 1 to n, or 0 for the root.
        labels: n relations, or None.
        gold_heads: Integers `[n]` to compare with, or None.
        gold_labels: n relations to compare with, or None: heads alone are compared.
        tags: n parts of speech, drawn below the words, or None.

    Returns:
        An `<svg>` element with its namespace: a file, or a part of an HTML page. O(n^2) time.

    Raises:
        ValueError: If the numbers differ, there are no words, or a head is out of 0 to n or the
            word itself.

    Example:
        >>> picture = arcs_svg(["It", "works"], [2, 0], ["nsubj", "root"], gold_heads=[2, 0])
        >>> picture.startswith("<svg") and "nsubj" in picture
        True
    """
    count = len(tokens)
    if not count:
        raise ValueError("there are no words to draw")
    above = _checked("heads", heads, "labels", labels, count)
    gold: list[_Arc] = []
    below: list[_Arc] = []
    if gold_heads is not None:
        gold = _checked("gold_heads", gold_heads, "gold_labels", gold_labels, count)
        same_label = gold_labels is None or labels is None
        below = [
            right
            for arc, right in zip(above, gold)
            if arc.head != right.head or not (same_label or arc.label == right.label)
        ]
    if tags is not None and len(tags) != count:
        raise ValueError(f"{count} words but {len(tags)} tags")
    words = [text.word(token) for token in tokens]
    small = [text.shorten(text.clean(tag), 16) for tag in tags] if tags is not None else []
    centres, slots = _places(words, small, [above, below])
    levels = [_levels(arcs) for arcs in (above, below)]
    heights = [_FIRST + _LEVEL * max(found) + 12 if found else 0.0 for found in levels]
    line = _MARGIN + heights[0]  # on which the arcs above stand
    foot = line + _WORD + 9 + (_TAG + 4 if small else 0)
    width, height = centres[-1] + _half(words, small, count - 1) + _MARGIN, foot + heights[1] + 8
    wrong = {arc.word: arc for arc in below}
    gold_of = {arc.word: arc for arc in gold}
    parts = []
    for arc, level in _longest_first(above, levels[0]):
        ends = _ends(arc, slots[0], centres)
        bad = arc.word in wrong
        about = _about(arc, words, gold_of.get(arc.word) if bad else None)
        parts.append(_arc(ends, line, -1, level, arc.label, WRONG if bad else RIGHT, bad, about))
    for arc, level in _longest_first(below, levels[1]):
        ends = _ends(arc, slots[1], centres)
        about = "gold: " + _about(arc, words, None)
        parts.append(_arc(ends, foot, 1, level, arc.label, GOLD, True, about))
    for index, (word, x) in enumerate(zip(words, centres)):
        y = line + _WORD + 3
        parts.append(
            f'<text class="rj-word" x="{_n(x)}" y="{_n(y)}" font-size="{_WORD:g}" '
            f'fill="#111827">{text.escape(word)}</text>'
        )
        if small:
            parts.append(
                f'<text class="rj-tag" x="{_n(x)}" y="{_n(y + _TAG + 4)}" font-size="{_TAG:g}" '
                f'fill="#6b7280">{text.escape(small[index])}</text>'
            )
    title = text.escape("Dependency tree: " + text.span(words, 0, count))
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rj-arcs" role="img" aria-label="{title}" '
        f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'font-family="{_FONT}" text-anchor="middle">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _checked(
    name: str, heads: npt.ArrayLike, label_name: str, labels: Sequence[str] | None, count: int
) -> list[_Arc]:
    """The arcs, one a word."""
    array = np.asarray(heads)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be integers [{count}], got {array.dtype} {list(array.shape)}"
        )
    if labels is not None and len(labels) != count:
        raise ValueError(f"{count} words but {len(labels)} {label_name}")
    arcs = []
    for word, head in enumerate(array.tolist()):
        if not 0 <= head <= count or head == word + 1:
            raise ValueError(f"{name}: word {word + 1} of {count} cannot hang from {head}")
        label = "" if labels is None else text.shorten(text.clean(labels[word]), 24)
        arcs.append(_Arc(head - 1, word, label))
    return arcs


def _levels(arcs: Sequence[_Arc]) -> list[int]:
    """A height for each arc: above all arcs below it, and apart from those it crosses."""
    levels = [0] * len(arcs)
    placed: list[int] = []
    for index in sorted(range(len(arcs)), key=lambda i: arcs[i].last - arcs[i].first):
        arc = arcs[index]
        # Arcs that share more than an end with this one; a root's arc is a point.
        under = [
            levels[other]
            for other in placed
            if arcs[other].first < arc.last and arc.first < arcs[other].last
        ]
        levels[index] = max(under, default=-1) + 1
        placed.append(index)
    for index, arc in enumerate(arcs):
        if arc.head < 0:  # a line beyond the arcs that touch its word
            touching = [
                level
                for other, level in zip(arcs, levels)
                if other is not arc and other.first <= arc.word <= other.last
            ]
            levels[index] = max(touching, default=-1) + 1
    return levels


def _longest_first(arcs: Sequence[_Arc], levels: Sequence[int]) -> list[tuple[_Arc, int]]:
    """Arcs and their levels, so that the lines of the long ones lie behind other labels."""
    return sorted(zip(arcs, levels), key=lambda pair: pair[0].first - pair[0].last)


def _places(
    words: Sequence[str], tags: Sequence[str], drawn: Sequence[Sequence[_Arc]]
) -> tuple[list[float], list[dict[tuple[int, int], float]]]:
    """Centres of the words; and for each set of arcs where they leave a word, from its centre."""
    slots: list[dict[tuple[int, int], float]] = []
    room = [[0.0, 0.0] for _ in words]  # for the arcs, on both sides of the centre
    for arcs in drawn:
        slot: dict[tuple[int, int], float] = {}
        sides: dict[tuple[int, int], list[int]] = {}
        for index, arc in enumerate(arcs):
            if arc.head >= 0:
                for end, other in ((arc.head, arc.word), (arc.word, arc.head)):
                    sides.setdefault((end, 1 if other > end else 0), []).append(index)
        for (word, side), found in sides.items():
            # The longest nearest to the centre, so that they do not cross.
            found.sort(key=lambda i: arcs[i].first - arcs[i].last)
            for place, index in enumerate(found):
                offset = _STEP * (place + 0.5)
                slot[word, arcs[index].word] = offset if side else -offset
                room[word][side] = max(room[word][side], offset)
        slots.append(slot)
    centres = [_MARGIN + max(_half(words, tags, 0), room[0][0])]
    for index in range(1, len(words)):
        halves = _half(words, tags, index - 1) + _half(words, tags, index)
        arcs_room = room[index - 1][1] + room[index][0]
        centres.append(centres[-1] + max(halves + _GAP, arcs_room + _GAP))
    for arcs, slot in zip(drawn, slots):
        for arc in sorted(arcs, key=lambda one: one.last - one.first):
            left, right = _ends(arc, slot, centres)
            missing = text.width(arc.label, _LABEL) + 2 * _BEND - abs(right - left)
            if arc.head >= 0 and missing > 0:
                centres[arc.last :] = [x + missing for x in centres[arc.last :]]
    return centres, slots


def _half(words: Sequence[str], tags: Sequence[str], index: int) -> float:
    """Half of a word's width."""
    tag = text.width(tags[index], _TAG) if tags else 0.0
    return max(text.width(words[index], _WORD), tag) / 2


def _ends(
    arc: _Arc, slot: dict[tuple[int, int], float], centres: Sequence[float]
) -> tuple[float, float]:
    """Where an arc begins, at its head, and ends."""
    if arc.head < 0:
        return centres[arc.word], centres[arc.word]
    begin = centres[arc.head] + slot[arc.head, arc.word]
    return begin, centres[arc.word] + slot[arc.word, arc.word]


def _about(arc: _Arc, words: Sequence[str], gold: _Arc | None) -> str:
    """What an arc says, in words."""
    head = "root" if arc.head < 0 else words[arc.head]
    label = f" ({arc.label})" if arc.label else ""
    right = f"; gold: {_about(gold, words, None)}" if gold else ""
    return f"{words[arc.word]} \u2190 {head}{label}{right}"


def _arc(
    ends: tuple[float, float],
    base: float,
    sign: int,
    level: int,
    label: str,
    color: str,
    bold: bool,
    about: str,
) -> str:
    """One arc with its arrow and label; `sign` is -1 for an arc above its base, else 1."""
    begin, end = ends
    top = base + sign * (_FIRST + _LEVEL * level)
    if begin == end:
        path, middle = f"M{_n(end)} {_n(top)}V{_n(base)}", end
    else:
        way = 1 if end > begin else -1
        bend = min(_BEND, abs(end - begin) / 2)
        path = (
            f"M{_n(begin)} {_n(base)}V{_n(top - sign * bend)}"
            f"q0 {_n(sign * bend)} {_n(way * bend)} {_n(sign * bend)}H{_n(end - way * bend)}"
            f"q{_n(way * bend)} 0 {_n(way * bend)} {_n(-sign * bend)}V{_n(base)}"
        )
        middle = (begin + end) / 2
    tip = f"M{_n(end)} {_n(base)}l-3.5 {_n(sign * 7)}h7z"
    words = ""
    if label:
        y = top - 3.5 if sign < 0 else top + _LABEL
        weight = ' font-weight="700"' if bold else ""
        words = (
            f'<text x="{_n(middle)}" y="{_n(y)}" font-size="{_LABEL:g}"{weight} '
            f'fill="{color}" stroke="#ffffff" stroke-width="3" paint-order="stroke">'
            f"{text.escape(label)}</text>"
        )
    return (
        f'<g class="rj-arc"><title>{text.escape(about)}</title>'
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{2 if bold else 1.3}"/>'
        f'<path d="{tip}" fill="{color}"/>{words}</g>'
    )


def _n(value: float) -> str:
    """A coordinate with one decimal, as short as it can be written."""
    return f"{value:.1f}".removesuffix(".0")


def legend_html() -> str:
    """Returns what the colours of arcs compared with gold ones mean, for pages.

    Returns:
        HTML for a page made by `page_html`.

    Example:
        >>> legend_html().count("<li>")
        3
    """
    items = ((RIGHT, "right"), (WRONG, "wrong head or relation"), (GOLD, "the gold arc, below"))
    rows = "".join(
        f'<li><i class="rj-line" style="background:{color}"></i>{name}</li>'
        for color, name in items
    )
    return f'<ul class="rj-legend">{rows}</ul>'
