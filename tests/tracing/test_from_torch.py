"""Torch modules in Caffe's layers. The oracle is the module; what the prototxt says was written by hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf import text_format
from torch import Tensor, nn
from torch.nn import functional as F

import caffe2torch as c2t
from caffe2torch import schema
from caffe2torch.errors import NetError, UnsupportedModule, VerificationFailed
from caffe2torch.formats.prototxt import definition
from caffe2torch.net import Net

SHAPE = (2, 6, 13, 17)


class Does(nn.Module):
    """A module whose forward is a function of itself, with some parts, and of its input."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def filled(module: nn.Module) -> nn.Module:
    """The module with statistics and slopes that are not their initial ones."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return module


def types(net: Net) -> list[str]:
    return [layer.type for layer in net.layers if layer.type != "Input"]


def does(function: Callable[..., Any], **parts: Any) -> Callable[[], nn.Module]:
    return lambda: Does(function, **parts)


CONVOLUTIONS = {
    "conv2d": (lambda: nn.Conv2d(6, 8, (3, 5), (2, 1), (1, 2), (1, 2), bias=False), ["Convolution"]),
    "conv2d-groups": (lambda: nn.Conv2d(6, 4, 3, groups=2), ["Convolution"]),
    "conv2d-same": (lambda: nn.Conv2d(6, 4, (3, 5), padding="same", dilation=(2, 1)), ["Convolution"]),
    "conv2d-valid": (lambda: nn.Conv2d(6, 4, 2, padding="valid"), ["Convolution"]),
    "F.conv2d": (does(lambda m, x: F.conv2d(x, m.w, padding=1), w=nn.Parameter(torch.randn(5, 6, 3, 2))),
                 ["Convolution"]),
    "deconv": (lambda: nn.ConvTranspose2d(6, 4, (4, 3), (2, 3), (1, 0), groups=2), ["Deconvolution"]),
    "deconv-output-padding": (
        lambda: nn.ConvTranspose2d(6, 4, 3, (2, 5), output_padding=(1, 4), dilation=(1, 2), groups=2),
        ["Deconvolution"]),
    "deconv-dilated": (lambda: nn.ConvTranspose2d(6, 5, 3, dilation=2, bias=False), ["Deconvolution"]),
    "linear": (lambda: nn.Linear(17, 5), ["InnerProduct"]),
    "linear-flat": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(1326, 5, bias=False)), ["InnerProduct"]),
    "F.linear": (does(lambda m, x: F.linear(x.flatten(2), m.w), w=torch.randn(3, 13 * 17)),
                 ["Flatten", "InnerProduct"]),
}  # fmt: skip
NEURONS = {
    "relu": (nn.ReLU, ["ReLU"]),
    "x.relu_": (does(lambda m, x: x.relu_()), ["ReLU"]),
    "leaky": (lambda: nn.LeakyReLU(0.2), ["ReLU"]),
    "prelu": (lambda: nn.PReLU(6, 0.3), ["PReLU"]),
    "prelu-shared": (lambda: nn.PReLU(init=0.3), ["PReLU"]),
    "elu": (lambda: nn.ELU(0.7), ["ELU"]),
    "sigmoid": (nn.Sigmoid, ["Sigmoid"]),
    "tanh": (does(lambda m, x: torch.tanh(x)), ["TanH"]),
    "silu": (nn.SiLU, ["Swish"]),
    "relu6": (does(lambda m, x: F.relu6(5 * x)), ["Power", "Clip"]),
    "hardtanh": (lambda: nn.Hardtanh(-0.5, 0.7), ["Clip"]),
    "clamp": (does(lambda m, x: x.clamp(-1, max=0.5)), ["Clip"]),
    "clamp-below": (does(lambda m, x: x.clamp(min=0)), ["ReLU"]),
    "softplus": (nn.Softplus, ["BNLL"]),
    "abs, exp, log, sqrt": (does(lambda m, x: (x.abs().exp().log() + 1).sqrt()),
                            ["AbsVal", "Exp", "Log", "Power", "Power"]),
    "dropout": (lambda: nn.Dropout(0.3), ["Dropout"]),
    "F.dropout": (does(lambda m, x: F.dropout(x, 0.3, m.training)), ["Dropout"]),
    "softmax": (lambda: nn.Softmax(1), ["Softmax"]),
    "x.softmax": (does(lambda m, x: x.softmax(-1)), ["Softmax"]),
    "identity": (lambda: nn.Sequential(nn.Identity(), nn.ReLU()), ["ReLU"]),
    "batchnorm": (lambda: nn.BatchNorm2d(6, eps=0.1), ["BatchNorm", "Scale"]),
    "batchnorm-plain": (lambda: nn.BatchNorm2d(6, affine=False), ["BatchNorm"]),
    "batchnorm1d": (lambda: nn.Sequential(nn.Flatten(1), nn.BatchNorm1d(6 * 13 * 17)),
                    ["Flatten", "BatchNorm", "Scale"]),
    "lrn": (lambda: nn.LocalResponseNorm(3, alpha=0.4, beta=0.6, k=1.5), ["LRN"]),
}  # fmt: skip
POOLS = {
    "max-ceil": (lambda: nn.MaxPool2d((2, 3), (2, 3), (1, 0), ceil_mode=True), ["Pooling"]),
    "max-floor-same": (lambda: nn.MaxPool2d(3, 2), ["Pooling"]),
    "F.max": (does(lambda m, x: F.max_pool2d(x, (3, 5), stride=(2, 4), padding=(1, 2))), ["Pooling"]),
    "average-padded": (lambda: nn.AvgPool2d(3, 2, 1), ["Pooling"]),
    "average-ceil": (lambda: nn.AvgPool2d((2, 4), (2, 3), ceil_mode=True), ["Pooling"]),
    "average-not-counting-none": (lambda: nn.AvgPool2d(3, 2, count_include_pad=False), ["Pooling"]),
    "global": (lambda: nn.AdaptiveAvgPool2d(1), ["Pooling"]),
    "global-max": (does(lambda m, x: F.adaptive_max_pool2d(x, (1, 1))), ["Pooling"]),
    "adaptive-columns": (lambda: nn.AdaptiveAvgPool2d((13, 1)), ["Pooling"]),
    "adaptive-nothing": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d((13, None)), nn.ReLU()), ["ReLU"]),
    "mean": (does(lambda m, x: x.mean((2, 3))), ["Pooling", "Flatten"]),
    "mean-kept": (does(lambda m, x: torch.mean(x, dim=(-1, -2), keepdim=True)), ["Pooling"]),
    "amax": (does(lambda m, x: x.amax((2, 3), True)), ["Pooling"]),
}  # fmt: skip
SHAPES = {
    "flatten": (does(lambda m, x: x.flatten(2)), ["Flatten"]),
    "view": (does(lambda m, x: x.view(x.size(0), -1)), ["Flatten"]),
    "reshape": (does(lambda m, x: x.reshape(x.shape[0], 2, 3, 13, -1)), ["Reshape"]),
    "squeeze": (does(lambda m, x: x[:, 2:3].squeeze(1)), ["Slice", "Silence", "Reshape"]),
    "unsqueeze": (does(lambda m, x: x.unsqueeze(-1)), ["Reshape"]),
    "cat": (does(lambda m, x: torch.cat([x, x.abs()], dim=1)), ["AbsVal", "Concat"]),
    "cat-rows": (does(lambda m, x: torch.cat((x, x.abs(), x), 2)), ["AbsVal", "Concat"]),
    "chunk": (does(lambda m, x: x.chunk(3, 1)[1]), ["Slice", "Silence"]),
    "chunk-uneven": (does(lambda m, x: torch.cat(x.chunk(4, 2)[::-1], 2)), ["Slice", "Concat"]),
    "split": (does(lambda m, x: torch.cat(x.split([1, 3, 2], 1)[1:], 1)), ["Slice", "Silence", "Concat"]),
    "narrow": (does(lambda m, x: x.narrow(3, 2, 5)), ["Slice", "Silence"]),
    "slice-twice": (does(lambda m, x: x[:, :, 1:-1, 2:]), ["Slice", "Silence", "Slice", "Silence"]),
    "slice-all": (does(lambda m, x: F.relu(x[..., :])), ["ReLU"]),
    "slice-read-twice": (does(lambda m, x: (lambda y: F.relu(y) + y)(x[:, 2:4])),
                         ["Slice", "Silence", "ReLU", "Eltwise"]),
    "split-into-one": (does(lambda m, x: F.relu(x.split(6, 1)[0])), ["ReLU"]),
    "flatten-one-axis": (does(lambda m, x: F.relu(x.flatten(3))), ["ReLU"]),
    "view-as-it-is": (does(lambda m, x: F.relu(x.view(2, 6, 13, 17))), ["ReLU"]),
    "nearest": (lambda: nn.Upsample(scale_factor=(2, 3)), ["Deconvolution"]),
    "nearest-square": (lambda: nn.Upsample(scale_factor=2), ["Deconvolution"]),
    "from-one-pixel": (
        does(lambda m, x: F.interpolate(F.adaptive_avg_pool2d(x, 1), size=x.shape[2:], mode="bilinear")),
        ["Pooling", "Deconvolution"]),
}  # fmt: skip
ARITHMETIC = {
    "add": (does(lambda m, x: x + x.abs()), ["AbsVal", "Eltwise"]),
    "add-alpha": (does(lambda m, x: torch.add(x, x.abs(), alpha=0.3)), ["AbsVal", "Eltwise"]),
    "sub": (does(lambda m, x: x - x.abs()), ["AbsVal", "Eltwise"]),
    "mul": (does(lambda m, x: x * x.abs()), ["AbsVal", "Eltwise"]),
    "max": (does(lambda m, x: torch.max(x, -x)), ["Power", "Eltwise"]),
    "maximum": (does(lambda m, x: x.maximum(x * 2)), ["Power", "Eltwise"]),
    "numbers": (does(lambda m, x: 3 - (2 * x + 1) / 7), ["Power", "Power", "Power", "Power"]),
    "number-first": (does(lambda m, x: 3 + x), ["Power"]),
    "number-in-a-tensor": (does(lambda m, x: m.two - x, two=torch.tensor([2.0])), ["Power"]),
    "by its own name": (does(lambda m, x: torch.sigmoid(input=x)), ["Sigmoid"]),
    "centred": (does(lambda m, x: x - x.mean((2, 3), keepdim=True)), ["Pooling", "Power", "Flatten", "Bias"]),
    "powers": (does(lambda m, x: 2 / (x**2 + 1)), ["Power", "Power", "Power", "Power"]),
    "mean and deviation": (does(lambda m, x: (x - m.mean) / m.std, mean=torch.randn(1, 6, 1, 1),
                                std=torch.rand(6, 1, 1) + 0.5), ["Bias", "Scale"]),
    "constant-map": (does(lambda m, x: x * m.w, w=torch.randn(13, 1)), ["Scale"]),
    "constant-minus": (does(lambda m, x: m.w - x, w=torch.randn(6, 1, 1)), ["Power", "Bias"]),
    "read-again": (does(lambda m, x: (lambda y: F.relu(y) + y)(m.conv(x)), conv=nn.Conv2d(6, 4, 1)),
                   ["Convolution", "ReLU", "Eltwise"]),
    "gate": (does(lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid()),
             ["Pooling", "Sigmoid", "Flatten", "Scale"]),
    "shift": (does(lambda m, x: x.mean((2, 3), keepdim=True) + x), ["Pooling", "Flatten", "Bias"]),
}  # fmt: skip
CASES = CONVOLUTIONS | NEURONS | POOLS | SHAPES | ARITHMETIC


@pytest.mark.parametrize("name", CASES)
def test_the_net_has_the_module_s_numbers_also_from_a_file(name: str, tmp_path: Path) -> None:
    make, wanted = CASES[name]
    module = filled(make()).eval()
    net = c2t.from_torch(module, {"data": SHAPE})
    assert types(net) == wanted
    c2t.export(net, tmp_path / "net.caffemodel")
    model = c2t.build(c2t.read(weights=tmp_path / "net.caffemodel") if net.layers[1].blobs else net)
    image = torch.randn(SHAPE)
    with torch.no_grad():
        (found,), expected = model(data=image).values(), module(image.clone())
    assert found.shape == expected.shape
    error = float((found - expected).norm() / expected.norm())
    assert error < 1e-5, f"relative error {error:.1e}"


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Conv1d(6, 4, 3, 2, dilation=2), (2, 6, 31)), (nn.Conv3d(6, 4, 2, padding=1), (1, 6, 3, 4, 5))],
)
def test_kernels_over_one_and_three_axes(module: nn.Module, shape: tuple[int, ...]) -> None:
    net = c2t.from_torch(module, {"data": shape})
    image = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(c2t.build(net)(data=image)["0"], module(image))


# --- the prototxt, by hand


def same(net: Net, text: str) -> None:
    assert definition(net) == text_format.MessageToString(
        text_format.Parse(text, schema.message("NetParameter")()), as_utf8=True
    )


def test_a_classifier_reads_as_the_zoo_s() -> None:
    features = nn.Sequential(
        nn.Conv2d(3, 5, (3, 4), padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)
    )
    classifier = nn.Sequential(nn.Linear(5 * 5 * 4, 7), nn.ReLU(True), nn.Dropout(0.25), nn.Linear(7, 2))
    module = nn.Sequential(
        OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier, prob=nn.Softmax(1))
    )
    features[0].weight.requires_grad_(False)
    same(
        c2t.from_torch(module, {"data": (1, 3, 9, 8)}),
        """
        name: "Sequential"
        layer { name: "data" type: "Input" top: "data"
                input_param { shape { dim: 1 dim: 3 dim: 9 dim: 8 } } }
        layer { name: "features.0" type: "Convolution" bottom: "data" top: "features.0"
                param { lr_mult: 0 } param { }
                convolution_param { num_output: 5 pad: 1 kernel_h: 3 kernel_w: 4 } }
        layer { name: "features.1" type: "ReLU" bottom: "features.0" top: "features.0" }
        layer { name: "features.2" type: "Pooling" bottom: "features.0" top: "features.2"
                pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "classifier.0" type: "InnerProduct" bottom: "features.2" top: "classifier.0"
                inner_product_param { num_output: 7 } }
        layer { name: "classifier.1" type: "ReLU" bottom: "classifier.0" top: "classifier.0" }
        layer { name: "classifier.2" type: "Dropout" bottom: "classifier.0" top: "classifier.0"
                dropout_param { dropout_ratio: 0.25 } }
        layer { name: "classifier.3" type: "InnerProduct" bottom: "classifier.0" top: "classifier.3"
                inner_product_param { num_output: 2 } }
        layer { name: "prob" type: "Softmax" bottom: "classifier.3" top: "prob" }
        """,
    )


def test_caffe_wants_both_sizes_of_a_pair() -> None:
    module = nn.Sequential(
        OrderedDict(
            pool=nn.MaxPool2d((2, 3), (1, 3), (1, 0), ceil_mode=True),
            conv=nn.Conv2d(3, 2, (1, 3), (1, 2), (0, 1), bias=False),
        )
    )
    same(
        c2t.from_torch(module, {"data": (1, 3, 9, 8)}),
        """
        name: "Sequential"
        layer { name: "data" type: "Input" top: "data"
                input_param { shape { dim: 1 dim: 3 dim: 9 dim: 8 } } }
        layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
                pooling_param { kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 3 pad_h: 1 pad_w: 0 } }
        layer { name: "conv" type: "Convolution" bottom: "pool" top: "conv"
                convolution_param { num_output: 2 bias_term: false kernel_h: 1 kernel_w: 3
                                    stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1 } }
        """,
    )


class Residual(nn.Module):
    """A block with one ReLU used twice; its input is read twice, so the first is not in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        if scale is not None:
            x = x * scale
        x = self.relu(x)
        return self.relu(self.bn(self.conv(x)) + x)


def test_a_residual_block_has_its_statistics_and_its_relu_twice() -> None:
    same(
        c2t.from_torch(filled(Residual()), {"image": (2, 4, 5, 7)}),
        """
        name: "Residual"
        layer { name: "image" type: "Input" top: "image"
                input_param { shape { dim: 2 dim: 4 dim: 5 dim: 7 } } }
        layer { name: "relu" type: "ReLU" bottom: "image" top: "relu" }
        layer { name: "conv" type: "Convolution" bottom: "relu" top: "conv"
                convolution_param { num_output: 4 bias_term: false pad: 1 kernel_size: 3 } }
        layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
        layer { name: "bn.scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
        layer { name: "add" type: "Eltwise" bottom: "conv" bottom: "relu" top: "add" }
        layer { name: "relu_1" type: "ReLU" bottom: "add" top: "add" }
        """,
    )


class Skip(nn.Module):
    """The upper half of FCN-16s, as people write it: upsample, crop to the skip, fuse, crop to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.Conv2d(3, 4, 3, padding=3), nn.MaxPool2d(2, ceil_mode=True))
        self.coarse = nn.Conv2d(4, 2, 3, stride=2)
        self.up2 = nn.ConvTranspose2d(2, 2, 2, stride=2, groups=2, bias=False)
        self.skip = nn.Conv2d(4, 2, 1)
        self.up = nn.ConvTranspose2d(2, 2, 4, stride=2, groups=2, bias=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pool = self.pool(x)
        up2 = self.up2(self.coarse(pool))
        skip = self.skip(pool)
        height, width = up2.shape[2:]
        up = self.up(up2 + skip.narrow(2, 1, height).narrow(3, 1, width))
        return {"score": up[:, :, 2 : 2 + x.shape[2], 3 : 3 + x.size(3)]}


def test_a_crop_is_to_the_size_of_the_tensor_that_gave_it() -> None:
    module = Skip()
    net = c2t.from_torch(module, {"data": (1, 3, 13, 9)})
    same(
        net,
        """
        name: "Skip"
        layer { name: "data" type: "Input" top: "data"
                input_param { shape { dim: 1 dim: 3 dim: 13 dim: 9 } } }
        layer { name: "pool.0" type: "Convolution" bottom: "data" top: "pool.0"
                convolution_param { num_output: 4 pad: 3 kernel_size: 3 } }
        layer { name: "pool.1" type: "Pooling" bottom: "pool.0" top: "pool.1"
                pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "coarse" type: "Convolution" bottom: "pool.1" top: "coarse"
                convolution_param { num_output: 2 kernel_size: 3 stride: 2 } }
        layer { name: "up2" type: "Deconvolution" bottom: "coarse" top: "up2"
                convolution_param { num_output: 2 bias_term: false kernel_size: 2 group: 2 stride: 2 } }
        layer { name: "skip" type: "Convolution" bottom: "pool.1" top: "skip"
                convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "narrow" type: "Crop" bottom: "skip" bottom: "up2" top: "narrow"
                crop_param { offset: 1 } }
        layer { name: "add" type: "Eltwise" bottom: "up2" bottom: "narrow" top: "add" }
        layer { name: "up" type: "Deconvolution" bottom: "add" top: "up"
                convolution_param { num_output: 2 bias_term: false kernel_size: 4 group: 2 stride: 2 } }
        layer { name: "getitem" type: "Crop" bottom: "up" bottom: "data" top: "score"
                crop_param { offset: 2 offset: 3 } }
        """,
    )
    image = torch.randn(1, 3, 17, 21)  # a size that it was not traced at
    with torch.no_grad():
        torch.testing.assert_close(c2t.build(net)(data=image)["score"], module(image)["score"])


# --- outputs, sharing, and how the module is left


def test_an_output_that_is_read_has_a_split_as_caffe_s_outputs_are_what_nothing_reads() -> None:
    def both(module: Any, x: Tensor) -> Any:
        first = F.relu(module.conv(x))
        return first, F.relu(module.conv2(first)), first, x

    module = Does(both, conv=nn.Conv2d(6, 4, 1), conv2=nn.Conv2d(4, 3, 1))
    net = c2t.from_torch(module, {"data": SHAPE})
    assert types(net) == ["Convolution", "ReLU", "Convolution", "ReLU", "Split", "Split", "Split"]
    image = torch.randn(SHAPE)
    with torch.no_grad():
        found, wanted = c2t.build(net)(data=image), module(image)
    for tensor, name in zip(wanted, ["relu/output", "conv2", "relu/output_1", "data/output"], strict=True):
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_inputs_keep_forward_s_order_and_outputs_their_keys() -> None:
    class Two(nn.Module):
        def forward(self, left: Tensor, right: Tensor, scale: float = 2.0) -> dict[str, Tensor]:
            return {"left": left - scale * right, "sum": left + right}

    net = c2t.from_torch(Two(), {"color": (1, 2, 3, 5), "depth": (1, 2, 3, 5)})
    color, depth = torch.randn(2, 1, 2, 3, 5)
    found = c2t.build(net)(color=color, depth=depth)
    torch.testing.assert_close(found["left"], color - 2 * depth)
    torch.testing.assert_close(found["sum"], color + depth)


def test_a_module_called_twice_shares_its_parameters() -> None:
    module = Does(lambda m, x: m.conv(m.conv(x)), conv=nn.Conv2d(6, 6, 3))
    net = c2t.from_torch(module, {"data": SHAPE})
    names = [[spec.name for spec in layer.fields.param] for layer in net.layers[1:]]
    assert names == [["conv.weight", "conv.bias"]] * 2
    assert [key for key, _ in c2t.build(net).named_parameters()] == ["conv.weight", "conv.bias"]


def test_in_place_is_for_blobs_that_nobody_needs_again() -> None:
    """Not over the memory that a Flatten shares, nor over what LRN or Sigmoid want for their gradient."""
    module = nn.Sequential(
        nn.Conv2d(6, 4, 1), nn.Sigmoid(), nn.ReLU(), nn.LocalResponseNorm(3), nn.ReLU(), nn.ELU(),
        nn.Dropout(), nn.Flatten(), nn.Dropout(),
    )  # fmt: skip
    net = c2t.from_torch(module, {"data": SHAPE})
    assert [(layer.type, layer.tops[0]) for layer in net.layers[1:]] == [
        ("Convolution", "0"), ("Sigmoid", "1"), ("ReLU", "2"), ("LRN", "3"), ("ReLU", "4"), ("ELU", "4"),
        ("Dropout", "6"), ("Flatten", "7"), ("Dropout", "8"),
    ]  # fmt: skip


def test_a_trained_module_is_left_as_it_was_and_its_blobs_are_its_parameters() -> None:
    module = nn.Sequential(nn.Conv2d(6, 4, 1), nn.Dropout(), nn.BatchNorm2d(4)).train()
    module[2].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    net = c2t.from_torch(module, {"data": SHAPE})
    assert [part.training for part in module] == [True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    with torch.no_grad():
        module[0].bias.fill_(7)
    assert net.layers[1].blobs[1].read().tolist() == [7, 7, 7, 7]


def test_a_pool_that_rounds_down_is_written_when_asked_for() -> None:
    net = c2t.from_torch(nn.MaxPool2d(2), {"data": SHAPE}, floor_pooling=True)
    assert net.layers[1].fields.pooling_param.round_mode == "FLOOR"
    assert c2t.build(net)(data=torch.randn(SHAPE))["0"].shape == (2, 6, 6, 8)


# --- what Caffe has no layer for


REFUSED = {
    "floor": (lambda: nn.MaxPool2d(2),
              r"^0 \(MaxPool2d\): floor mode gives 6x8 at this size, Caffe's rounding up gives 7x9; set"),
    "floor-average": (lambda: nn.AvgPool2d(2), "floor mode gives 6x8"),
    "dilated-pool": (lambda: nn.MaxPool2d(3, 1, dilation=2), "dilation is 2; Caffe's pooling has none"),
    "indices": (lambda: nn.MaxPool2d(3, 2, return_indices=True), "return_indices: no Caffe layer"),
    "indices-adaptive": (lambda: nn.AdaptiveMaxPool2d(1, return_indices=True), "return_indices"),
    "not-counting": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), "count_include_pad is False"),
    "divisor": (lambda: nn.AvgPool2d(3, 2, divisor_override=5), "divisor_override is 5"),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((4, 17)), "4x17 windows over 13x17 differ in size"),
    "mean-of-rows": (does(lambda m, x: x.mean(2)), r"mean \(mean\): reduces axes 2 of \(2, 6, 13, 17\)"),
    "reflect": (lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), "padding_mode is 'reflect'"),
    "same-even": (lambda: nn.Conv2d(6, 4, 2, padding="same"), r"padding 'same' for a kernel \(2, 2\)"),
    "output-padding": (lambda: nn.ConvTranspose2d(6, 4, 3, 3, output_padding=1, dilation=2),
                       "output_padding is .1, 1., no multiple of dilation .2, 2."),
    "output-size": (does(lambda m, x: m.up(x, output_size=[28, 36]), up=nn.ConvTranspose2d(6, 4, 3, 2)),
                    r"up \(ConvTranspose2d\): called with more than its input"),
    "computed-weight": (does(lambda m, x: F.conv2d(x, x[:, :, :3, :3])), "its parameters are computed by"),
    "no-batch": (does(lambda m, x: F.conv2d(x[:, 0], m.w), w=torch.randn(4, 2, 3, 3)),
                 r"getitem \(getitem\): the index drops or adds an axis"),
    "no-batch-axis": (does(lambda m, x: F.conv2d(x.flatten(1, 2), m.w), w=torch.randn(4, 2, 3, 3)),
                      r"its input is \(2, 78, 17\); Caffe needs a batch axis, too"),
    "one-axis-more": (does(lambda m, x: x * m.w, w=torch.ones(1, 1, 1, 1, 1)),
                      r"gives \(1, 2, 6, 13, 17\), but as Caffe layers \(2, 6, 13, 17\)"),
    "batch-statistics": (lambda: nn.BatchNorm2d(6, track_running_stats=False), "normalizes by the batch"),
    "even-lrn": (lambda: nn.LocalResponseNorm(4), "size is 4; Caffe's LRN needs an odd one"),
    "group-norm": (lambda: nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 6)),
                   r"^1 \(GroupNorm\): Caffe has no layer for it$"),
    "instance-norm": (lambda: nn.InstanceNorm2d(6), r"0 \(InstanceNorm2d\): Caffe has no layer for it"),
    "gelu": (does(lambda m, x: F.gelu(x)), r"gelu \(gelu\): Caffe has no layer for it"),
    "softplus": (lambda: nn.Softplus(2), "beta is 2; Caffe's BNLL has 1"),
    "log-softmax": (lambda: nn.LogSoftmax(1), "Caffe has no logarithm of a softmax"),
    "softmax-of-what": (lambda: nn.Softmax(), "dim is not given"),
    "dropout2d": (lambda: nn.Dropout2d(), "Caffe's Dropout zeroes single values; put an nn.Identity"),
    "all-dropped": (lambda: nn.Dropout(1.0), r"as a Dropout, dropout_ratio: 1\.0 must be at"),
    "clamp-above": (does(lambda m, x: x.clamp(max=1)), "from None to 1; Caffe's Clip needs two numbers"),
    "permute": (does(lambda m, x: x.permute(0, 2, 3, 1)), "no layer that reorders axes"),
    "pixel-shuffle": (lambda: nn.PixelShuffle(1), "no layer that reorders axes"),
    "stack": (does(lambda m, x: torch.stack([x, x])), "adds an axis"),
    "step": (does(lambda m, x: x[:, :, ::2]), "the index drops or adds an axis, or has a step"),
    "none-left": (does(lambda m, x: x[:, 3:3].sum()), "leaves nothing of axis 1"),
    "batch-moves": (does(lambda m, x: x.view(4, 3, 13, 17)), r"turns \(2, 6, 13, 17\) into \(4, 3, 13, 17\)"),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "mode 'bilinear' repeats the borders"),
    "uneven-size": (lambda: nn.Upsample(size=(20, 34)), "needs whole multiples of height and width"),
    "cat-constant": (does(lambda m, x: torch.cat([x, m.w]), w=torch.zeros(SHAPE)), "one of its tensors is a"),
    "broadcast": (does(lambda m, x: x + x[:, :, :1]), r"Caffe broadcasts only \(N, C, 1, 1\)"),
    "constant-of-images": (does(lambda m, x: x + m.w, w=torch.randn(2, 1, 1, 1)), r"constant \(2, 1, 1, 1\)"),
    "constant-in-pieces": (does(lambda m, x: x + m.w, w=torch.randn(6, 1, 17)), r"a constant \(6, 1, 17\)"),
    "divided": (does(lambda m, x: x / (x + 9)), "Caffe cannot divide one tensor by another"),
    "to-a-tensor": (does(lambda m, x: x ** x.abs()), "Caffe's Power raises a tensor to a constant power"),
    "max-of-axis": (does(lambda m, x: torch.max(x, 1)[0]), "the maximum of two tensors of the same shape"),
    "crop-of-half": (does(lambda m, x: x.narrow(2, 1, F.max_pool2d(x, (3, 2), (2, 1)).size(2))),
                     r"Caffe's Crop would cut \(2, 6, 13, 17\) to \(6, 16\) on every axis from 2 on"),
    "item": (does(lambda m, x: x * x.sum()), r"sum \(sum\): Caffe has no layer for it"),
    "keywords": (does(lambda m, x: torch.sigmoid(x, out=None)), "called in a way that is not supported"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore:Implicit dimension choice")
@pytest.mark.parametrize("name", REFUSED)
def test_what_caffe_has_no_layer_for_is_refused_by_name(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(UnsupportedModule, match=reason):
        c2t.from_torch(make(), {"data": SHAPE})


def test_a_pool_that_skips_beyond_the_image_is_refused() -> None:
    """torch drops a window that begins beyond the image; Caffe, without padding, does not."""
    with pytest.raises(UnsupportedModule, match="ceil mode gives 3x2 at this size, Caffe's gives 4x2: "):
        c2t.from_torch(nn.MaxPool2d((1, 2), (4, 9), ceil_mode=True), {"data": (1, 2, 12, 11)})


@pytest.mark.parametrize(
    ("module", "inputs", "problem"),
    [
        (
            Does(lambda m, x: x if x.sum() > 0 else -x),
            ["data"],
            "Does: torch.fx cannot trace it: TraceError: ",
        ),
        (nn.Conv2d(5, 4, 1), ["data"], r"Conv2d: does not run on data \(2, 6, 13, 17\): "),
        (nn.ReLU(), ["a", "b"], r"Sequential: forward takes \(input\); 2 inputs are given"),
        (Residual(), [], "Residual: forward takes .*; 0 inputs are given"),
        (
            nn.BatchNorm1d(6),
            ["data"],
            r"BatchNorm1d: does not run on data \(2, 6, 13, 17\): expected 2D or 3D",
        ),
        (
            Does(lambda m, x: {"abs": x.abs() + 1}),
            ["data"],
            "Does: returns 'abs', and another blob of the net",
        ),
        (Does(lambda m, x: 3), ["data"], "Does: returns something other than tensors"),
        (Does(lambda m, x: (x, {"y": x})), ["data"], "Does: returns something other than tensors"),
    ],
)
def test_a_module_that_cannot_be_traced_is_refused(
    module: nn.Module, inputs: list[str], problem: str
) -> None:
    with pytest.raises(NetError, match=problem):
        c2t.from_torch(module, dict.fromkeys(inputs, SHAPE))


def test_a_net_with_other_numbers_is_not_returned() -> None:
    """A ReLU in place changes a tensor that is read again; a net of Caffe's has two blobs for it."""

    def forward(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x)
        return module.relu(y) + y

    module = Does(forward, conv=nn.Conv2d(6, 4, 1), relu=nn.ReLU(inplace=True))
    with pytest.raises(VerificationFailed, match=r"Does: .* 'add' has a relative error of .*in place"):
        c2t.from_torch(module, {"data": SHAPE})


def test_data_parallel_names_what_to_give() -> None:
    with pytest.raises(UnsupportedModule, match=r"nn\.DataParallel only .*; give its \.module"):
        c2t.from_torch(nn.DataParallel(nn.ReLU()), {"data": (1, 2)})
