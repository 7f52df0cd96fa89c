"""Colours, symbols and names of ordered classes, and the colours of lines in charts."""

from __future__ import annotations

from collections.abc import Sequence

# Very negative to very positive: vermilion, through a warm white, to blue. The two ends differ in
# hue along the axis that every common colour-vision deficiency keeps, and lightness falls towards
# both ends, so that the strength of a label survives a grey print.
_DIVERGING = ("#ad2f16", "#f0a175", "#f3f1ec", "#8bb9de", "#1b4f94")
_SYMBOLS = ("--", "-", "0", "+", "++")
_SENTIMENTS = ("very negative", "negative", "neutral", "positive", "very positive")

#: Colours of lines in charts, distinguishable with any common colour-vision deficiency.
LINES = (
    *("#1b4f94", "#cf5a1d", "#1f8a70", "#8a4fa3", "#b08900", "#4b5563"),
    *("#c03a70", "#2391b5"),
)


def line_colors(names: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each name, the same in every chart that takes it from the same names.

    Args:
        names: All names, in a fixed order.

    Returns:
        Name -> colour; there are eight, which repeat after that.

    Example:
        >>> line_colors(["ours", "theirs"])
        {'ours': '#1b4f94', 'theirs': '#cf5a1d'}
    """
    return {name: LINES[index % len(LINES)] for index, name in enumerate(names)}


def class_names(num_classes: int, names: Sequence[str] | None = None) -> list[str]:
    """Returns the names of the classes: those given, the five sentiments, or `class 0`, ...

    Args:
        num_classes: How many there are.
        names: Their names, or None.

    Returns:
        As many names.

    Raises:
        ValueError: If `names` has another length than `num_classes`.

    Example:
        >>> class_names(5)[0], class_names(2)
        ('very negative', ['class 0', 'class 1'])
    """
    if names is not None:
        if len(names) != num_classes:
            raise ValueError(f"class_names holds {len(names)} names for {num_classes} classes")
        return [str(name) for name in names]
    if num_classes == len(_SENTIMENTS):
        return list(_SENTIMENTS)
    return [f"class {index}" for index in range(num_classes)]


def class_symbol(index: int, num_classes: int) -> str:
    """Returns the short symbol of a class: `--`, `-`, `0`, `+`, `++` of five, else the index.

    Args:
        index: The class, from 0.
        num_classes: How many there are.

    Returns:
        One character or two, or the digits.

    Example:
        >>> class_symbol(4, 5), class_symbol(1, 3)
        ('++', '1')
    """
    return _SYMBOLS[index] if num_classes == len(_SYMBOLS) else str(index)


def class_color(index: int, num_classes: int) -> str:
    """Returns the colour of a class on the diverging scale.

    Args:
        index: The class, from 0.
        num_classes: How many there are.

    Returns:
        `#rrggbb`.

    Example:
        >>> class_color(0, 5), class_color(2, 5), class_color(1, 2)
        ('#ad2f16', '#f3f1ec', '#1b4f94')
    """
    return diverging(2 * index / max(num_classes - 1, 1) - 1)


def diverging(value: float) -> str:
    """Returns the colour of a value on the diverging scale from -1 (vermilion) to 1 (blue).

    Example:
        >>> diverging(0.0)
        '#f3f1ec'
    """
    position = (min(max(value, -1.0), 1.0) + 1) * (len(_DIVERGING) - 1) / 2
    low = min(int(position), len(_DIVERGING) - 2)
    return mix(_DIVERGING[low], _DIVERGING[low + 1], position - low)


def mix(first: str, second: str, share: float) -> str:
    """Returns the colour that lies `share` of the way from `first` to `second`.

    Args:
        first: `#rrggbb`, returned for share 0.
        second: `#rrggbb`, returned for share 1.
        share: From 0 to 1.

    Returns:
        `#rrggbb`.

    Example:
        >>> mix("#000000", "#ffffff", 0.5)
        '#808080'
    """
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{int(a + (b - a) * share + 0.5):02x}" for a, b in pairs)


def ink(background: str) -> str:
    """Returns black or white, whichever reads better on `background` (contrast 4.5 or more).

    Example:
        >>> ink("#1b4f94"), ink("#f3f1ec")
        ('#ffffff', '#000000')
    """
    black, white = (contrast(background, color) for color in ("#000000", "#ffffff"))
    return "#000000" if black >= white else "#ffffff"


def contrast(first: str, second: str) -> float:
    """Returns the contrast ratio of two colours (WCAG 2 definition).

    Args:
        first: `#rrggbb`.
        second: `#rrggbb`.

    Returns:
        From 1 (the same) to 21 (black and white).

    Example:
        >>> round(contrast("#000000", "#ffffff"), 1)
        21.0
    """
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(color: str) -> list[int]:
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]
