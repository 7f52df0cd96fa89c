"""launch.sh, the lock file and the shape of the repository."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch.sh"
VERBS = ["benchmark", "docs", "list", "test", "check", "setup", "help"]
TOP_LEVEL = {
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "README.md",
    "experiments",
    "launch.sh",
    "pyproject.toml",
    "requirements.lock",
    "rntn_jax",
    "tests",
}


def launch(*arguments: str, script: Path = LAUNCH, cwd: Path = ROOT, **env: str):
    """Runs launch.sh with no Python to be found, so that nothing can set up an environment."""
    return subprocess.run(
        ["bash", str(script), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHON": "/nonexistent"} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of two experiments, without an environment, at a path that needs quoting."""
    root = tmp_path / "a $checkout"
    for name, text in {
        "sentiment": '"""Sentiment of a sentence.\n\nMore.\n"""\n',
        "graphs": '#!/usr/bin/env python\n"""Label \'graphs\'."""\n',
    }.items():
        main = root / "experiments" / name / "main.py"
        main.parent.mkdir(parents=True)
        main.write_text(text)
    for name in ["launch.sh", "requirements.lock", "pyproject.toml"]:
        shutil.copy(ROOT / name, root)
    return root


@pytest.mark.parametrize("script", ["launch.sh", ".ci/run"])
def test_script_is_executable_bash(script: str):
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize(
    "verb", ["help", "--help", "-h", "list --help", "setup --help", "check --help"]
)
def test_help_names_every_verb(verb: str, tmp_path: Path):
    result = launch(*verb.split(), cwd=tmp_path)
    assert result.returncode == 0
    assert all(re.search(rf"^  {name}\b", result.stdout, re.MULTILINE) for name in VERBS)
    assert not result.stderr


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_benchmarks_are_listed_and_none_is_started(arguments: list[str], tmp_path: Path):
    result = launch("benchmark", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    names = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    folders = (ROOT / "experiments" / "benchmark").glob("*/main.py")
    assert names == sorted(folder.parent.name for folder in folders) and "rntn" in names


def test_a_benchmark_that_does_not_exist_is_answered_by_those_that_do():
    result = launch("benchmark", "rntm", "--rounds=1")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no benchmark 'rntm'" in result.stderr and "  rntn " in result.stderr


def test_list_takes_the_first_docstring_lines(checkout: Path):
    result = launch("list", script=checkout / "launch.sh")
    assert result.returncode == 0
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == [
        ["graphs", "Label 'graphs'."],
        ["sentiment", "Sentiment of a sentence."],
    ]


@pytest.mark.parametrize("verb", ["sentimnt", "../experiments/sentiment", "a b", "--preset=demo"])
def test_unknown_verb_names_the_verbs(verb: str, checkout: Path):
    result = launch(verb, script=checkout / "launch.sh")
    assert result.returncode == 2
    assert f"'{verb}'" in result.stderr
    assert all(name in result.stderr for name in [*VERBS, "sentiment", "graphs"])
    assert not result.stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["sentimnt"], "./launch.sh sentiment"),
        (["graph", "--task=x"], "./launch.sh graphs"),
        (["tset"], "./launch.sh test"),
        (["--preset=demo", "--dim=3"], "./launch.sh sentiment --preset=demo --dim=3"),
        (["This film is great"], './launch.sh sentiment --predict "This film is great"'),
        (["something"], None),
    ],
)
def test_a_slip_is_answered_by_what_was_meant(arguments, meant, checkout: Path):
    result = launch(*arguments, script=checkout / "launch.sh")
    assert result.returncode == 2
    first = result.stderr.splitlines()[0]
    told = f"launch.sh: no verb and no experiment '{arguments[0]}'"
    assert first == (f"{told}; did you mean: {meant}" if meant else told)


def test_no_python_is_said_plainly(checkout: Path):
    result = launch("sentiment", script=checkout / "launch.sh")
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed" in result.stderr
    assert not (checkout / ".venv").exists()


def test_setup_refuses_other_arguments(checkout: Path):
    for arguments in [["--extra=cuda12"], ["cuda12"], ["--extras=cuda12", "tpu"], ["--extras=*"]]:
        result = launch("setup", *arguments, script=checkout / "launch.sh")
        assert result.returncode == 2
        assert "--extras=A,B" in result.stderr


def test_lock_has_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    body = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    for requirement in body.splitlines():
        assert re.match(r"[a-z0-9.-]+==[^ ]+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_lock_holds_what_pyproject_asks_for():
    lock = (ROOT / "requirements.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["test"] + extras["tensorboard"] + extras["notebooks"]
    for requirement in wanted:
        name = re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")
        assert re.search(rf"^{name}==", lock, re.MULTILINE), f"make the lock again: no {name}"


def test_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f'__version__ = "{version}"' in (ROOT / "rntn_jax" / "__init__.py").read_text()


def test_top_level_holds_only_what_belongs_there():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    files = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    top = {file.split("/")[0] for file in files}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
