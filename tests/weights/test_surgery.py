"""Surgery: classifiers made convolutional, weights from net to net, bilinear kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from caffe2torch.blob import Blob
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.modules.caffe_net import build
from caffe2torch.modules.fcn import FCN8s, FCN16s, FCN32s
from caffe2torch.modules.fcn_general import FCN32sLateFusion
from caffe2torch.net import from_message, to_message
from caffe2torch.net.reading import read
from caffe2torch.opening.loading import load
from caffe2torch.plan import plan
from caffe2torch.weights.surgery import bilinear_kernel, bilinear_weight, convolutionalize, transplant
from caffe2torch.zoo.fcn import Architecture, Head, message
from tests.nets import net_of

WIDTHS = (4, 6, 8, 10, 12, 14, 16)


@pytest.mark.parametrize(
    ("size", "ramp"),
    [(1, [1]), (2, [0.5, 0.5]), (3, [0.5, 1, 0.5]), (4, [0.25, 0.75, 0.75, 0.25])],
)
def test_small_kernels(size, ramp):
    kernel = bilinear_kernel(size)
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, np.outer(ramp, ramp).astype(np.float32))


@pytest.mark.parametrize(
    ("size", "factor"), [(3, 2), (4, 2), (15, 8), (16, 8), (31, 16), (32, 16), (63, 32), (64, 32)]
)
def test_a_kernel_shares_each_pixel_out_whole(size, factor):
    """Deconvolved with stride `factor`, a constant image stays constant away from its border."""
    kernel = torch.from_numpy(bilinear_kernel(size))[None, None]
    up = torch.nn.functional.conv_transpose2d(torch.full((1, 1, 5, 6), 3.0), kernel, stride=factor)
    inner = up[..., size:-size, size:-size]
    assert inner.numel() > 0
    torch.testing.assert_close(inner, torch.full_like(inner, 3.0))


@pytest.mark.parametrize(
    ("folder", "layer", "size"),
    [
        ("voc-fcn8s", "upscore2", 4),
        ("voc-fcn8s", "upscore8", 16),
        ("voc-fcn16s", "upscore16", 32),
        ("voc-fcn32s", "upscore", 64),
        ("voc-fcn-alexnet", "upscore", 63),
    ],
)
def test_kernels_of_the_zoo(golden, folder, layer, size):
    """Caffe stored these, dense."""
    layers = {
        layer.name: layer for layer in read(None, golden / "fcn" / folder / "weights.caffemodel").layers
    }
    stored = layers[layer].blobs[0].read()
    assert stored.shape[2:] == (size, size)
    np.testing.assert_array_equal(bilinear_weight(stored.shape), stored)


def test_weights_that_cannot_be_bilinear():
    assert bilinear_weight((5, 1, 4, 4)).sum() == 5 * bilinear_kernel(4).sum()
    for shape in ((3, 3, 4, 6), (3, 2, 4, 4), (2, 3, 4, 4), (3, 3, 4)):
        with pytest.raises(NetError, match="needs a weight"):
            bilinear_weight(shape)


CLASSIFIER = """
layer { name: "data" %(start)s top: "data" }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 2 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
%(between)s
layer { name: "fc6" type: "InnerProduct" bottom: "%(bottom)s" top: "fc6" param { lr_mult: 3 }
  inner_product_param { num_output: 7 %(settings)s weight_filler { type: "xavier" } } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7"
  inner_product_param { num_output: 4 bias_term: false } }
layer { name: "prob" type: "Softmax" bottom: "fc7" top: "prob" }
"""
IMAGES = 'type: "Input" input_param { shape { dim: [2, 3, 9, 13] } }'


def classifier(start=IMAGES, between="", bottom="pool", settings="", **blobs):
    return net_of(CLASSIFIER % locals(), **(weights() | blobs))


def weights():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal
    return {
        "conv": [normal((5, 3, 2, 2)), normal(5)],
        "fc6": [normal((7, 5 * 4 * 6)) / 10, normal(7)],
        "fc7": [normal((4, 7))],
    }


def outputs(net, image):
    with torch.no_grad():
        return build(net)(data=image)["prob"]


def test_a_classifier_gives_the_same_and_slides():
    net = classifier()
    converted = convolutionalize(net)
    small, large = torch.randn(2, 3, 9, 13), torch.randn(2, 3, 15, 19)
    expected = outputs(net, small)
    assert expected.shape == (2, 4)
    torch.testing.assert_close(outputs(converted, small), expected[..., None, None], rtol=1e-5, atol=1e-6)
    everywhere = outputs(converted, large)
    assert everywhere.shape == (2, 4, 4, 4)
    for i, j in ((0, 0), (1, 2), (3, 3)):
        patch = large[:, :, 2 * i : 2 * i + 9, 2 * j : 2 * j + 13]
        torch.testing.assert_close(everywhere[..., i, j], outputs(net, patch), rtol=1e-5, atol=1e-6)


def test_layers_become_convolutions_and_blobs_views():
    net = classifier()
    converted = {layer.name: layer for layer in convolutionalize(net).layers}
    fc6, fc7 = converted["fc6"], converted["fc7"]
    assert (fc6.type, fc7.type) == ("Convolution", "Convolution")
    assert (fc6.fields.convolution_param.kernel_size, fc7.fields.convolution_param.kernel_size) == (
        (4, 6),
        (1,),
    )
    assert fc6.fields.convolution_param.weight_filler.type == "xavier"
    assert fc6.fields.param[0].lr_mult == 3
    assert [blob.shape for blob in (*fc6.blobs, *fc7.blobs)] == [(7, 5, 4, 6), (7,), (4, 7, 1, 1)]
    before = next(layer for layer in net.layers if layer.name == "fc6").blobs[0]
    assert np.shares_memory(fc6.blobs[0].read(), before.read())
    assert convolutionalize(net).notes[-1] == "now convolutions: 'fc6', 'fc7'"
    assert convolutionalize(convolutionalize(net)).notes[-1] == "no layer is fully connected"


def test_old_shapes_transposed_weights_and_flattened_bottoms():
    image, (fc6, bias) = torch.randn(2, 3, 9, 13), weights()["fc6"]
    expected = outputs(classifier(), image)[..., None, None]
    flatten = 'layer { name: "f" type: "Flatten" bottom: "pool" top: "f" }'
    dropout = 'layer { name: "r" type: "Dropout" bottom: "f" top: "f" }'
    for net in (
        classifier(fc6=[fc6.reshape(1, 1, 7, -1), bias.reshape(1, 1, 1, -1)]),
        classifier(settings="transpose: true", fc6=[fc6.T.copy(), bias]),
        classifier(between=flatten, bottom="f"),
        classifier(between=flatten + dropout, bottom="f"),
    ):
        torch.testing.assert_close(outputs(convolutionalize(net), image), expected, rtol=1e-5, atol=1e-6)


def test_a_flattened_blob_that_others_read_too_stays_flat():
    """And what was fully connected sees no image that it could slide over."""
    between = """layer { name: "f" type: "Flatten" bottom: "pool" top: "f" }
                 layer { name: "sum" type: "Reduction" bottom: "f" top: "sum" reduction_param { axis: 1 } }"""
    with pytest.raises(NetError, match="'fc6'"):
        convolutionalize(classifier(between=between, bottom="f"))


def test_a_definition_alone_becomes_convolutional():
    text = CLASSIFIER % {"start": IMAGES, "between": "", "bottom": "pool", "settings": ""}
    layers = {layer.name: layer for layer in to_message(convolutionalize(net_of(text))).layer}
    sizes = {name: list(layers[name].convolution_param.kernel_size) for name in ("conv", "fc6", "fc7")}
    shape = [layers["fc6"].convolution_param.kernel_h, layers["fc6"].convolution_param.kernel_w]
    assert (sizes["fc6"] or shape, sizes["fc7"]) == ([4, 6], [1])
    assert (layers["fc6"].convolution_param.num_output, layers["fc7"].convolution_param.bias_term) == (
        7,
        False,
    )


RESHAPED = (
    'layer { name: "f" type: "Reshape" bottom: "pool" top: "f" reshape_param { shape { dim: 0 dim: -1 } } }'
)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (
            lambda: classifier(between=RESHAPED, bottom="f"),
            "net.prototxt: cannot be made convolutional: layer 'fc6'",
        ),
        (
            lambda: classifier(settings="axis: 2", fc6=[np.zeros((7, 24)), np.zeros(7)]),
            r"axis: 2 of a bottom \(2, 5, 4, 6\)",
        ),
        (
            lambda: classifier(start='type: "Data"'),
            "'fc6' .* its bottom is not known; give a --prototxt whose Input",
        ),
        (
            lambda: classifier(fc6=[np.zeros((7, 119)), np.zeros(7)]),
            r"'fc6' blob 0 is \(7, 119\), .* needs \(7, 5, 4, 6\)",
        ),
    ],
)
def test_what_cannot_be_convolutional_is_refused(net, reason):
    with pytest.raises((NetError, WeightsError), match=reason):
        convolutionalize(net())


@pytest.mark.parametrize(
    ("path", "kernels"),
    [
        ("everpeace__caffe/models/bvlc_reference_caffenet/deploy.prototxt", (6, 1, 1)),
        ("davidgengenbach__vgg-caffe/model/VGG_ILSVRC_19_layers_deploy.prototxt", (7, 1, 1)),
    ],
)
def test_published_classifiers(reference, path, kernels):
    net = convolutionalize(read(reference / "corpus" / "prototxt" / path))
    layers = [layer for layer in net.layers if layer.name.startswith("fc")]
    assert tuple(layer.fields.convolution_param.kernel_size for layer in layers) == tuple(
        (k,) for k in kernels
    )
    assert {step.tops[0][2:] for step in plan(net).steps if step.key.startswith("fc")} == {(1, 1)}


@pytest.mark.parametrize("rows", [(), (1, 1)])
def test_an_fcn_s_definition_with_a_classifier_s_blobs(golden, rows):
    """As the zoo's FCN-32s begins: its own prototxt, VGG-16's caffemodel."""
    path = golden / "fcn" / "voc-fcn32s" / "weights.caffemodel"
    net = read(None, path)

    def flat(layer):
        if layer.name not in ("fc6", "fc7"):
            return layer
        weight, bias = (blob.read() for blob in layer.blobs)
        return replace(layer, blobs=(Blob.of(weight.reshape(*rows, len(weight), -1)), Blob.of(bias)))

    classifier = replace(net, layers=tuple(map(flat, net.layers)))
    with pytest.raises(WeightsError, match=r"'fc[67]' blob 0"):
        plan(classifier)
    converted = convolutionalize(classifier)
    assert converted.notes[-1] == "now convolutions: 'fc6', 'fc7'"
    ours, theirs = build(converted).state_dict(), build(net).state_dict()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def random(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, generator=generator)
    return model


def test_the_next_stage_starts_from_the_last():
    """FCN-16s from FCN-32s, as in CVPR 2015, Section 4.3: the new score of pool4 stays zero."""
    source, target = random(FCN32s(3, 3, WIDTHS)), FCN16s(3, 3, WIDTHS)
    report = transplant(target, source)
    for name, tensors in source.blobs().items():
        if name != "upscore":
            assert all(torch.equal(a, b) for a, b in zip(tensors, target.blobs()[name], strict=True)), name
    assert not target.score_pool4.weight.any()
    assert report.missing == ("upscore",)
    assert report.untouched == ("upscore2", "score_pool4", "upscore16")
    assert report.reshaped == ()
    assert (report.copied[0], report.copied[-1]) == ("conv1_1", "score_fr")
    assert str(report).splitlines()[1:] == ["missing: upscore", "untouched: upscore2, score_pool4, upscore16"]


def test_two_nets_into_one_by_suffix():
    color, hha = random(FCN32s(4, 3, WIDTHS), 1), random(FCN32s(4, 3, WIDTHS), 2)
    both = FCN32sLateFusion(4, WIDTHS)
    transplant(both, color, "color")
    report = transplant(both, hha, "hha")
    assert torch.equal(both.fc6color.weight, color.fc6.weight)
    assert torch.equal(both.score_frhha.bias, hha.score_fr.bias)
    assert report.missing == ("upscore",)
    assert set(report.untouched) == {name for name in both.blobs() if not name.endswith("hha")}


def test_a_classifier_into_an_fcn():
    """Same count, other shape: what the FCN reference implementation calls coercing."""
    target = build(from_message(message(Architecture("FCN32s", (Head("", 3),), widths=WIDTHS))))
    weight = np.random.default_rng(0).standard_normal((14, 12 * 7 * 7)).astype(np.float32)
    text = 'layer { name: "fc6" type: "InnerProduct" } layer { name: "fc8" type: "InnerProduct" }'
    source = net_of(text, fc6=[weight, np.ones(14)], fc8=[np.ones((5, 16)), np.ones(5)])
    report = transplant(target, source)
    assert report.reshaped == ("fc6 (14, 588) -> (14, 12, 7, 7)",)
    assert (report.copied, report.missing) == ((), ("fc8",))
    np.testing.assert_array_equal(target.state_dict()["fc6.weight"].reshape(14, -1), weight)
    assert target.state_dict()["fc6.bias"].sum() == 14


def test_into_a_net_and_between_dense_and_diagonal(golden):
    path = golden / "fcn" / "voc-fcn8s" / "weights.caffemodel"
    model, net = load(path), read(None, path)
    bare = replace(net, weights="", layers=tuple(replace(layer, blobs=()) for layer in net.layers))
    filled = transplant(bare, model)
    assert (filled.missing, filled.untouched) == ((), ())
    assert "upscore2 (21, 1, 4, 4) -> (21, 21, 4, 4)" in filled.reshaped
    for ours, theirs in zip(filled.net.layers, net.layers, strict=True):
        for a, b in zip(ours.blobs, theirs.blobs, strict=True):
            np.testing.assert_array_equal(a.read(), b.read().reshape(a.shape))
    assert all(not layer.blobs for layer in bare.layers)
    twin = FCN8s(21, widths=model.architecture.widths)
    report = transplant(twin, net)
    assert "upscore8 (21, 21, 16, 16) -> (21, 1, 16, 16)" in report.reshaped
    assert all(
        torch.equal(a, b)
        for a, b in zip(twin.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_blobs_that_do_not_fit_leave_the_target_alone():
    target, source = FCN32s(5, 3, WIDTHS), random(FCN32s(3, 3, WIDTHS))
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"'score_fr' blob 0 is \(3, 16, 1, 1\) in the source, \(5, 16, 1, 1\)"
    ):
        transplant(target, source)
    dense = random(FCN32s(5, 3, WIDTHS, learned=["upscore"]))
    with pytest.raises(
        WeightsError, match=r"'upscore' blob 0 is \(5, 5, 64, 64\) in the source, \(5, 1, 64, 64\)"
    ):
        transplant(target, dense)
    with pytest.raises(WeightsError, match="'fc6': the source has 1 blobs, the target 2"):
        transplant(target, net_of('layer { name: "fc6" type: "InnerProduct" }', fc6=[np.ones((14, 588))]))
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())
    with pytest.raises(TypeError, match="takes a CaffeNet, an FCN of this package or a Net"):
        transplant(target, torch.nn.Linear(2, 2))
