"""What fuzzing starts from is read, and the scan of the wire format agrees with protobuf on all of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from caffe2torch.errors import Caffe2TorchError
from fuzz.targets import TARGETS

EXPORTED = {"onnx", "pt2"}
"""Exporting their files takes seconds; tests/formats does it."""


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - EXPORTED))
def test_the_files_to_start_from_are_read(name: str, tmp_path: Path) -> None:
    if name == "leveldb":
        pytest.importorskip("plyvel")
    TARGETS[name].seeds(tmp_path)
    paths, whole = sorted(tmp_path.iterdir()), 0
    for path in paths:
        with contextlib.suppress(Caffe2TorchError):
            TARGETS[name].read(path)
            whole += 1
    assert 2 * whole >= len(paths) > 0
