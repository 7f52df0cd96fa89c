"""Which modules the reference has, and how pdoc renders them."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import rntn_jax
from experiments.notebooks import render as notebooks

__all__ = ["ROOT", "public_modules", "write"]

ROOT = Path(__file__).resolve().parent.parent.parent


_ALIAS = re.compile(r"<p>Alias for field number \d+</p>")  # fields of named tuples


class Entry(NamedTuple):
    """A line of the index."""

    name: str
    link: str
    about: str


def public_modules() -> dict[str, str]:
    """Modules of the reference: full names, and the names that users write.

    These are what `rntn_jax` exports, the modules that these export in turn, and all models.
    """
    found: dict[str, str] = {}

    def add(module: ModuleType, name: str) -> None:
        if module.__name__ in found:
            return
        found[module.__name__] = name
        for public in getattr(module, "__all__", ()):
            if inspect.ismodule(member := getattr(module, public)):
                add(member, f"{name}.{public}")

    add(rntn_jax, "rntn_jax")
    models = importlib.import_module("rntn_jax.models")
    for info in pkgutil.iter_modules(models.__path__, "rntn_jax.models."):
        add(importlib.import_module(info.name), info.name)
    return found


def write(modules: dict[str, str], output: Path) -> None:
    """Writes a page for each module, an index and what its search reads.

    Args:
        modules: of `public_modules`.
        output: folder of the pages; made where there is none.
    """
    import jax
    from pdoc import doc, render

    # Fields of named tuples are annotated by strings, which pdoc then shows as they are.
    warnings.filterwarnings("ignore", "Error parsing type annotation", UserWarning)
    # As users write them, not where they are defined.
    jax.Array.__module__, jax.Array.__qualname__ = "jax", "Array"
    for module in map(importlib.import_module, ["rntn_jax", *modules]):
        for name in getattr(module, "__all__", ()):  # some are imported when they are first used
            setattr(module, name, getattr(module, name))
    render.configure(docformat="google", template_directory=Path(__file__).parent / "templates")
    documented = {name: doc.Module.from_name(name) for name in modules}
    for name, module in documented.items():
        path = output / f"{name.replace('.', '/')}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        page = render.html_module(module, documented)
        path.write_text(_ALIAS.sub("", page), encoding="utf-8")
    render.env.globals["public"] = [
        Entry(name, f"{full.replace('.', '/')}.html", _first_line(documented[full].docstring))
        for full, name in modules.items()
    ]
    render.env.globals["notebooks"] = [
        Entry(name, _link(ROOT / f"experiments/notebooks/{name}.py", output), title)
        for name, title in ((name, notebooks.title_of(name)) for name in notebooks.names())
    ]
    render.env.globals["readme"] = _link(ROOT / "README.md", output)
    (output / "index.html").write_text(render.html_index(documented), encoding="utf-8")
    (output / "search.js").write_text(render.search_index(documented), encoding="utf-8")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _link(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder.resolve())).as_posix()
