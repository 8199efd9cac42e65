"""C libraries read strangers' files in another process, which may end, or may not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2torch.errors import ReadError
from caffe2torch.untrusted import apart, hdf5
from caffe2torch.untrusted.binary import read_caffemodel, read_solverstate
from caffe2torch.weights.vgg16 import origin
from tests.places import GOLDEN, ROOT

PLAYED = "tests.untrusted.played"


def asked(function: str, *arguments: object, size: int = 0) -> object:
    return apart.ask(f"{PLAYED}:{function}", *arguments, library="damaging", size=size)


def test_arguments_and_answers_pass_whole() -> None:
    assert asked("answers", "a \udc80 name", 7, None, size=1 << 40) == ["a \udc80 name", 7, None]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("ends", "the damaging library cannot read it, and ends on it; make or copy it again"),
        ("never_ends", "the damaging library is still busy with it after 1 s; make or copy it again"),
        ("takes_all", "the damaging library cannot read it, and ends on it; make or copy it again"),
        ("refuses", "is damaged"),
    ],
)
def test_what_becomes_of_the_process(monkeypatch: pytest.MonkeyPatch, function: str, problem: str) -> None:
    monkeypatch.setattr(apart, "MAX_SECONDS", 1)
    monkeypatch.setattr(apart, "MAX_MEMORY", 1 << 27)
    with pytest.raises(ReadError) as refusal:
        asked(function, "a.file")
    assert str(refusal.value) == problem


def test_a_large_file_is_given_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MAX_MEMORY", 1 << 27)
    assert asked("takes_all", "a.file", size=1 << 28) == 1 << 28


def test_what_python_leaves_out_of_its_path_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [Path("/a/folder"), b"/another", *sys.path])
    assert asked("answers", 7) == [7]


@pytest.mark.parametrize(
    ("python", "function", "problem"),
    [
        ("", "answers", "sys.executable does not say which Python this is"),
        ("/no/such/python", "answers", "[Errno 2] No such file or directory: '/no/such/python'"),
        (sys.executable, "missing", f"AttributeError: module '{PLAYED}' has no attribute 'missing'"),
    ],
)
def test_a_process_that_does_not_start_says_nothing_about_the_file(
    monkeypatch: pytest.MonkeyPatch, python: str, function: str, problem: str
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(ReadError) as refusal:
        asked(function, "a.file")
    expected = "the damaging library reads it in a process of its own, which does not start: "
    assert str(refusal.value) == expected + problem


def test_rows_of_many_files_are_asked_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked_for: list[object] = []
    monkeypatch.setattr(hdf5, "ask", lambda function, path, *names, **limits: asked_for.append(path))
    paths = [str(tmp_path / f"{i}.h5") for i in range(300)]
    for i, path in enumerate(paths):
        with h5py.File(path, "w") as file:
            file["data"] = np.full((2, 3), i)
    for _ in range(2):  # epochs
        found = [hdf5.rows(path, ("data",))[0].tolist() for path in paths]
        assert found == [[[i] * 3] * 2 for i in range(300)]
    assert asked_for == paths


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it goes on until its time is over")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_whoever_asked(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
import signal
from caffe2torch.untrusted.apart import ask
signal.signal(signal.SIGINT, signal.SIG_DFL)
ask("{PLAYED}:tells_and_never_ends", "{tmp_path}/process", library="damaging", size=0)
"""
    told = tmp_path / "process"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as asking:
        wait_for(told.exists)
        asking.send_signal(number)
    process = Path("/proc", told.read_text())
    wait_for(lambda: not process.exists() or ") Z " in (process / "stat").read_text())


def wait_for(happened: Callable[[], bool]) -> None:
    """Looks for it again and again, for 20 s."""
    late = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < late, "it does not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (read_caffemodel, GOLDEN / "legacy" / "v0.caffemodel.h5"),
        (read_solverstate, GOLDEN / "legacy" / "v0.caffemodel.h5"),
        (origin, GOLDEN / "legacy" / "v0.caffemodel.h5"),
        (lambda path: hdf5.rows(str(path), ("data",)), GOLDEN / "pycaffe" / "feeding" / "rows_a.h5"),
    ],
)
def test_no_reader_of_hdf5_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[Path], object], file: Path
) -> None:
    monkeypatch.setattr(apart, "MAX_SECONDS", 1)
    monkeypatch.setattr(hdf5, "_PLACES", PLAYED)
    path = tmp_path / "copy.h5"
    path.write_bytes(file.read_bytes())
    with pytest.raises(ReadError, match="the HDF5 library is still busy with it after 1 s"):
        read(path)
