"""A disk that is full, a folder that is read-only, a reader of the output that leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import Ended, Trouble, run

EVALUATE = ("--evaluate", "known.safetensors", "--on", "folder/val", "--data", "mine")
LARGE, IMAGES = ("--resize_height=99", "--resize_width=99"), ("images/", "same.txt")
WRITES = [
    *(
        ("fcn-convert", "voc.caffemodel", "-o", f"new/{name}")
        for name in ("a.safetensors", "a/", "a.pt", "a.pt2", "a.caffemodel", "a.caffemodel.h5", "a.py")
    ),
    ("fcn-segment", "photos", "--model", "known.safetensors", "-o", "new/seen"),
    ("fcn-repro", *EVALUATE, "-o", "new/report"),
    ("fcn-repro", *EVALUATE, "--save-predictions", "new/predictions"),
    ("fcn-repro", "--render", "shapes/val", "-o", "new/shapes"),
    ("c2t-caffe", "train", "--solver=solver.prototxt"),
    ("c2t-caffe", "convert_imageset", *LARGE, "--backend=lmdb", *IMAGES, "new/db"),
    ("c2t-caffe", "convert_imageset", *LARGE, "--backend=leveldb", *IMAGES, "new/db"),
    ("c2t-caffe", "compute_image_mean", "raw_lmdb", "new/mean.binaryproto"),
    ("c2t-caffe", "upgrade_net_proto_binary", "voc.caffemodel", "new/up.caffemodel"),
    ("c2t-caffe", "upgrade_net_proto_text", "train.prototxt", "new/up.prototxt"),
]  # fmt: skip
"""What each command writes into the folder new/, or with its snapshots beside the solver."""
SPEAKS = [
    ("fcn-convert", "voc.caffemodel", "--inspect"),
    ("fcn-convert", "voc.caffemodel", "-o", "new/a.safetensors"),
    ("fcn-segment", "photos", "--model", "known.safetensors", "-o", "new/seen"),
    ("fcn-repro", "--list"),
    ("fcn-repro", *EVALUATE),
    ("c2t-caffe", "--help"),
]


def words_of(case: tuple[str, ...]) -> str:
    return " ".join(case[:2] if case[0] != "fcn-convert" else (case[0], case[-1]))


def check_said(ended: Ended, program: str, problem: str) -> None:
    """A line for the file, or for each photo, and no more than the scores, which were known by then."""
    assert ended.code == 1, ended
    assert not ended.out or program == "fcn-repro", ended
    first, *more = ended.err.splitlines()
    assert re.fullmatch(rf"{program}: .*: (cannot be (written|created): )?{problem}", first), ended
    assert not more or (program, len(more)) == ("fcn-segment", 3), ended


@pytest.mark.fault(
    "a full disk", "all four", "exit code 1, one line that names the file; no file, or whole ones"
)
@pytest.mark.parametrize("case", WRITES, ids=words_of)
def test_a_full_disk(case: tuple[str, ...], place: Callable[[], Path]) -> None:
    folder = place()
    (folder / "new").mkdir()
    if "--backend=leveldb" in case:
        pytest.importorskip("plyvel")
    before = {path for path in folder.rglob("*") if path.is_file()}
    limit = 100_000 if case[0] == "fcn-convert" else 60
    check_said(run(folder, *case, trouble=Trouble(limit=limit)), case[0], "File too large")
    assert {path for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.fault("a folder that may not be written", "all four", "exit code 1, one line that names it")
@pytest.mark.parametrize("case", [case for case in WRITES if "train" not in case], ids=words_of)
def test_a_read_only_folder(case: tuple[str, ...], place: Callable[[], Path]) -> None:
    folder = place()
    (folder / "new").mkdir(mode=0o500)
    if "--backend=leveldb" in case:
        pytest.importorskip("plyvel")
    ended = run(folder, *case, trouble=Trouble(as_owner=True))
    check_said(ended, case[0], "(Permission denied|may not be written to; name another folder with -o)")
    assert not list((folder / "new").iterdir())


@pytest.mark.fault("a pipe whose reader leaves (`head`)", "all four", "exit code 141, nothing more is said")
@pytest.mark.parametrize("case", SPEAKS, ids=words_of)
def test_a_reader_that_leaves(case: tuple[str, ...], place: Callable[[], Path]) -> None:
    folder = place()
    (folder / "new").mkdir()
    ended = run(folder, *case, trouble=Trouble(stdout_closed=True))
    assert (ended.code, ended.out, ended.err) == (141, "", "")
