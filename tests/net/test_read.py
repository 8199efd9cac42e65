"""Reading: every format against what Caffe wrote, matching by name, and files that are something else."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2torch import schema
from caffe2torch.errors import Caffe2TorchError, MissingData, ReadError, WeightsError
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.untrusted.binary import read_binaryproto, read_caffemodel, read_solverstate
from caffe2torch.untrusted.text import read_prototxt
from tests import wire_writer as w
from tests.places import GOLDEN, ROOT

LEGACY = GOLDEN / "legacy"
READERS = [read_caffemodel, read_prototxt, read_binaryproto, read_solverstate]


def written(folder: Path, content: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(net: Any) -> list[list[Any]]:
    """The values of each layer's blobs."""
    return [[blob.read().tolist() for blob in layer.blobs] for layer in net.layers]


# Formats


def test_a_net_with_a_very_long_name_is_no_text(tmp_path: Path) -> None:
    net = schema.message("NetParameter")(name="n" * 5000)
    net.layer.add(name="data", type="Input", top=["data"])
    path = written(tmp_path, net.SerializeToString())
    assert read(weights=path).name == "n" * 5000


def bits(net: Any) -> dict[str, list[tuple[tuple[int, ...], bytes]]]:
    """Shape, without leading ones, and bytes of every blob, by layer."""
    return {
        layer.name: [
            (tuple(np.trim_zeros(np.array(blob.shape) - 1, "f") + 1), blob.read().tobytes())
            for blob in layer.blobs
        ]
        for layer in net.layers
        if layer.blobs
    }


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_every_format_of_one_net_gives_the_same_blobs(version: str) -> None:
    binary = read(weights=LEGACY / f"{version}.caffemodel")
    upgraded = read(weights=LEGACY / f"{version}.upgraded.caffemodel")
    hdf5 = read(LEGACY / f"{version}.prototxt", LEGACY / f"{version}.caffemodel.h5")
    both = read(str(LEGACY / f"{version}.prototxt"), str(LEGACY / f"{version}.caffemodel"))
    assert len(bits(binary)) >= 3
    assert bits(binary) == bits(upgraded) == bits(hdf5) == bits(both)


def test_doubles_are_read_as_doubles() -> None:
    (layer,) = [layer for layer in read(weights=LEGACY / "double.caffemodel").layers if layer.blobs]
    weight, bias = (blob.read() for blob in layer.blobs)
    assert (weight.dtype, bias.dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(weight.ravel(), [k / 7 for k in range(12)])
    np.testing.assert_array_equal(bias.ravel(), [0.1, 0.2, 0.3])


def test_a_mean_is_read_exactly() -> None:
    mean, expected = read_binaryproto(LEGACY / "mean.binaryproto"), np.load(LEGACY / "mean.npy")
    assert (mean.shape, mean.dtype, mean.tobytes()) == (expected.shape, np.float32, expected.tobytes())


STATES = sorted(GOLDEN.glob("solver/*/snap_iter_6.solverstate"))


@pytest.mark.parametrize("path", STATES, ids=lambda path: path.parent.name)
def test_a_solverstate_as_protobuf_parses_it(path: Path) -> None:
    expected = schema.message("SolverState").FromString(path.read_bytes())
    state = read_solverstate(path)
    assert (state.iter, state.learned_net) == (6, "snap_iter_6.caffemodel")
    assert state.current_step == expected.current_step
    assert len(state.history) == len(expected.history) > 0
    for blob, proto in zip(state.history, expected.history, strict=True):
        assert blob.shape == tuple(proto.shape.dim)
        assert blob.read().tobytes() == np.array(proto.data, np.float32).tobytes()


def models(reference: Path) -> list[dict[str, Any]]:
    """The rows of the index of real files, each with its `path`."""
    with (reference / "models" / "index.tsv").open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        folder = reference / "models" / row["folder"]
        # A dot file lies there without its dot.
        row["path"] = next(path for path in (folder / row["file"], *folder.glob("_*")) if path.exists())
    return rows


def test_every_real_caffemodel_is_read_or_refused_in_one_line(reference: Path) -> None:
    rows = [row for row in models(reference) if row["kind"] in ("caffemodel", "caffemodel.h5", "negative")]
    reasons: Counter[str] = Counter()
    for row in rows:
        try:
            net = read(weights=row["path"])
        except Caffe2TorchError as refusal:
            reasons[str(refusal).removeprefix(f"{row['path']}: ").split(",")[0]] += 1
            continue
        counts = [blob.count for layer in net.layers for blob in layer.blobs]
        found = len(net.layers), len(counts), sum(counts)
        assert found == (int(row["layers"]), int(row["blobs"]), int(row["parameters"])), row["folder"]
    assert len(rows) == 38
    assert reasons == {
        "an HDF5 file holds blobs but no net; give the net's --prototxt": 2,
        "is a git-LFS pointer": 2,
        "is AppleDouble metadata": 1,
    }


def test_other_real_files(reference: Path) -> None:
    kinds: Counter[str] = Counter()
    for row in models(reference):
        kinds[row["kind"]] += 1
        if row["kind"] == "solverstate":
            assert len(read_solverstate(row["path"]).history) == int(row["blobs"])
        elif row["kind"] == "solverstate.h5":
            assert len(read_solverstate(row["path"]).history) == 10
        elif row["kind"] == "binaryproto":
            assert read_binaryproto(row["path"]).size == int(row["parameters"])
        elif row["kind"] == "protobin":  # a net without blobs in binary form
            assert len(read(weights=row["path"]).layers) == int(row["layers"])
    assert kinds["solverstate"] + kinds["solverstate.h5"] + kinds["binaryproto"] + kinds["protobin"] == 12


def test_published_nets_get_every_parameter_of_their_weights(reference: Path) -> None:
    rows = [row for row in models(reference) if row["net.prototxt"] == "published" and row["parameters"]]
    assert len(rows) == 26
    for row in rows:
        net = read(row["path"].with_name("net.prototxt"), row["path"])
        parameters = sum(blob.count for layer in net.layers for blob in layer.blobs)
        assert parameters == int(row["parameters"]), row["folder"]


# A prototxt and weights

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 5, 7] } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" include { phase: TRAIN } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" include { phase: TEST } }
layer { name: "out" type: "InnerProduct" bottom: "ip" top: "out" }
"""


def blob(*numbers: float) -> bytes:
    return w.shape(len(numbers)) + w.packed(5, numbers)


def test_layers_get_the_blobs_of_their_name(tmp_path: Path) -> None:
    net = written(tmp_path, NET, "net.prototxt")
    layers = w.layer("other", blob(9)), w.layer("ip", blob(1, 2), blob(3)), w.layer("relu", type_name="ReLU")
    weights = written(tmp_path, b"".join(layers), "w.caffemodel")
    found = read(net, weights)
    assert values(found) == [[], [[1, 2], [3]], [[1, 2], [3]], []]
    assert found.notes == ("layer 'other' of w.caffemodel is not in the net; its blobs were left out",)
    assert (found.read_from, found.weights) == (str(net), str(weights))


def test_a_net_without_weights_names_none(tmp_path: Path) -> None:
    net = read(written(tmp_path, NET))
    assert (net.weights, values(net)) == ("", [[], [], [], []])


def test_a_caffemodel_alone_is_its_own_net() -> None:
    path = LEGACY / "v0.caffemodel"
    net = read(weights=path)
    assert (net.read_from, net.weights) == (str(path), str(path))


def test_names_of_v0_and_v1_layers_match(tmp_path: Path) -> None:
    net = written(tmp_path, NET, "net.prototxt")
    # Type 99 is in no schema: only names and blobs matter here.
    data = w.v0_layer("ip", blob(1)) + w.v1_layer("out", blob(2), number=99)
    assert values(read(net, written(tmp_path, data))) == [[], [[1]], [[1]], [[2]]]


def test_an_input_without_a_shape_gets_its_channels_from_the_weights() -> None:
    net = read(
        weights=GOLDEN / "wild" / "old_caffemodel_input_without_shape" / "layer_convolution.caffemodel"
    )
    planned = plan(net)
    assert dict(planned.inputs) == {"input": (None, 6, None, None)}  # 2 for each of 3 groups
    assert net.notes == ("inputs without a shape, which Caffe leaves undefined: input",)


def test_nvidias_blobs_of_a_real_file(tmp_path: Path) -> None:
    folder = GOLDEN / "wild" / "nvcaffe_raw_data"
    alone, both = (
        read(prototxt, folder / "HorizonalFinemapping.caffemodel")
        for prototxt in (None, folder / "HorizonalFinemapping.prototxt")
    )
    # The first blob's float16, found by the tag and length of its raw_data.
    data = (folder / "HorizonalFinemapping.caffemodel").read_bytes()
    start = data.index(w.tag(12, w.LENGTH) + w.varint(2 * 10 * 3 * 3 * 3)) + 3
    wanted = np.frombuffer(data, "<f2", 270, start).reshape(10, 3, 3, 3)
    for net in (alone, both):
        np.testing.assert_array_equal(net.layers[1].blobs[0].read(), wanted)
        assert plan(net).outputs == ("dense",)


def test_two_layers_of_one_name_with_equal_blobs_each_get_them() -> None:
    folder = GOLDEN / "wild" / "duplicate_layer_names"
    net = read(folder / "shared_weights.prototxt", folder / "shared_weights.caffemodel")
    planned = plan(net)
    assert [p.key for p in planned.parameters() if p.blob is not None] == [
        "conv.weight", "conv.bias", "conv#2.weight", "conv#2.bias",
        "sum.weight", "sum.bias", "sum#2.weight", "sum#2.bias",
    ]  # fmt: skip


def test_two_layers_with_blobs_and_one_name_are_refused(tmp_path: Path) -> None:
    net = written(tmp_path, NET, "net.prototxt")
    with pytest.raises(WeightsError, match="two layers named 'ip' have different blobs"):
        read(net, written(tmp_path, w.layer("ip", blob(1)) + w.layer("ip", blob(2))))
    harmless = w.layer("x", blob(1)) + w.layer("x", blob(2)) + w.layer("ip", blob(3)) + w.layer("ip")
    assert values(read(net, written(tmp_path, harmless))) == [[], [[3]], [[3]], []]


def test_a_forks_fields_matter_only_without_a_prototxt(tmp_path: Path) -> None:
    net = written(tmp_path, NET, "net.prototxt")
    fork = w.delimited(149, b"x") + w.delimited(106, w.integer(77, 1))
    weights = written(tmp_path, w.layer("ip", blob(1) + w.delimited(99, b"half"), more=fork), "w.caffemodel")
    (reason,) = read(weights=weights).layers[0].unknown
    assert "gives it fields of a fork's schema, #149, blobs[0].#99, convolution_param.#77;" in reason
    assert "they were ignored" in read(weights=weights, ignore_unknown=True).notes[0]
    assert values(read(net, weights)) == [[], [[1]], [[1]], []]


def test_an_enum_value_of_a_fork_is_unknown(tmp_path: Path) -> None:
    pool = w.layer("pool", type_name="Pooling", more=w.delimited(121, w.integer(1, 7)))
    assert (
        "a fork's schema, pooling_param.pool;" in read(weights=written(tmp_path, pool)).layers[0].unknown[0]
    )


def test_a_forks_fields_of_no_layer_are_refused(tmp_path: Path) -> None:
    of_net = written(tmp_path, w.layer("ip") + w.delimited(149, b"x"))
    with pytest.raises(
        ReadError, match=r"has fields of a fork's schema, unknown to Caffe: #149; give the net's"
    ):
        read(weights=of_net)
    v1 = written(tmp_path, w.delimited(2, w.delimited(4, b"ip") + w.delimited(149, b"x")))
    with pytest.raises(ReadError, match=r"unknown to Caffe: layers 'ip'\.#149; give the net's --prototxt"):
        read(weights=v1)


def test_private_fields_in_a_binary_file_are_not_believed(tmp_path: Path) -> None:
    crop = w.layer("crop", type_name="Crop", more=w.delimited(144, w.integer(schema.PRIVATE, 1)))
    stored = read_caffemodel(written(tmp_path, crop))
    assert stored.unknown == ("layer 'crop'.crop_param.#200000",)
    assert not stored.message.layer[0].crop_param.HasField("align")


def test_text_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    for layer, field in ((w.delimited(1, b"caf\xe9"), "name"), (w.delimited(3, b"\xff"), "bottom")):
        with pytest.raises(ReadError, match=f"{field} is not UTF-8 text; the file is damaged"):
            read(weights=written(tmp_path, w.delimited(100, layer)))


# Files that are something else


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty; did the download or the copy fail?"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "is a git-LFS pointer"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "is AppleDouble metadata"),
        (b"PK\x03\x04\x00\x00\x08\x08", "is a zip archive, perhaps PyTorch's"),
        (b"\x80\x02\x8a\nl\xfc\x9c", "is a Python pickle, perhaps PyTorch's"),
        (b"\x80\x04\x95\x10", "is a Python pickle"),
        (b"\x1f\x8b\x08\x08", "is compressed with gzip"),
        (b"\x93NUMPY\x01\x00", "is a NumPy array"),
        (b"<!DOCTYPE html><html>", "is a web page, not the file itself; download that"),
        (b"\n\n \r\n\t<!DOCTYPE html>\n<html>", "is a web page, not the file itself; download that"),
        (b"<html><title>404</title>", "is a web page, not the file itself; download that"),
        (b"\xff\xfen\x00a\x00m\x00e\x00", "is text in UTF-16; save it as UTF-8"),
    ],
)
def test_what_is_often_taken_for_caffes_is_named(
    tmp_path: Path, reader: Callable[[Path], Any], content: bytes, problem: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ReadError) as refusal:
        reader(path)
    assert str(refusal.value).startswith(f"{path}: {problem}")


STATE = "solver/adam/snap_iter_6.solverstate"


@pytest.mark.parametrize(
    ("reader", "name", "problem"),
    [
        (read_prototxt, "legacy/v1.caffemodel", "looks like a binary file, not text; was a caffemodel given"),
        (read_prototxt, "legacy/v1.caffemodel.h5", "looks like a binary file, not text"),
        (
            read_caffemodel,
            "legacy/v1.prototxt",
            "is text, not a caffemodel; give a net's definition as --pro",
        ),
        (read_caffemodel, "legacy/mean.binaryproto", "holds no layers; is it a caffemodel?"),
        (read_caffemodel, STATE, "byte 4, in NetParameter.layers[0]: no field starts here"),
        (read_binaryproto, "legacy/v1.caffemodel", "has no values, or unknown fields; is it a .binaryproto?"),
        (read_binaryproto, "legacy/v0.upgraded.caffemodel", "has no values, or unknown fields"),
        (read_binaryproto, "legacy/v1.prototxt", "is text, not a .binaryproto"),
        (read_binaryproto, STATE, "has no values, or unknown fields"),
        (read_solverstate, "legacy/v1.caffemodel", "byte 250266, in SolverState.history[0]: no field starts"),
        (read_solverstate, "legacy/v0.upgraded.caffemodel", "has no iteration, or unknown fields"),
        (read_solverstate, "legacy/mean.binaryproto", "has no iteration, or unknown fields; is it a .solver"),
        (read_solverstate, "legacy/v1.caffemodel.h5", "/: has no 'iter'; is it another kind of HDF5 file?"),
    ],
)
def test_caffes_files_in_each_others_place(reader: Callable[[Path], Any], name: str, problem: str) -> None:
    with pytest.raises(ReadError) as refusal:
        reader(GOLDEN / name)
    assert str(refusal.value).startswith(f"{GOLDEN / name}: {problem}")


def test_a_cut_file_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, (LEGACY / "v0.caffemodel").read_bytes()[:9000])
    with pytest.raises(ReadError) as refusal:
        read(weights=path)
    assert str(refusal.value) == (
        f"{path}: byte 4597, in NetParameter 'v0net': field 2 takes 21620 bytes, 4399 are left; "
        "is it a caffemodel, whole and undamaged?"
    )


def test_files_that_are_not_there_or_not_files(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nothing: no such file") as missing:
        read(weights=tmp_path / "nothing")
    assert missing.value.exit_code == 3
    with pytest.raises(MissingData):
        read(str(tmp_path / "nothing"))
    with pytest.raises(ReadError, match="is a folder; give a file in it"):
        read(tmp_path)
    with pytest.raises(ReadError, match="is not a regular file"):
        read(weights="/dev/zero")
    with pytest.raises(ReadError, match="x: cannot be read: File name too long"):
        read("x" * 5000)
    with pytest.raises(ReadError, match="cannot be read: embedded null"):
        read("x\0y")
    with pytest.raises(ReadError, match="no net to read"):
        read()


# Damage


@pytest.mark.parametrize("seed", range(4))
def test_damaged_caffemodels_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    data = (LEGACY / ("v0.caffemodel" if seed % 2 else "v0.upgraded.caffemodel")).read_bytes()
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 2, 6))):
            damaged[rng.choice((rng.randrange(len(data)), rng.randrange(300)))] = rng.randrange(256)
        try:
            read(weights=written(tmp_path, bytes(damaged)))
        except Caffe2TorchError:
            refused += 1
    assert 20 < refused < 100


def test_noise_is_refused(tmp_path: Path) -> None:
    rng = random.Random(7)  # noqa: S311
    for size in (1, 2, 3, 5, 9, 17, 100, 1000, 10_000):
        path = written(tmp_path, rng.randbytes(size))
        for reader in READERS:
            with pytest.raises(ReadError):
                reader(path)


def test_reading_imports_neither_torch_nor_h5py() -> None:
    code = (
        "import sys; from caffe2torch.net.reading import read\n"
        f"read(weights={str(LEGACY / 'v1.caffemodel')!r})\n"
        "print(sorted({'torch._C', 'h5py'} & set(sys.modules)))"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
