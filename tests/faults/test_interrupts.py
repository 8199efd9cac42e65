"""Ctrl-C where libraries get it wrong: 130, one line, no file. And what a killed process leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from caffe2torch.cli.main import main
from caffe2torch.interrupts import noticed, put_off
from caffe2torch.partial import partial
from caffe2torch.pycaffe.interrupting import finishing_iterations
from caffe2torch.pycaffe.solvers import NONE, SNAPSHOT, STOP
from caffe2torch.pycaffe.tool.signals import acting_on_signals
from fcn_repro.files import write
from fcn_repro.training.signals import wish_to_stop
from tests.faults.processes import Ended, Trouble, run
from tests.places import GOLDEN, ROOT

SOURCE = GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel"


def lost(*_: object, **__: object) -> None:
    """What torch's exporters make of a KeyboardInterrupt."""
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        raise RuntimeError("of a library") from None


def checks() -> None:
    import caffe2torch.writing.checking

    caffe2torch.writing.checking.check = lost  # type: ignore[assignment]


def exports() -> None:
    import torch

    torch.export.export = lost


def writes() -> None:
    from caffe2torch.formats import formats

    formats()["onnx"].__dict__["write"] = lost


def moves() -> None:
    before = Path.replace

    def replace(self: Path, target: Path) -> Path:
        signal.raise_signal(signal.SIGINT)
        return before(self, target)

    Path.replace = replace  # type: ignore[assignment, method-assign]


MOMENTS = [
    *((f"out{suffix}", checks) for suffix in ("/", ".py", ".safetensors", ".pt")),
    *((f"out{suffix}", exports) for suffix in (".onnx", ".pt2")),
    ("out.onnx", writes),
]


@pytest.mark.fault(
    "Ctrl-C that a library makes another error", "fcn-convert", "exit code 130, one line, no file"
)
@pytest.mark.parametrize(("output", "patch"), MOMENTS)
def test_an_interrupt_that_a_library_makes_another_error(
    tmp_path: Path, output: str, patch: Callable[[], None]
) -> None:
    ended = run(tmp_path, "fcn-convert", SOURCE, "-o", output, trouble=Trouble(patch=patch))
    assert ended == Ended(130, "", "fcn-convert: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("Ctrl-C while files get their names", "fcn-convert", "exit code 0, all files")
@pytest.mark.parametrize(
    ("output", "files"),
    [
        ("out.safetensors", ["out.safetensors"]),
        ("out.py", ["out.py", "out.safetensors"]),
        ("out/", ["out"]),
    ],
)
def test_too_late(tmp_path: Path, output: str, files: Sequence[str]) -> None:
    """Files that belong together get their names together; then there is nothing to interrupt."""
    ended = run(tmp_path, "fcn-convert", SOURCE, "-o", output, trouble=Trouble(patch=moves))
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_also_where_the_process_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("caffe2torch.writing.checking.check", lost)
    before = signal.getsignal(signal.SIGINT)
    assert main([str(SOURCE), "-o", str(tmp_path / "out.safetensors")]) == 130
    assert capsys.readouterr().err == "fcn-convert: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noticed() as came:
            signal.raise_signal(signal.SIGINT)
            assert not came()
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_the_main_thread_gets_ctrl_c() -> None:
    """So that others leave it as it is, and do their work."""
    done: list[object] = []

    def work() -> None:
        with (
            noticed() as came,
            put_off(),
            wish_to_stop() as wish,
            finishing_iterations() as told,
            acting_on_signals(STOP, SNAPSHOT) as asked,
        ):
            done.extend((signal.getsignal(signal.SIGINT), came(), bool(wish), told(), asked()))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before, False, False, False, NONE]
    assert signal.getsignal(signal.SIGINT) is before


def test_put_off_until_the_end() -> None:
    done = []

    def interrupted() -> None:
        with put_off():
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [1]


# --- what a killed process leaves


KILLED = """
import os, signal
from pathlib import Path
from caffe2torch.partial import partial
with partial(Path("{target}"), folder={folder}) as path:
    (path / "half" if {folder} else path).write_bytes(bytes(99))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault(
    "kill -9 while a file is written", "all four", "a hidden file; the next to write the name removes it"
)
@pytest.mark.parametrize("folder", [False, True])
def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path, folder: bool) -> None:
    for name in ("a.bin", "other.bin"):
        program = KILLED.format(target=tmp_path / name, folder=folder)
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    write(tmp_path / "a.bin", b"new")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert (left[0][:11], left[1:]) == (".other.bin.", ["a.bin"])


def test_but_not_what_somebody_writes_now(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with partial(target) as slow:
        slow.write_bytes(b"slow")
        with partial(target) as quick:
            quick.write_bytes(b"quick")
            assert {slow, quick} == set(tmp_path.iterdir())
        slow.replace(target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"slow")]


def test_nor_what_only_looks_like_it(tmp_path: Path) -> None:
    for name in (".a.bin.part", ".a.bin.0123abcg.part", ".a.bin.0123abcd.part2", "a.bin.part"):
        (tmp_path / name).touch()
    write(tmp_path / "a.bin", b"new")
    assert len(list(tmp_path.iterdir())) == 5
