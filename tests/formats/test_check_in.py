"""ONNX that is also run in other engines before it takes its name."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.errors import MissingData, VerificationFailed, WriteError
from caffe2torch.formats.onnx import engines
from caffe2torch.writing.format import EngineToCheckIn, Run
from tests.formats.test_export import small_net

onnx_format: Any = import_module("caffe2torch.formats.onnx").FORMAT
REFERENCE = engines.ENGINES["reference"].open


def off_by(delta: float) -> EngineToCheckIn:
    """An engine that is wrong, by a part of each value."""

    def load(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
        run = REFERENCE(path, inputs, outputs)
        return lambda given: {blob: top * (1 + delta) for blob, top in run(given).items()}

    return EngineToCheckIn("onnx", "onnx", load)


def refusing(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    raise RuntimeError(f"{path}: takes no free sizes\nat line 1064")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, EngineToCheckIn]:
    """The engines; those that a test adds are gone after it."""
    changed = dict(engines.ENGINES)
    monkeypatch.setitem(
        import_module("caffe2torch.formats").formats(), "onnx", replace(onnx_format, check_in=changed)
    )
    return changed


def test_it_is_run_in_the_engine_at_every_size(tmp_path: Path) -> None:
    check = c2t.export(small_net(), tmp_path / "net.onnx", check_in=["reference"])
    assert check is not None
    (row, other) = check.engines["reference"].rows
    assert row.ok
    assert row.set != other.set
    assert "in reference " in str(check)
    assert check.engines["reference"].worst < 1e-6
    assert json.dumps(check.facts()["engines"]["reference"]["ok"]) == "true"


def test_a_file_that_an_engine_gets_wrong_is_not_kept(
    tmp_path: Path, known: dict[str, EngineToCheckIn]
) -> None:
    known.update(near=off_by(5e-5), far=off_by(3e-4))
    (tmp_path / "net.onnx").write_bytes(b"old")
    problem = r"^net\.onnx in far: output 'up' for data .* is not the model's: .*relative 3\.0e-04, allowed"
    with pytest.raises(VerificationFailed, match=problem):
        c2t.export(small_net(), tmp_path / "net.onnx", check_in=["near", "far"])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    assert c2t.export(small_net(), tmp_path / "net.onnx", check_in=["near"]) is not None


def test_an_engine_that_cannot_load_it_says_so(tmp_path: Path, known: dict[str, EngineToCheckIn]) -> None:
    known["fixed"] = EngineToCheckIn("onnx", "onnx", refusing)
    problem = r"^net\.onnx in fixed: .* does not load: takes no free sizes; it may need a --size HxW; nothing"
    with pytest.raises(VerificationFailed, match=problem):
        c2t.export(small_net(), tmp_path / "net.onnx", check_in=["fixed"])
    assert list(tmp_path.iterdir()) == []


def test_engines_that_cannot_be_asked(tmp_path: Path, known: dict[str, EngineToCheckIn]) -> None:
    known["absent"] = EngineToCheckIn("no_such_module.part", "no-such-package", refusing)
    with pytest.raises(MissingData, match=r"to check it in absent: pip install no-such-package$"):
        c2t.export(small_net(), tmp_path / "net.onnx", check_in=["absent"])
    with pytest.raises(WriteError, match="is not checked in 'tensorrt'; it can be in mnn, opencv, openvino"):
        c2t.export(small_net(), tmp_path / "net.onnx", check_in=["tensorrt"])
    with pytest.raises(WriteError, match="pt cannot choose the check-in; onnx can"):
        c2t.export(small_net(), tmp_path / "net.pt", check_in=["reference"])
    with pytest.raises(WriteError, match="check_in goes with check"):
        c2t.export(small_net(), tmp_path / "net.onnx", check=False, check_in=["reference"])
    assert list(tmp_path.iterdir()) == []


def test_what_an_engine_prints_is_not_among_what_we_print(
    tmp_path: Path, known: dict[str, EngineToCheckIn], capfd: pytest.CaptureFixture[str]
) -> None:
    def load(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
        ctypes.CDLL(None).printf(b"The device supports: nothing\n")  # in C's own buffer, as MNN does
        return REFERENCE(path, inputs, outputs)

    known["chatty"] = EngineToCheckIn("onnx", "onnx", load)
    c2t.export(small_net(), tmp_path / "net.caffemodel")
    given = [str(tmp_path / "net.caffemodel"), "-o", str(tmp_path / "net.onnx"), "--check-in", "chatty"]
    assert main([*given, "--json"]) == 0
    ctypes.CDLL(None).fflush(None)
    out, err = capfd.readouterr()
    assert list(json.loads(out)["checked"]["engines"]) == ["chatty"]
    assert "The device supports: nothing" in err


def test_the_command_names_engines(
    tmp_path: Path, known: dict[str, EngineToCheckIn], capsys: pytest.CaptureFixture[str]
) -> None:
    c2t.export(small_net(), tmp_path / "net.caffemodel")
    given = [str(tmp_path / "net.caffemodel"), "-o", str(tmp_path / "net.onnx"), "--check-in"]
    assert main([*given, "reference,reference"]) == 0
    assert "(allowed 1e-05), in reference " in capsys.readouterr().out
    known["far"] = off_by(3e-4)
    assert main([*given, "reference,far"]) == 4
    assert "net.onnx in far: output 'up'" in capsys.readouterr().err
