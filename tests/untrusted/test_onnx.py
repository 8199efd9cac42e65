"""The metadata of ONNX files, made and damaged by hand, field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe2torch.errors import ReadError
from caffe2torch.untrusted import onnx
from caffe2torch.untrusted.onnx import read_metadata

NAME, GRAPH = b"\x12\x02us", b"\x3a\x03\x0a\x01x"
ENTRY = b"\x72\x08\x0a\x01k\x12\x03abc"


def read(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    return read_metadata(path, "us")


def test_it_is_that_of_one_producer(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert read(path, NAME + GRAPH + ENTRY) == {"k": "abc"}
    assert read(path, GRAPH + ENTRY + NAME) == {"k": "abc"}
    assert read(path, NAME + GRAPH) == {}
    assert read(path, b"\x12\x02me" + ENTRY) == read(path, ENTRY) == read(path, NAME + NAME + ENTRY) == {}


@pytest.mark.parametrize(
    "content", [NAME + ENTRY[:-1], NAME + b"\x70\x01", NAME + b"\x72\x02\x0a\x7f", b"text"]
)
def test_damage_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ReadError, match=r"net\.onnx: .*byte"):
        read(tmp_path / "net.onnx", content)


def test_an_entry_has_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "MAX_BYTES", 7)
    with pytest.raises(ReadError, match="is no text of at most 7 bytes"):
        read(tmp_path / "net.onnx", NAME + ENTRY)
