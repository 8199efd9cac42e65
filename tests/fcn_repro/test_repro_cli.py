"""fcn-repro: it prints what was published and never claims to have measured anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caffe2torch.errors import ReadError
from fcn_repro import cli
from fcn_repro.papers import papers

ROOT = Path(__file__).parents[2]
TABLES = [(key, number) for key, paper in papers().items() for number in paper.tables]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_table_of_which_nothing_was_measured_leaves_with_3() -> None:
    done = run("-m", "fcn_repro.cli", "--table", "3")
    assert done.returncode == 3
    assert (
        done.stderr == "fcn-repro: 0 of 7 cells measured: this version of fcn-repro evaluates no model yet\n"
    )
    assert "PASCAL VOC 2012 test  not measured     62.2    -" in done.stdout
    assert done.stdout.count("not measured") == 7


def test_list_names_every_table_and_model() -> None:
    done = run("-m", "fcn_repro.cli", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("--table ") == 16
    assert "\n  voc-fcn8s\n" in done.stdout


@pytest.mark.parametrize(("paper", "number"), TABLES)
def test_every_table_prints_all_its_cells(
    paper: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = papers()[paper].tables[number]
    assert cli.main(["--table", number, "--paper", paper]) == 3
    out, _ = capsys.readouterr()
    lines = [line for line in out.splitlines() if "not measured" in line]
    assert len(lines) == len(table.cells)
    for cell, line in zip(table.cells, lines, strict=True):
        mark = "?" if not cell.verified else "~" if cell.corroborated else " "
        assert f" {cell} {mark}  -  " in line, f"{cell!r} is shown as {line!r}"


@pytest.mark.parametrize(
    ("number", "doubtful", "corroborated"), [("4", True, False), ("2", True, True), ("3", True, True)]
)
def test_marks_are_explained_where_they_occur(
    number: str, doubtful: bool, corroborated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["--table", number, "--paper", "pami2017"])
    out, _ = capsys.readouterr()
    assert ("\n?: not verified" in out, "\n~: from memory" in out) == (doubtful, corroborated)


def test_the_conference_tables_carry_no_mark(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--table", "2"])
    assert "not verified" not in capsys.readouterr().out


def test_a_row_is_named_once_and_its_note_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--table", "2", "--paper", "pami2017"])
    out, _ = capsys.readouterr()
    assert out.count("FCN-accum") == 2
    assert "\nFCN-accum: batch 20, momentum 0.9\n" in out


def test_json_holds_the_published_values_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--table", "4", "--paper", "pami2017", "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    of_fcn = {c["split"]: c for c in data["cells"] if c["row"] == "FCN-8s"}
    assert of_fcn["PASCAL VOC 2012 test"]["published"] == 67.2
    assert of_fcn["PASCAL VOC 2012 test"]["source"] == ["ABS", "REPO", "PSS"]
    assert not of_fcn["PASCAL VOC 2011 test"]["verified"]
    assert {c["row"] for c in data["cells"] if c["baseline"]} == {"R-CNN", "SDS"}
    assert all(c["ours"] is None and c["difference"] is None and c["why"] for c in data["cells"])
    assert set(data["sources"]) == {"memory", "ABS", "CVPR", "REPO", "PSS"}


def test_json_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["papers"]["pami2017"]["7"] == {"title": "PASCAL-Context", "cells": 14, "unverified": 13}
    assert len(data["models"]) == 29


def test_a_table_is_found_in_either_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--table", "a"]) == 3
    assert "factor 128" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --list --table is required"),
        (["--table", "8"], "cvpr2015 has no table '8'; its tables are 1, 2, 3, 4, 5, 6, A"),
        (["--table", "1", "--paper", "eccv2016"], "no paper 'eccv2016'; known are cvpr2015, pami2017"),
        (["--table", "1", "--list"], "not allowed with argument"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def _refuse() -> None:
    raise ReadError("cvpr2015.toml: tables.1: broken")


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "papers", _refuse)
    assert cli.main(["--table", "1"]) == 1
    assert capsys.readouterr().err == "fcn-repro: cvpr2015.toml: tables.1: broken\n"


def test_debug_shows_where_an_error_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "papers", _refuse)
    with pytest.raises(ReadError):
        cli.main(["--table", "1", "--debug"])


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = [sys.executable, "-m", "fcn_repro.cli", "--table", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert b"Error" not in running.stderr.read()


def test_torch_is_not_loaded() -> None:
    code = "import sys; from fcn_repro import cli; cli.main(['--list']); print('torch._C' in sys.modules)"
    assert run("-c", code).stdout.endswith("\nFalse\n")
