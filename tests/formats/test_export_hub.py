"""The folder form: what huggingface_hub's mixin loads, saves and refuses; folders whole or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.errors import MissingData, ReadError, VerificationFailed, WriteError
from caffe2torch.hub import HubNet
from caffe2torch.untrusted.text import MAX_TEXT
from tests.formats.test_export import small_net
from tests.nets import net_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    c2t.export(small_net(), f"{tmp_path}/net/")
    return tmp_path / "net"


@pytest.mark.parametrize("name", ["voc-fcn8s", "nyud-fcn32s-color-hha", "siftflow-fcn16s"])
def test_the_mixin_loads_it_and_what_it_saves(name: str, golden: Path, tmp_path: Path) -> None:
    source = golden / "fcn" / name / "weights.caffemodel"
    assert main([str(source), "-o", f"{tmp_path}/net/"]) == 0
    processor = [] if name == "nyud-fcn32s-color-hha" else ["preprocessor_config.json"]  # for one image only
    files = ["config.json", "model.safetensors", *processor]
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == files
    model = HubNet.from_pretrained(tmp_path / "net")
    model.save_pretrained(tmp_path / "saved")
    again = HubNet.from_pretrained(tmp_path / "saved")
    wanted = c2t.build(c2t.read(weights=source))
    for found in (model, again):
        assert not found.training
        assert found.preprocessing == c2t.load(source).preprocessing
        assert found.preprocessing.keys() == set(wanted.inputs)
        assert found.state_dict().keys() == wanted.state_dict().keys()
        assert all(torch.equal(value, found.state_dict()[key]) for key, value in wanted.state_dict().items())
    images = {blob: torch.rand(1, 3 if blob != "depth" else 1, 37, 52) for blob in wanted.inputs}
    with torch.no_grad():
        for blob, value in wanted(**images).items():
            assert torch.equal(again(**images)[blob], value)
    c2t.export(again, tmp_path / "back.caffemodel", run=True)


def test_half_a_folder_is_loaded_as_float32(tmp_path: Path) -> None:
    c2t.export(small_net(), f"{tmp_path}/net/", dtype="float16")
    model = HubNet.from_pretrained(tmp_path / "net")
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert load_file(tmp_path / "net" / "model.safetensors")["conv.bias"].dtype == torch.float16


def test_tensors_that_are_not_the_nets_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {key: value for key, value in tensors.items() if key != "conv.bias"}, folder / "model.safetensors"
    )
    with pytest.raises(RuntimeError, match=r"conv\.bias"):
        HubNet.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net": "layer {"}, "its net"),
        ({"net": " " * (MAX_TEXT + 1)}, f"its net is over {MAX_TEXT} bytes, more than any net needs"),
        ({"format_version": "9"}, "holds tensors but no Caffe net"),
        ({"shapes": {}}, "parameter 'conv.weight': has no shape"),
        ({"shapes": {"conv.weight": [1 << 40, 1 << 40]}}, "parameter 'conv.weight': .*Caffe allows"),
    ],
)
def test_a_config_that_cannot_be(changes: dict[str, object], message: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ReadError, match=message):
        HubNet.from_pretrained(folder)


@pytest.mark.parametrize(
    ("transform", "processor"),
    [
        ("mean_value: [1, 2, 3] scale: 0.5 crop_size: 7", ([3, 2, 1], [2, 2, 2], {"height": 7, "width": 7})),
        ("mean_value: 4", ([4, 4, 4], [1, 1, 1], None)),
        ("mean_file: 'mean.binaryproto'", None),
        ("scale: 0", None),
    ],
)
def test_what_transformers_has_no_words_for_is_not_said(
    transform: str, processor: tuple[object, ...] | None, tmp_path: Path
) -> None:
    data = f"layer {{ name: 'd' type: 'Data' top: 'data' transform_param {{ {transform} }} }}"
    c2t.export(
        net_of(f"{data} layer {{ name: 'r' type: 'ReLU' bottom: 'data' top: 'r' }}"), f"{tmp_path}/net/"
    )
    written = tmp_path / "net" / "preprocessor_config.json"
    found = json.loads(written.read_text()) if written.exists() else None
    keys = ("image_mean", "image_std", "crop_size")
    assert (found and tuple(found[key] for key in keys)) == processor


def test_a_folder_of_ours_is_replaced_and_no_other(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    c2t.export(small_net(), f"{folder}/", dtype="bfloat16")
    assert len((folder / "model.safetensors").read_bytes()) < len(before)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"also holds 'notes\.txt'; name a new folder"):
        c2t.export(small_net(), f"{folder}/")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]
    (folder.parent / "file").write_text("mine")
    with pytest.raises(WriteError, match="cannot be written: Not a directory"):
        c2t.export(small_net(), f"{folder.parent}/file/")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["file", "net"]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "caffe2torch.hub")
    c2t.export(small_net(), f"{tmp_path}/net/")  # writing needs it not
    with pytest.raises(MissingData, match=r"pip install huggingface_hub") as caught:
        from caffe2torch.hub import HubNet as _  # noqa: F401
    assert caught.value.exit_code == 3


def test_a_config_that_differs_fails_the_check(folder: Path) -> None:
    from caffe2torch.formats.hub import read_back
    from caffe2torch.writing.checking import compare
    from caffe2torch.writing.model import model_of

    converted = model_of(small_net())
    assert compare(converted.deployed, read_back(folder, converted), "float32", "net") == (3, 695)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("stride: 2", "stride: 3"))
    with pytest.raises(VerificationFailed, match="layer 'up' has fields"):
        compare(converted.deployed, read_back(folder, converted), "float32", "net")
