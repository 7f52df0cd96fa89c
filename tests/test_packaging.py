"""The package as it is installed: what the wheel holds, and what it offers."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import rntn_jax

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DATA = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "rntn_jax").rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc")
}
MOST = 15_000_000  # bytes of the wheel


def test_the_project_says_what_there_is():
    project = PROJECT["project"]
    assert project["version"] == rntn_jax.__version__
    assert f"## [{rntn_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for target in project["scripts"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    for file in [project["readme"], *project["license-files"]]:
        assert (ROOT / file).is_file(), file


def test_the_package_has_its_data_and_its_types():
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["rntn_jax"]
    assert "rntn_jax/py.typed" in DATA
    assert {Path(name).suffix for name in DATA} == {
        ".css", ".js", ".safetensors", ".txt", ".typed"
    }  # fmt: skip
    assert sum((ROOT / name).stat().st_size for name in DATA) < 2 * MOST
    if shutil.which("git") and (ROOT / ".git").exists():
        # What git ignores is not built into the wheel.
        command = ["git", "-C", str(ROOT), "check-ignore", "--no-index", *sorted(DATA)]
        assert subprocess.run(command, capture_output=True, check=False).stdout == b""


def test_importing_it_imports_nothing_heavy():
    code = "import sys, rntn_jax; print([m for m in ('jax', 'numpy', 'flax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_the_wheel_holds_it_and_works_elsewhere(tmp_path: Path):
    """Built by uv or pip (which fetch the build backend), then run from where the tree is not."""
    uv = shutil.which("uv")
    command = [uv, "build", "--wheel", "--out-dir"] if uv else [
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir"
    ]  # fmt: skip
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < MOST
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert names >= DATA and not any(re.match("tests|experiments", name) for name in names)
    code = "import rntn_jax as rj; print(rj.__file__, rj.sentiment('Dull.').name)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "RNTN_JAX_CACHE": "0", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path)) and done.stdout.split()[-1] == "negative"
    assert {path.name for path in tmp_path.iterdir()} == {wheel.name, "site"}
