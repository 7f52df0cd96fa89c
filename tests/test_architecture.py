"""What the code base promises about itself: imports, documentation, examples."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests.helpers import enable_x64

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rntn_jax"

# Imports go to lower levels only. What is not listed is the top.
LEVELS = {
    "data": 0,
    "schedule": 0,
    "shapes": 0,
    "signals": 0,
    "ops": 1,
    "compilation": 1,
    "trees": 1,
    "sequences": 1,
    "recurrent": 2,
    "recursive": 2,
    "crf": 2,
    "models": 3,
    "nn": 4,
    "training": 4,
    "plots": 4,
    "tagger": 5,
    "annotate": 5,
    "notebook": 5,
    "cli": 7,  # it reads the version of the package itself
}
TOP = 6
FORBIDDEN = {
    "data": {"jax", "jaxlib", "flax", "optax", "chex", "orbax"},
    "ops": {"flax", "optax"},
    "schedule": {"jax", "flax", "optax"},
    "shapes": {"jax", "flax", "optax"},
    "trees": {"jax", "flax", "optax"},
    "sequences": {"jax", "flax", "optax"},
    "models": {"flax", "optax", "orbax"},
}
EVERYWHERE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
TRACED = {"ops", "trees", "sequences", "recurrent", "recursive", "crf", "models", "nn"}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = [name_of(path) for path in FILES]
every_file = pytest.mark.parametrize("path", FILES, ids=MODULES)
every_module = pytest.mark.parametrize("name", MODULES)


def part_of(module: str) -> str:
    """``rntn_jax.ops.tensor`` belongs to ``ops``; the package itself to ````."""
    return (module.split(".") + [""])[1]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, inside of functions too."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


@every_file
def test_imports_go_down_only(path):
    own = part_of(name_of(path))
    level = LEVELS.get(own, TOP)
    for line, target in imported(path):
        root, other = target.split(".")[0], part_of(target)
        if root != "rntn_jax" or other == own:
            continue
        assert LEVELS.get(other, TOP) < level, f"{path}:{line}: {own} imports {target}"


@every_file
def test_forbidden_imports(path):
    forbidden = EVERYWHERE | FORBIDDEN.get(part_of(name_of(path)), set())
    for line, target in imported(path):
        assert target.split(".")[0] not in forbidden, f"{path}:{line}: imports {target}"


EXPERIMENTS = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py"))
# Importer and what it may import of other experiments, with the reason.
REACHES = {
    ("benchmark", "sentiment"): "measures an epoch with the minibatches that training has",
    ("table1", "sentiment"): "runs it, once for each row of the paper's table",
    ("docs", "notebooks"): "shows the rendered notebooks among its pages",
}


def test_no_experiment_reaches_into_another():
    """What two of them share is a plain module beside them."""
    found = set()
    for path in sorted((ROOT / "experiments").rglob("*.py")):
        own = path.relative_to(ROOT / "experiments").parts[0]
        for line, target in imported(path):
            other = (target.split(".") + ["", ""])[1]
            if not target.startswith("experiments.") or other not in EXPERIMENTS or other == own:
                continue
            assert (own, other) in REACHES, f"{path}:{line}: imports {target}"
            found.add((own, other))
    assert found == REACHES.keys()  # no exception that nobody needs


def test_files_can_be_read_in_one_sitting():
    folders = ("rntn_jax", "experiments", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    code = [path for path in files if path.suffix in (".py", ".js", ".css", ".html")]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in code}
    assert len(lines) > 300
    assert not {str(path): count for path, count in lines.items() if count > 400}


def test_the_walks_of_the_readme_name_what_there_is():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    walks = text[text.index("Four inputs, from call to kernel:") : text.index("Each rule's file")]
    named = re.findall(r"`([\w./]+?)\.?`", walks)
    assert len(named) > 50
    known = set(MODULES)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(f"{name_of(path)}.{node.name}")
                # As its package offers it.
                known.add(f"{name_of(path).rpartition('.')[0]}.{node.name}")
    files = [str(path.relative_to(ROOT)) for path in FILES]
    for name in named:
        among = files if name.endswith(".py") else known
        ending = "/" + name if name.endswith(".py") else "." + name.removeprefix("rj.")
        assert any(one.endswith(ending) for one in among), name


def test_the_import_checks_see_imports():
    seen = {target for path in FILES for _, target in imported(path)}
    assert "rntn_jax.trees.Forest" in seen and "jax.numpy" in seen
    assert {part_of(name) for name in MODULES} >= {"", "data", "ops", "trees", "models"}
    assert part_of("rntn_jax") == "" and part_of("rntn_jax.ops.tensor") == "ops"


@every_file
def test_nothing_unpickles_and_what_is_traced_reads_no_environment(path):
    environment = {"environ", "environb", "getenv"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, path
        if part_of(name_of(path)) in TRACED:
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            name = node.name if isinstance(node, ast.alias) else name
            assert name not in environment, f"{path}:{getattr(node, 'lineno', '?')}: {name}"


def test_data_and_the_package_itself_run_without_jax():
    code = "import sys, rntn_jax, rntn_jax.data; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_a_first_answer_waits_for():
    """Nothing but JAX, NumPy and safetensors is imported before a text is labelled."""
    code = """
import sys, rntn_jax
rntn_jax.annotate, rntn_jax.sentiment, rntn_jax.parse
late = "chex flax matplotlib optax orbax platformdirs pooch rich".split()
ours = {name for name in sys.modules if name.startswith("rntn_jax.")}
assert "rntn_jax.annotate.pipeline" in ours and "rntn_jax.training.step" not in ours
print([name for name in late if name in sys.modules])
import jax.numpy  # which may import parts of SciPy itself
print([name for name in ("scipy.optimize", "scipy.sparse.csgraph") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "[]\n[]\n", ran.stdout + ran.stderr


def public_names(name: str) -> list[str]:
    """``__all__`` of a module."""
    return list(getattr(importlib.import_module(name), "__all__", []))


@every_module
def test_module_is_documented_and_says_what_is_public(name):
    module = importlib.import_module(name)
    assert module.__doc__ and module.__doc__.strip()
    # A subpackage's __init__ may speak for the modules in it, or be nothing but a docstring.
    package = name.rpartition(".")[0]
    spoken_for = package not in ("", "rntn_jax") and public_names(package)
    statements = len(ast.parse(inspect.getsource(module)).body)
    assert spoken_for or hasattr(module, "__all__") or statements == 1
    assert all(hasattr(module, public) for public in public_names(name))


def documented(name: str, public: str) -> bool:
    """Whether this is a function, class or module, and not a value."""
    thing = getattr(importlib.import_module(name), public)
    return inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing)


@pytest.mark.parametrize(
    ("name", "public"),
    [(name, key) for name in MODULES for key in public_names(name) if documented(name, key)],
)
def test_public_name_has_a_docstring(name, public):
    thing = getattr(importlib.import_module(name), public)
    text = thing.__doc__ or ""
    assert text.strip()
    assert not text.startswith(f"{public}("), "generated by the dataclass or NamedTuple"


DOCTESTS = [
    (name, test.name)
    for name in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if test.examples
]


def test_there_are_doctests():
    assert len(DOCTESTS) > 20


# Much compilation for few examples, most of which other tests have too.
COSTLY = {
    *("crf.dependency.queries", "crf.dependency.scores", "nn.structured"),
    *("crf.dependency.decoding", "crf.dependency.information"),
    *("crf.semi_markov.queries", "crf.semi_markov.decoding", "crf.semi_markov.scores"),
    *("crf.alignment.queries", "crf.alignment.decoding", "crf.alignment.scores"),
    *("crf.grammar.queries", "crf.grammar.decoding", "crf.grammar.information"),
    *("crf.ctc.queries", "crf.ctc.decoding", "crf.chain.hmm"),
    *("crf.constituency.decoding", "crf.constituency.information"),
    *("crf.factor_graph.queries", "crf.factor_graph.decoding", "crf.factor_graph.information"),
    *("crf.constituency.queries", "crf.chain.decoding", "crf.chain.queries", "crf.forest.queries"),
    *("crf.graph.annealing", "crf.graph.decoding", "crf.graph.evidence", "crf.graph.learning"),
    *("crf.graph.queries", "crf.graph.sampling"),
    *(
        "models.context_parser",
        "models.graph_parser",
        "models.rnn_lm",
        "models.rntn",
        "models.span_parser",
    ),
    *("models.mv_rnn", "models.tree_lstm"),
    *("models.sparse_crf", "models.tagger", "tagger.estimator"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name.removeprefix("rntn_jax.") in COSTLY
        else name
        for name in sorted({name for name, _ in DOCTESTS})
    ],
)
def test_doctests(name, capsys):
    """The examples print what they say: without 64-bit types, as users run them."""
    module = importlib.import_module(name)
    with enable_x64(False), jax.numpy_rank_promotion("allow"):
        failures, tried = doctest.testmod(module)
    assert tried and not failures, capsys.readouterr().out
