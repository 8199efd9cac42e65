"""What is written is loaded afresh and compared; what differs is not left behind."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch.blob import Blob
from caffe2torch.cli.main import main
from caffe2torch.errors import MissingData, NetError, VerificationFailed, WriteError
from caffe2torch.net import Net
from caffe2torch.writing.checking import Check
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model, model_of
from caffe2torch.writing.output import Output
from tests.formats.test_export import small_net
from tests.nets import INPUT, net_of
from tests.places import ROOT

export: Any = import_module("caffe2torch.formats")
"""The package; `caffe2torch.formats` is also the function."""

IP = """layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
          inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }"""
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
            convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 } }"""


@pytest.fixture
def formats() -> Iterator[Callable[..., None]]:
    """Registers formats for one test, each like one of ours but for what is given."""
    before = dict(export.formats())

    def register(name: str, like: str, **changes: Any) -> None:
        export.formats()[name] = replace(before[like], name=name, suffixes=(f".{name}",), **changes)

    yield register
    export.formats().clear()
    export.formats().update(before)


def spoiled(writer: Callable[..., None], change: Callable[[bytes], bytes]) -> Callable[..., None]:
    """A writer whose file is changed after it was written."""

    def write(converted: Model, output: Output, dtype: str) -> None:
        writer(converted, output, dtype)
        output.close()
        output.path.write_bytes(change(output.path.read_bytes()))

    return write


def one_bit(content: bytes) -> bytes:
    """One bit turned in the middle of a file, which is one of a value."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def plus_one(*_: Any) -> Callable[..., Any]:
    """A runner whose output is off by 1e-4."""
    return lambda inputs: {"up": np.full((2, 5, 16, 24), 1e-4, np.float32)}


@pytest.mark.parametrize("like", ["safetensors", "caffemodel"])
def test_one_wrong_bit_removes_the_file(
    like: str, formats: Callable[..., None], golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    formats("bad", like, write=spoiled(export.formats()[like].write, one_bit))
    source, target = golden / "fcn" / "voc-fcn32s" / "weights.caffemodel", tmp_path / "net.bad"
    target.write_bytes(b"old")
    assert main([str(source), "-o", str(target), "--force"]) == 4
    captured = capsys.readouterr()
    problem = "layer '(fc6|upscore)' blob 0 differs by up to .* from what should have been written"
    assert re.fullmatch(f"fcn-convert: net.bad: {problem}; nothing was written\n", captured.err)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("net.bad", b"old")]
    assert main([str(source), "-o", str(target), "--force", "--json"]) == 4
    facts = json.loads(capsys.readouterr().out)
    assert (facts["exit_code"], facts["kind"]) == (4, "VerificationFailed")


def test_a_wrong_output_removes_the_file(formats: Callable[..., None], tmp_path: Path) -> None:
    formats("bad", "pt", read=None, run=plus_one)
    with pytest.raises(VerificationFailed, match=r"net\.bad: output 'up' for data \(2, 3, 14, 36\) is not"):
        c2t.export(smooth_net(), tmp_path / "net.bad")
    formats("none", "pt", read=None, run=lambda *_: lambda inputs: {})
    with pytest.raises(VerificationFailed, match="the model has no such blob"):
        c2t.export(smooth_net(), tmp_path / "net.none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("like", ["safetensors", "caffemodel", "caffemodel.h5", "prototxt", "pt", "pt2"])
def test_a_file_that_does_not_load_is_removed(
    like: str, formats: Callable[..., None], tmp_path: Path
) -> None:
    def cut(content: bytes) -> bytes:
        return content[: len(content) // 2]

    formats("bad", like, write=spoiled(export.formats()[like].write, cut))
    with pytest.raises(VerificationFailed, match=r"^net\.bad: "):
        c2t.export(smooth_net(), tmp_path / "net.bad")
    assert list(tmp_path.iterdir()) == []


def test_without_the_check_all_is_taken(formats: Callable[..., None], tmp_path: Path) -> None:
    formats("bad", "caffemodel", write=spoiled(export.formats()["caffemodel"].write, one_bit))
    assert c2t.export(small_net(), tmp_path / "net.bad", check=False) is None
    assert (tmp_path / "net.bad").exists()


def test_every_format_says_how_it_is_checked() -> None:
    for name, known in export.formats().items():
        assert known.read or known.runner, name
        assert known.code, name
        assert f"\n| `{name}` |" in (ROOT / "docs/formats.md").read_text(), "each has a row there"
    with pytest.raises(RuntimeError, match="no way to check"):
        Format("unchecked", (".unchecked",), lambda model, output, dtype: None)


def smooth_net() -> Net:
    """The small net with ordinary values."""
    rng = np.random.default_rng(1)
    net = small_net(conv=[rng.standard_normal((5, 3, 2, 3)), rng.standard_normal(5)])
    return replace(net, weights="small.caffemodel")


# --- what comparing sees


def changed(layer: str, **changes: Any) -> Callable[[Net], Net]:
    def change(net: Net) -> Net:
        layers = (replace(x, **changes) if x.name == layer else x for x in net.layers)
        return replace(net, layers=tuple(layers))

    return change


CHANGES = {
    "layer 'conv' has type Pooling, not Convolution": changed("conv", type="Pooling"),
    "layer 'conv' has bottoms": changed("conv", bottoms=("other",)),
    "layer 'up' has tops": changed("up", tops=("other",)),
    "layer 'up' has fields": changed("up", fields=small_net().layers[1].fields),
    "holds net 'small' of ['data', 'conv'], not": lambda net: replace(net, layers=net.layers[:-1]),
    "holds net 'other' of": lambda net: replace(net, name="other"),
    "layer 'conv' has blobs of [(5, 3, 2, 3)], not": lambda net: changed(
        "conv", blobs=net.layers[1].blobs[:1]
    )(net),
    "blob 1 has values in only one of the two": lambda net: changed(
        "conv", blobs=(net.layers[1].blobs[0], Blob((5,), np.dtype("f4"), None))
    )(net),
    "blob 1 holds 3 values, not 5": lambda net: changed(
        "conv", blobs=(net.layers[1].blobs[0], Blob((5,), np.dtype("f4"), lambda: np.zeros(3, "f4")))
    )(net),
}


@pytest.mark.parametrize("problem", CHANGES)
def test_every_kind_of_difference_is_seen(problem: str) -> None:
    compare = import_module("caffe2torch.writing.checking").compare
    net = small_net()
    assert compare(net, small_net(), "float32", "x") == (3, 695), "equal, NaN and -0 included"
    with pytest.raises(VerificationFailed) as caught:
        compare(net, CHANGES[problem](net), "float32", "x")
    assert problem in str(caught.value)


@pytest.mark.parametrize(("dtype", "digits"), [("float16", 11), ("bfloat16", 8)])
def test_halves_may_be_off_by_half_a_place_and_no_more(dtype: str, digits: int) -> None:
    compare = import_module("caffe2torch.writing.checking").compare
    values = np.array([1, -3, 1e-3, 0, np.inf, np.nan], "f4")

    def net(scale: float) -> Net:
        text = INPUT.replace("dim: 3", "dim: 6") + 'layer { name: "b" type: "Bias" bottom: "data" top: "b" }'
        return net_of(text, b=[values * np.float32(scale)])

    compare(net(1), net(1 + 0.99 * 2**-digits), dtype, "x")
    with pytest.raises(VerificationFailed, match="layer 'b' blob 0 differs by up to"):
        compare(net(1), net(1 + 1.02 * 2**-digits), dtype, "x")


# --- the sizes that a net takes


def shapes_of(text: str, **blobs: Any) -> tuple[list[dict[str, tuple[int, ...]]], dict[int, str]]:
    trials = model_of(c2t.build(net_of(text, **blobs))).trials
    shapes = [{blob: x.shape for blob, x in trial.inputs.items()} for trial in trials.trials]
    return shapes, trials.free("data")


def test_a_convolution_takes_every_size() -> None:
    shapes, free = shapes_of(INPUT + CONV)
    assert shapes == [{"data": (2, 3, 14, 36)}, {"data": (3, 3, 27, 55)}]
    assert free == {0: "batch", 2: "height", 3: "width"}


def test_a_classifier_takes_its_own() -> None:
    shapes, free = shapes_of(INPUT + IP)
    assert shapes == [{"data": (2, 3, 8, 11)}, {"data": (3, 3, 8, 11)}]
    assert free == {0: "batch"}


def test_branches_that_meet_again_ask_for_multiples() -> None:
    text = (
        INPUT.replace("dim: 8 dim: 11", "dim: 32 dim: 32")
        + """
        layer { name: "down" type: "Pooling" bottom: "data" top: "down"
                pooling_param { kernel_size: 4 stride: 4 } }
        layer { name: "up" type: "Deconvolution" bottom: "down" top: "up" convolution_param {
                num_output: 3 group: 3 kernel_size: 4 stride: 4 bias_term: false } }
        layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "up" top: "sum" }"""
    )
    shapes, free = shapes_of(text)
    assert shapes == [{"data": (2, 3, 64, 96)}, {"data": (3, 3, 128, 160)}]
    assert free == {0: "batch", 2: "height", 3: "width"}


def test_inputs_of_other_kinds_stay_as_they_are() -> None:
    text = (
        INPUT
        + """
        layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 7 dim: 5 } } }
        layer { name: "roi" type: "ROIPooling" bottom: "data" bottom: "rois" top: "roi"
                roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 1 } }"""
    )
    shapes, free = shapes_of(text)
    assert [shape["rois"] for shape in shapes] == [(7, 5), (7, 5)]
    assert shapes[0]["data"] != shapes[1]["data"]
    assert free == {2: "height", 3: "width"}


def test_a_net_that_does_not_run_says_why() -> None:
    text = """layer { name: "a" type: "Input" top: "a" }
        layer { name: "b" type: "Input" top: "b" input_param { shape { dim: [1, 3, 900, 900] } } }
        layer { name: "half" type: "Pooling" bottom: "a" top: "half"
                pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "sum" type: "Eltwise" bottom: "half" bottom: "b" top: "sum" }"""
    with pytest.raises(NetError, match=r"^does not run on random a \(1, 3, 67, 90\), b \(1, 3, 900, 900\): "):
        _ = model_of(net_of(text)).trials


# --- what is said


def test_the_screen_says_what_was_checked(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = golden / "fcn" / "voc-fcn32s" / "weights.caffemodel"
    read = "checked safetensors, read back: 33 blobs of "
    for options, expected in (
        (["-o", tmp_path / "a.safetensors"], [read, " values equal bit for bit\n"]),
        (
            ["-o", tmp_path / "a.safetensors", "--check", "run"],
            [read, "run on data (1, 3, 73, 115) and data (2, 3, 86, 134), max |delta| 0.0e+00"],
        ),
        (
            ["-o", tmp_path / "a.pt", "--dtype", "float16", "--check", "run"],
            ["checked pt, read back: 33", "up to the rounding of float16, run on data", "(allowed 0.01)"],
        ),
    ):
        assert main([str(source), *map(str, options)]) == 0
        out = capsys.readouterr().out
        assert all(text in out for text in expected), out
    assert main([str(source), "-o", str(tmp_path / "a.pt"), "--check", "run", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)["checked"]
    assert (checked["format"], checked["read"]["blobs"]) == ("pt", 33)
    assert checked["run"]["sizes"] == ["data (1, 3, 73, 115)", "data (2, 3, 86, 134)"]
    assert [row["blob"] for row in checked["run"]["rows"]] == ["score", "score"]


def test_export_returns_what_it_found(tmp_path: Path) -> None:
    check = c2t.export(small_net(), tmp_path / "a.caffemodel")
    assert check == Check("caffemodel", "float32", 3, 695)
    assert str(c2t.export(small_net(), tmp_path / "a.prototxt")) == "prototxt, read back: equal"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_package_that_is_not_there(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    wanted = f"needs {package}: pip install onnx onnxruntime onnxscript"
    with pytest.raises(MissingData, match=wanted) as caught:
        c2t.export(smooth_net(), tmp_path / "net.onnx")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_files_that_appear_together(golden: Path, tmp_path: Path) -> None:
    from caffe2torch.writing.output import create

    with create(tmp_path / "net.py") as output:
        output.another("net.safetensors").write(b"tensors")
        output.write(b"code")
        assert {path.name for path in output.path.parent.iterdir()} == {"net.py", "net.safetensors"}
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {"net.py": b"code", "net.safetensors": b"tensors"}

    def over_an_input() -> None:
        with create(tmp_path / "other.py", [str(tmp_path / "net.safetensors")]) as output:
            output.another("net.safetensors").write(b"new")
            output.write(b"code")

    with pytest.raises(WriteError, match="is the file that is converted"):
        over_an_input()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
