"""The style sheets and scripts of the HTML pages: the `.css` and `.js` files beside this one.

Nothing in them or in a page uses the network: pages hold them inline.
"""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def read(*names: str) -> str:
    """Returns files of this package, one after the other.

    Args:
        names: Names of files beside this one.

    Returns:
        Their contents.

    Example:
        >>> read("page.css", "viewer.css").startswith("/* All pages")
        True
    """
    folder = resources.files("rntn_jax.plots")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
