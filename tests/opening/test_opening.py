"""What a file is, its content tells, and what it is not good for is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.blob import Blob
from caffe2torch.cli.main import main
from caffe2torch.errors import ReadError, WeightsError
from caffe2torch.formats import formats
from caffe2torch.hub import HubNet
from caffe2torch.net import Net
from caffe2torch.opening import defines_net, look_at_model, open_model
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model, with_state
from caffe2torch.writing.output import Output
from tests.formats.test_export import bits, small_net

VALUES_ONLY = {
    "pt": "a state dict holds values but no net; export the module that loads it",
    "caffemodel.h5": "an HDF5 file holds blobs but no net; give the net's --prototxt",
}


@pytest.mark.parametrize("name", formats())
def test_each_of_our_formats(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that define a net are models to convert; of the others one line says why they are none."""
    known = formats()[name]
    path = f"{tmp_path}/net{known.suffixes[0]}"
    c2t.export(small_net(), path, check=False)
    file = look_at_model(path)
    only_values = known.values is not None or name in VALUES_ONLY
    assert defines_net(file) == (known.read is not None and not only_values)
    code = main([path, "--inspect"])
    out, err = capsys.readouterr()
    if defines_net(file):
        assert (code, err) == (0, "")
        assert open_model(file).net.layers[1].name in out
        return
    what = "can only be run" if known.read is None else "holds values but no net"
    expected = VALUES_ONLY.get(name, f"is {name}, which {what}; give the model that it came from")
    assert (code, err) == (1, f"fcn-convert: {path}: {expected}\n")


@pytest.mark.parametrize("path", ["x" * 5000, "no\0path"])
def test_a_path_that_cannot_be(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([path], [path, "--diff", path]):
        assert main(arguments) == 1
        assert ": cannot be read: " in capsys.readouterr().err
    with pytest.raises(ReadError, match="cannot be read"):
        c2t.load(path)


def kind_of(path: Path) -> str:
    origin = open_model(path).origin
    assert origin is not None
    return origin.format


def test_a_name_tells_nothing(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes((golden / "fcn/voc-fcn32s/weights.caffemodel").read_bytes())
    assert kind_of(tmp_path / "net.safetensors") == "caffemodel, current format"
    c2t.export(small_net(), tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.caffemodel")
    assert kind_of(tmp_path / "a.caffemodel") == "safetensors of this package"


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x88\x08", b"\x08\x0a"])
def test_a_header_as_long_as_another_formats_first_bytes(start: bytes, tmp_path: Path) -> None:
    """Of a pickle, as one file in some thousands has it; of a mean; of a mean and more."""
    path = tmp_path / "net.safetensors"
    c2t.export(small_net(), path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    longer = int.from_bytes(start, "little") + (1 << 16)
    header = content[8 : 8 + length] + b" " * (longer - length)
    path.write_bytes(longer.to_bytes(8, "little") + header + content[8 + length :])
    assert open_model(str(path)).net.name == "small"
    assert main([str(path), "--inspect"]) == 0
    assert len(c2t.from_safetensors(path).state_dict()) == 3


def test_a_folder_of_a_model_that_says_no_more_than_it_must(tmp_path: Path) -> None:
    c2t.export(small_net(), f"{tmp_path}/net/")
    config = json.loads((tmp_path / "net/config.json").read_text())
    dense = {**config["shapes"], "up.weight": [5, 5, 4, 6]}
    HubNet(config["net"], dense).save_pretrained(tmp_path / "saved")
    opened = open_model(tmp_path / "saved")
    assert [layer.name for layer in opened.net.layers] == ["data", "conv", "up"]
    assert opened.preprocessing == {}


@pytest.mark.parametrize("name", ["safetensors", "hub"])
def test_load_takes_what_fcn_convert_takes(name: str, tmp_path: Path) -> None:
    path = f"{tmp_path}/net{formats()[name].suffixes[0]}"
    c2t.export(small_net(), path)
    found, wanted = (
        {key: bits(value.numpy()) for key, value in model.state_dict().items()}
        for model in (c2t.load(path), c2t.build(small_net()))
    )
    assert found == wanted
    with pytest.raises(ReadError, match="holds its own net; --prototxt is for Caffe's files"):
        c2t.load(path, prototxt="net.prototxt")


def test_load_of_a_definition_alone(golden: Path) -> None:
    """What a filler draws is nobody's model."""
    with pytest.raises(WeightsError, match=r"^'conv1_1\.weight' has no values; give weights"):
        c2t.load(golden / "fcn" / "voc-fcn8s" / "deploy.prototxt")


def test_what_torch_save_wrote_is_told_apart(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    path = tmp_path / "model.pth"
    torch.save(model, path)
    with pytest.raises(
        ReadError, match=r"asks for torch\.nn\.modules\.container\.Sequential, .*state_dict\(\)"
    ):
        open_model(path)
    torch.save(torch.nn.DataParallel(model).state_dict(), path)
    with pytest.raises(ReadError, match=r"no net, of a model in nn\.DataParallel: save model\.module's"):
        open_model(path)


def test_a_new_format_that_only_holds_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It states how its values are read: then it is compared by the other's net, and refused as a model."""

    def write(model: Model, output: Output, dtype: str) -> None:
        arrays = {p.key: p.read() for step in model.plan.steps for p in step.parameters}
        np.savez(output.file, **arrays)

    def values(path: Path, model: Model) -> Net:
        with np.load(path) as stored:
            return with_state(model, {key: Blob.of(array) for key, array in stored.items()}, path)

    new = Format("new", (".new",), write, read=values, values=values)
    monkeypatch.setitem(formats(), "new", new)
    net = small_net(conv=[np.arange(90).reshape(5, 3, 2, 3), np.arange(5)])
    caffe, path = tmp_path / "net.caffemodel", tmp_path / "net.new"
    c2t.export(net, caffe)
    c2t.export(net, path)
    assert main([str(caffe), "--diff", str(path)]) == 0
    assert "3 of 3 blobs equal" in capsys.readouterr().out
    assert main([str(path), "--inspect"]) == 1
    refusal = f"{path}: is new, which holds values but no net; give the model that it came from"
    assert capsys.readouterr().err == f"fcn-convert: {refusal}\n"
