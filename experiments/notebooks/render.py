"""Percent scripts to notebooks with their outputs, and to pages."""

from __future__ import annotations

import copy
import logging
import os
import re
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "names", "render", "write_index"]

FOLDER = Path(__file__).parent
_HELPERS = {"__init__", "main", "render"}
_FORMULA = re.compile(r"\$([^$]+)\$")
# Without the scripts that nbconvert takes from the network.
_TEMPLATE = "{% extends 'lab/index.html.j2' %}" + "".join(
    f"{{% block html_head_js_{script} %}}{{% endblock %}}"
    for script in ("requirejs", "mathjax", "mermaidjs")
)


def names() -> list[str]:
    """Names of the notebooks, in the order of the alphabet."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in _HELPERS)


def title_of(name: str) -> str:
    """The first heading of a notebook."""
    for line in (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("# # "):
            return line.removeprefix("# # ")
    return name


def render(name: str, output: Path, timeout: int = 600) -> Path:
    """Runs one notebook in a kernel of its own and writes ``NAME.ipynb`` and ``NAME.html``.

    The page needs no network; it is dark on dark screens.

    Args:
        name: one of `names`.
        output: an existing folder.
        timeout: seconds a cell may take.

    Returns:
        The page.

    Raises:
        ValueError: where there is no such notebook.
        RuntimeError: when a cell fails, with what it printed.
    """
    if name not in names():
        raise ValueError(f"no notebook {name!r}; there are: {', '.join(names())}")
    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat import write

    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it misses texts of pictures
    notebook = jupytext.read(FOLDER / f"{name}.py")
    resources = {"metadata": {"path": str(output)}}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources=resources,
        extra_arguments=["--log-level=ERROR"],  # it warns that it listens on this machine
    )
    try:
        client.execute(env=os.environ | {"RNTN_JAX_QUIET": "1"})
    except CellExecutionError as error:
        raise RuntimeError(f"notebook {name}: {error}") from None
    write(notebook, output / f"{name}.ipynb")
    path = output / f"{name}.html"
    path.write_text(_page(notebook, title_of(name)), encoding="utf-8")
    return path


def _page(notebook: Any, title: str) -> str:
    """The page of an executed notebook, with its formulas in MathML, which browsers draw."""
    from latex2mathml.converter import convert
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _FORMULA.sub(lambda m: convert(" ".join(m[1].split())), cell.source)
    exporter = HTMLExporter(raw_template=_TEMPLATE)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    paths = (Path(folder, "static", "theme-dark.css") for folder in exporter.template_paths)
    dark = next(path for path in paths if path.exists()).read_text(encoding="utf-8")
    css = f"<style>@media screen and (prefers-color-scheme: dark) {{{dark}}}</style>"
    return page.replace("</head>", f"{css}</head>", 1)


def write_index(output: Path, rendered: list[str]) -> Path:
    """A page that leads to the others."""
    from rntn_jax.plots import Section, page_html, text

    items = "".join(
        f'<li><a href="{name}.html">{text.escape(title_of(name))}</a></li>' for name in rendered
    )
    path = output / "index.html"
    page = page_html(title="Notebooks", sections=[Section("Contents", f"<ul>{items}</ul>")])
    path.write_text(page, encoding="utf-8")
    return path
