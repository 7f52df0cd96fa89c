"""The editor of pages of trees: correcting labels, and taking the trees away as brackets.

This is what Python adds to the pages; the editor itself is `editor.js` and `editor.css`.

Everything happens in the reader's browser, without a server and without the network. It keeps the
corrections where it allows pages to keep something, under the name that `key` gives.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from rntn_jax.plots import palette, text
from rntn_jax.plots.view import TreeLike

_UNFIT = re.compile(r"[\s\0]|\A\Z", re.ASCII)
_CODES = {"(": "-LRB-", ")": "-RRB-"}

BAR = """
<div class="rj-bar" role="toolbar" aria-label="Corrections" hidden>
<span class="rj-count" role="status">No corrections</span>
<button type="button" data-do="undo" title="Ctrl + Z">Undo</button>
<button type="button" data-do="clear">Clear all</button>
<label>Take <select aria-label="Which trees">
<option value="all">all trees</option><option value="fixed">corrected trees</option>
<option value="mine">only my corrections, others -1</option>
</select></label>
<button type="button" data-do="copy">Copy</button>
<button type="button" data-do="download">Download</button>
</div>
<textarea class="rj-text" rows="6" readonly hidden aria-label="The trees as brackets"></textarea>
"""

HELP = (
    "Click on a node to correct its label, or go to it with Tab and arrows and press Enter. Copy"
    " and Download give trees in brackets, with the corrected, else gold, else predicted labels; or"
    " the corrected trees with -1 (no label) wherever nobody corrected."
)


def classes(names: Sequence[str]) -> str:
    """What the script needs to know of the classes: name, colours of disc, ink and rim, symbol.

    Example:
        >>> classes(["bad", "good"])[:47]
        '[["bad", "#ad2f16", "#ffffff", "#6d2c25", "0"],'
    """
    count = len(names)
    colors = [palette.class_color(index, count) for index in range(count)]
    symbols = [palette.class_symbol(index, count).replace("-", "\u2212") for index in range(count)]
    rows = [
        (text.clean(name), color, palette.ink(color), palette.mix(color, "#1f2937", 0.45), symbol)
        for name, color, symbol in zip(names, colors, symbols, strict=True)
    ]
    return json.dumps(rows)


def tokens(tree: TreeLike) -> str:
    """The words for the brackets; what brackets cannot hold is written as `-LRB-`, `-RRB-`, `_`.

    Example:
        >>> class Words:
        ...     tokens = ("a b", "(", "")
        >>> tokens(Words())
        '["a_b", "-LRB-", "_"]'
    """
    words = [re.sub("[()]", lambda found: _CODES[found.group()], str(t)) for t in tree.tokens]
    return json.dumps([_UNFIT.sub("_", word) for word in words])


def key(trees: Sequence[TreeLike]) -> str:
    """The name under which a browser keeps the corrections: words and shape, not the labels.

    Example:
        >>> key([]) == key(())
        True
    """
    content = [[list(map(str, tree.tokens)), _pairs(tree)] for tree in trees]
    return "rj-trees-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _pairs(tree: TreeLike) -> list[list[int]]:
    return [[int(child) for child in pair] for pair in tree.children]
