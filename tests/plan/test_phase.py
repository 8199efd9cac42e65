"""The net of a phase: rules, inputs in place of data layers, the deploy net, Split."""

from __future__ import annotations

import numpy as np
import pytest

from caffe2torch import export
from caffe2torch.errors import NetError
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.plan.phase import for_phase
from tests.nets import INPUT, net_of

CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}"
convolution_param {{ num_output: 4 kernel_size: 3 }} }}"""
DATA = """layer { name: "data" type: "Python" top: "data" top: "label" include { phase: TRAIN }
python_param { module: "voc_layers" layer: "SBDDSegDataLayer" } }"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }'


def names(net):
    return [layer.name for layer in net.layers]


def relu(bottom: str, top: str) -> str:
    return f'layer {{ name: "{bottom}-{top}" type: "ReLU" bottom: "{bottom}" top: "{top}" }}'


@pytest.mark.parametrize(
    ("rule", "phase", "level", "stages", "kept"),
    [
        ("", "TRAIN", 0, (), True),
        ("include { phase: TEST }", "TRAIN", 0, (), False),
        ("include { phase: TEST } include { phase: TRAIN }", "TRAIN", 0, (), True),
        ("exclude { phase: TEST }", "TRAIN", 0, (), True),
        ("exclude { phase: TRAIN }", "TRAIN", 0, (), False),
        ("include { min_level: 2 }", "TEST", 1, (), False),
        ("include { min_level: 2 max_level: 3 }", "TEST", 3, (), True),
        ("include { max_level: 2 }", "TEST", 3, (), False),
        ('include { stage: "a" stage: "b" }', "TEST", 0, ("a",), False),
        ('include { stage: "a" stage: "b" }', "TEST", 0, ("b", "a", "c"), True),
        ('include { not_stage: "a" }', "TEST", 0, ("a",), False),
        ('exclude { phase: TEST stage: "a" }', "TEST", 0, (), True),
    ],
)
def test_rules(rule, phase, level, stages, kept):
    net = net_of(f'{INPUT} layer {{ name: "x" type: "ReLU" bottom: "data" top: "x" {rule} }}')
    assert ("x" in names(for_phase(net, phase, level, stages))) is kept


def test_a_net_names_stages_itself(tmp_path):
    rules = {"own": 'stage: "a"', "given": 'stage: "a" stage: "b"', "neither": 'not_stage: "a"'}
    layers = (
        f'layer {{ name: "{name}" type: "ReLU" bottom: "data" top: "{name}" include {{ {rule} }} }}'
        for name, rule in rules.items()
    )
    path = tmp_path / "net.prototxt"
    path.write_text(f'state {{ phase: TRAIN level: 0 stage: "a" }} {INPUT} {"".join(layers)}')
    net = read(path)
    assert names(for_phase(net, "TEST")) == ["data", "own"]
    assert names(for_phase(net, "TEST", stages=["b"])) == ["data", "own", "given"]
    export(net, tmp_path / "again.prototxt")
    assert names(for_phase(read(tmp_path / "again.prototxt"), "TEST")) == ["data", "own"]
    old = tmp_path / "v1.prototxt"
    old.write_text(
        'state { stage: "a" } layers { name: "x" type: RELU bottom: "d" top: "x" include { stage: "a" } }'
    )
    assert names(for_phase(read(old), "TEST")) == ["x"]


def test_a_level_that_caffes_tools_ignore_is_refused(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(f"state {{ level: 2 }} {INPUT}")
    with pytest.raises(NetError, match=r"net\.prototxt: its state has level: 2, which Caffe's solvers obey"):
        read(path)


def test_include_with_exclude_is_refused():
    net = net_of('layer { name: "x" type: "ReLU" include { phase: TEST } exclude { phase: TRAIN } }')
    with pytest.raises(NetError, match="'x': has include and exclude"):
        for_phase(net, "TEST")


def test_the_deploy_net_of_a_train_net():
    deploy = for_phase(net_of(DATA + CONV.format("score", "data") + LOSS), "TEST")
    assert names(deploy) == ["data", "score"]
    assert deploy.layers[0].type == "Input"
    assert any("'loss' (SoftmaxWithLoss) dropped" in note for note in deploy.notes)
    assert any("'label' (Input) dropped" in note for note in deploy.notes)


def test_the_train_net_keeps_its_loss_and_label():
    assert names(for_phase(net_of(DATA + CONV.format("score", "data") + LOSS), "TRAIN")) == [
        "data", "label", "score", "loss",
    ]  # fmt: skip


def test_layers_that_serve_labels_alone_go_too():
    text = DATA + CONV.format("score", "data") + relu("label", "half") + LOSS.replace('"label"', '"half"')
    assert names(for_phase(net_of(text), "TEST")) == ["data", "score"]


def test_a_silence_goes_with_the_labels_that_it_hides():
    more = DATA.replace('top: "label"', 'top: "label" top: "weight"')
    hush = 'layer { name: "hush" type: "Silence" bottom: "weight" bottom: "label" }'
    assert names(for_phase(net_of(more + CONV.format("score", "data") + LOSS + hush), "TEST")) == [
        "data",
        "score",
    ]


def test_an_output_without_weights_stays():
    text = DATA + relu("data", "shown") + CONV.format("score", "data") + LOSS
    assert names(for_phase(net_of(text), "TEST")) == ["data", "data-shown", "score"]


def test_a_net_with_inputs_is_taken_as_it_is():
    text = INPUT + INPUT.replace('"data"', '"label"') + CONV.format("score", "data") + LOSS
    assert names(for_phase(net_of(text), "TEST")) == ["data", "label", "score", "loss"]


def test_a_loss_that_is_used_later_stays():
    text = DATA + CONV.format("score", "data") + LOSS + relu("loss", "shown")
    assert "loss" in names(for_phase(net_of(text), "TEST"))


SPLIT = 'layer { name: "s" type: "Split" bottom: "data" top: "a" top: "b" }'


def test_split_is_removed():
    net = for_phase(net_of(INPUT + SPLIT + relu("a", "x") + relu("b", "y")), "TEST")
    assert [layer.bottoms for layer in net.layers] == [(), ("data",), ("data",)]


@pytest.mark.parametrize(
    "after",
    [
        relu("a", "a") + relu("b", "y") + relu("a", "z"),  # an in-place layer on one of the copies
        relu("a", "data") + relu("b", "y"),  # the source is written again while a copy is still to be read
        relu("a", "x"),  # the other copy is an output
    ],
)
def test_a_split_that_matters_stays(after):
    assert "s" in names(for_phase(net_of(INPUT + SPLIT + after), "TEST"))


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        ('type: "Data" data_param { batch_size: 5 } transform_param { crop_size: 7 }', [(5, 3, 7, 7), (5,)]),
        ('type: "Data" data_param { batch_size: 5 }', [(5, 3, None, None), (5,)]),
        (
            'type: "ImageData" image_data_param { batch_size: 5 new_height: 8 new_width: 9 }',
            [(5, 3, 8, 9), (5,)],
        ),
        (
            'type: "MemoryData" memory_data_param { batch_size: 5 channels: 3 height: 8 width: 9 }',
            [(5, 3, 8, 9), (5,)],
        ),
        (
            'type: "ImageData" image_data_param { batch_size: 5 is_color: false } '
            "transform_param { crop_size: 7 }",
            [(5, 1, 7, 7), (5,)],
        ),
        ('type: "WindowData" window_data_param { batch_size: 5 crop_size: 7 }', [(5, 3, None, None), (5,)]),
        (
            'type: "Data" data_param { batch_size: 5 } transform_param { mean_value: 4 mean_value: 5 }',
            [(5, 2, None, None), (5,)],
        ),
        ('type: "HDF5Data" hdf5_data_param { batch_size: 5 }', [(None, 3, None, None), None]),
        (
            'type: "DummyData" dummy_data_param { shape { dim: 5 dim: 3 dim: 8 dim: 9 } shape { dim: 5 } }',
            [(5, 3, 8, 9), (5,)],
        ),
        (
            'type: "DummyData" dummy_data_param { num: 5 channels: 3 height: 8 width: 9 }',
            [(5, 3, 8, 9), (5, 3, 8, 9)],
        ),
    ],
)
def test_inputs_have_the_shapes_that_the_data_layer_tells(layer, shapes):
    text = f'layer {{ name: "d" top: "data" top: "label" {layer} }}' + CONV.format("score", "data") + LOSS
    channels = shapes[0][1]
    net = net_of(text, score=[np.zeros((4, channels, 3, 3)), np.zeros(4)])
    assert list(plan(net, "TRAIN").inputs.values()) == shapes
