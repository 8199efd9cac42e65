"""Comparison with a reference: what counts as equal, what fails and how it says so, and broken references."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import MissingData, NetError, ReadError, VerificationFailed
from caffe2torch.modules.report import Report, side_by_side
from tests.nets import INPUT, net_of


class Double(nn.Module):
    """y = 2 x, and an integer z = x > 0."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def every_blob(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        x = inputs["x"]
        assert x.dtype == torch.float32
        return {"x": x, "y": 2 * x, "y_relu": 3 * x, "z": (x > 0).long()}


X = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)


def checked(tmp_path: Path, model: nn.Module | None = None, **arrays: Any) -> Report:
    np.savez(tmp_path / "ref.npz", **arrays)
    return c2t.verify(model or Double(), tmp_path / "ref.npz")


def test_equal_blobs_pass(tmp_path: Path) -> None:
    report = checked(tmp_path, **{"in.x": X, "out.y": 2 * X, "blob.z": (X > 0).astype(np.int32)})
    assert report.ok
    assert [(row.set, row.blob, row.shape, row.max_delta, row.relative) for row in report.rows] == [
        ("", "y", (2, 3, 5), 0, 0),
        ("", "z", (2, 3, 5), 0, 0),
    ]
    assert "all 2 blobs pass; relative error allowed: 1e-05" in str(report)


def test_a_difference_is_found_where_it_is(tmp_path: Path) -> None:
    wanted = 2 * X.astype(np.float64)
    wanted[1, 2, 3] += 0.25
    wanted[0, 1, 1] -= 0.125
    report = checked(tmp_path, **{"in.x": X, "out.y": wanted})
    (row,) = report.rows
    assert not report.ok
    assert (row.max_delta, row.where) == (0.25, (1, 2, 3))
    assert row.relative == pytest.approx(math.hypot(0.25, 0.125) / math.sqrt((wanted**2).sum()), rel=1e-12)
    assert "FAIL: 2.5e-01 at (1, 2, 3)" in str(report)
    assert "1 of 1 blobs fail" in str(report)


@pytest.mark.parametrize(("factor", "ok"), [(0.99, True), (1.01, False)])
def test_the_tolerance_is_relative(factor: float, ok: bool, tmp_path: Path) -> None:
    wanted = 2 * X.astype(np.float64) / (1 + factor * 1e-3)
    np.savez(tmp_path / "ref.npz", **{"in.x": X, "out.y": wanted})
    assert c2t.verify(Double(), tmp_path / "ref.npz", tolerance=1e-3).ok == ok


def test_integers_are_equal_or_not(tmp_path: Path) -> None:
    z = (X > 0).astype(np.int64)
    z[0, 0, 0] ^= 1
    assert not checked(tmp_path, **{"in.x": X, "out.z": z}).ok
    big = np.zeros((1000, 1000), np.float32)
    off = np.zeros_like(big)
    off[3, 4] = 1
    # Ten million to one: within any relative tolerance, and yet not the same integer.
    wanted = (2 * big).astype(np.int64) + 10_000
    assert checked(tmp_path, **{"in.x": big + 5000, "out.y": wanted}).ok
    assert not checked(tmp_path, **{"in.x": big + 5000 + off / 2, "out.y": wanted}).ok


def test_a_nan_matches_a_nan_and_nothing_else(tmp_path: Path) -> None:
    x = X.copy()
    x[0, 1, 2], x[1, 1, 1] = np.nan, np.inf
    assert checked(tmp_path, **{"in.x": x, "out.y": 2 * x}).ok
    for place, value in (((0, 1, 2), 0.0), ((1, 1, 1), -np.inf), ((1, 1, 1), 1.0), ((0, 0, 0), np.nan)):
        wanted = 2 * x
        wanted[place] = value
        report = checked(tmp_path, **{"in.x": x, "out.y": wanted})
        assert (report.ok, report.rows[0].where, report.rows[0].max_delta) == (False, place, math.inf)
        assert json.loads(report.to_json())["rows"][0]["max_delta"] is None


def test_a_reference_of_zeros_allows_no_error(tmp_path: Path) -> None:
    assert checked(tmp_path, **{"in.x": 0 * X, "out.y": 0 * X}).ok
    assert not checked(tmp_path, **{"in.x": 0 * X + 1e-9, "out.y": 0 * X}).ok


def test_what_cannot_be_compared_fails_with_its_reason(tmp_path: Path) -> None:
    report = checked(tmp_path, **{"in.x": X, "out.y": X.T, "blob.none": X, "blob.y": 2 * X})
    problems = [(row.blob, row.ok, row.problem) for row in report.rows]
    assert problems == [
        ("y", False, "the model's is (2, 3, 5)"),
        ("none", False, "the model has no such blob"),
        ("y", True, ""),
    ]
    assert "FAIL: the model has no such blob" in str(report)


def test_empty_blobs_are_equal(tmp_path: Path) -> None:
    empty = np.zeros((0, 3), np.float32)
    assert checked(tmp_path, **{"in.x": empty, "out.y": empty}).ok


def test_sets_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    arrays = {f"{k}.in.x": X + k for k in (10, 2, 0)} | {f"{k}.out.y": 2 * (X + k) for k in (10, 2, 0)}
    report = checked(tmp_path, **arrays, **{"train.in.x": X, "gin.x": X, "train.loss.l": X})
    assert [(row.set, row.ok) for row in report.rows] == [("0", True), ("2", True), ("10", True)]


def test_arrays_by_column_and_of_other_floats(tmp_path: Path) -> None:
    assert checked(tmp_path, **{"in.x": X, "out.y": np.asfortranarray(2 * X.astype(">f8"))}).ok
    assert checked(tmp_path, **{"in.x": np.asfortranarray(X.astype(np.float64)), "out.y": 2 * X}).ok


def test_the_split_of_a_blob_is_the_blob(tmp_path: Path) -> None:
    blobs = {"y_conv_0_split_0": 2 * X, "y_y_0_split_1": 2 * X, "y_relu_sum_0_split_11": 3 * X}
    others = {"y_split": 2 * X, "yy_0_split_0": 2 * X}
    report = checked(tmp_path, **{"in.x": X}, **{f"blob.{name}": x for name, x in (blobs | others).items()})
    assert [row.ok for row in report.rows] == [True, True, True, False, False]


def test_a_module_with_one_output_may_leave_it_without_a_name(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    report = checked(tmp_path, Plain(), **{"in.x": X, "out.score": 2 * X, "blob.pool": X})
    assert [(row.blob, row.ok) for row in report.rows] == [("score", True)]


def test_the_model_runs_in_eval_mode_and_is_left_as_it_was(tmp_path: Path) -> None:
    for training in (True, False):
        model = Double().train(training)
        checked(tmp_path, model, **{"in.x": X, "out.y": 2 * X})
        assert model.modes == [False]
        assert model.training == training


def test_a_net_that_does_not_run_on_the_inputs(tmp_path: Path) -> None:
    text = INPUT + (
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
        "convolution_param { num_output: 5 kernel_size: 2 } }"
    )
    model = c2t.build(net_of(text))
    with pytest.raises(VerificationFailed, match=r"does not run on data \(1, 4, 8, 9\): .*channels"):
        checked(tmp_path, model, **{"in.data": np.zeros((1, 4, 8, 9)), "out.conv": X})
    with pytest.raises(NetError, match="takes inputs"):
        checked(tmp_path, model, **{"in.image": np.zeros((1, 3, 8, 9)), "out.conv": X})


def test_two_models_side_by_side(tmp_path: Path) -> None:
    class Triple(Double):
        def every_blob(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": 3 * inputs["x"]}

    arrays = {"in.x": X, "out.y": 2 * X}
    text = side_by_side({"one": checked(tmp_path, **arrays), "two": checked(tmp_path, Triple(), **arrays)})
    assert "one max |delta|" in text
    assert "FAIL two: " in text
    assert "FAIL one" not in text
    assert "1 of 1 blobs fail" in text


def test_json_has_every_row(tmp_path: Path) -> None:
    facts = json.loads(checked(tmp_path, **{"in.x": X, "out.y": 2 * X}).to_json())
    row = {"set": "", "blob": "y", "shape": [2, 3, 5], "max_delta": 0.0, "where": [0, 0, 0], "relative": 0.0}
    assert facts["rows"] == [{**row, "ok": True, "problem": "", "labels": None}]
    assert (facts["ok"], facts["tolerance"]) == (True, 1e-5)


def test_a_reference_that_python_2_wrote(tmp_path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L, 5L)}".ljust(117) + b"\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    members = {"in.x.npy": header + X.tobytes(), "out.y.npy": header + (2 * X).tobytes()}
    assert c2t.verify(Double(), npz(tmp_path / "ref.npz", **members)).ok


# --- broken references


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(shape: tuple[int, ...], descr: str = "<f4", data: bytes = b"") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"shape": shape, "fortran_order": False, "descr": descr})
    return out.getvalue() + data


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file"):
        c2t.verify(Double(), tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(100)])
def test_files_that_are_no_npz(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ref.npz").write_bytes(content)
    with pytest.raises(ReadError, match=r"ref.npz: is not an .npz, or is damaged"):
        c2t.verify(Double(), tmp_path / "ref.npz")


def test_a_file_without_inputs(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"has no inputs; they are arrays named in.<blob>"):
        checked(tmp_path, x=X, **{"out.y": X, "train.in.x": X})


def test_every_damaged_byte_range_is_one_error(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "good.npz", **{"in.x": X, "out.y": 2 * X})
    raw = (tmp_path / "good.npz").read_bytes()
    refused = 0
    for cut in range(0, len(raw), 41):
        for damaged in (raw[:cut], raw[:cut] + b"\xa5" * 9 + raw[cut + 9 :]):
            (tmp_path / "bad.npz").write_bytes(damaged)
            try:
                c2t.verify(Double(), tmp_path / "bad.npz")
            except (ReadError, VerificationFailed):
                refused += 1
    assert refused > len(raw) / 41


def test_sizes_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    for shape in ((1 << 40,), (1 << 62, 1 << 62), (3, 5)):
        path = npz(tmp_path / "ref.npz", **{"in.x.npy": npy(shape, data=bytes(24))})
        with pytest.raises(ReadError, match=r"in.x declares .* bytes; 24 are there"):
            c2t.verify(Double(), path)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of zeros, which is a kilobyte in the file, where a megabyte less one value is allowed."""
    count = 1 << 18
    monkeypatch.setattr("caffe2torch.untrusted.npz.MAX_ARRAY", 4 * (count - 1))
    path = npz(tmp_path / "ref.npz", **{"in.x.npy": npy((count,), data=bytes(4 * count))})
    with pytest.raises(ReadError, match=r"in.x declares \(262144,\)"):
        c2t.verify(Double(), path)
    np.savez(path, **{"in.x": np.zeros(count - 1, np.float32)})
    assert c2t.verify(Double(), path).ok


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(np.array([{}], dtype=object)), "holds object, not numbers"),
        (saved(np.array(["a"])), "holds <U1, not numbers"),
        (b"\x93NUMPY\x07\x00", "is not an .npz, or is damaged"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': 3}    ", "is not an .npz, or is damaged"),
        (b"\x93NUMPY\x01\x00\x10\x00{1: 2, 'a': 3}   ", "the header of in.x.npy"),
        (b"\x93NUMPY\x01\x00\x10\x00[[[[[[[[[[[[[[[[", "the header of in.x.npy"),
        (b"nothing of numpy", "is not an .npz, or is damaged"),
    ],
)
def test_members_that_are_no_arrays_of_numbers(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=message):
        c2t.verify(Double(), npz(tmp_path / "ref.npz", **{"in.x.npy": content}))


def test_a_reference_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is a folder; give a file in it"):
        c2t.verify(Double(), tmp_path)
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(ReadError, match=r"x\.npz: is not a regular file"):  # it is not waited for
        c2t.verify(Double(), tmp_path / "x.npz")


def test_a_member_without_the_suffix_is_an_array_too(tmp_path: Path) -> None:
    x = np.arange(3, dtype=np.float32)
    path = npz(tmp_path / "ref.npz", **{"in.x": saved(x), "out.y": saved(2 * x)})
    assert sorted(np.load(path).files) == ["in.x", "out.y"]
    assert c2t.verify(Double(), path).ok
