"""The table of layers against the papers' numbers, counts by protobuf, and nets that do not plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.plan import plan
from caffe2torch.plan.table import table, table_of
from tests.nets import INPUT, net_of

CONV = 'layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" convolution_param {{ {2} }} }}'


@pytest.mark.parametrize(
    ("name", "layer", "receptive_field"),
    [("voc-fcn32s", "score_fr", 404), ("voc-fcn-alexnet", "score_fr", 355)],  # CVPR 2015, Table 1
)
def test_receptive_field_and_stride_are_the_papers(
    name: str, layer: str, receptive_field: int, golden: Path
) -> None:
    found = table_of(c2t.read(weights=golden / "fcn" / name / "weights.caffemodel")).coarsest
    assert found is not None
    assert (found.layer, found.receptive_field, found.stride) == (layer, (receptive_field,) * 2, (32, 32))


def test_counts_are_those_of_the_file(golden: Path) -> None:
    path = golden / "fcn" / "siftflow-fcn16s" / "weights.caffemodel"
    stored = schema.message("NetParameter").FromString(path.read_bytes()).layer
    found = table_of(c2t.read(weights=path))
    assert found.parameters == sum(len(blob.data) for layer in stored for blob in layer.blobs)
    assert found.parameter_layers == sum(bool(layer.blobs) for layer in stored)


def test_a_table_has_a_row_for_each_layer_and_a_sum() -> None:
    net = net_of(
        INPUT
        + CONV.format("conv", "data", "num_output: 5 kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 4")
        + 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
        + 'layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" '
        + "inner_product_param { num_output: 7 } }",
        conv=[np.zeros((5, 3, 2, 3)), np.zeros(5)],
        ip=[np.zeros((7, 105)), np.zeros(7)],
    )
    lines = [line.split("  ") for line in table(net).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["layer", "type", "bottoms -> tops", "blobs", "parameters", "receptive field", "stride"],
        ["data", "Input", "-> data", "1", "1"],
        ["conv", "Convolution", "data -> conv", "(5, 3, 2, 3) (5)", "95", "2x3", "1x4"],
        ["relu", "ReLU", "conv -> conv", "2x3", "1x4"],
        ["ip", "InnerProduct", "conv -> ip", "(7, 105) (7)", "742", "image", "1x4"],
        [],
        ["4 layers, 2 with blobs, 837 parameters; receptive field of the whole image at stride 1x4 (ip)"],
    ]


def test_shared_parameters_count_once() -> None:
    share = 'param { name: "w" } '
    text = INPUT + "".join(
        CONV.format(name, "data", "num_output: 5 kernel_size: 2 bias_term: false").replace(
            "convolution_param", share + "convolution_param"
        )
        for name in ("one", "two")
    )
    weight = np.zeros((5, 3, 2, 2))
    found = table_of(net_of(text, one=[weight], two=[weight]))
    assert [row.parameters for row in found.rows] == [0, 60, 0]
    assert (found.parameters, found.parameter_layers) == (60, 2)


def test_parameters_that_no_file_tells_are_not_counted_as_none() -> None:
    text = 'layer { name: "data" type: "Input" top: "data" }' + CONV.format(
        "conv", "data", "num_output: 5 kernel_size: 2"
    )
    found = table_of(net_of(text))
    assert [row.parameters for row in found.rows] == [0, None]
    assert found.parameters is None
    assert "(5, ?, 2, 2) (5)" in str(found)
    assert "? parameters" in str(found)


def test_a_net_that_does_not_plan_is_still_shown() -> None:
    net = net_of(
        INPUT + 'layer { name: "odd" type: "Peculiar" bottom: "data" top: "odd" }', odd=[np.zeros((2, 3))]
    )
    found = table_of(net)
    assert [(row.layer, row.blobs, row.parameters, row.stride) for row in found.rows] == [
        ("data", (), 0, None),
        ("odd", ((2, 3),), 6, None),
    ]
    assert "no receptive fields: layer 'odd' (Peculiar): no converter" in str(found)


def test_the_json_form_holds_the_same(golden: Path) -> None:
    planned = plan(c2t.read(weights=golden / "fcn" / "voc-fcn8s" / "weights.caffemodel"))
    facts = json.loads(json.dumps(table_of(planned).as_dict()))
    assert facts["net"] == "voc-fcn8s"
    assert (facts["parameters"], facts["parameter_layers"], facts["problem"]) == (291827, 21, "")
    upscore2 = next(row for row in facts["layers"] if row["layer"] == "upscore2")
    assert upscore2 == {
        "layer": "upscore2",
        "type": "Deconvolution",
        "bottoms": ["score_fr"],
        "tops": ["upscore2"],
        "blobs": [[21, 21, 4, 4]],
        "parameters": 7056,
        "receptive_field": [436, 436],
        "stride": [16, 16],
    }


def test_a_net_of_two_inputs_shows_the_farthest_view() -> None:
    second = INPUT.replace('"data"', '"other"')
    text = (
        INPUT
        + second
        + CONV.format("conv", "other", "num_output: 3 kernel_size: 3 pad: 1")
        + 'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "conv" top: "sum" }'
    )
    rows = table_of(net_of(text)).rows
    assert [row.receptive_field for row in rows] == [(1, 1), (1, 1), (3, 3), (3, 3)]
