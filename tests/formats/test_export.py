"""Every parameter, bit for bit, through every format; and files that were tampered with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.blob import Blob
from caffe2torch.errors import MissingData, NetError, ReadError, WeightsError, WriteError
from caffe2torch.formats.safetensors import METADATA, read_safetensors, read_with_knowledge
from caffe2torch.net import Net
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.net.preprocessing import Preprocessing, preprocessing
from caffe2torch.plan import plan
from caffe2torch.untrusted.tables import MAX_TABLE
from caffe2torch.writing import digest
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import PIECE, Output, create, encoded
from tests.nets import INPUT, net_of
from tests.places import GOLDEN

ZOO = sorted(folder.name for folder in (GOLDEN / "fcn").iterdir())


def bits(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes: what has to be equal, a -0 and a NaN's payload included."""
    return array.shape, np.ascontiguousarray(array).tobytes()


def by_protobuf(path: Path) -> dict[str, list[np.ndarray]]:
    """The blobs of each layer of a current caffemodel, as protobuf's own parser reads them."""
    net = schema.message("NetParameter").FromString(path.read_bytes())
    return {
        layer.name: [
            np.array(blob.data, np.float32).reshape(tuple(blob.shape.dim) or (-1,)) for blob in layer.blobs
        ]
        for layer in net.layer
        if layer.blobs
    }


def small_net(**changes: Any) -> Net:
    """Two convolutions and a frozen bilinear deconvolution with odd values: -0, NaN, infinity, denormal."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 3, 2, 3), np.float32)
    weight.flat[:4] = -0.0, np.nan, np.inf, 1e-42
    kernel = np.zeros((5, 5, 4, 6), np.float32)
    kernel[range(5), range(5)] = rng.standard_normal((5, 4, 6), np.float32)
    text = f"""name: "small" {INPUT}
    layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
             convolution_param {{ num_output: 5 kernel_h: 2 kernel_w: 3 }} }}
    layer {{ name: "up" type: "Deconvolution" bottom: "conv" top: "up" param {{ lr_mult: 0 }}
             convolution_param {{ num_output: 5 bias_term: false kernel_h: 4 kernel_w: 6 stride: 2 }} }}"""
    blobs = {"conv": [weight, rng.standard_normal(5, np.float32)], "up": [kernel], **changes}
    return net_of(text, **blobs)


# --- safetensors


@pytest.mark.parametrize("name", ZOO)
def test_the_safetensors_library_reads_the_blobs_bit_for_bit(name: str, golden: Path, tmp_path: Path) -> None:
    source = golden / "fcn" / name / "weights.caffemodel"
    c2t.export(c2t.read(weights=source), tmp_path / "net.safetensors")
    found = load_file(tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "np") as file:
        metadata = file.metadata()
    diagonal = json.loads(metadata["diagonal"])
    keys = ("weight", "bias")
    wanted = {
        f"{n}.{key}": b
        for n, blobs in by_protobuf(source).items()
        for key, b in zip(keys, blobs, strict=False)
    }
    assert found.keys() == wanted.keys()
    for key, blob in wanted.items():
        if key in diagonal:
            channels = range(blob.shape[0])
            blob = blob[channels, channels][:, None]
        assert bits(found[key]) == bits(blob), key
    assert diagonal, "every net of the zoo has a frozen bilinear deconvolution"


@pytest.mark.parametrize("name", ZOO)
def test_there_and_back_gives_the_dense_blobs_bit_for_bit(name: str, golden: Path, tmp_path: Path) -> None:
    source = golden / "fcn" / name / "weights.caffemodel"
    c2t.export(c2t.read(weights=source), tmp_path / "net.safetensors")
    c2t.export(read_safetensors(tmp_path / "net.safetensors"), tmp_path / "back.caffemodel")
    found, wanted = by_protobuf(tmp_path / "back.caffemodel"), by_protobuf(source)
    assert {name: list(map(bits, blobs)) for name, blobs in found.items()} == {
        name: list(map(bits, blobs)) for name, blobs in wanted.items()
    }


def test_the_same_net_gives_the_same_bytes(golden: Path, tmp_path: Path) -> None:
    source = golden / "fcn" / "siftflow-fcn8s" / "weights.caffemodel"
    for suffix in ("safetensors", "caffemodel", "prototxt", "pt"):
        first, second = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
        for path in (first, second):
            c2t.export(plan(c2t.read(weights=source)), path)
        assert first.read_bytes() == second.read_bytes(), suffix


def test_odd_values_survive(tmp_path: Path) -> None:
    net = small_net()
    c2t.export(net, tmp_path / "net.safetensors")
    back = read_safetensors(tmp_path / "net.safetensors")
    for layer, twin in zip(net.layers, back.layers, strict=True):
        assert [bits(b.read()) for b in twin.blobs] == [bits(b.read()) for b in layer.blobs], layer.name


def test_the_metadata_says_what_a_reader_needs(golden: Path, tmp_path: Path) -> None:
    source = golden / "fcn" / "voc-fcn16s" / "weights.caffemodel"
    c2t.export(c2t.read(weights=source), tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "np") as file:
        metadata = file.metadata()
    assert metadata.keys() == METADATA.keys()
    digest = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()[
        0
    ]
    assert metadata["source_sha256"] == digest
    assert metadata["source"] == "weights.caffemodel"
    assert metadata["architecture"] == "FCN16s"
    assert metadata["net_name"] == "voc-fcn16s"
    assert metadata["caffe2torch"] == c2t.__version__
    assert json.loads(metadata["diagonal"]) == ["upscore2.weight", "upscore16.weight"]
    prepared = {"data": Preprocessing((104.00699, 116.66877, 122.67892), channels="BGR")}
    assert json.loads(metadata["preprocessing"])["data"]["mean"] == [104.00699, 116.66877, 122.67892]
    assert read_with_knowledge(tmp_path / "net.safetensors")[1] == Knowledge(prepared)
    layers = {layer["name"]: layer for layer in json.loads(metadata["layers"])}
    assert layers["fc6"]["keys"] == ["fc6.weight", "fc6.bias"]
    assert layers["pool1"] == {"name": "pool1", "type": "Pooling", "keys": [], "shapes": []}
    net = text_format.Parse(metadata["net"], schema.message("NetParameter")())
    assert net.layer[0].type == "Input"
    assert "loss" not in {layer.name for layer in net.layer}


def test_a_digest_is_of_the_whole_file_and_says_when_it_cannot_be(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(2 * digest.PIECE + 777)
    (tmp_path / "a").write_bytes(content)
    hashed = digest.Digest(str(tmp_path / "a"))
    hashed.begin()
    hashed.begin()
    assert hashed.sha256() == hashed.sha256() == hashlib.sha256(content).hexdigest()
    with pytest.raises(ReadError, match="none: cannot be read: No such file"):
        digest.Digest(str(tmp_path / "none")).sha256()


def test_the_header_is_aligned_and_without_gaps(tmp_path: Path) -> None:
    for dtype in ("float32", "float16", "bfloat16"):
        net = small_net(conv=[np.ones((5, 3, 2, 3), np.float32), np.ones(5, np.float32)])
        c2t.export(net, tmp_path / "net.safetensors", dtype=dtype)
        raw = (tmp_path / "net.safetensors").read_bytes()
        length = int.from_bytes(raw[:8], "little")
        offsets = [
            x["data_offsets"] for k, x in json.loads(raw[8 : 8 + length]).items() if k != "__metadata__"
        ]
        assert length % 8 == 0
        assert [begin for begin, _ in offsets] == [0, *(end for _, end in offsets[:-1])]
        assert offsets[-1][1] == len(raw) - 8 - length


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_round_as_torch_does(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((5, 3, 2, 3)) * 10 ** rng.uniform(-8, 4, (5, 3, 2, 3))).astype(np.float32)
    weight.flat[:4] = -0.0, np.nan, np.inf, 1 + 2**-8  # the last is a tie for bfloat16
    weight.view(np.uint32).flat[4:6] = 0x7FFFFFFF, 0xFFFF8000  # NaNs that rounding would carry away
    c2t.export(small_net(conv=[weight, np.ones(5)]), tmp_path / "net.safetensors", dtype=dtype)
    found = load_torch(tmp_path / "net.safetensors")["conv.weight"]
    wanted = torch.from_numpy(weight).to(getattr(torch, dtype))
    assert found.dtype == wanted.dtype
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    assert same.all(), (found[~same], wanted[~same])
    back = read_safetensors(tmp_path / "net.safetensors").layers[1].blobs[0].read()
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, wanted.float().numpy())


@pytest.mark.parametrize(("dtype", "value"), [("float16", 7e4), ("bfloat16", 3.4e38), ("float32", 1e39)])
def test_a_value_that_overflows_is_refused(dtype: str, value: float, tmp_path: Path) -> None:
    bias = np.full(5, value)
    net = small_net()
    layers = tuple(
        replace(x, blobs=(x.blobs[0], Blob.of(bias))) if x.name == "conv" else x for x in net.layers
    )
    with pytest.raises(WeightsError, match=rf"conv.bias: holds .*, which {dtype} cannot"):
        c2t.export(replace(net, layers=layers), tmp_path / "net.safetensors", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_long_strided_and_double_values_come_in_bounded_pieces() -> None:
    whole = np.arange(2 * PIECE + 6, dtype=np.float64)
    pieces = list(encoded(whole[::2], "float32", "x"))
    assert max(piece.nbytes for piece in pieces) <= PIECE * 4
    np.testing.assert_array_equal(np.concatenate(pieces).view(np.float32), whole[::2].astype(np.float32))


def test_values_of_the_right_dtype_are_not_copied() -> None:
    values = np.arange(7, dtype=np.float32)
    assert all(np.shares_memory(piece, values) for piece in encoded(values, "float32", "x"))


def test_shared_parameters_are_written_once_and_come_back(tmp_path: Path) -> None:
    share = 'param { name: "w" } param { name: "b" }'
    text = INPUT + "".join(
        f'layer {{ name: "{n}" type: "Convolution" bottom: "data" top: "{n}" {share} '
        f"convolution_param {{ num_output: 5 kernel_size: 2 }} }}"
        for n in ("one", "two")
    )
    blobs = [np.random.default_rng(1).standard_normal((5, 3, 2, 2)), np.arange(5)]
    net = net_of(text, one=blobs, two=blobs)
    c2t.export(net, tmp_path / "net.safetensors")
    assert sorted(load_file(tmp_path / "net.safetensors")) == ["one.bias", "one.weight"]
    back = read_safetensors(tmp_path / "net.safetensors")
    assert bits(back.layers[2].blobs[0].read()) == bits(net.layers[1].blobs[0].read())
    c2t.export(net, tmp_path / "net.pt")
    assert c2t.build(net).state_dict().keys() == torch.load(tmp_path / "net.pt", weights_only=True).keys()


# --- modules


@pytest.mark.parametrize("name", ["voc-fcn8s", "nyud-fcn32s-color-hha", "siftflow-fcn16s"])
def test_modules_of_both_roads_export_the_values_that_they_have_now(
    name: str, golden: Path, tmp_path: Path
) -> None:
    source = golden / "fcn" / name / "weights.caffemodel"
    for road, model in (("build", c2t.build(c2t.read(weights=source))), ("hand", c2t.load(source))):
        with torch.no_grad():
            model.get_parameter("conv1_1.weight" if "hha" not in name else "conv1_1color.weight").mul_(2)
        c2t.export(model, tmp_path / f"{road}.safetensors")
        found, state = load_torch(tmp_path / f"{road}.safetensors"), model.state_dict()
        assert found.keys() == state.keys(), road
        assert all(torch.equal(found[key], state[key]) for key in state), road
        back = c2t.from_safetensors(tmp_path / f"{road}.safetensors")
        assert all(torch.equal(value, state[key]) for key, value in back.state_dict().items()), road
        with safe_open(tmp_path / f"{road}.safetensors", "np") as file:
            assert file.metadata()["source_sha256"] == "", "its values are no longer the file's"


def test_a_module_in_training_is_written_as_it_is_deployed(golden: Path, tmp_path: Path) -> None:
    net = c2t.read(weights=golden / "fcn" / "voc-fcn32s" / "weights.caffemodel")
    model = c2t.build(net, phase="TRAIN")
    assert model.plan.outputs == ("loss",)
    c2t.export(model, tmp_path / "net.safetensors")
    back = plan(read_safetensors(tmp_path / "net.safetensors"))
    assert (list(back.inputs), back.outputs) == (["data"], ("score",))
    assert c2t.from_safetensors(tmp_path / "net.safetensors").state_dict().keys() == model.state_dict().keys()


def test_a_module_goes_back_to_caffe(golden: Path, tmp_path: Path) -> None:
    source = golden / "fcn" / "pascalcontext-fcn8s" / "weights.caffemodel"
    wanted = {name: list(map(bits, blobs)) for name, blobs in by_protobuf(source).items()}
    for model in (c2t.build(c2t.read(weights=source)), c2t.load(source)):
        c2t.export(model, tmp_path / "back.caffemodel")
        found = {n: list(map(bits, blobs)) for n, blobs in by_protobuf(tmp_path / "back.caffemodel").items()}
        assert found == wanted, type(model)


def test_a_trained_deconvolution_is_dense_again(tmp_path: Path) -> None:
    net = small_net()
    model = c2t.build(net)
    assert model.get_parameter("up.weight").shape == (5, 1, 4, 6)
    c2t.export(model, tmp_path / "net.caffemodel")
    assert bits(by_protobuf(tmp_path / "net.caffemodel")["up"][0]) == bits(net.layers[2].blobs[0].read())


def test_statistics_are_written_too(golden: Path, tmp_path: Path) -> None:
    text = INPUT + 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }'
    net = net_of(text, bn=[np.arange(3), np.arange(1, 4), np.full(1, 2.0)])
    c2t.export(c2t.build(net), tmp_path / "net.safetensors")
    found = load_file(tmp_path / "net.safetensors")
    assert {key: array.tolist() for key, array in found.items()} == {
        "bn.mean": [0, 1, 2],
        "bn.variance": [1, 2, 3],
        "bn.factor": [2],
    }
    assert [b.read().tolist() for b in read_safetensors(tmp_path / "net.safetensors").layers[1].blobs] == [
        [0, 1, 2], [1, 2, 3], [2],
    ]  # fmt: skip


def test_anything_else_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="export takes a CaffeNet"):
        c2t.export(torch.nn.Linear(2, 3), tmp_path / "net.safetensors")  # type: ignore[arg-type]


# --- the other formats


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_pt_is_a_plain_state_dict(dtype: str, golden: Path, tmp_path: Path) -> None:
    net = c2t.read(weights=golden / "fcn" / "voc-fcn32s" / "weights.caffemodel")
    c2t.export(net, tmp_path / "net.pt", dtype=dtype)
    state, wanted = torch.load(tmp_path / "net.pt", weights_only=True), c2t.build(net).state_dict()
    assert state.keys() == wanted.keys()
    for key, value in state.items():
        assert torch.equal(value, wanted[key].to(getattr(torch, dtype))), key
    c2t.load(golden / "fcn" / "voc-fcn32s" / "weights.caffemodel").load_state_dict(state)


def test_a_net_is_written_whole_and_a_plan_as_it_is_deployed(golden: Path, tmp_path: Path) -> None:
    net = c2t.read(weights=golden / "fcn" / "voc-fcn8s" / "weights.caffemodel")
    for suffix in ("caffemodel", "prototxt"):
        for model, first, last in ((net, "Python", "SoftmaxWithLoss"), (plan(net), "Input", "Crop")):
            c2t.export(model, tmp_path / f"net.{suffix}")
            if suffix == "caffemodel":
                message = schema.message("NetParameter").FromString(
                    (tmp_path / "net.caffemodel").read_bytes()
                )
            else:
                text = (tmp_path / "net.prototxt").read_text()
                message = text_format.Parse(text, schema.message("NetParameter")())
            assert [message.layer[0].type, message.layer[-1].type] == [first, last], suffix


def test_a_caffemodel_has_shape_and_packed_floats(tmp_path: Path) -> None:
    net = small_net()
    c2t.export(net, tmp_path / "net.caffemodel")
    message = schema.message("NetParameter").FromString((tmp_path / "net.caffemodel").read_bytes())
    blob = message.layer[1].blobs[0]
    assert list(blob.shape.dim) == [5, 3, 2, 3]
    assert bits(np.array(blob.data, np.float32)) == bits(net.layers[1].blobs[0].read().reshape(-1))
    assert not blob.double_data
    assert not blob.HasField("num")
    # Protobuf's own encoding of the same message is as long: the floats are packed.
    assert len(message.SerializeToString()) == (tmp_path / "net.caffemodel").stat().st_size


@pytest.mark.parametrize("suffix", ["caffemodel", "caffemodel.h5"])
def test_a_blob_without_data_stays_one(suffix: str, tmp_path: Path) -> None:
    net = small_net()
    empty = Blob((5, 3, 2, 3), np.dtype(np.float32), None)
    layers = tuple(replace(x, blobs=(empty, *x.blobs[1:])) if x.name == "conv" else x for x in net.layers)
    c2t.export(replace(net, layers=layers), tmp_path / f"net.{suffix}")
    c2t.export(net, tmp_path / "net.prototxt")
    back = c2t.read(tmp_path / "net.prototxt", tmp_path / f"net.{suffix}")
    assert [(blob.shape, blob.has_data) for blob in back.layers[1].blobs] == [
        ((5, 3, 2, 3), False),
        ((5,), True),
    ]
    with pytest.raises(WeightsError, match=r"'conv' blob 0 has a shape"):
        c2t.export(back, tmp_path / "net.safetensors")


def test_blobs_are_read_one_at_a_time(tmp_path: Path) -> None:
    """A net of 60 blobs of 4 MB, each made when it is read, takes less than 40 MB more to write."""
    code = """
import sys, resource, numpy as np
from dataclasses import replace
import caffe2torch as c2t
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.blob import Blob
def blob(i):
    return Blob((1 << 20,), np.dtype("f4"), lambda: np.full(1 << 20, i, np.float32))
layers = tuple(Layer(f"l{i}", "Bias", (), (), Fields("LayerParameter", {}), (blob(i),)) for i in range(60))
c2t.export(Net("many", layers[:1]), sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
c2t.export(Net("many", layers), sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    path = tmp_path / "many.caffemodel"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 40_000, f"{run.stdout} kB more"
    assert path.stat().st_size > 240e6
    path.unlink()


def test_a_crop_without_its_offset_is_not_caffes(tmp_path: Path) -> None:
    crop = (
        'layer { name: "c" type: "Crop" bottom: "data" bottom: "data" top: "c" crop_param { align: true } }'
    )
    net = net_of(INPUT + crop)
    for suffix in ("caffemodel", "prototxt"):
        with pytest.raises(NetError, match=r"layer 'c' \(Crop\): its definition lacks the offset"):
            c2t.export(net, tmp_path / f"net.{suffix}")
    c2t.export(plan(net), tmp_path / "net.prototxt")
    assert "offset: 0" in (tmp_path / "net.prototxt").read_text()


def test_formats_and_dtypes_that_are_not_there(tmp_path: Path) -> None:
    for arguments in ({"path": tmp_path / "net.xyz"}, {"path": tmp_path / "net.bin", "format": "xyz"}):
        with pytest.raises(WriteError, match=r"formats are caffemodel, .*prototxt, pt, .*safetensors"):
            c2t.export(small_net(), **arguments)
    with pytest.raises(
        WriteError, match="dtype 'int8': parameters are written as float32, float16, bfloat16"
    ):
        c2t.export(small_net(), tmp_path / "net.safetensors", dtype="int8")
    for suffix in ("caffemodel", "prototxt"):
        with pytest.raises(WriteError, match=rf"{suffix}: {suffix} holds float32, not float16"):
            c2t.export(small_net(), tmp_path / f"net.{suffix}", dtype="float16")
    assert list(tmp_path.iterdir()) == []


# --- whole or not at all


def _write_half(path: Path, interruption: type[BaseException]) -> None:
    with create(path) as output:
        output.write(b"new")
        raise interruption


def test_an_interrupted_file_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    for interruption in (KeyboardInterrupt, ValueError):
        with pytest.raises(interruption):
            _write_half(tmp_path / "out", interruption)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out", b"old")]


def test_a_file_takes_the_users_permissions_and_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with create(tmp_path / "out") as output:
        output.write(b"new")
    (tmp_path / "made").touch()
    assert (tmp_path / "out").read_bytes() == b"new"
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "made").stat().st_mode


def test_the_input_is_never_written_over(golden: Path, tmp_path: Path) -> None:
    source = tmp_path / "net.caffemodel"
    shutil.copy(golden / "fcn" / "voc-fcn32s" / "weights.caffemodel", source)
    (tmp_path / "link.caffemodel").symlink_to(source)
    before = source.read_bytes()
    for name in ("net.caffemodel", "link.caffemodel"):
        with pytest.raises(WriteError, match="is the file that is converted"):
            c2t.export(c2t.read(weights=source), tmp_path / name)
    assert source.read_bytes() == before


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="is a folder"):
        c2t.export(small_net(), tmp_path, "safetensors")
    with pytest.raises(WriteError, match="cannot be written: No such file or directory"):
        c2t.export(small_net(), tmp_path / "none" / "net.safetensors")


# --- reading what someone else may have changed


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    c2t.export(small_net(), path)
    return path


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def put(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def changed(entry: str, **changes: Any) -> Any:
    def change(header: dict[str, Any]) -> None:
        header[entry] = header[entry] | changes

    return change


def renamed(header: dict[str, Any]) -> None:
    header["other.weight"] = header.pop("conv.weight")


TAMPERED = {
    "overlap": (changed("conv.bias", data_offsets=[340, 360]), "begins at byte"),
    "outside": (changed("up.weight", data_offsets=[380, 10**12]), "data_offsets"),
    "negative": (changed("conv.bias", data_offsets=[-20, 0]), "are impossible"),
    "bool": (changed("conv.bias", shape=[True, 5]), "are impossible"),
    "huge": (changed("conv.bias", shape=[2**40]), "Caffe allows"),
    "axes": (changed("conv.bias", shape=[1] * 40), "40 axes"),
    "size": (changed("conv.bias", shape=[4]), "takes 16 bytes"),
    "dtype": (changed("conv.bias", dtype="F64"), "its dtype is 'F64'"),
    "unhashable dtype": (changed("conv.bias", dtype=[]), "its dtype is"),
    "more": (changed("conv.bias", more=1), "does not have exactly dtype, shape and data_offsets"),
    "renamed": (renamed, "lacks the tensor 'conv.weight'"),
    "no metadata": (lambda h: h.pop("__metadata__"), "only files that fcn-convert wrote"),
    "numbers": (changed("__metadata__", net=7), "not a table of strings"),
    "version": (changed("__metadata__", format_version="2"), "only files that fcn-convert wrote"),
    "net": (changed("__metadata__", net="layer {"), "its net:1"),
    "other net": (
        changed("__metadata__", net="name: 'x'"),
        "has no layer for the tensor 'conv.bias' and 2 more",
    ),
    "cycle": (
        changed("__metadata__", net='layer { type: "ReLU" bottom: "a" top: "a" }'),
        "no layer before it",
    ),
    "diagonal": (changed("__metadata__", diagonal="{}"), "not a JSON list"),
    "diagonal text": (changed("__metadata__", diagonal="["), "not a JSON list"),
    "diagonal of numbers": (changed("__metadata__", diagonal="[1]"), "'diagonal' is not a list of keys"),
    "wrong diagonal": (changed("__metadata__", diagonal='["conv.weight"]'), "not the diagonal"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_file_is_refused(case: str, written: Path) -> None:
    tamper, message = TAMPERED[case]
    header, data = header_of(written)
    tamper(header)
    put(written, header, data)
    with pytest.raises(ReadError, match=message) as refusal:
        read_safetensors(written)
    assert str(refusal.value).count(str(written)) == 1, refusal.value


def test_a_header_is_bounded(written: Path) -> None:
    header, data = header_of(written)
    put(written, json.dumps(header).encode() + b" " * MAX_TABLE, data)
    with pytest.raises(ReadError, match=rf"its header has \d+ bytes; {MAX_TABLE} are allowed"):
        read_safetensors(written)


def test_files_that_are_no_safetensors(tmp_path: Path, written: Path) -> None:
    raw, (header, data) = written.read_bytes(), header_of(written)
    texts = {
        b"": "empty",
        b"1234": "is it safetensors",
        b"\xff" * 8 + raw[8:]: "is it safetensors",
        raw[:100]: "is it safetensors",
        raw[:-1]: "data_offsets",
        raw + b"\0": "the file at",
        (9).to_bytes(8, "little") + b"{" * 9: "not JSON",
        (100_000).to_bytes(8, "little") + b'{"a":' * 20_000: "not JSON",
        (4).to_bytes(8, "little") + b'{"\xff"': "not JSON",
        (8).to_bytes(8, "little") + b"{\"a\":1} ": "tensor 'a'",
        (15).to_bytes(8, "little") + b'{"a":1, "a":1} ': "a key appears twice",
    }  # fmt: skip
    for text, message in texts.items():
        (tmp_path / "bad").write_bytes(text)
        with pytest.raises(ReadError, match=message):
            read_safetensors(tmp_path / "bad")
    with pytest.raises(MissingData):
        read_safetensors(tmp_path / "none")
    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(ReadError, match="its dtype is 'F64'"):
        read_safetensors(tmp_path / "foreign")
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "foreign", {"format": "pt"})
    with pytest.raises(ReadError, match="holds tensors but no Caffe net; only files that fcn-convert wrote"):
        read_safetensors(tmp_path / "foreign")
    assert header, data


def test_a_small_file_cannot_ask_for_a_huge_diagonal(tmp_path: Path) -> None:
    """40,000 channels on a diagonal are 160 kB in the file and 6.4 GB as a dense blob."""
    text = f"""{INPUT.replace("dim: 3", "dim: 40000")}
    layer {{ name: "up" type: "Deconvolution" bottom: "data" top: "up" param {{ lr_mult: 0 }}
             convolution_param {{ num_output: 40000 bias_term: false kernel_size: 1 }} }}"""
    size = 40_000 * 4
    entry = {"dtype": "F32", "shape": [40_000, 1, 1, 1], "data_offsets": [0, size]}
    metadata = {"format_version": "1", "net": text, "diagonal": '["up.weight"]', "preprocessing": "{}"}
    put(tmp_path / "net", {"__metadata__": metadata, "up.weight": entry}, bytes(size))
    with pytest.raises(ReadError, match=r"is \(40000, 1, 1, 1\), not the diagonal"):
        read_safetensors(tmp_path / "net")


def test_blobs_in_the_definition_are_not_followed(written: Path) -> None:
    header, data = header_of(written)
    text = header["__metadata__"]["net"]
    header["__metadata__"]["net"] = text.replace(
        'type: "Convolution"', 'type: "Convolution" blobs { index: 7 }'
    )
    put(written, header, data)
    assert [len(layer.blobs) for layer in read_safetensors(written).layers] == [0, 2, 1]


@pytest.mark.parametrize(
    ("mean", "known"),
    [
        ("(1, 2.5, -3)", {"data": (1.0, 2.5, -3.0)}),
        ("(103.939000001, 2)", {"data": (103.939, 2.0)}),
        (f"({'9' * 500},)", {}),
        ("(1e999,)", {}),
        ("(True,)", {}),
        ("('a',)", {}),
        ("open('x')", {}),
        ("3", {}),
    ],
)
def test_a_mean_is_taken_from_the_data_layer_where_it_tells_one(
    mean: str, known: dict[str, tuple[float, ...]]
) -> None:
    text = f"""layer {{ name: "d" type: "Python" top: "data" top: "label"
                python_param {{ module: "m" layer: "L" param_str: "{{'mean': {mean}}}" }} }}"""
    assert {blob: p.mean for blob, p in preprocessing(net_of(text)).items()} == known
    transform = 'layer { name: "d" type: "Data" top: "data" transform_param { %s } }'
    told = transform % "mean_value: 103.939 scale: 0.017 crop_size: 7 mirror: true"
    assert preprocessing(net_of(told)) == {
        "data": Preprocessing((103.939,), 0.017, 7, mirror=True, channels="BGR")
    }
    assert preprocessing(net_of(transform % "mean_value: inf")) == {}
    assert preprocessing(net_of(transform % "force_color: true")) == {}


def test_preprocessing_that_cannot_be(written: Path) -> None:
    header, data = header_of(written)
    good = {"mean": [1.0], "scale": 1, "crop_size": 0, "mirror": False, "mean_file": ""}
    bad = (
        *({"mean": mean} for mean in (["x"], 3, [True], [float("nan")], [1e7], [0] * 1001)),
        *({"scale": "1"}, {"scale": float("inf")}, {"crop_size": True}, {"crop_size": -1}, {"mirror": 0}),
        *(
            {"mean_file": "a\nb"},
            {"mean_file": "m" * 1001},
            {"channels": "GBR"},
            {"channels": []},
            {"more": 1},
        ),
    )
    for known in ([], {"data": 3}, {"data": {}}, *({"data": {**good, **wrong}} for wrong in bad)):
        header["__metadata__"]["preprocessing"] = json.dumps(known)
        put(written, header, data)
        with pytest.raises(ReadError, match="'preprocessing'"):
            read_with_knowledge(written)


def test_a_file_from_before_the_order_was_told_is_bgr(written: Path) -> None:
    header, data = header_of(written)
    del header["__metadata__"]["labellings"]
    known = {"mean": [1, 2, 3], "scale": 1, "crop_size": 0, "mirror": False, "mean_file": ""}
    header["__metadata__"]["preprocessing"] = json.dumps({"data": known})
    put(written, header, data)
    prepared = {"data": Preprocessing((1.0, 2.0, 3.0), channels="BGR")}
    assert read_with_knowledge(written)[1] == Knowledge(prepared)


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ([], "'labellings' is not a JSON dict"),
        ({"up": 3}, "its labelling of 'up' must give classes and colours"),
        ({"up": {"classes": []}}, "must give classes and colours"),
        ({"up": {"classes": [], "colours": []}}, "a list of 1 to 10000"),
        ({"up": {"classes": ["a"] * 10_001, "colours": [[0, 0, 0]]}}, "a list of 1 to 10000"),
        (
            {"up": {"classes": ["a\x1b[31m"], "colours": [[0, 0, 0]]}},
            r"a class 'a\x1b[31m', which is no name",
        ),
        ({"up": {"classes": ["a" * 1001], "colours": [[0, 0, 0]]}}, "which is no name"),
        ({"up": {"classes": [""], "colours": [[0, 0, 0]]}}, "a class '', which is no name"),
        ({"up": {"classes": ["a", "a"], "colours": [[0, 0, 0]] * 2}}, "classes 0 and 1 are both called 'a'"),
        ({"up": {"classes": ["a"], "colours": [[0, 0, 0]] * 2}}, "1 classes, but 2 colours"),
        ({"up": {"classes": ["a"], "colours": ["red"]}}, "a colour 'red', not three integers"),
        ({"up": {"classes": ["a"], "colours": [[0, 256, 0]]}}, "the colour of 'a' is (0, 256, 0)"),
        ({"up": {"classes": ["a"], "colours": [[0, True, 0]]}}, "the colour of 'a' is (0, True, 0)"),
        ({str(n): 0 for n in range(1001)}, "is not a JSON object of at most 1000 blobs"),
    ],
)
def test_labellings_that_cannot_be(written: Path, known: object, problem: str) -> None:
    header, data = header_of(written)
    header["__metadata__"]["labellings"] = json.dumps(known)
    put(written, header, data)
    with pytest.raises(ReadError) as refused:
        read_with_knowledge(written)
    assert str(refused.value).startswith(f"{written}: its ")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_on_the_way_has_a_short_name(tmp_path: Path) -> None:
    name = "n" * (os.pathconf(tmp_path, "PC_NAME_MAX") - len(".safetensors")) + ".safetensors"
    c2t.export(small_net(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_new_format_that_forgets_what_it_needs_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default a format holds float32 and needs values: its writer is not reached without them."""

    def never(model: Model, output: Output, dtype: str) -> None:
        raise AssertionError("the writer was called")

    new = Format("new", (".new",), never, run=lambda path, model: dict)
    monkeypatch.setattr("caffe2torch.formats.formats", lambda: {"new": new})
    definition = net_of(INPUT + 'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
                        "convolution_param { num_output: 5 kernel_size: 2 } }")  # fmt: skip
    with pytest.raises(WeightsError, match=r"'conv.weight' has no values; give weights"):
        c2t.export(definition, tmp_path / "net.new")
    with pytest.raises(WriteError, match=r"net\.new: new holds float32, not bfloat16"):
        c2t.export(small_net(), tmp_path / "net.new", dtype="bfloat16")
    assert list(tmp_path.iterdir()) == []
