"""The FCNs with several heads or inputs, each built from its architecture, and `fcn_of` to build any FCN.

CVPR: Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015.
PAMI: Shelhamer, Long, Darrell, the journal version, 2017.

A net with one head and the input `data` is easier to read and subclass as one of fcn.py's classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from caffe2torch.errors import NetError
from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.modules.fcn import FCN8s, FCN16s, FCN32s
from caffe2torch.modules.fcn_base import FCN, architecture_of
from caffe2torch.modules.fcn_parts import Concat, Crop, Mean, Scale, Sum
from caffe2torch.modules.inputs import by_name
from caffe2torch.net import Layer
from caffe2torch.zoo.fcn import CAFFENET, COLOR_HHA, VGG16, Architecture, deploy_net

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from caffe2torch.modules.fcn_base import Parts

Scores = Tensor | dict[str, Tensor]
"""By name if there are several heads."""


@dataclass(frozen=True)
class _Call:
    """One layer in a forward pass."""

    layer: str
    bottoms: tuple[str, ...]
    top: str
    done: tuple[str, ...]
    """Blobs that no later layer reads."""


class GeneralFCN(FCN):
    """Any architecture as a module: a submodule for each layer of its deploy net, called in that order.

    Subclasses name their inputs in `forward`, for tools that look at signatures.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """The inputs that `forward` names; empty if it takes any."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        if self.takes and self.takes != self.inputs:
            raise NetError(
                f"{type(self).__name__} takes {', '.join(self.takes)}, not {', '.join(self.inputs)}; "
                f"fcn_of(Architecture({architecture.name!r}, ...)) builds one with other inputs"
            )
        layers = [layer for layer in deploy_net(architecture).layers if layer.type != "Input"]
        channels = dict(architecture.channels)
        for layer in layers:
            bottoms = [channels[bottom] for bottom in layer.bottoms]
            module = _MODULES[layer.type](layer, bottoms)
            self.add_module(layer.name, module)
            channels[layer.tops[0]] = _out_channels(module, bottoms)
        self._scores = tuple(head.layer("score") for head in architecture.heads)
        self._calls = _calls(layers, self._scores)
        self.initialize()

    def forward(self, *images: Any, **inputs: Any) -> Scores:
        """From images, in order or by name, to scores; see FCN."""
        named = by_name(self.architecture.name, self.inputs, images, inputs)
        return self.run(*(named[blob] for blob in self.inputs))

    def run(self, *images: Tensor) -> Scores:
        """From images in the order of `inputs` to scores."""
        self.check(*images)
        blobs = dict(zip(self.inputs, images, strict=True))
        for call in self._calls:
            layer = getattr(self, call.layer)
            blobs[call.top] = layer(*[blobs[bottom] for bottom in call.bottoms])
            for blob in call.done:
                del blobs[blob]
        scores = {name: blobs[name] for name in self._scores}
        return scores if len(scores) > 1 else blobs[self._scores[0]]


def _calls(layers: Sequence[Layer], outputs: Sequence[str]) -> tuple[_Call, ...]:
    last = {bottom: index for index, layer in enumerate(layers) for bottom in layer.bottoms}
    calls = []
    for index, layer in enumerate(layers):
        (top,) = layer.tops
        done = (x for x in dict.fromkeys(layer.bottoms) if last[x] == index and x not in (top, *outputs))
        calls.append(_Call(layer.name, layer.bottoms, top, tuple(done)))
    return tuple(calls)


def _out_channels(module: nn.Module, bottoms: Sequence[int]) -> int:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return module.out_channels
    return sum(bottoms) if isinstance(module, Concat) else bottoms[0]


def _convolution(layer: Layer, bottoms: Sequence[int]) -> nn.Conv2d:
    p = layer.fields.convolution_param
    (kernel,), (stride,), (pad,) = p.kernel_size, p.stride or (1,), p.pad or (0,)
    return nn.Conv2d(bottoms[0], p.num_output, kernel, stride, pad, groups=p.group)


def _deconvolution(layer: Layer, bottoms: Sequence[int]) -> nn.ConvTranspose2d:
    p = layer.fields.convolution_param
    (kernel,), (stride,), classes = p.kernel_size, p.stride, p.num_output
    return nn.ConvTranspose2d(classes, classes, kernel, stride, groups=classes, bias=False)


def _pooling(layer: Layer, bottoms: Sequence[int]) -> nn.MaxPool2d:
    p = layer.fields.pooling_param
    return nn.MaxPool2d(p.kernel_size, p.stride, ceil_mode=True)


def _lrn(layer: Layer, bottoms: Sequence[int]) -> nn.LocalResponseNorm:
    p = layer.fields.lrn_param
    return nn.LocalResponseNorm(p.local_size, p.alpha, p.beta, p.k)


def _scale(layer: Layer, bottoms: Sequence[int]) -> Scale:
    return Scale(bottoms[0], layer.fields.scale_param.filler.value)


_MODULES: dict[str, Callable[[Layer, Sequence[int]], nn.Module]] = {
    "Concat": lambda layer, bottoms: Concat(),
    "Convolution": _convolution,
    "Crop": lambda layer, bottoms: Crop(layer.fields.crop_param.offset[0]),
    "Deconvolution": _deconvolution,
    "Dropout": lambda layer, bottoms: nn.Dropout(layer.fields.dropout_param.dropout_ratio),
    "Eltwise": lambda layer, bottoms: Mean() if layer.fields.eltwise_param.coeff else Sum(),
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": lambda layer, bottoms: nn.ReLU(inplace=True),
    "Scale": _scale,
}
"""A layer's module, by type, given the channels of its bottoms. The zoo's nets use no other settings."""


class ImageFCN(GeneralFCN):
    """A net with the input `data`, such as SIFT Flow's, which has two heads."""

    takes = ("data",)

    def forward(self, data: Tensor) -> Scores:
        """From images (N, C, H, W) to scores."""
        return self.run(data)


class ColorFCN(GeneralFCN):
    """A net with the input `color`, such as NYUDv2's."""

    takes = ("color",)

    def forward(self, color: Tensor) -> Scores:
        """From images (N, 3, H, W) to scores."""
        return self.run(color)


class HHAFCN(GeneralFCN):
    """A net with the input `hha`, NYUDv2's depth encoded as an image."""

    takes = ("hha",)

    def forward(self, hha: Tensor) -> Scores:
        """From images (N, 3, H, W) to scores."""
        return self.run(hha)


class ColorDepthFCN(GeneralFCN):
    """A net with the inputs `color` and `depth`: NYUDv2's early fusion (CVPR, Section 5)."""

    takes = ("color", "depth")

    def forward(self, color: Tensor, depth: Tensor) -> Scores:
        """From images (N, 3, H, W) and depth (N, 1, H, W) to scores."""
        return self.run(color, depth)


class ColorHHAFCN(GeneralFCN):
    """A net with the inputs `color` and `hha`: NYUDv2's late fusion (CVPR, Section 5)."""

    takes = ("color", "hha")

    def forward(self, color: Tensor, hha: Tensor) -> Scores:
        """From images (N, 3, H, W) each to scores."""
        return self.run(color, hha)


class FCN8sAtOnce(ImageFCN):
    """FCN-8s trained in one go: its pools are scaled down, so that all skips learn together (PAMI)."""

    def __init__(
        self,
        classes: int = 21,
        in_channels: int = 3,
        widths: Sequence[int] = VGG16,
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__(architecture_of("FCN8sAtOnce", classes, in_channels, widths, **parts))


class FCNAlexNet(ImageFCN):
    """CaffeNet, the public AlexNet, made fully convolutional as VGG-16 is in FCN-32s (CVPR, Table 1)."""

    def __init__(
        self,
        classes: int = 21,
        in_channels: int = 3,
        widths: Sequence[int] = CAFFENET,
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__(architecture_of("FCNAlexNet", classes, in_channels, widths, **parts))


class FCN32sLateFusion(ColorHHAFCN):
    """A trunk for each input; their scores are averaged (CVPR, Section 5, NYUDv2: RGB-HHA)."""

    def __init__(self, classes: int = 40, widths: Sequence[int] = VGG16, **parts: Unpack[Parts]) -> None:
        parts.setdefault("streams", COLOR_HHA)
        super().__init__(architecture_of("FCN32sLateFusion", classes, 3, widths, **parts))


_ONE_HEAD: dict[str, type[FCN32s | FCN16s | FCN8s]] = {"FCN32s": FCN32s, "FCN16s": FCN16s, "FCN8s": FCN8s}
_BY_NAME: dict[str, type[FCN8sAtOnce | FCNAlexNet | FCN32sLateFusion]] = {
    "FCN8sAtOnce": FCN8sAtOnce,
    "FCNAlexNet": FCNAlexNet,
    "FCN32sLateFusion": FCN32sLateFusion,
}
_BY_INPUTS: dict[tuple[str, ...], type[GeneralFCN]] = {
    kind.takes: kind for kind in (ImageFCN, ColorFCN, HHAFCN, ColorDepthFCN, ColorHHAFCN)
}


def fcn_of(architecture: Architecture) -> FCN:
    """A new module of any architecture, in the most specific class there is for it."""
    a, inputs = architecture, tuple(architecture.channels)
    if a.name in _ONE_HEAD and a.is_plain:
        (head,), (channels,) = a.heads, a.channels.values()
        return _ONE_HEAD[a.name](head.classes, channels, a.widths, learned=a.learned)
    if a.name in _BY_NAME and _BY_NAME[a.name].takes == inputs:
        return _BY_NAME[a.name](widths=a.widths, heads=a.heads, streams=a.streams, learned=a.learned)
    return _BY_INPUTS.get(inputs, GeneralFCN)(a)


def poured(net: CaffeNet, architecture: Architecture) -> FCN:
    """The FCN with all the parameters of a CaffeNet, none of them copied, and with what that knows."""
    with torch.device("meta"):
        fcn = fcn_of(architecture)
    fcn.load_state_dict(net.state_dict(), assign=True)
    for parameter in net.plan.parameters():
        fcn.get_parameter(parameter.key).requires_grad_(parameter.trained)
    fcn.preprocessing, fcn.labellings = net.preprocessing, net.labellings
    return fcn.eval()
