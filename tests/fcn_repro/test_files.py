"""Folders and files that cannot be written: one line that names the place, and exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe2torch.errors import WriteError
from fcn_repro import cli
from fcn_repro.fetching.archives import extract
from fcn_repro.fetching.http import Expected, fetch, verify
from fcn_repro.files import make_folder, write
from fcn_repro.training.log import TrainingLog
from tests.fcn_repro.trainings import write_images, write_recipe

EXISTS, NO_FOLDER = "File exists", "Not a directory"


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A file where a folder is wanted."""
    path = tmp_path / "taken"
    path.write_text("a file")
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command says when it ends with 1: one line."""
    assert cli.main([*map(str, words)]) == 1
    said = capsys.readouterr().err
    assert said.endswith("\n")
    return said.splitlines()[-1]


def line(folder: Path, why: str) -> str:
    return f"fcn-repro: {folder}: cannot be created: {why}"


def test_caffes_files(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--caffe", "shapes-fcn32s", "-o", taken) == line(taken, EXISTS)
    below = taken / "below"
    assert refused(capsys, "--caffe", "shapes-fcn32s", "-o", below) == line(below, NO_FOLDER)
    assert taken.read_text() == "a file"


def test_a_report(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--table", "1", "-o", taken, "--home", taken.parent) == line(taken, EXISTS)


def test_rendered_images(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--render", "shapes/val", "-o", taken / "below")
    assert said == line(taken / "below/images", NO_FOLDER)


@pytest.mark.parametrize("folder", ["models", "training/my"])
def test_a_training_is_refused_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    write_images(tmp_path / "mine")
    recipe, home = write_recipe(tmp_path / "my.toml", max_iter=1), tmp_path / "home"
    write(home / folder, "a file")
    assert refused(capsys, "--train", recipe, "--home", home).startswith(line(home / folder, EXISTS))
    assert not list(home.glob("training/my/*"))


def test_events_of_tensorboard(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(WriteError, match=r"tensorboard: cannot be created: File exists"):
        TrainingLog(tmp_path, 0, tensorboard=True)


def test_a_model_fetched_by_hand(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (taken.parent / "models").write_text("a file")
    words = ("--fetch", "googlenet", "--from", taken, "--yes", "--home", taken.parent)
    assert refused(capsys, *words) == line(taken.parent / "models", EXISTS)


def test_what_is_fetched_recorded_and_unpacked(taken: Path) -> None:
    for place in (
        lambda: fetch("http://127.0.0.1:9/x", taken / "x"),
        lambda: verify(taken, Expected(), on_record=taken / "x"),
        lambda: extract(taken, taken / "x"),
    ):
        with pytest.raises(WriteError) as error:
            place()
        assert str(error.value) == f"{taken}: cannot be created: {EXISTS}"


def test_a_name_that_no_disk_takes(tmp_path: Path) -> None:
    folder = tmp_path / ("n" * 300)
    for make in (lambda: make_folder(folder), lambda: write(folder / "x", "")):
        with pytest.raises(WriteError) as error:
            make()
        assert str(error.value) == f"{folder}: cannot be created: File name too long"


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    write(tmp_path / "a/b/kept", "content")
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b/kept").read_text() == "content"
