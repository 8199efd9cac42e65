"""What a wheel holds: every module and every data file, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = {
    "caffe2torch/py.typed",
    "caffe2torch/schema/caffe.binpb",
    "caffe2torch/schema/caffe.proto",
    "caffe2torch/schema/forks.proto",
    "fcn_repro/py.typed",
    "fcn_repro/papers/cvpr2015.toml",
    "fcn_repro/papers/pami2017.toml",
    "fcn_repro/weights/README.md",
    "fcn_repro/weights/zoo.toml",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves folders behind."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    for name in ("caffe2torch", "fcn_repro", "weights"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    (tree / "README.md").touch()
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
    return next(out.glob("*.whl"))


def test_a_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    packages = [ROOT / "caffe2torch", ROOT / "fcn_repro"]
    modules = {str(path.relative_to(ROOT)) for package in packages for path in package.rglob("*.py")}
    assert held == modules | DATA, (
        f"missing {sorted((modules | DATA) - held)}, extra {sorted(held - modules - DATA)}"
    )


def test_an_installed_package_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import fcn_repro.cli; from fcn_repro import zoo; from caffe2torch import schema\n"
        "print(zoo.folder(), schema.descriptor('NetParameter').full_name)\n"
        "sys.exit(fcn_repro.cli.main(['--list']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'fcn_repro' / 'weights'} caffe.NetParameter\n")
