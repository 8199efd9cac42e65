"""Back to Caffe, in every form, and through every format that holds blobs: the same blobs, the same net."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from google.protobuf import text_format

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.cli.main import main
from caffe2torch.errors import ReadError, WriteError
from caffe2torch.net import Net
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.plan import plan
from tests.formats.test_export import ZOO, bits, by_protobuf
from tests.nets import INPUT, net_of


def message_of(path: Path) -> Any:
    """A net of Caffe's, as protobuf's own parser reads it."""
    if path.suffix == ".prototxt":
        return text_format.Parse(path.read_text(), schema.message("NetParameter")())
    return schema.message("NetParameter").FromString(path.read_bytes())


def without_splits(message: Any) -> list[Any]:
    """The layers of a caffemodel as its author wrote them: no blobs, and no Split, which Caffe inserts."""
    split: dict[str, str] = {}
    layers = []
    for layer in message.layer:
        layer.ClearField("blobs")
        layer.bottom[:] = [split.get(bottom, bottom) for bottom in layer.bottom]
        if layer.type == "Split":
            split |= dict.fromkeys(layer.top, layer.bottom[0])
        else:
            layers.append(layer)
    return layers


def computed(layers: list[Any]) -> list[Any]:
    """What of layers matters to outputs: neither learning rates nor fillers, and an input of any size."""
    for layer in layers:
        for field in ("param", "input_param"):
            layer.ClearField(field)
        for field in ("weight_filler", "bias_filler"):
            layer.convolution_param.ClearField(field)
    return layers


def convert(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("suffix", ["caffemodel", "prototxt"])
@pytest.mark.parametrize("name", ZOO)
def test_the_form_that_was_trained_is_caffes_own(
    name: str, suffix: str, golden: Path, tmp_path: Path
) -> None:
    source = golden / "fcn" / name / "weights.caffemodel"
    assert convert(source, "-o", tmp_path / f"net.{suffix}", "--form", "train") == 0
    wanted = without_splits(message_of(source))
    found = list(message_of(tmp_path / f"net.{suffix}").layer)
    if suffix == "caffemodel":
        blobs = {n: list(map(bits, blobs)) for n, blobs in by_protobuf(tmp_path / "net.caffemodel").items()}
        assert blobs == {n: list(map(bits, blobs)) for n, blobs in by_protobuf(source).items()}
        for layer in found:
            layer.ClearField("blobs")
    assert found == wanted


@pytest.mark.parametrize("name", ZOO)
def test_the_form_that_one_deploys_is_its_authors(name: str, golden: Path, tmp_path: Path) -> None:
    folder = golden / "fcn" / name
    assert convert(folder / "weights.caffemodel", "-o", tmp_path / "net.prototxt") == 0
    found, wanted = (
        computed(list(message_of(path).layer))
        for path in (tmp_path / "net.prototxt", folder / "deploy.prototxt")
    )
    assert found == wanted


def test_only_what_holds_a_whole_net_takes_the_form_that_was_trained(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = golden / "fcn" / "voc-fcn32s" / "weights.caffemodel"
    assert convert(source, "-o", tmp_path / "net.safetensors", "--form", "train") == 2
    assert "--form train is for caffemodel, caffemodel.h5, prototxt" in capsys.readouterr().err
    assert convert(source, "-o", tmp_path / "net.caffemodel.h5", "--form", "train") == 0


@pytest.mark.parametrize("name", ZOO)
def test_an_hdf5_snapshot_holds_each_blob_at_its_layer(name: str, golden: Path, tmp_path: Path) -> None:
    source, target = golden / "fcn" / name / "weights.caffemodel", tmp_path / "net.caffemodel.h5"
    c2t.export(c2t.read(weights=source), target)
    found: dict[str, list[np.ndarray]] = {}
    with h5py.File(target) as file:
        assert list(file) == ["data"]
        for layer, group in file["data"].items():
            assert {group[i].dtype for i in group} == {np.dtype("<f4")}
            found[layer] = [group[str(i)][()] for i in range(len(group))]
    assert {n: list(map(bits, blobs)) for n, blobs in found.items()} == {
        n: list(map(bits, blobs)) for n, blobs in by_protobuf(source).items()
    }
    first = target.read_bytes()
    c2t.export(c2t.read(weights=source), target)
    assert target.read_bytes() == first, "the same net, other bytes"


def test_a_sharer_stores_what_its_first_layer_does_not_bring_in_its_phase(tmp_path: Path) -> None:
    """Without it Caffe, in phase TRAIN, says "Incompatible number of blobs for layer b" and aborts."""
    layer = """layer {{ name: "{0}" type: "Bias" bottom: "data" top: "{0}" {1} param {{ name: "p" }} }}"""
    rules = {"a": "include { phase: TEST }", "b": "", "c": "", "d": "include { phase: TEST }"}
    net = net_of(
        INPUT + "".join(layer.format(*named) for named in rules.items()),
        **{name: [np.arange(3)] for name in rules},
    )
    c2t.export(net, tmp_path / "net.caffemodel.h5")
    with h5py.File(tmp_path / "net.caffemodel.h5") as file:
        assert {name: list(group) for name, group in file["data"].items()} == {
            "a": ["0"], "b": ["0"], "c": [], "d": [],
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "it is not a JSON object"),
        ("{}", r"is not what fcn-convert writes beside net\.caffemodel; move it away"),
        ('{"format": "caffe2torch knowledge, 1"}', r"belongs to another net\.caffemodel; delete it"),
    ],
)
def test_a_file_beside_that_is_not_ours(text: str, problem: str, tmp_path: Path) -> None:
    """It is not read, and only one of ours is written over."""
    target, beside = tmp_path / "net.caffemodel", tmp_path / "net.caffemodel.json"
    model = c2t.build(net_of(f"{INPUT} layer {{ name: 'r' type: 'ReLU' bottom: 'data' top: 'r' }}"))
    model.preprocessing = {"data": Preprocessing((1.0, 2.0, 3.0), channels="BGR")}
    c2t.export(model, target)
    ours = beside.read_bytes()
    beside.write_text(text)
    with pytest.raises(ReadError, match=rf"net\.caffemodel\.json: {problem}"):
        c2t.load(target)
    if "knowledge" in text:
        c2t.export(model, target)
        assert beside.read_bytes() == ours
        return
    with pytest.raises(
        WriteError, match=r"is in the way and not from an earlier net\.caffemodel; move it away"
    ):
        c2t.export(model, target)
    assert beside.read_text() == text


@pytest.mark.parametrize("names", [("x", "x"), ("inception_3a/1x1",), ("/x",), (".",), ("",)])
def test_names_that_hdf5_cannot_hold(names: tuple[str, ...], tmp_path: Path) -> None:
    layers = (f'layer {{ name: "{n}" type: "Bias" bottom: "data" top: "{i}" }}' for i, n in enumerate(names))
    net = net_of(INPUT + "".join(layers), **{name: [np.arange(3)] for name in names})
    with pytest.raises(WriteError, match=f"^layer '{names[0]}': .*; write a caffemodel"):
        c2t.export(net, tmp_path / "net.caffemodel.h5")
    assert list(tmp_path.iterdir()) == []


# --- there and back, every net


def models(reference: Path) -> Iterator[tuple[str, Net]]:
    """The published models that Caffe ran."""
    with (reference / "models" / "index.tsv").open() as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["reference"]:
                folder = reference / "models" / row["folder"]
                yield row["folder"], c2t.read(folder / "net.prototxt", folder / row["file"])


def there_and_back(net: Net, folder: Path) -> dict[str, torch.nn.Module]:
    """The model of a net after each format that holds blobs, loaded as a user would."""
    for name in ("net.caffemodel", "net.safetensors", "net/", "net.pt", "net.prototxt"):
        assert c2t.export(net, f"{folder}/{name}") is not None, "not checked"
    found = {
        "caffemodel": c2t.build(c2t.read(weights=folder / "net.caffemodel")),
        "safetensors": c2t.load(folder / "net.safetensors"),
        "hub": c2t.load(folder / "net" / "model.safetensors"),
        "pt": c2t.build(net),
    }
    found["pt"].load_state_dict(torch.load(folder / "net.pt", weights_only=True))
    if not any("/" in layer.name for layer in net.layers if layer.blobs):  # refused: HDF5 takes it for a path
        c2t.export(net, folder / "net.caffemodel.h5")
        found["h5"] = c2t.build(c2t.read(folder / "net.prototxt", folder / "net.caffemodel.h5"))
    return found


def assert_equal(net: Net, folder: Path) -> None:
    """Every parameter to the bit, in Caffe's own layers and in ours."""
    wanted = c2t.build(net).state_dict()
    for format_name, model in there_and_back(net, folder).items():
        state = model.state_dict()
        assert state.keys() == wanted.keys(), format_name
        for key, value in wanted.items():
            assert bits(value.numpy()) == bits(state[key].numpy()), (format_name, key)
    back = by_protobuf(folder / "net.caffemodel")
    for layer in net.layers:
        assert list(map(bits, back.get(layer.name, []))) == [bits(b.read()) for b in layer.blobs], layer.name


@pytest.mark.parametrize("name", ZOO)
def test_an_fcn_there_and_back(name: str, golden: Path, tmp_path: Path) -> None:
    assert_equal(c2t.read(weights=golden / "fcn" / name / "weights.caffemodel"), tmp_path)


def test_published_models_there_and_back(reference: Path, tmp_path: Path) -> None:
    tried, definitions = 0, 0
    for name, net in models(reference):
        folder = tmp_path / name
        folder.mkdir()
        assert_equal(net, folder)
        published = message_of(reference / "models" / name / "net.prototxt")
        if not published.layers:  # V1, which tests/test_upgrade.py has
            found = without_splits(message_of(folder / "net.caffemodel"))
            assert found[len(published.input) :] == without_splits(published), name
            assert all(layer.type == "Input" for layer in found[: len(published.input)])
            definitions += 1
        # From torch back to Caffe: the net that one deploys, and once more the same bytes.
        c2t.export(c2t.build(net), folder / "torch.caffemodel")
        again = c2t.read(weights=folder / "torch.caffemodel")
        assert c2t.diff(net, again, tolerance=0).same, name
        assert plan(again).outputs == plan(net).outputs, name
        c2t.export(c2t.build(again), folder / "again.caffemodel")
        assert (folder / "again.caffemodel").read_bytes() == (folder / "torch.caffemodel").read_bytes(), name
        tried += 1
    assert (tried, definitions) == (35, 31)
