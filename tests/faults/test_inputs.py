"""Inputs that change, vanish or are damaged while a command is at work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.processes import Ended, Trouble, run

EVALUATE = ("fcn-repro", "--evaluate", "known.safetensors", "--on", "folder/val", "--data", "mine")
SEGMENT = ("fcn-segment", "photos", "--model", "known.safetensors", "-o", "seen")
TRAIN = ("c2t-caffe", "train", "--solver=solver.prototxt")
IMAGESET = ("c2t-caffe", "convert_imageset", "images/", "same.txt", "made")
Place = Callable[[], Path]


def is_one_line(ended: Ended, program: str, code: int, said: str) -> None:
    assert ended.code == code, ended
    assert re.fullmatch(rf"{program}: {said}\n", ended.err), ended


# --- a file that another program makes shorter


def cut_while_converting() -> None:
    from caffe2torch.formats import safetensors
    from caffe2torch.writing.output import encoded

    def cut(*arguments: object) -> object:
        os.truncate("voc.caffemodel", 4096)
        return encoded(*arguments)  # type: ignore[arg-type]

    safetensors.encoded = cut  # type: ignore[assignment]


def cut_while_training() -> None:
    from caffe2torch.pycaffe import storing

    read = storing.read_caffemodel

    def cut(path: object) -> object:
        found = read(path)  # type: ignore[arg-type]
        os.truncate("snap_iter_4.caffemodel", 256)
        return found

    storing.read_caffemodel = cut  # type: ignore[assignment]


def cut_while_packing() -> None:
    from caffe2torch.inference import values

    def cut(stored: object) -> None:
        os.truncate("known.safetensors", 0)

    values.release = cut  # type: ignore[assignment]


def signalled() -> None:
    import caffe2torch

    caffe2torch.load = lambda *_, **__: signal.raise_signal(signal.SIGBUS)  # type: ignore[assignment]


@pytest.mark.fault(
    "a mapped file is made shorter (SIGBUS)",
    "all four",
    "exit code 1, one line, no file",
)
@pytest.mark.parametrize(
    ("program", "words", "patch"),
    [
        ("fcn-convert", ("voc.caffemodel", "-o", "a.safetensors"), cut_while_converting),
        ("c2t-caffe", (*TRAIN[1:], "--weights=snap_iter_4.caffemodel"), cut_while_training),
        (SEGMENT[0], SEGMENT[1:], cut_while_packing),
        (EVALUATE[0], EVALUATE[1:], signalled),
    ],
)
def test_a_file_that_is_cut_while_it_is_read(
    program: str, words: tuple[str, ...], patch: Callable[[], None], place: Place
) -> None:
    folder = place()
    if program == "c2t-caffe":
        assert run(folder, *TRAIN).code == 0
    before = sorted(folder.iterdir())
    ended = run(folder, program, *words, trouble=Trouble(patch=patch))
    said = "a file became shorter while it was read; is another program writing it?"
    is_one_line(ended, program, 1, re.escape(said))
    assert sorted(folder.iterdir()) == before


# --- an image that is damaged, a data set that is gone


def test_a_process_that_cannot_say_so_ends_as_well() -> None:
    """To go on would be to read again, and again."""
    code = """
import os, signal
from functools import partial
from caffe2torch import command_line, cut_short
closed, broken = os.pipe()
os.close(closed)
os.dup2(broken, 2)
with cut_short.handled(partial(command_line._end_cut, "fcn-convert")):
    print("cut", flush=True)
    signal.raise_signal(signal.SIGBUS)
print("went on", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"cut\n")


@pytest.mark.fault(
    "an image in the middle is damaged", "fcn-segment", "exit code 1, its name; the others are segmented"
)
def test_a_damaged_photo(place: Place) -> None:
    folder = place()
    damage(folder / "photos" / "b.png")
    ended = run(folder, *SEGMENT)
    assert ended.code == 1
    assert re.search(r"^fcn-segment: photos/b\.png: ", ended.err), ended
    assert {path.name[0] for path in (folder / "seen").glob("*.png")} == {"a", "c"}


@pytest.mark.fault("an image in the middle is damaged", "fcn-repro", "exit code 1, its name, no result")
def test_a_damaged_image_of_a_data_set(place: Place) -> None:
    folder = place()
    damage(folder / "mine" / "val" / "images" / "b.png")
    ended = run(folder, *EVALUATE)
    is_one_line(ended, "fcn-repro", 1, r"mine/val/images/b\.png: .*")
    assert not list(folder.rglob("*.json"))


@pytest.mark.fault(
    "an image in the middle is damaged",
    "c2t-caffe convert_imageset",
    "a line in the log; it is left out, as in Caffe",
)
def test_a_damaged_image_of_an_image_set(place: Place) -> None:
    folder = place()
    damage(folder / "images" / "alpha.png")
    ended = run(folder, *IMAGESET, "--minloglevel=2")
    assert (ended.code, ended.err.count("\n")) == (0, 1), ended
    assert "images/alpha.png: " in ended.err


@pytest.mark.fault("an image in the middle is damaged", "c2t-caffe train", "exit code 1, its name")
def test_a_damaged_image_of_a_training(place: Place) -> None:
    folder = place()
    damage(folder / "images" / "a.bmp")
    is_one_line(run(folder, *TRAIN), "c2t-caffe", 1, r"images/a\.bmp: .*")
    assert not list(folder.glob("snap_*"))


@pytest.mark.fault("the data set is gone", "all four", "exit code 3, one line that names what is missing")
@pytest.mark.parametrize(
    ("gone", "case", "said"),
    [
        ("voc.caffemodel", ("fcn-convert", "voc.caffemodel"), r"voc\.caffemodel: no such file"),
        ("photos", SEGMENT, "photos: no such file"),
        ("mine/val", EVALUATE, "mine: folder of images and labels has no list 'val' here; here are train"),
        ("images", TRAIN, r"images/a\.png: no such file"),
        ("raw_lmdb", ("c2t-caffe", "compute_image_mean", "raw_lmdb"), "raw_lmdb: no such .*"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_what_is_gone(gone: str, case: tuple[str, ...], said: str, place: Place) -> None:
    folder = place()
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    is_one_line(run(folder, *case), case[0], 3, said)


@pytest.mark.fault("the data set vanishes in the middle", "fcn-repro", "exit code 3, one line, no result")
def test_a_data_set_that_vanishes(place: Place) -> None:
    folder = place()
    ended = run(folder, *EVALUATE, trouble=Trouble(patch=vanish_after_the_first_image))
    is_one_line(ended, "fcn-repro", 3, ".*mine/val/(images|labels)/[abc].png: no such file")
    assert not list(folder.rglob("*.json"))


def vanish_after_the_first_image() -> None:
    from PIL import Image

    before, count = Image.open, 0

    def opened(*arguments: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == 3:  # an image and its labels are there
            shutil.rmtree("mine")
        return before(*arguments, **options)  # type: ignore[arg-type]

    Image.open = opened  # type: ignore[assignment]


@pytest.mark.fault(
    "the loss becomes NaN",
    "c2t-caffe train",
    "it goes on and logs nan, as Caffe does; `fcn-convert` warns of the snapshot",
)
def test_a_loss_that_becomes_nan(place: Place) -> None:
    folder = place()
    solver = (folder / "solver.prototxt").read_text().replace("1e-7", "inf") + "display: 1"
    (folder / "solver.prototxt").write_text(solver)
    ended = run(folder, *TRAIN, trouble=Trouble(log_level=0))
    assert ended.code == 0
    assert ", loss = nan\n" in ended.err
    ended = run(folder, "fcn-convert", "train.prototxt", "snap_iter_4.caffemodel", "-o", "a.safetensors")
    assert "2160 NaN among the 2160 values of blob 0" in ended.err, ended


def damage(path: Path) -> None:
    """Cuts an image in its middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
