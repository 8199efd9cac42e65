"""The zoo's definitions and their recognition: from structure alone, with a reason for every refusal."""

from __future__ import annotations

import math
import re

import pytest
from google.protobuf import text_format

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.net import from_message, to_message
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.zoo import define
from caffe2torch.zoo.fcn import (
    CAFFENET,
    COLOR_DEPTH,
    COLOR_HHA,
    NAMES,
    SIFT_FLOW,
    VGG16,
    Architecture,
    Head,
    Stream,
    deploy_net,
    message,
    plan_of,
)
from caffe2torch.zoo.recognition import insist, recognize

NARROW = (4, 8, 16, 20, 24, 28, 36)


def published(name):
    return CAFFENET if name == "FCNAlexNet" else VGG16


def full_size(name):
    return Architecture(name, widths=published(name)) if name == "FCNAlexNet" else Architecture(name)


def narrow(name, **parts):
    streams = COLOR_HHA if name == "FCN32sLateFusion" else (Stream(),)
    widths = NARROW[: {"FCNPool5": 5, "FCNPool4": 4, "FCNPool3": 3}.get(name)]
    return Architecture(name, **{"heads": (Head(classes=7),), "widths": widths, "streams": streams, **parts})


def changed(architecture, change):
    """The plan of an architecture's definition, as prototxt that `change` rewrote."""
    text = change(text_format.MessageToString(message(architecture, (49, 66))))
    return plan(
        from_message(text_format.Parse(text, schema.message("NetParameter")()), read_from="net.prototxt")
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"name": "FCN8"}, f"no net is called 'FCN8'; known are {', '.join(NAMES)}"),
        ({"streams": COLOR_HHA}, "FCN8s: streams are 2, expected 1"),
        ({"name": "FCN32sLateFusion"}, "FCN32sLateFusion: streams are 1, expected 2 or more"),
        ({"name": "FCN32sLateFusion", "streams": COLOR_HHA, "heads": SIFT_FLOW},
            "FCN32sLateFusion: heads are 2, expected 1"),
        ({"widths": (-1, *NARROW[1:])},
            "FCN8s: widths are (-1, 8, 16, 20, 24, 28, 36); give 7, for five stages, fc6 and fc7"),
        ({"name": "FCNAlexNet", "widths": (3, *NARROW[1:])},
            "FCNAlexNet: widths are (3, 8, 16, 20, 24, 28, 36); the first five are even, for two groups"),
        ({"heads": (Head(classes=0),)}, "FCN8s: classes of its heads are [0], expected 1 or more"),
    ],
)  # fmt: skip
def test_a_net_that_there_is_not(parts, message):
    with pytest.raises(NetError) as refused:
        Architecture(**{"name": "FCN8s", **parts})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("FCN32s", 136_152_917),
        ("FCN16s", 134_815_994),
        ("FCN8s", 134_489_759),
        ("FCNAlexNet", 56_954_261 + 21 * 21 * 63 * 63),
        ("FCNPool5", 14_714_688 + 513 * 21 + 21 * 21 * 64 * 64),  # VGG-16 without its classifier
        ("FCNPool4", 7_635_264 + 513 * 21 + 21 * 21 * 32 * 32),
        ("FCNPool3", 1_735_488 + 257 * 21 + 21 * 21 * 16 * 16),
    ],
)
def test_full_size_parameters(name, count):
    assert sum(math.prod(p.shape) for p in plan_of(full_size(name)).parameters()) == count


@pytest.mark.parametrize(("name", "field"), [("FCN32s", 404), ("FCN8s", 404), ("FCNAlexNet", 355)])
def test_receptive_field_and_stride_of_fc7(name, field):
    # CVPR 2015, Table 1
    view = next(step for step in plan_of(full_size(name)).steps if step.key == "fc7").views["data"]
    assert (view.receptive_field, view.stride) == ((field, field), (32, 32))


@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        ("FCN32s", {"score": 19}),
        ("FCN16s", {"score_pool4c": 5, "score": 27}),
        ("FCN8s", {"score_pool4c": 5, "score_pool3c": 9, "score": 31}),
        ("FCN8sAtOnce", {"score_pool4c": 5, "score_pool3c": 9, "score": 31}),
        ("FCN32sLateFusion", {"score": 19}),
        ("FCNAlexNet", {"score": 18}),
        ("FCNPool5", {"score": 115}),
        ("FCNPool4", {"score": 107}),
        ("FCNPool3", {"score": 103}),
        ("FCNGoogLeNet", {"score": 98}),
        ("FCNGoogLeNetPooled", {"score": 2}),
    ],
)
def test_crop_offsets(name, offsets):
    """As data, and as the net's own geometry gives them."""
    net = define(name) if name.startswith("FCNGoogLeNet") else deploy_net(narrow(name))
    assert crops(net) == crops(plan(aligned(net)).net) == {key: (n,) for key, n in offsets.items()}


def crops(net):
    return {x.name: x.fields.crop_param.offset for x in net.layers if x.type == "Crop"}


def aligned(net):
    """The net whose Crops leave their offsets to the planner."""
    text = to_message(net)
    for layer in text.layer:
        if layer.type == "Crop":
            layer.crop_param.Clear()
            layer.crop_param.align = True
    return from_message(text)


def test_recognition_plans_nothing(golden, monkeypatch):
    found = plan(read(None, golden / "fcn" / "voc-fcn8s-atonce" / "weights.caffemodel"))
    deploy_net.cache_clear()
    monkeypatch.setattr("caffe2torch.plan._Planner", None)
    assert recognize(found).name == "FCN8sAtOnce"
    assert define("FCNGoogLeNet").name == "FCNGoogLeNet"


ZOO = {
    "nyud-fcn32s-color-d": ("FCN32s", {"": 40}, COLOR_DEPTH),
    "nyud-fcn32s-color-hha": ("FCN32sLateFusion", {"": 40}, COLOR_HHA),
    "nyud-fcn32s-color": ("FCN32s", {"": 40}, (Stream(),)),
    "nyud-fcn32s-hha": ("FCN32s", {"": 40}, (Stream(),)),
    "pascalcontext-fcn32s": ("FCN32s", {"": 60}, (Stream(),)),
    "pascalcontext-fcn16s": ("FCN16s", {"": 60}, (Stream(),)),
    "pascalcontext-fcn8s": ("FCN8s", {"": 60}, (Stream(),)),
    "siftflow-fcn32s": ("FCN32s", {"_sem": 33, "_geo": 3}, (Stream(),)),
    "siftflow-fcn16s": ("FCN16s", {"_sem": 33, "_geo": 3}, (Stream(),)),
    "siftflow-fcn8s": ("FCN8s", {"_sem": 33, "_geo": 3}, (Stream(),)),
    "voc-fcn32s": ("FCN32s", {"": 21}, (Stream(),)),
    "voc-fcn16s": ("FCN16s", {"": 21}, (Stream(),)),
    "voc-fcn8s": ("FCN8s", {"": 21}, (Stream(),)),
    "voc-fcn8s-atonce": ("FCN8sAtOnce", {"": 21}, (Stream(),)),
    "voc-fcn-alexnet": ("FCNAlexNet", {"": 21}, (Stream(),)),
}


def zoo_nets(reference):
    folder = reference / "corpus" / "prototxt" / "shelhamer__fcn.berkeleyvision.org"
    return sorted(path for path in folder.glob("*/*.prototxt") if path.stem != "solver")


def with_shapes(net, channels):
    """The deploy net with shapes for its inputs, which the zoo's Python layers do not tell."""
    message = to_message(plan(net).net)
    for layer in message.layer:
        if layer.type == "Input":
            layer.ClearField("input_param")
            layer.input_param.shape.add(dim=[1, channels[layer.top[0]], 49, 66])
    return from_message(message)


def test_every_net_of_the_zoo_is_recognized(reference):
    paths = zoo_nets(reference)
    assert {path.parent.name for path in paths} == set(ZOO)
    for path in paths:
        name, heads, streams = ZOO[path.parent.name]
        channels = dict(item for stream in streams for item in stream.inputs)
        found = recognize(plan(with_shapes(read(path), channels)))
        expected = Architecture(name, tuple(Head(*head) for head in heads.items()), streams, published(name))
        assert found == expected, path


@pytest.mark.parametrize("folder", [folder for folder in ZOO if not folder.startswith("nyud-fcn32s-color-d")])
def test_definitions_are_the_zoo_s(reference, folder):
    """Layer by layer, but for the trunk's learning rates in AlexNet and the names of the inputs' layers."""
    path = next(path for path in zoo_nets(reference) if path.parent.name == folder)
    net = read(path)
    name, heads, streams = ZOO[folder]
    ours = message(Architecture(name, tuple(Head(*h) for h in heads.items()), streams, published(name)))

    def rows(layers):
        return [
            (x.name, x.type, tuple(x.bottom), tuple(x.top))
            for x in layers
            if x.type not in ("Input", "Dropout")
        ]

    theirs = [(x.name, x.type, x.bottoms, x.tops) for x in plan(net).net.layers]
    assert rows(ours.layer) == [row for row in theirs if row[1] not in ("Input", "Dropout")]


def test_golden_nets_are_recognized_with_and_without_their_prototxt(golden):
    expected = {
        "nyud-fcn32s-color-d": "FCN32s",
        "nyud-fcn32s-color-hha": "FCN32sLateFusion",
        "pascalcontext-fcn8s": "FCN8s",
        "siftflow-fcn16s": "FCN16s",
        "siftflow-fcn8s": "FCN8s",
        "voc-fcn-alexnet": "FCNAlexNet",
        "voc-fcn16s": "FCN16s",
        "voc-fcn32s": "FCN32s",
        "voc-fcn8s": "FCN8s",
        "voc-fcn8s-atonce": "FCN8sAtOnce",
    }
    found = {}
    for folder in sorted((golden / "fcn").iterdir()):
        weights = folder / "weights.caffemodel"
        alone, defined = (recognize(plan(read(p, weights))) for p in (None, folder / "deploy.prototxt"))
        assert alone == defined
        found[folder.name] = alone.name
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_is_recognized_as_itself_and_nothing_else(name):
    architecture = narrow(name)
    found = plan(from_message(message(architecture, (49, 66))))
    assert recognize(found) == insist(found, name) == architecture
    for other in set(NAMES) - {name}:
        with pytest.raises(NetError, match=f"is not {other}: "):
            insist(found, other)


@pytest.mark.parametrize(
    "architecture",
    [
        narrow("FCN8s", heads=SIFT_FLOW),
        narrow("FCN32s", streams=COLOR_DEPTH),
        narrow("FCN16s", streams=(Stream("", (("rgb", 3), ("thermal", 2)), "conv1_1_five"),)),
        narrow("FCN8sAtOnce", heads=SIFT_FLOW, learned=frozenset({"upscore2_sem", "upscore8_geo"})),
        narrow("FCN32sLateFusion", streams=(*COLOR_HHA, Stream("_z", (("depth", 1),)))),
    ],
)
def test_heads_streams_and_learned_layers_come_back(architecture):
    assert recognize(plan(from_message(message(architecture, (49, 66))))) == architecture


UPSAMPLING = ("upscore2", "upscore_pool4", "upscore8")


def channelwise(text):
    """With a group per channel in each deconvolution, as a caffemodel without the zeros has it."""
    for name in UPSAMPLING:
        text = inside(name, "num_output: 7", "num_output: 7 group: 7")(text)
    return text


def test_frozen_upsampling_may_have_a_group_per_channel():
    architecture = narrow("FCN8s")
    assert recognize(changed(architecture, channelwise)) == architecture
    found = changed(
        architecture, lambda text: inside("upscore2", "lr_mult: 0.0", "lr_mult: 1.0")(channelwise(text))
    )
    assert recognize(found) is None
    with pytest.raises(NetError, match=r"'upscore2' .* has group 7, not 1"):
        insist(found, "FCN8s")


def test_upsampling_in_other_groups_is_not_the_zoos():
    found = changed(
        narrow("FCN8s", heads=(Head(classes=6),)),
        inside("upscore2", "num_output: 6", "num_output: 6 group: 3"),
    )
    with pytest.raises(NetError, match=r"'upscore2' .* has group 3, not 1"):
        insist(found, "FCN8s")


def without(name):
    return lambda text: re.sub(rf'layer {{\n  name: "{name}"\n(  .*\n)*}}\n', "", text)


def inside(name, old, new):
    """Replaces `old` in one layer; the pattern must be there."""

    def change(text):
        before, mark, rest = text.partition(f'name: "{name}"\n')
        layer, end, after = rest.partition("\n}\n")
        assert old in layer, (name, old)
        return before + mark + layer.replace(old, new) + end + after

    return change


def without_bias(text):
    """Of conv3_2; Caffe aborts on a `param` for a blob that is not there."""
    fewer = inside("conv3_2", "  param {\n    lr_mult: 2.0\n    decay_mult: 0.0\n  }\n", "")(text)
    return inside("conv3_2", "pad: 1", "pad: 1 bias_term: false")(fewer)


def sharing(*names):
    def change(text):
        for name in names:
            text = inside(name, "lr_mult: 1.0", 'lr_mult: 1.0 name: "w"')(text)
        return text

    return change


def appended(layer):
    return lambda text: text + layer


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (
            "FCN8s",
            inside("conv3_2", "kernel_size: 3", "kernel_size: 5"),
            r"'conv3_2' .* has kernel \(5, 5\), not \(3, 3\)",
        ),
        ("FCN8s", inside("conv3_2", "pad: 1", "pad: 2"), r"'conv3_2' .* has pad \(2, 2\), not \(1, 1\)"),
        ("FCN8s", inside("conv3_2", "pad: 1", "pad: 1 dilation: 2"), r"has dilation \(2, 2\)"),
        ("FCN8s", inside("conv3_2", "num_output: 16", "num_output: 17"), "has num_output 17, not 16"),
        ("FCN8s", without_bias, "has bias_term False"),
        ("FCN8s", inside("conv1_1", "pad: 100", "pad: 99"), r"'conv1_1' .* has pad \(99, 99\)"),
        (
            "FCN8s",
            inside("score", "offset: 31", "offset: 32"),
            r"'score' \(Crop\) has offsets \(32, 32\), not \(31, 31\)",
        ),
        ("FCN8s", inside("score_pool4c", "offset: 5", "offset: 4"), "'score_pool4c' .* has offsets"),
        (
            "FCN8s",
            inside("pool3", "stride: 2", "stride: 2 round_mode: FLOOR"),
            "'pool3' .* has round_mode FLOOR",
        ),
        ("FCN8s", inside("pool3", "stride: 2", "stride: 2 pool: AVE"), "'pool3' .* has pool AVE"),
        (
            "FCN8s",
            inside("relu3_1", 'type: "ReLU"', 'type: "ReLU" relu_param { negative_slope: 0.1 }'),
            "negative_slope",
        ),
        ("FCN8s", inside("drop6", "ratio: 0.5", "ratio: 0.7"), "'drop6' .* has dropout_ratio 0.7"),
        (
            "FCN8s",
            inside("fuse_pool4", "operation: SUM", "operation: MAX"),
            "'fuse_pool4' .* has operation MAX",
        ),
        ("FCN8s", inside("fuse_pool4", "operation: SUM", "operation: SUM coeff: 1 coeff: 2"), "has coeff"),
        (
            "FCN8s",
            sharing("conv3_2", "conv3_3"),
            "'conv3_3' .* shares its values with 'conv3_2.weight', unlike in",
        ),
        (
            "FCN8s",
            without("relu4_3"),
            r"has layer 'pool4' \(Pooling\) in place of layer 'relu4_3' \(ReLU\)",
        ),
        (
            "FCN8s",
            appended('layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }'),
            "its output 'prob'",
        ),
        (
            "FCN8s",
            appended('layer { name: "prob" type: "Softmax" bottom: "score" top: "score" }'),
            r"its output 'score' is not",
        ),
        (
            "FCN8s",
            appended(
                'layer { name: "p" type: "Power" bottom: "data" top: "p" }'
                'layer { name: "none" type: "Silence" bottom: "p" }'
            ),
            r"has layer 'p' \(Power\) where FCN8s ends",
        ),
        (
            "FCN8s",
            lambda text: text.replace('"conv4_2"', '"conv4_2x"'),
            "has layer 'conv4_2x' .* place of layer 'conv4_2'",
        ),
        (
            "FCN8s",
            inside("score", 'bottom: "data"', 'bottom: "conv1_1"'),
            "'score' .* reads upscore8, relu1_1, not",
        ),
        (
            "FCN32sLateFusion",
            inside("score", '"color"', '"hha"'),
            "'score' .* reads upscore, hha, not upscore, color as",
        ),
        (
            "FCN8sAtOnce",
            inside("scale_pool4", "filler", "bias_term: true filler"),
            "'scale_pool4' .* has bias_term True",
        ),
        ("FCNAlexNet", inside("norm1", "alpha: 0.0001", "alpha: 0.001"), "'norm1' .* has alpha 0.001"),
        ("FCNAlexNet", inside("conv4", "group: 2", "group: 1"), "'conv4' .* has group 1, not 2"),
        (
            "FCN32sLateFusion",
            inside("score_fused", "coeff: 0.5\n    coeff: 0.5", "coeff: 0.4\n    coeff: 0.6"),
            "has coeff",
        ),
    ],
)
def test_any_difference_is_told(name, change, reason):
    found = changed(narrow(name), change)
    assert recognize(found) is None
    with pytest.raises(NetError, match=reason) as refusal:
        insist(found, name)
    assert str(refusal.value).startswith(f"net.prototxt: is not {name}: ")


def test_what_does_not_change_the_numbers_is_no_difference():
    def change(text):
        text = inside("conv3_2", "kernel_size: 3", "kernel_h: 3 kernel_w: 3 dilation: 1 engine: CUDNN")(text)
        text = inside(
            "fc7", "kernel_size: 1", "kernel_size: 1 pad: 0 stride: 1 weight_filler { type: 'xavier' }"
        )(text)
        text = inside("conv4_1", "lr_mult: 1.0", "lr_mult: 0.25")(text)
        text = without("drop6")(without("drop7")(text))
        text = inside("relu2_1", 'top: "conv2_1"', 'top: "rectified"')(text)
        text = inside("conv2_2", 'bottom: "conv2_1"', 'bottom: "rectified"')(text)
        text = text.replace('name: "relu5_1"', 'name: "r"').replace('name: "score_pool4c"', 'name: "cropped"')
        return text.replace('"pool5"', '"p5"').replace('"data"\n  type', '"input"\n  type')

    architecture = narrow("FCN8s")
    assert recognize(changed(architecture, change)) == architecture


def test_an_unknown_name_is_told():
    with pytest.raises(NetError, match="no architecture is called 'FCN4s'; known are FCN32s, "):
        insist(plan_of(narrow("FCN8s")), "FCN4s")


def test_channels_that_no_file_tells_are_not_guessed():
    found = changed(narrow("FCN8s"), inside("data", 'type: "Input"', 'type: "Data"'))
    assert recognize(found) is None
    with pytest.raises(NetError, match="the channels of its inputs data are not known; give weights, or"):
        insist(found, "FCN8s")


@pytest.mark.parametrize("name", ["forward", "conv1", "conv1_1.b", "conv1_1 b", "conv1_1/3x3"])
def test_names_that_cannot_be_attributes_are_not_taken_from_a_file(name):
    found = changed(narrow("FCN8s"), lambda text: text.replace('"conv1_1"', f'"{name}"'))
    assert recognize(found) is None


def test_early_fusion_may_have_an_input_called_data():
    architecture = narrow("FCN32s", streams=(Stream("", (("data", 3), ("depth", 1))),))
    found = plan(from_message(message(architecture, (49, 66))))
    assert (recognize(found), list(found.inputs)) == (architecture, ["data", "depth"])
