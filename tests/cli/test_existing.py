"""What lies where fcn-convert is to write: without --force, only what it makes again is replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import caffe2torch as c2t
from caffe2torch.cli.main import main
from tests.places import GOLDEN


@pytest.fixture
def voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An FCN's caffemodel, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(GOLDEN / "fcn" / "voc-fcn32s" / "weights.caffemodel", "voc.caffemodel"))


SAYS = ["voc.safetensors", "voc/", "voc.onnx", "voc.pt2", "voc.pt", "voc.caffemodel.h5"]
"""Files that say what they were converted from, or have it said beside them."""


@pytest.mark.parametrize("output", SAYS)
def test_what_the_same_command_makes_again(
    voc: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    arguments = [str(voc), "-o", output]
    assert main(arguments) == 0
    assert "replaced" not in capsys.readouterr().out
    other = ["--mean", "1,2,3"] if output.endswith((".onnx", ".pt2", ".h5")) else ["--dtype", "float16"]
    assert main([*arguments, *other]) == 0
    assert f"\nreplaced what was at {output.rstrip('/')}\nwrote" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"]["replaced"] == [output.rstrip("/")]


@pytest.mark.parametrize("output", SAYS[2:])
def test_what_was_converted_from_another_file(
    voc: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    assert main([str(voc), "-o", output]) == 0
    voc.rename("other.caffemodel")
    assert main(["other.caffemodel", "-o", output]) == 1
    assert f"{output}: exists, and does not say that it was converted from other" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["voc.pt", "voc.caffemodel.h5"])
def test_what_changed_since_it_was_converted(
    voc: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    assert main([str(voc), "-o", output]) == 0
    with Path(output).open("ab") as file:
        file.write(b"trained further")
    assert main([str(voc), "-o", output]) == 1
    assert f"{output}: exists, and does not say" in capsys.readouterr().err


def test_a_graph_that_another_program_wrote(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that copied our metadata, and one whose text is cut short."""
    assert main([str(voc), "-o", "voc.onnx"]) == 0
    ours = Path("voc.onnx").read_bytes()
    for theirs in (ours.replace(b"caffe2torch", b"caffe2thing", 1), ours[:-5]):
        Path("voc.onnx").write_bytes(theirs)
        assert main([str(voc), "-o", "voc.onnx"]) == 1
        assert "voc.onnx: exists, and does not say" in capsys.readouterr().err
        assert Path("voc.onnx").read_bytes() == theirs


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pt2", "onnx", "caffemodel.h5", "prototxt", "py"])
def test_anything_else_needs_force(voc: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    mine = Path(f"net.{suffix}")
    mine.write_text("mine")
    assert main([str(voc), "-o", str(mine)]) == 1
    assert capsys.readouterr().err == (
        f"fcn-convert: {mine}: exists, and does not say that it was converted from voc.caffemodel; name "
        f"another with -o, or replace it with --force\n"
    )
    assert mine.read_text() == "mine"
    assert main([str(voc), "-o", str(mine), "--force"]) == 0
    assert f"replaced what was at {mine}\n" in capsys.readouterr().out
    assert mine.read_bytes() != b"mine"


def test_trained_weights_are_not_a_conversion(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    c2t.export(c2t.load(voc), "voc.safetensors")
    before = Path("voc.safetensors").read_bytes()
    assert main([str(voc)]) == 1
    assert "voc.safetensors: exists, and does not say that" in capsys.readouterr().err
    assert Path("voc.safetensors").read_bytes() == before


def test_weights_beside_a_python_file(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Path("net.safetensors")
    mine.write_text("mine")
    assert main([str(voc), "-o", "net.py"]) == 1
    assert "net.safetensors: exists, and does not say that" in capsys.readouterr().err
    assert main([str(voc), "-o", "net.py", "--force"]) == 0
    assert "replaced what was at net.safetensors\n" in capsys.readouterr().out
    mine.rename("voc.safetensors")
    for force in ([], ["--force"]):
        assert main(["voc.safetensors", "-o", "voc.py", *force]) == 1
        assert capsys.readouterr().err == (
            "fcn-convert: voc.safetensors: is the file that is converted, and voc.py keeps its weights under "
            "this name; name another with -o\n"
        )


def test_a_folder_with_something_of_mine_stays_even_by_force(
    voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net").mkdir()
    assert main([str(voc), "-o", "net/"]) == 0
    Path("net/notes.txt").write_text("mine")
    assert main([str(voc), "-o", "net/", "--force"]) == 1
    assert "also holds 'notes.txt'" in capsys.readouterr().err
