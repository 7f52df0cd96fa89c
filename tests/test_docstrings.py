"""What docstrings and signatures of the package must have, read from its source."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Source", "Cost", "Example")
RAISING = re.compile(r"check|check_\w+|assert_\w+")  # rntn_jax.ops.checks.check, chex
OPEN = {"set_params", "write", "advance"}  # take whatever keywords there are, and name none
# An annotation of sections that is not in Google's style, or of other names for one of them.
OTHER = re.compile(
    r"^\s*(:param|:return|Parameters$|Arguments:|Return:|Examples:|Sources:|Throws:)"
)


def name_of(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    name_of(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "rntn_jax").rglob("*.py"))
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def exported(module: str) -> list[str]:
    """``__all__`` of a module."""
    for node in TREES[module].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [ast.literal_eval(name) for name in getattr(node.value, "elts", [])]
    return []


def defined(module: str, name: str) -> tuple[str, ast.AST] | None:
    """Where a name that a module exports is defined; None for what is no function or class."""
    body = TREES[module].body
    for node in TREES[module].body:  # what is imported when it is first used
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            body = [*node.body, *body]
    for node in reversed(body):  # the last of several is no overload
        if isinstance(node, Function | ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module in TREES and node.module != module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return defined(node.module, alias.name)
    return None


def public_modules() -> set[str]:
    """Modules that users import: those that no package speaks for, and what these export."""
    found: set[str] = set()

    def add(module: str) -> None:
        if module in TREES and module not in found:
            found.add(module)
            for name in exported(module):
                add(f"{module}.{name}")

    for module in TREES:
        package = module.rpartition(".")[0]
        spoken_for = package not in ("", "rntn_jax") and exported(package)
        if not spoken_for and not re.search(r"\._", module):
            add(module)
    return found


def definitions(modules: Iterable[str]) -> dict[tuple[str, str], ast.AST]:
    """What modules export, by the module where it is defined and its name."""
    return {
        (place[0], name): place[1]
        for module in sorted(modules)
        for name in exported(module)
        if (place := defined(module, name))
    }


PUBLIC = definitions(public_modules())
EXPORTED = definitions(TREES)  # also what the modules of a package offer to each other alone


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods, without those within functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")


def exported_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """All functions that a module exports, and the public methods of such classes."""
    for (module, name), node in EXPORTED.items():
        if isinstance(node, ast.FunctionDef):
            yield f"{module}.{name}", node
        elif isinstance(node, ast.ClassDef):
            for method, function in functions(node, f"{module}.{name}."):
                last = method.rpartition(".")[2]
                if not last.startswith("_") or last == "__call__":
                    yield method, function


def parameters(function: ast.FunctionDef) -> list[str]:
    """Names of the parameters, ``self`` left out."""
    args = function.args
    found = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    found += [arg.arg for arg in (args.vararg, args.kwarg) if arg]
    return [name for name in found if name not in ("self", "cls")]


def sections(function: ast.AST) -> dict[str, str]:
    """The text of each section of a docstring."""
    text = inspect.cleandoc(ast.get_docstring(function) or "")  # pyright: ignore
    parts = re.split(rf"^({'|'.join(SECTIONS)}):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def named(text: str) -> list[str]:
    """The names that entries of a section begin with: ``a:``, ``*a:``, ``a, b:``, ``a (T):``."""
    text = re.sub(r"\n {5,}", " ", text)
    entries = re.findall(r"^    \**(\w+(?:, \w+)*)(?: \([^)]*\))?:", text, flags=re.MULTILINE)
    return [name for entry in entries for name in entry.split(", ")]


def raises(function: ast.FunctionDef) -> bool:
    """Whether its own body raises or calls a check."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call):
            called = node.func
            name = getattr(called, "id", None) or getattr(called, "attr", "")
            if RAISING.fullmatch(name):
                return True
        nodes += ast.iter_child_nodes(node)
    return False


def faults(function: ast.FunctionDef) -> Iterator[str]:
    """What the docstring of a function lacks.

    Two or more arguments need ``Args`` with each of them, and a result then needs ``Returns`` or
    ``Yields``; a function of one argument may say both in a sentence. What raises has ``Raises``.
    """
    found, names = sections(function), parameters(function)
    if "Args" in found and sorted(named(found["Args"])) != sorted(names):
        yield f"Args has {named(found['Args'])}, the function {names}"
    if len(names) >= 2 and "Args" not in found:
        yield f"no Args for {names}"
    result = function.returns is not None and ast.unparse(function.returns) != "None"
    if len(names) >= 2 and result and not {"Returns", "Yields"} & found.keys():
        yield "no Returns"
    if raises(function) and "Raises" not in found:
        yield "no Raises"
    if function.args.kwarg and function.name not in OPEN:
        yield f"**{function.args.kwarg.arg} is not spelled out"


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(*pair, id=pair[0]) for pair in exported_functions()]
)
def test_function_says_what_it_takes_gives_and_raises(name, function):
    assert not list(faults(function)), name


@pytest.mark.parametrize("module", TREES)
def test_functions_have_return_types(module):
    missing = [
        f"{module}.{name}"
        for name, function in functions(TREES[module])
        if function.returns is None and not name.endswith("__init__")
    ]
    assert not missing


@pytest.mark.parametrize("module", TREES)
def test_docstrings_have_one_style(module):
    for node in ast.walk(TREES[module]):
        if not isinstance(node, Function | ast.ClassDef | ast.Module):
            continue
        lines = (ast.get_docstring(node) or "").splitlines()
        wrong = [line for line in lines if OTHER.match(line)]
        wrong += [  # entries stand four blanks further in
            after
            for line, after in itertools.pairwise(lines)
            if line.rstrip(":") in SECTIONS
            and line.endswith(":")
            and (len(after) - len(after.lstrip())) != 4
        ]
        assert not wrong, (module, getattr(node, "name", ""))


@pytest.mark.parametrize("package", [name for name in TREES if exported(name)])
def test_dir_of_a_package_is_what_is_public(package):
    if hasattr(importlib.import_module(package), "__path__"):
        assert dir(importlib.import_module(package)) == sorted(exported(package))


def test_the_checker_sees_faults():
    source = '''
def f(a, *b, **options) -> int:
    """Adds.

    Args:
        a: one.
        c: another.
    """
    raise ValueError
def g(a, b) -> int:
    """Adds."""
    return check("a", a)
def h(x) -> int:
    """``x + 1``."""
    def inner():
        raise ValueError
def i(a, b, *c) -> None:
    """Adds.

    Args:
        a, b: numbers,
            both of them.
        *c (int): more: of them.
    """
'''
    found = {function.name: list(faults(function)) for _, function in functions(ast.parse(source))}
    assert found["f"] == [
        "Args has ['a', 'c'], the function ['a', 'b', 'options']",
        "no Returns",
        "no Raises",
        "**options is not spelled out",
    ]
    assert found["g"] == ["no Args for ['a', 'b']", "no Returns", "no Raises"]
    assert found["h"] == [] and found["i"] == []
    names = {name for name, _ in exported_functions()}
    assert {"rntn_jax.crf.chain.queries.log_partition", "rntn_jax.models.rntn.loss"} <= names
    assert "rntn_jax.crf.chain._steps.forward_step" in names  # a private module's, too
