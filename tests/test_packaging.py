"""What a wheel holds: every module and every data file, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, as building leaves folders behind."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("caffe2torch", "fcn_repro", "weights"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "README.md").touch()
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*build, "--wheel-dir", out, tree], check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        yield archive


def files(tree: Path, folder: str) -> set[str]:
    return {str(path.relative_to(tree)) for path in (tree / folder).rglob("*") if path.is_file()}


def test_a_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile, tree: Path) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = files(tree, "caffe2torch") | files(tree, "fcn_repro")
    expected |= {f"fcn_repro/{name}" for name in files(tree, "weights")}
    assert held == expected, f"missing {sorted(expected - held)}, extra {sorted(held - expected)}"


def test_an_installed_package_finds_its_data(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import fcn_repro.cli; from fcn_repro.fetching import zoo; from caffe2torch import schema\n"
        "print(zoo.folder(), schema.descriptor('NetParameter').full_name)\n"
        "sys.exit(fcn_repro.cli.main(['--list']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'fcn_repro' / 'weights'} caffe.NetParameter\n")


def pins(name: str) -> dict[str, set[str]]:
    """The versions of each package in a file of constraints; different Pythons may have different ones."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package.replace("_", "-"), set()).add(version)
    return found


def test_hashes_are_those_of_what_was_tested() -> None:
    tested, hashed = pins("constraints.txt"), pins("constraints-hashes.txt")
    checkers = {"atheris", "grpcio-tools", "hypothesis", "import-linter", "mypy", "plyvel", "pytest"}
    checkers |= {"pytest-xdist", "ruff", "types-protobuf", "types-requests"}
    assert tested.keys() - hashed.keys() == checkers
    for package in tested.keys() & hashed.keys():
        assert tested[package] == hashed[package], f"{package}: run .ci/hashes"
    _, *blocks = re.split(r"\n(?=[a-z])", (ROOT / "constraints-hashes.txt").read_text())
    assert len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)
