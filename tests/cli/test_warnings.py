"""What may make a converted net useless is said: on stderr, on the screen and in --json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch.cli.main import main
from tests.nets import INPUT, net_of

NAN = "nan.caffemodel: layer 'c1' (Convolution): 1 NaN among the 126 values of blob 0"
MISSING = "asym.caffemodel: layer 'sc_x' (Scale): blobs 0, 1 left at Caffe's filler"


@pytest.fixture(autouse=True)
def folder(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("nan_weights", "allow_missing_silent"):
        shutil.copytree(golden / "reports" / case, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (("nan.caffemodel", "asym.prototxt"), NAN),
        (("asym.caffemodel", "asym_x.prototxt", "--allow-missing"), MISSING),
    ],
)
def test_a_conversion_warns(
    arguments: tuple[str, ...], warning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(arguments)) == 0
    out, err = capsys.readouterr()
    assert err == f"fcn-convert: warning: {warning}\n"
    assert f"  warning       {warning}\n" in out
    assert main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == f"fcn-convert: warning: {warning}\n"
    assert warning in json.loads(out)["notes"]


def test_a_comparison_warns_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    sides = [
        "asym.caffemodel",
        "--prototxt",
        "asym_x.prototxt",
        "--allow-missing",
        "--diff",
        "nan.caffemodel",
    ]
    assert main(sides) == 1
    assert f"\n{MISSING}\n{NAN}\n" in capsys.readouterr().out
    assert main([*sides, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["notes"] == [MISSING, NAN]


def test_every_value_that_is_not_finite_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    conv = """layer { name: "c" type: "Convolution" bottom: "data" top: "x"
      convolution_param { num_output: 5 kernel_size: 3 } }"""
    values = np.ones((5, 3, 3, 3), np.float32)
    values[0, 1] = np.nan
    values[4, 2, 2, 1:] = np.inf, -np.inf
    c2t.export(net_of(INPUT + conv, c=[values, np.array([0, 1, np.nan, 3, 4])]), "a.caffemodel", check=False)
    assert main(["a.caffemodel"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "fcn-convert: warning: a.caffemodel: layer 'c' (Convolution): "
        "9 NaN and 2 infinite among the 135 values of blob 0",
        "fcn-convert: warning: a.caffemodel: layer 'c' (Convolution): 1 NaN among the 5 values of blob 1",
    ]


def test_sound_weights_are_converted_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """A prototxt without weights, too, has nothing left at its filler."""
    shutil.copy("asym_x.prototxt", "x.prototxt")
    Path("fine.prototxt").write_text(Path("asym_x.prototxt").read_text().replace("sc_x", "sc"))
    for arguments in (["asym.caffemodel", "fine.prototxt"], ["x.prototxt", "-o", "y.prototxt"]):
        assert main(arguments) == 0
        assert capsys.readouterr().err == ""
