"""No module runs what a file holds: a walk through the code for the calls that would."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

RUNS = {"eval", "exec", "compile", "__import__", "execfile"}
"""Built in; methods of the same names, such as re.compile, are others."""
LOADS = {
    "torch.export.load",
    "torch.jit.load",
    "runpy.run_path",
    "runpy.run_module",
    "yaml.load",
    "os.system",
}
UNPICKLES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
ALLOWED = {
    "caffe2torch/formats/pt2.py: torch.export.load",
    *(f"caffe2torch/pycaffe/tool/scripts.py: {call}" for call in ("exec", "runpy.run_module")),
    "caffe2torch/pycaffe/tool/python2.py: compile",
}
"""With --trust alone, and the script that `c2t-caffe python` is given to run."""


def calls(path: Path) -> Iterator[str]:
    """The dangerous ones in a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from (f"import {name}" for name in modules if name in UNPICKLES)
        if not isinstance(node, ast.Call):
            continue
        name, options = ast.unparse(node.func), {x.arg: ast.unparse(x.value) for x in node.keywords}
        if name in RUNS | LOADS:
            yield name
        if name == "torch.load" and options.get("weights_only") != "True":
            yield "torch.load without weights_only"
        if options.get("shell", "False") != "False" or options.get("allow_pickle", "False") != "False":
            yield ast.unparse(node)


@pytest.mark.parametrize("package", ["caffe2torch", "fcn_repro"])
def test_no_module_runs_what_a_file_holds(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert len(modules) > 50
    found = {f"{path.relative_to(ROOT)}: {call}" for path in modules for call in calls(path)}
    assert found <= ALLOWED


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "from pickle import loads",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "torch.export.load(path)",
    ],
)
def test_each_would_be_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert len(list(calls(tmp_path / "a.py"))) == 1
