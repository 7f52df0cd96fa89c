"""Pictures and pages that show themselves in a notebook, as the last line of a cell."""

from __future__ import annotations

import html

_STYLE = (
    "<style>.rj-scroll{overflow-x:auto}.rj-heatmap{border-collapse:separate;border-spacing:2px}"
    ".rj-heatmap td{min-width:34px;padding:3px 6px;border-radius:4px;text-align:center}"
    ".rj-heatmap .rj-framed{outline:2px solid #e0a000;outline-offset:-1px}"
    ".rj-note{opacity:.75}</style>"
)


class Svg(str):
    """An SVG picture: a string, which notebooks show.

    They get it as HTML too, and most prefer that: descriptions under the pointer work there, but
    not in a picture.

    Example:
        >>> picture = Svg("<svg></svg>")
        >>> picture._repr_svg_() == picture._repr_html_() == picture
        True
    """

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return str(self)


class Html(str):
    """A page, or a part of one: a string, which notebooks show.

    A page is shown in a frame of its own, where its style and script meet nothing else.

    Example:
        >>> Html("<p>text</p>")._repr_html_().endswith("<p>text</p>")
        True
        >>> Html("<!doctype html><p>text</p>")._repr_html_()[:7]
        '<iframe'
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        if not self.startswith("<!doctype html>"):
            return _STYLE + self
        return (
            '<iframe sandbox="allow-scripts allow-downloads" width="100%" height="640" '
            f'style="border:0" srcdoc="{html.escape(self)}"></iframe>'
        )
