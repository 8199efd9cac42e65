"""Ctrl-C and kill -9 at moments of whatever a command does: what is left is whole, or hidden, or nothing.

With SLOW_TESTS=1 at 30 moments of each command, else at two or three.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from caffe2torch.untrusted.binary import read_caffemodel, read_solverstate
from tests.faults.processes import Ended, Trouble, run

EXPORTS = ("safetensors", "pt", "caffemodel", "caffemodel.h5", "py", "prototxt", "hub")
SLOW_EXPORTS = ("pt2", "onnx")
IS_SLOW = bool(os.environ.get("SLOW_TESTS"))
EVALUATE = ("fcn-repro", "--evaluate", "known.safetensors", "--on", "folder/val", "--data", "mine")
JOBS: dict[str, tuple[str, ...]] = {
    **{
        f"fcn-convert {name}": ("fcn-convert", "voc.caffemodel", "-o", f"new/out.{name}".replace(".hub", "/"))
        for name in (*EXPORTS, *(SLOW_EXPORTS if IS_SLOW else ()))
    },
    "fcn-segment": ("fcn-segment", "photos", "--model", "known.safetensors", "-o", "new/seen"),
    "fcn-repro --evaluate": (*EVALUATE, "-o", "new/report"),
    "fcn-repro --render": ("fcn-repro", "--render", "shapes/val", "-o", "new/shapes"),
    "c2t-caffe train": ("c2t-caffe", "train", "--solver=solver.prototxt"),
    "c2t-caffe convert_imageset": ("c2t-caffe", "convert_imageset", "images/", "same.txt", "new/made"),
    "c2t-caffe compute_image_mean": ("c2t-caffe", "compute_image_mean", "raw_lmdb", "new/mean.binaryproto"),
    "c2t-caffe upgrade_net_proto_binary": (
        "c2t-caffe", "upgrade_net_proto_binary", "voc.caffemodel", "new/up.caffemodel",
    ),
}  # fmt: skip
if not IS_SLOW:
    del JOBS["fcn-repro --render"]
ANYWHERE = ("new", "results")
"""Where the commands write, but for a training."""


@dataclass(frozen=True)
class Job:
    """A command, what it leaves when nothing happens, and how many functions it calls."""

    name: str
    expected: Path
    calls: int

    def run(self, folder: Path, trouble: Trouble) -> Ended:
        (folder / "new").mkdir()
        return run(folder, *JOBS[self.name], trouble=trouble)

    def moments(self, count: int) -> list[int]:
        """Some of the calls: after the arguments were read, up to where files get their names."""
        shift = (list(JOBS).index(self.name) % 7 + 1) / 8
        count = 30 if IS_SLOW else count
        return [int(self.calls * (0.3 + 0.7 * (i + shift) / count)) for i in range(count)]


@pytest.fixture(scope="module", params=JOBS)
def job(made: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Job:
    folder = shutil.copytree(made, tmp_path_factory.mktemp("undisturbed") / "work")
    job = Job(request.param, folder, 0)
    ended = job.run(folder, Trouble(counting=True))
    assert ended.code == 0, ended.err
    return replace(job, calls=int(ended.err.splitlines()[-1]))


def left(folder: Path) -> list[Path]:
    """The files that a user sees."""
    found = [path for name in ANYWHERE for path in (folder / name).rglob("*")] + [*folder.glob("snap_iter_*")]
    inside = [path for path in found if not any(part.endswith(".part") for part in path.parts)]
    return [path for path in inside if path.is_file() and path.name != "lock.mdb"]


def check_whole(folder: Path, expected: Path) -> None:
    """Every file is the one that is there when nothing happens, or is complete in another way."""
    for path in left(folder):
        other = expected / path.relative_to(folder)
        if other.is_file() and path.read_bytes() == other.read_bytes():
            continue
        if path.suffix == ".json":  # and has a time in it
            json.loads(path.read_text())
        elif path.suffix in (".html", ".md"):
            assert path.read_text().endswith(("</html>\n", "\n")), path
        elif path.name.startswith("snap_iter_"):
            read = read_caffemodel if path.suffix == ".caffemodel" else read_solverstate
            read(path)
        else:
            raise AssertionError(f"{path} is not what it should be")


@pytest.mark.fault(
    "Ctrl-C at any moment of any export",
    "all four",
    "exit code 130, one line, no file; or 0, and all files. `c2t-caffe train` snapshots, as Caffe does",
)
def test_ctrl_c(job: Job, place: Callable[[], Path]) -> None:
    for moment in job.moments(1):
        folder = place()
        ended = job.run(folder, Trouble(signal=signal.SIGINT, moment=moment))
        assert ended.code in (0, 130), (moment, ended)
        assert ended.code == 0 or "interrupted" in ended.err.splitlines()[-1], (moment, ended)
        check_whole(folder, job.expected)
        if job.name.startswith("fcn-convert"):  # files that belong together come together
            names = {path.relative_to(folder) for path in left(folder)}
            assert names in (set(), {path.relative_to(job.expected) for path in left(job.expected)}), moment
        assert not list(folder.rglob(".*.part")), moment


@pytest.mark.fault("kill -9 at any moment", "all four", "nothing that looks whole and is not")
def test_kill_9(job: Job, place: Callable[[], Path]) -> None:
    for moment in job.moments(2):
        folder = place()
        ended = job.run(folder, Trouble(signal=signal.SIGKILL, moment=moment))
        assert ended.code in (0, -signal.SIGKILL), (moment, ended)
        check_whole(folder, job.expected)
