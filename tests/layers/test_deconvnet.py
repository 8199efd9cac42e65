"""DeconvNet as published: its V1 net, and a caffemodel with the numbers of its fork's types and fields."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from torch.nn.functional import conv2d, conv_transpose2d, max_pool2d, max_unpool2d, relu

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.net import from_message
from caffe2torch.plan import plan
from caffe2torch.upgrades import upgrade_net
from tests import wire_writer as w

NARROWER = 32
BN, BN_PARAM = 43, 45
"""A type and a field of HyeonwooNoh/caffe: V1LayerParameter.LayerType and V1LayerParameter."""
CONVOLUTION, DECONVOLUTION = 4, 39


def narrow(text: str) -> str:
    """The net with fewer channels, but for its 21 classes."""
    return re.sub(r"num_output: ?(\d+)", lambda n: f"num_output: {int(n[1]) // NARROWER or 21}", text)


def layers() -> list[tuple[str, str, int, int, int]]:
    """Name and kind of each layer with weights, its channels and its kernel, in order."""
    found, width = [], 3
    for stage, (count, channels) in enumerate([(2, 2), (2, 4), (3, 8), (3, 16), (3, 16)], 1):
        for i in range(1, count + 1):
            found.append((f"conv{stage}_{i}", f"bn{stage}_{i}", width, channels, 3))
            width = channels
    found += [("fc6", "bnfc6", 16, 128, 7), ("fc7", "bnfc7", 128, 128, 1)]
    found += [("fc6-deconv", "fc6-deconv-bn", 128, 16, 7)]
    width = 16
    for stage, each in zip((5, 4, 3, 2, 1), ([16] * 3, [16, 16, 8], [8, 8, 4], [4, 2], [2, 2]), strict=True):
        for i, channels in enumerate(each, 1):
            found.append((f"deconv{stage}_{i}", f"debn{stage}_{i}", width, channels, 3))
            width = channels
    return [*found, ("seg-score-voc", "", width, 21, 1)]


@pytest.fixture(scope="module")
def blobs() -> dict[str, list[np.ndarray]]:
    generator = np.random.default_rng(1)
    drawn = {}
    for name, bn, bottom, top, kernel in layers():
        shape = (bottom, top) if "deconv" in name else (top, bottom)
        fan_in = bottom * kernel**2 if kernel < 7 or "deconv" not in name else bottom
        weight = generator.normal(0, (2 / fan_in) ** 0.5, (*shape, kernel, kernel))
        drawn[name] = [weight, generator.normal(0, 0.1, (1, 1, 1, top))]
        if bn:
            drawn[bn] = [
                generator.uniform(0.5, 1.5, (1, top, 1, 1)),
                generator.normal(0, 0.3, (1, top, 1, 1)),
            ]
    return {name: [blob.astype(np.float32) for blob in own] for name, own in drawn.items()}


def caffemodel(blobs: dict[str, list[np.ndarray]]) -> bytes:
    data = b""
    for name, own in blobs.items():
        written = []
        for blob in own:
            sizes = dict(zip(("num", "channels", "height", "width"), blob.shape, strict=True))
            written.append(w.legacy(**sizes) + w.packed(5, blob.ravel()))
        if "bn" in name:
            data += w.v1_layer(name, *written, number=BN, more=w.delimited(BN_PARAM, w.integer(3, 1)))
        else:
            data += w.v1_layer(name, *written, number=DECONVOLUTION if "deconv" in name else CONVOLUTION)
    return data


def deconvnet(image: torch.Tensor, blobs: dict[str, list[np.ndarray]]) -> torch.Tensor:
    """The paper's net, as its authors describe it."""
    each = {name: [torch.tensor(blob) for blob in own] for name, own in blobs.items()}

    def step(x: torch.Tensor, name: str, bn: str) -> torch.Tensor:
        weight, bias = each[name]
        through, pad = (conv_transpose2d if "deconv" in name else conv2d), weight.shape[2] == 3
        scale, shift = each[bn]
        return relu(through(x, weight, bias.ravel(), padding=int(pad)) * scale + shift)

    x, masks = image, []
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            x = step(x, f"conv{stage}_{i}", f"bn{stage}_{i}")
        x, mask = max_pool2d(x, 2, 2, return_indices=True)
        masks.append(mask)
    for name, bn in (("fc6", "bnfc6"), ("fc7", "bnfc7"), ("fc6-deconv", "fc6-deconv-bn")):
        x = step(x, name, bn)
    for stage, count in zip((5, 4, 3, 2, 1), (3, 3, 3, 2, 2), strict=True):
        x = max_unpool2d(x, masks.pop(), 2, 2)
        for i in range(1, count + 1):
            x = step(x, f"deconv{stage}_{i}", f"debn{stage}_{i}")
    weight, bias = each["seg-score-voc"]
    return conv2d(x, weight, bias.ravel())


def test_deconvnet_converts_whole(golden: Path, tmp_path: Path, blobs: dict[str, list[np.ndarray]]) -> None:
    prototxt, weights = tmp_path / "deconvnet.prototxt", tmp_path / "deconvnet.caffemodel"
    prototxt.write_text(narrow((golden / "wild/deconvnet.prototxt").read_text()))
    weights.write_bytes(caffemodel(blobs))
    model = c2t.build(c2t.read(prototxt, weights))
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        ours, expected = model(data=image)["seg-score"], deconvnet(image, blobs)
    assert ours.shape == (1, 21, 224, 224)
    assert (ours - expected).norm() <= 1e-5 * expected.norm()
    assert expected.std((2, 3)).min() > 1e-3  # pixels differ


def test_a_training_net_of_deconvnet_is_deployed() -> None:
    text = """
      layers { name: "data" type: WINDOW_SEG_DATA top: "data" top: "label"
        image_data_param { batch_size: 2 label_type: PIXEL new_height: 25 new_width: 25 }
        transform_param { crop_size: 8 } }
      layers { name: "score" type: CONVOLUTION bottom: "data" top: "score"
        convolution_param { num_output: 21 kernel_size: 1 } }
      layers { name: "bn" type: BN bottom: "score" top: "score" top: "mean" top: "variance" }
      layers { name: "hit" type: ELTWISE_ACCURACY bottom: "score" bottom: "label" top: "hit"
        eltwise_accuracy_param { ignore_label: 255 } }
      layers { name: "loss" type: SOFTMAX_LOSS bottom: "score" bottom: "label" top: "loss" }"""
    current, _ = upgrade_net(text_format.Parse(text, schema.message("NetParameter")()), "stage_1")
    planned = plan(from_message(current, read_from="stage_1"), "TEST")
    assert planned.inputs == {"data": (2, 3, 8, 8)}
    assert planned.outputs == ("score", "mean", "variance")
