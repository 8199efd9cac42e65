"""What lies where fcn-repro's -o points: an earlier report is replaced, anything else only with --force."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcn_repro.cli import main
from fcn_repro.report.files import is_ours
from tests.fcn_repro.trainings import write_images, write_recipe

NAME = "cvpr2015-table-1"


def refused(capsys: pytest.CaptureFixture[str], path: Path) -> bool:
    problem = f"{path}: exists; name another place with -o, or replace it with --force"
    return capsys.readouterr().err == f"fcn-repro: {problem}\n"


def test_an_earlier_report_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for did in ("wrote", "replaced"):
        main(["--table", "1", "-o", str(tmp_path)])
        assert f"fcn-repro: {did} {tmp_path / NAME}.md\n" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".html", ".md", ".json"])
def test_another_file_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    mine = tmp_path / f"{NAME}{suffix}"
    mine.write_text("mine")
    assert main(["--table", "1", "-o", str(tmp_path)]) == 1
    assert refused(capsys, mine)
    assert mine.read_text() == "mine"
    main(["--table", "1", "-o", str(tmp_path), "--force"])
    assert f"replaced {mine}\n" in capsys.readouterr().err
    assert is_ours(tmp_path, NAME)


def test_caffes_files_are_for_people_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "mine")
    command = ["--caffe", str(write_recipe(tmp_path / "my.toml", max_iter=2)), "-o", str(tmp_path / "caffe")]
    assert main(command) == 0
    solver = tmp_path / "caffe" / "solver.prototxt"
    solver.write_text("mine")
    capsys.readouterr()
    assert main(command) == 1
    assert refused(capsys, tmp_path / "caffe" / "train.prototxt")
    assert solver.read_text() == "mine"
    assert main([*command, "--force"]) == 0
    assert solver.read_text() != "mine"


def test_an_archive_is_not_replaced_after_hours_of_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_text("mine")
    assert main(["--predict", "voc-fcn8s", "--on", "voc2012/test", "-o", str(archive)]) == 1
    assert refused(capsys, archive)
