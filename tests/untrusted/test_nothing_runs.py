"""No module runs what a file holds: a walk through the code for the calls that would."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

RUNS = {"eval", "exec", "compile", "__import__", "execfile", "breakpoint"}
"""Built in; methods of the same names, such as re.compile, are others."""
LOADS = {
    *("torch.export.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("runpy.run_path", "runpy.run_module", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("os.system", "os.popen", "os.startfile", "pty.spawn", "code.interact", "ctypes.CDLL", "ctypes.PyDLL"),
    *("scipy.io.loadmat", "scipy.io.whosmat", "numpy.fromregex", "pandas.read_pickle"),
}
FAMILIES = (
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "subprocess.",
    "importlib.import_module",
    "importlib.util.spec_",
)
"""Calls that begin so run programs or modules; each place is listed below."""
UNPICKLES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "imp",
    "jsonpickle",
}
TRUSTED = {"caffe2torch/formats/pt2.py: torch.export.load"}
"""With --trust alone, and what this process itself wrote."""
SCRIPTS = {
    *(f"caffe2torch/pycaffe/tool/scripts.py: {call}" for call in ("exec", "runpy.run_module")),
    "caffe2torch/pycaffe/tool/python2.py: compile",
    "caffe2torch/pycaffe/python_layer.py: importlib.import_module",
}
"""What `c2t-caffe python` is given to run, and the modules that a net with Python layers names."""
PROGRAMS = {
    "caffe2torch/formats/py/running.py: subprocess.run",
    "caffe2torch/formats/onnx/engines.py: subprocess.run",
    "caffe2torch/untrusted/apart.py: subprocess.run",
    *(
        f"caffe2torch/{place}.py: ctypes.CDLL"
        for place in ("cut_short", "untrusted/apart", "writing/checking")
    ),
    "fcn_repro/training/freed.py: ctypes.CDLL",
}
"""Python on a program that we wrote, a list of arguments and no shell; the C library."""
OWN_MODULES = {
    f"{place}.py: importlib.import_module"
    for place in (
        *("caffe2torch/__init__", "caffe2torch/feeding/source", "caffe2torch/formats/__init__"),
        *("caffe2torch/layers/registry", "caffe2torch/pycaffe/__init__", "caffe2torch/pycaffe/standing_in"),
        *(
            "caffe2torch/pycaffe/tool/main",
            "caffe2torch/tracing/calls/__init__",
            "caffe2torch/untrusted/apart",
            "fcn_repro/data/datasets/__init__",
        ),
    )
}
"""Modules by names that are in our code or folders, never in a file."""
LIBRARIES = {
    f"{place}.py: importlib.import_module"
    for place in (
        *(
            "caffe2torch/formats/onnx/exporting",
            "caffe2torch/inference/engines",
            "caffe2torch/untrusted/databases",
        ),
        "caffe2torch/writing/graph",
    )
}
"""Libraries by names that are in our code."""
ALLOWED = TRUSTED | SCRIPTS | PROGRAMS | OWN_MODULES | LIBRARIES


def calls(path: Path) -> Iterator[str]:
    """The dangerous ones in a module, under their full names, whatever it imports them as."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known: dict[str, str] = {"torch": "torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {(name.asname or name.name): name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "caffe2torch._torch":
            known |= {(name.asname or name.name): f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = (
                [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            yield from (f"import {name}" for name in modules if name.partition(".")[0] in UNPICKLES)
        if isinstance(node, ast.Call):
            yield from _dangers(node, known)


def _dangers(node: ast.Call, known: dict[str, str]) -> Iterator[str]:
    head, dot, rest = ast.unparse(node.func).partition(".")
    name = f"{known.get(head, head)}{dot}{rest}"
    options = {option.arg: ast.unparse(option.value) for option in node.keywords}
    literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
    if name in RUNS | LOADS or (name.startswith(FAMILIES) and not (literal and "import_module" in name)):
        yield name
    if name == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only"
    if options.get("shell", "False") != "False" or options.get("allow_pickle", "False") != "False":
        yield ast.unparse(node)
    if (
        name.startswith("subprocess.")
        and node.args
        and isinstance(node.args[0], (ast.Constant, ast.JoinedStr))
    ):
        yield f"{name} of a string"


@pytest.mark.parametrize("package", ["caffe2torch", "fcn_repro"])
def test_no_module_runs_what_a_file_holds(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert len(modules) > 50
    found = {f"{path.relative_to(ROOT)}: {call}" for path in modules for call in calls(path)}
    assert found == {place for place in ALLOWED if place.startswith(package)}


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)",
        "__import__(x)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "from torch import load as read; read(path)",
        "import torch as t; t.jit.load(path)",
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import marshal",
        "import joblib.numpy_pickle",
        "numpy.load(path, allow_pickle=True)",
        "torch.export.load(path)",
        "from torch import export; export.load(path)",
        "import os; os.system(x)",
        "from os import popen; popen(x)",
        "import os; os.execvp(x, y)",
        "import subprocess; subprocess.run([x])",
        "from subprocess import check_output as ask; ask([x])",
        "import importlib; importlib.import_module(x)",
        "import importlib.util as u; u.spec_from_file_location(x, y)",
        "from yaml import load; load(x)",
        "from scipy.io import loadmat; loadmat(x)",
        "import scipy.io; scipy.io.loadmat(x)",
        "import ctypes; ctypes.CDLL(x)",
        "run(x, shell=True)",
    ],
)
def test_each_would_be_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert len(list(calls(tmp_path / "a.py"))) == 1


def test_a_string_for_a_shell_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('import subprocess; subprocess.run(f"ls {x}", shell=True)')
    assert len(list(calls(tmp_path / "a.py"))) == 3


@pytest.mark.parametrize(
    "code",
    [
        "import re; re.compile(x)",
        "import importlib; importlib.import_module('onnx')",
        "torch.load(path, weights_only=True)",
    ],
)
def test_what_is_harmless_is_not(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert not list(calls(tmp_path / "a.py"))
