"""What --diff says of two models: of one in two formats nothing, of changed ones exactly the change."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch import diff
from caffe2torch.blob import Blob
from caffe2torch.cli.main import main
from caffe2torch.comparing.difference import BlobRow, Change, Difference
from caffe2torch.errors import NetError
from caffe2torch.formats import formats
from caffe2torch.modules.report import share_text
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.writing.model import model_of
from tests import wire_writer as w
from tests.nets import INPUT, net_of
from tests.places import ROOT

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`fcn-convert A --diff B ...` in an empty folder: its exit code, and what it printed or complained."""
    monkeypatch.chdir(tmp_path)

    def run(a: str | Path, b: str | Path, *options: str | Path) -> tuple[int, str]:
        code = main([str(a), "--diff", str(b), *map(str, options)])
        out, err = capsys.readouterr()
        assert not out or not err, (out, err)
        return code, out or err

    return run


@pytest.fixture
def voc(golden: Path) -> Path:
    return golden / "fcn" / "voc-fcn8s" / "weights.caffemodel"


def edited(net: Net, name: str, change: Callable[[Layer], Layer]) -> Net:
    """The net with one layer changed."""
    assert [layer.name for layer in net.layers].count(name) == 1
    return replace(net, layers=tuple(change(x) if x.name == name else x for x in net.layers))


def with_blob(values: np.ndarray, position: int = 0) -> Callable[[Layer], Layer]:
    def change(layer: Layer) -> Layer:
        blobs = [*layer.blobs]
        blobs[position] = Blob.of(values)
        return replace(layer, blobs=tuple(blobs))

    return change


def with_parameter(message: str, **fields: Any) -> Callable[[Layer], Layer]:
    def change(layer: Layer) -> Layer:
        own = getattr(layer.fields, message).replace(**fields)
        return replace(layer, fields=layer.fields.replace(**{message: own}))

    return change


def blob_of(net: Net, layer: str, position: int = 0) -> np.ndarray:
    return np.array(next(x for x in net.layers if x.name == layer).blobs[position].read())


def nothing_but(found: Difference) -> tuple[Any, ...]:
    """What differs at all."""
    rows = [row for row in found.blobs if not row.ok]
    return found.only_a, found.only_b, found.changes, [(row.layer, row.blob) for row in rows]


# --- the same


@pytest.mark.parametrize("age", ["v0", "v1"])
def test_one_net_in_every_format_of_caffes(age: str, golden: Path, compare: Run) -> None:
    legacy = golden / "legacy"
    old = legacy / f"{age}.caffemodel"
    for other in (old, legacy / f"{age}.upgraded.caffemodel", legacy / f"{age}.caffemodel.h5"):
        prototxt = ["--prototxt", legacy / f"{age}.prototxt"] if other.suffix == ".h5" else []
        for a, b in ((old, other), (other, old)):
            code, out = compare(a, b, *prototxt)
            assert code == 0, out
            assert out.splitlines()[-1].startswith("the same within 1e-05: "), out
            assert out.splitlines()[-1].endswith("blobs equal")


@pytest.mark.parametrize("suffix", ["safetensors", "caffemodel", "pt"])
@pytest.mark.parametrize("name", ["voc-fcn8s", "voc-fcn-alexnet", "nyud-fcn32s-color-hha", "siftflow-fcn16s"])
def test_one_net_in_our_formats(name: str, suffix: str, golden: Path, compare: Run) -> None:
    path = golden / "fcn" / name / "weights.caffemodel"
    c2t.export(c2t.read(weights=path), f"b.{suffix}", check=False)
    for sides in ((path, f"b.{suffix}"), (f"b.{suffix}", path)):
        code, out = compare(*sides)
        layers = len(c2t.table_of(c2t.read(weights=path)).rows)
        assert code == 0, out
        assert out.splitlines()[-1].startswith(f"the same within 1e-05: {layers} layers, "), out


def test_a_folder_of_the_hub(voc: Path, compare: Run) -> None:
    c2t.export(c2t.read(weights=voc), "net/")
    assert compare("net", voc)[0] == compare(voc, "net/", "--run")[0] == 0
    from caffe2torch.hub import HubNet

    model = HubNet.from_pretrained("net")
    with torch.no_grad():
        model.get_parameter("score_fr.bias")[3] += 0.5
    model.save_pretrained("tuned")  # with a config, and no metadata in the tensors' file
    code, out = compare("net", "tuned")
    assert code == 1, out
    assert out.splitlines()[-1] == "B differs from A; blobs: 1 of 39, most in score_fr"
    assert diff(c2t.load("tuned"), model).same
    Path("tuned/config.json").write_text("{")
    code, out = compare("net", "tuned")
    assert (code, out.count("\n")) == (1, 1)
    assert out.startswith("fcn-convert: tuned/config.json: it is not JSON: ")


@pytest.mark.parametrize("name", ["voc-fcn8s", "siftflow-fcn16s"])
def test_values_alone_are_those_of_the_others_net(name: str, golden: Path, compare: Run) -> None:
    path = golden / "fcn" / name / "weights.caffemodel"
    c2t.export(c2t.read(weights=path), "b.caffemodel.h5", check=False)
    for sides in ((path, "b.caffemodel.h5"), ("b.caffemodel.h5", path)):
        code, out = compare(*sides, "--run")
        assert code == 0, out
        assert re.search(r"layers, (\d+) of \1 blobs equal, ", out.splitlines()[-1]), out


def test_a_hand_written_fcn_and_the_file_it_came_from(voc: Path) -> None:
    fcn = c2t.load(voc)
    found = diff(c2t.read(weights=voc), c2t.build(c2t.read(weights=voc)), run=True)
    assert found.same, str(found)
    assert all(row.ok for row in diff(fcn, c2t.read(weights=voc)).blobs)


def test_half_the_precision_is_a_difference_of_its_size(voc: Path, compare: Run) -> None:
    assert main([str(voc), "-o", "half.safetensors", "--dtype", "float16"]) == 0
    code, out = compare(voc, "half.safetensors")
    assert code == 1, out
    assert compare(voc, "half.safetensors", "--tolerance", "1e-3")[0] == 0
    largest = diff(c2t.read(weights=voc), c2t.load("half.safetensors")).blobs[0].relative
    assert largest is not None
    assert 1e-5 < largest < 2**-11


def test_ways_to_write_the_same_layer() -> None:
    def net(text: str) -> Net:
        layer = 'layer { name: "conv" type: "Convolution" bottom: "data" top: "x" convolution_param { %s } }'
        return net_of(INPUT + layer % text)

    wanted = net("num_output: 5 kernel_size: 3 pad: 1")
    for text in (
        "num_output: 5 kernel_h: 3 kernel_w: 3 pad: 1 stride: 1",
        "num_output: 5 kernel_size: [3, 3] pad_h: 1 pad_w: 1 group: 1 bias_term: true",
    ):
        assert diff(wanted, net(text)).same, str(diff(wanted, net(text)))
    found = diff(wanted, net("num_output: 5 kernel_h: 3 kernel_w: 5 pad: 1"))
    assert {change.what for change in found.changes} == {
        "convolution_param.kernel_size",
        "convolution_param.kernel_h",
        "convolution_param.kernel_w",
    }


DENSE = 'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { %s } }'
UP = "num_output: 3 kernel_size: 4 stride: 2 bias_term: false"


def test_a_dense_deconvolution_and_its_diagonal(tmp_path: Path) -> None:
    diagonal = np.random.default_rng(1).standard_normal((3, 1, 4, 4)).astype(np.float32)
    whole = np.zeros((3, 3, 4, 4), np.float32)
    for channel in range(3):
        whole[channel, channel] = diagonal[channel, 0]
    dense = net_of(INPUT + DENSE % UP, up=[whole])
    grouped = net_of(INPUT + DENSE % f"{UP} group: 3", up=[diagonal])
    for a, b in ((dense, grouped), (grouped, dense)):
        found = diff(a, b, run=True)
        assert found.same, str(found)
        assert [row.max_delta for row in found.blobs] == [0]
    whole[2, 1, 0, 3] = 0.25
    found = diff(grouped, net_of(INPUT + DENSE % UP, up=[whole]), run=True)
    assert nothing_but(found) == ((), (), (), [("up", 0)])
    assert (found.blobs[0].max_delta, found.blobs[0].where) == (0.25, (2, 1, 0, 3))
    assert found.outputs is not None
    assert not found.outputs.ok
    shared = net_of(INPUT + DENSE % f"{UP} group: 1", up=[np.zeros((3, 3, 4, 4))])
    assert nothing_but(diff(shared, grouped))[3] == [("up", 0)]


# --- one change


def test_one_weight(voc: Path, compare: Run) -> None:
    net = c2t.read(weights=voc)
    weight = blob_of(net, "conv3_2")
    largest = float(np.abs(weight).max())
    weight[3, 2, 1, 0] += np.float32(0.5)
    c2t.export(edited(net, "conv3_2", with_blob(weight)), "b.caffemodel", check=False)
    code, out = compare(voc, "b.caffemodel", "--run")
    assert code == 1, out
    lines = out.splitlines()
    assert lines[-1].startswith("B differs from A; blobs: 1 of 39, most in conv3_2; outputs: 2 of 2"), out
    row = next(line.split("  ") for line in lines if line.startswith("conv3_2"))
    assert [cell.strip() for cell in row if cell] == [
        "conv3_2", "0", "(16, 16, 3, 3)", "5.0e-01", "(3, 2, 1, 0)", f"{0.5 / largest:.1e}", "differs",
    ]  # fmt: skip
    code, out = compare(voc, "b.caffemodel", "--json")
    facts = json.loads(out)
    assert (code, facts["same"], facts["outputs"]) == (1, False, None)
    assert facts["blobs"][0]["where"] == [3, 2, 1, 0]
    assert sum(row["max_delta"] != 0 for row in facts["blobs"]) == 1
    assert compare(voc, "b.caffemodel", "--tolerance", str(0.6 / largest))[0] == 0


def test_the_largest_difference_comes_first(voc: Path) -> None:
    net = c2t.read(weights=voc)
    other = net
    for name, factor in (("conv1_1", 1.01), ("fc7", 1.5), ("score_fr", 1.1)):
        other = edited(other, name, with_blob(blob_of(net, name) * np.float32(factor)))
    found = diff(net, other)
    assert [row.layer for row in found.blobs[:4]][:3] == ["fc7", "score_fr", "conv1_1"]
    text = str(found)
    assert text.index("fc7") < text.index("score_fr") < text.index("conv1_1") < text.index("B differs from A")


def test_a_weight_far_into_a_large_blob() -> None:
    full = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
      inner_product_param { num_output: 2500 bias_term: false } }"""
    weight = np.random.default_rng(2).standard_normal((2500, 3 * 8 * 11)).astype(np.float32)
    net, changed = net_of(INPUT + full, fc=[weight]), weight.copy()
    changed[1999, 201] = 100
    changed[2, 5] = 50
    (row,) = diff(net, net_of(INPUT + full, fc=[changed])).blobs
    assert row.where == (1999, 201)
    assert row.max_delta == pytest.approx(100 - float(weight[1999, 201]))
    assert row.relative == pytest.approx(row.max_delta / float(np.abs(weight).max()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number(value: float, voc: Path) -> None:
    net = c2t.read(weights=voc)
    bias = blob_of(net, "conv1_2", 1)
    bias[2] = value
    broken = edited(net, "conv1_2", with_blob(bias, 1))
    assert diff(broken, broken).same
    for found in (diff(net, broken), diff(broken, net)):
        assert nothing_but(found) == ((), (), (), [("conv1_2", 1)])
        assert (found.blobs[0].max_delta, found.blobs[0].where) == (np.inf, (2,))
        assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["blobs"][0]["max_delta"] is None


def test_a_renamed_layer(voc: Path, compare: Run) -> None:
    net = c2t.read(weights=voc)
    c2t.export(
        edited(net, "score_fr", lambda layer: replace(layer, name="score_59")), "b.caffemodel", check=False
    )
    code, out = compare(voc, "b.caffemodel")
    assert code == 1
    assert [line.split() for line in out.splitlines() if line.startswith("only in")] == [
        ["only", "in", "A", "score_fr", "(Convolution)"],
        ["only", "in", "B", "score_59", "(Convolution)"],
    ]
    assert out.splitlines()[-1] == "B differs from A; layers only in A: 1; layers only in B: 1"


def test_another_number_of_classes(golden: Path) -> None:
    a, b = (
        c2t.read(weights=golden / "fcn" / f"{name}-fcn8s" / "weights.caffemodel")
        for name in ("voc", "pascalcontext")
    )
    found = diff(a, b)
    assert Change("score_fr", "convolution_param.num_output", "21", "12") in found.changes
    rows = {(row.layer, row.blob): row for row in found.blobs}
    assert rows["score_fr", 0] == BlobRow(
        "score_fr", 0, (21, 64, 1, 1), (12, 64, 1, 1), None, (), None, False, "is (12, 64, 1, 1) in B"
    )
    assert rows["conv1_1", 0].max_delta is not None


def test_another_stride(voc: Path, compare: Run) -> None:
    net = c2t.read(weights=voc)
    c2t.export(edited(net, "pool3", with_parameter("pooling_param", stride=3)), "b.caffemodel", check=False)
    code, out = compare(voc, "b.caffemodel")
    assert code == 1
    assert "pool3  pooling_param.stride  2  3" in out
    assert out.splitlines()[-1] == "B differs from A; parameters: 1"
    code, out = compare(voc, "b.caffemodel", "--run")
    assert code == 1
    assert "outputs: " in out.splitlines()[-1]


def test_another_type_wiring_and_learning_rate(voc: Path) -> None:
    net = c2t.read(weights=voc)

    def sigmoid(layer: Layer) -> Layer:
        return replace(layer, type="Sigmoid", fields=layer.fields.replace(relu_param=None))

    assert nothing_but(diff(net, edited(net, "relu7", sigmoid)))[2] == (
        Change("relu7", "type", "ReLU", "Sigmoid"),
    )
    crossed = edited(net, "score_pool4", lambda layer: replace(layer, bottoms=("pool5",)))
    assert nothing_but(diff(net, crossed))[2] == (Change("score_pool4", "reads", "pool4", "pool5"),)
    slow = edited(
        net,
        "fc6",
        lambda x: replace(x, fields=x.fields.replace(param=(Fields("ParamSpec", {"lr_mult": 0.5}),) * 2)),
    )
    changes = {change.what: (change.a, change.b) for change in diff(net, slow).changes}
    assert changes["param[0].lr_mult"] == ("1", "0.5")
    assert all(name.startswith("param[") for name in changes)


def test_a_blob_less(voc: Path) -> None:
    net = c2t.read(weights=voc)

    def without_bias(layer: Layer) -> Layer:
        fewer = replace(layer, fields=layer.fields.replace(param=()), blobs=layer.blobs[:1])
        return with_parameter("convolution_param", bias_term=False)(fewer)

    found = diff(net, edited(net, "fc7", without_bias))
    assert [(change.what, change.b) for change in found.changes] == [
        ("blobs", "1"),
        ("param", "()"),
        ("convolution_param.bias_term", "False"),
    ]
    assert all(row.ok for row in found.blobs)


def test_other_means_and_inputs(golden: Path) -> None:
    a, b = (
        c2t.read(weights=golden / "fcn" / f"{n}-fcn8s" / "weights.caffemodel") for n in ("voc", "siftflow")
    )
    assert (
        Change("data", "mean", "(104.00699, 116.66877, 122.67892)", "(114.578, 115.294, 108.353)")
        in diff(a, b).changes
    )
    grey = net_of(INPUT.replace("dim: 3", "dim: 1"))
    assert diff(net_of(INPUT), grey).changes == (Change("data", "shape", "(2, 3, 8, 11)", "(2, 1, 8, 11)"),)
    anything = net_of('layer { name: "data" type: "Input" top: "data" }')
    assert diff(net_of(INPUT), anything).same


def test_two_different_nets(golden: Path, compare: Run) -> None:
    folder = golden / "fcn"
    code, out = compare(
        folder / "voc-fcn32s" / "weights.caffemodel",
        folder / "voc-fcn-alexnet" / "weights.caffemodel",
        "--run",
    )
    assert code == 1
    assert "only in A  conv1_1 (Convolution)" in out
    assert "only in B  conv1 (Convolution)" in out
    summary = "only in A: 28; .*only in B: 12; parameters: .*outputs: 2 of 2, .* of labels equal$"
    assert re.search(summary, out.splitlines()[-1])


def test_nets_without_weights(golden: Path, compare: Run) -> None:
    files = [golden / "fcn" / name / "train.prototxt" for name in ("voc-fcn32s", "voc-fcn16s")]
    code, out = compare(files[0], files[0])
    assert (code, out.splitlines()[-1]) == (0, "the same within 1e-05: 41 layers")
    code, out = compare(*files)
    assert code == 1
    assert "only in B  upscore16 (Deconvolution)" in out
    weights = golden / "fcn" / "voc-fcn32s" / "weights.caffemodel"
    code, out = compare(files[0], weights)
    assert code == 1
    assert "differs: has values only in B" in out
    code, out = compare(files[0], weights, "--run")
    assert (code, out.count("\n")) == (1, 1)
    assert "train.prototxt: defines a net but holds no values to run it with" in out


# --- outputs


def test_outputs_for_given_inputs(voc: Path, golden: Path, compare: Run) -> None:
    reference = golden / "fcn" / "voc-fcn8s" / "io.npz"
    code, out = compare(voc, voc, "--on", reference)
    assert code == 0, out
    assert "(1, 21, 49, 66)" in out
    assert "(1, 21, 70, 53)" in out
    assert out.splitlines()[-1].endswith("2 outputs")
    assert compare(voc, voc, "--on", "none.npz")[0] == 3
    np.savez("odd.npz", **{"in.data": np.zeros((1, 5, 9, 9), np.float32)})
    code, out = compare(voc, voc, "--on", "odd.npz")
    assert code == 1
    assert "does not run on odd.npz" in out
    np.savez("other.npz", **{"in.image": np.zeros((1, 3, 9, 9), np.float32)})
    assert compare(voc, voc, "--on", "other.npz")[0] == 1


SCORES = """layer { name: "score" type: "Convolution" bottom: "data" top: "score"
                    convolution_param { num_output: 3 kernel_size: 1 } }"""
"""Of three classes, each pixel's own three values."""


def test_labels_beside_errors(compare: Run) -> None:
    image = np.array([[9, 1, 5, 5], [2, 8, 4, 3], [1, 1, 6, 9]], np.float32).reshape(1, 3, 1, 4)
    np.savez("x.npz", **{"in.data": image})
    for name, order in (("a", [0, 1, 2]), ("b", [0, 2, 1])):
        net = net_of(INPUT + SCORES, score=[np.eye(3)[order].reshape(3, 3, 1, 1), np.zeros(3)])
        c2t.export(net, f"{name}.caffemodel")
    code, out = compare("a.caffemodel", "b.caffemodel", "--on", "x.npz")
    # A's labels are 0 1 2 2, B's 0 2 1 1.
    assert (code, "equal labels" in out, " 25.00 %  FAIL" in out) == (1, True, True), out
    assert out.splitlines()[-1].endswith("outputs: 1 of 1, 25.00 % of labels equal")
    found = diff(c2t.read(weights="a.caffemodel"), c2t.read(weights="b.caffemodel"), on="x.npz").as_dict()
    assert [row["labels"] for row in found["outputs"]["rows"]] == [0.25]
    assert " 100.00 %  ok" in compare("a.caffemodel", "a.caffemodel", "--on", "x.npz")[1]


@pytest.mark.parametrize(
    ("transform", "low", "high"),
    [
        ("", 0, 1),
        ("transform_param { mean_value: 104 mean_value: 117 mean_value: 123 }", -123, 151),
        ("transform_param { scale: 0.00390625 }", 0, 1),
        ("transform_param { mean_file: 'mean.binaryproto' scale: 2 }", -256, 254),
    ],
)
def test_inputs_are_images_as_the_net_wants_them(transform: str, low: float, high: float) -> None:
    """Smaller ones would hide behind the biases."""
    shape, same = INPUT[:-2], np.eye(3).reshape(3, 3, 1, 1)
    net = net_of(f"{shape} {transform} }}" + SCORES, score=[same, np.zeros(3)])
    for trial in model_of(net).trials.trials:
        (pixels,) = trial.inputs.values()
        assert low <= pixels.min() < pixels.max() <= high
        assert np.ptp(pixels) > 0.9 * (high - low)
    biased = [
        net_of(f"{shape} {transform} }}" + SCORES, score=[sign * same, np.array([0, 9, 0])])
        for sign in (1, -1)
    ]
    (labels, *_) = [row.labels for row in diff(*biased, run=True).outputs.rows]
    assert (labels == 1) == (high == 1)


@pytest.mark.parametrize("name", ["pool", "one"])
def test_what_is_no_score_has_no_labels(name: str) -> None:
    layers = {
        "pool": 'type: "Pooling" pooling_param { global_pooling: true }',
        "one": 'type: "Reduction" reduction_param { axis: 2 }',
    }
    net = net_of(INPUT + f'layer {{ name: "x" bottom: "data" top: "x" {layers[name]} }}')
    outputs = diff(net, net, run=True).outputs
    assert outputs is not None
    assert (outputs.ok, outputs.labels) == (True, None)
    assert "equal labels" not in str(outputs)


def test_almost_all_labels_are_not_all() -> None:
    assert [share_text(share) for share in (1.0, 0.99999, 0.5, None)] == [
        "100.00 %",
        "99.99 %",
        "50.00 %",
        "",
    ]


def test_other_names_and_colours_of_classes(voc: Path) -> None:
    a, b = (c2t.load(voc) for _ in "ab")
    known = c2t.Labelling.numbered(21)
    a.labellings = {"score": known}
    assert diff(a, b).same  # B does not say
    classes, colours = [*known.classes], [*known.colours]
    classes[3], colours[20] = "bicycle", (1, 2, 3)
    b.labellings = {"score": c2t.Labelling(tuple(classes), tuple(colours))}
    assert diff(a, b).changes == (
        Change("score", "class 3", "class 3", "bicycle"),
        Change("score", "colour of class 20", "(0, 64, 128)", "(1, 2, 3)"),
    )
    b.labellings = {"score": c2t.Labelling.numbered(20)}
    assert diff(a, b).changes == (Change("score", "classes", "21", "20"),)


def test_a_net_that_does_not_run_on_the_others_inputs() -> None:
    a = net_of(INPUT + 'layer { name: "x" type: "ReLU" bottom: "data" top: "x" }')
    b = net_of(
        INPUT.replace('"data"', '"image"') + 'layer { name: "x" type: "ReLU" bottom: "image" top: "x" }'
    )
    found = diff(a, b, run=True)
    assert found.outputs is not None
    assert all("B does not run: net '' takes inputs" in row.problem for row in found.outputs.rows)
    assert found.summary().endswith("outputs: 2 of 2")


def test_an_error_without_words() -> None:
    from caffe2torch.comparing.nets import answers, compare_outputs
    from caffe2torch.writing.model import model_of

    def run(inputs: Any) -> Any:
        raise AssertionError

    net = model_of(net_of(INPUT + 'layer { name: "x" type: "ReLU" bottom: "data" top: "x" }'))
    report = compare_outputs("A", answers(net, None), run)
    assert {row.problem for row in report.rows} == {"B does not run: "}


RUN_ONLY = [x.name for x in formats().values() if x.runner and not x.read and x.name != "pt"]


@pytest.mark.parametrize("name", RUN_ONLY)
def test_a_format_that_only_runs(name: str, compare: Run) -> None:
    conv = """layer { name: "conv" type: "Convolution" bottom: "data" top: "x"
      convolution_param { num_output: 5 kernel_size: 3 bias_term: false } }"""
    weight = np.random.default_rng(5).standard_normal((5, 3, 3, 3))
    for file, values in (("a.caffemodel", weight), ("c.caffemodel", weight * 1.5)):
        c2t.export(net_of('name: "small" ' + INPUT + conv, conv=[values]), file)
    other = f"b{formats()[name].suffixes[0]}"
    c2t.export(c2t.read(weights="a.caffemodel"), other)
    trust = ("--trust",) * formats()[name].runs_code
    for sides in (("a.caffemodel", other), (other, "a.caffemodel")):
        code, out = compare(*sides, *trust)
        assert code == 0, out
        assert out.splitlines()[-1] == "the same within 1e-05: 2 outputs"
    code, out = compare("c.caffemodel", other, *trust)
    assert (code, out.splitlines()[-1]) == (1, "B differs from A; outputs: 2 of 2, 100.00 % of labels equal")
    assert compare(other, other, *trust)[0] == 1


def on(**arrays: np.ndarray) -> str:
    """A file of inputs."""
    np.savez("on.npz", **{f"in.{blob}": array for blob, array in arrays.items()})
    return "on.npz"


def test_two_that_only_run(voc: Path, golden: Path, compare: Run) -> None:
    net = c2t.read(weights=voc)
    other = edited(net, "fc7", with_blob(blob_of(net, "fc7") * np.float32(1.01)))
    for file, model in (("a.onnx", net), ("a.pt2", net), ("b.onnx", other)):
        c2t.export(model, file, check=False)
    code, out = compare("a.onnx", "a.pt2")
    assert (code, out.count("\n")) == (1, 1)
    assert out.endswith("two of ONNX or pt2 also run on the inputs of --on\n")
    image = np.random.default_rng(3).standard_normal((1, 3, 41, 58), np.float32)
    code, out = compare("a.onnx", "a.pt2", "--on", on(data=image))
    assert code == 1
    assert out.startswith("fcn-convert: a.pt2: running a pt2 runs whatever its author wrote; give --trust ")
    for sides, expected in ((("a.onnx", "a.pt2"), 0), (("a.pt2", "a.onnx"), 0), (("a.pt2", "b.onnx"), 1)):
        code, out = compare(*sides, "--on", on(data=image), "--trust")
        assert code == expected, out
        assert "(1, 21, 41, 58)" in out
    assert compare("a.onnx", "a.pt2", "--on", golden / "fcn" / "voc-fcn8s" / "io.npz", "--trust")[0] == 0
    code, out = compare(voc, "b.onnx", "--on", on(data=image[:, :2]))
    assert code == 1
    assert out.startswith(f"fcn-convert: {voc}: does not run on on.npz: ")
    code, out = compare("a.onnx", "a.pt2", "--on", on(image=image), "--trust")
    assert code == 1
    assert out.startswith("fcn-convert: a.onnx: does not run on on.npz: ")


def test_b_that_does_not_run_is_a_difference(voc: Path, compare: Run) -> None:
    small = net_of(INPUT + 'layer { name: "score" type: "ReLU" bottom: "data" top: "score" }')  # 3 channels
    wide = net_of(
        INPUT.replace("dim: 3", "dim: 5") + 'layer { name: "x" type: "ReLU" bottom: "data" top: "score" }'
    )
    c2t.export(small, "a.prototxt", check=False)
    c2t.export(c2t.build(wide), "b.onnx")
    code, out = compare("a.prototxt", "b.onnx")
    assert (code, out.splitlines()[-1]) == (1, "B differs from A; outputs: 2 of 2")
    assert "B does not run: " in out


def test_two_state_dicts_by_their_keys(voc: Path, compare: Run) -> None:
    net = c2t.read(weights=voc)
    other = edited(net, "fc7", with_blob(blob_of(net, "fc7") + np.float32(0.25)))
    for file, model in (("a", net), ("b", other)):
        c2t.export(model, f"{file}.pt", check=False)
        c2t.export(model, f"{file}.caffemodel.h5", check=False)
    assert compare("a.pt", "a.pt") == (0, "A  a.pt\nB  a.pt\n\nthe same within 1e-05: 39 of 39 blobs equal\n")
    for suffix, most in (("pt", "fc7.weight"), ("caffemodel.h5", "fc7/0")):
        code, out = compare(f"a.{suffix}", f"b.{suffix}")
        assert code == 1, out
        assert out.splitlines()[-1] == f"B differs from A; blobs: 1 of 39, most in {most}"
    state = torch.load("b.pt", weights_only=True)
    torch.save({key.replace("fc7", "fc8"): value for key, value in state.items()}, "c.pt")
    code, out = compare("a.pt", "c.pt")
    assert code == 1, out
    assert re.findall(r"^only in (.) +(\S+)$", out, re.MULTILINE) == [
        ("A", "fc7.weight"), ("A", "fc7.bias"), ("B", "fc8.weight"), ("B", "fc8.bias"),
    ]  # fmt: skip
    for options in (["--run"], ["--on", on(data=np.zeros((1, 3, 9, 9), np.float32))]):
        code, out = compare("a.pt", "b.pt", *options)
        assert (code, out.count("\n")) == (1, 1)
        assert "neither a.pt nor b.pt defines a net to run; leave out --run" in out
    code, out = compare("a.pt", "a.caffemodel.h5")
    assert (code, out.count("\n")) == (1, 1)
    assert "neither a.pt nor a.caffemodel.h5 defines a net; compare each with" in out


# --- the command


def test_what_cannot_be_compared(voc: Path, golden: Path, compare: Run) -> None:
    c2t.export(c2t.read(weights=voc), "a.pt", check=False)
    Path("odd.caffemodel").write_bytes(w.layer("x", type_name="Peculiar"))
    h5 = golden / "legacy" / "v1.caffemodel.h5"
    for a, b, options, code, message in (
        (voc, "none.caffemodel", (), 3, "none.caffemodel: no such file"),
        ("none.caffemodel", voc, (), 3, "none.caffemodel: no such file"),
        (
            golden / "legacy" / "v1.caffemodel",
            "a.pt",
            (),
            1,
            "a.pt: has no 'branch.bias'; is it the state dict of",
        ),
        (voc, h5, (), 1, "has no blobs for layer 'conv1_1'"),
        (voc, golden / "legacy" / "mean.binaryproto", (), 1, "mean.binaryproto: "),
        (golden / "legacy" / "mean.binaryproto", voc, (), 1, "mean.binaryproto: "),
        (voc, voc, ("-o", "x.pt"), 2, "-o belongs to converting; --diff does not"),
        (voc, voc, ("--inspect",), 2, "--inspect and --diff are different commands"),
        (voc, "odd.caffemodel", (), 1, "fcn-convert: odd.caffemodel: layer 'x' (Peculiar): no converter"),
        (voc, voc, ("--tolerance", "low"), 2, "argument --tolerance: invalid float value"),
    ):
        found, text = compare(a, b, *options)
        assert (found, text.count("\n")) == (code, 1), text
        assert message in text


WITHOUT_TORCH = """
import sys
from caffe2torch.cli.main import main
code = main()
sys.exit("torch was loaded" if "torch._C" in sys.modules else code)
"""


def test_layers_and_weights_need_no_torch(voc: Path, golden: Path, tmp_path: Path) -> None:
    other = golden / "fcn" / "pascalcontext-fcn8s" / "weights.caffemodel"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_TORCH, voc, "--diff", other]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (1, "")


def test_what_only_a_comparison_takes(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--on", "x.npz"], ["--tolerance", "1"]):
        assert main([str(voc), *options]) == 2
        assert "belongs to --diff" in capsys.readouterr().err


def test_a_net_of_a_module_that_is_none() -> None:
    with pytest.raises((TypeError, NetError)):
        diff(3, 4)  # type: ignore[arg-type]
