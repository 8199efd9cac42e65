"""The nets of the FCN papers as data: their definitions in Caffe's words, and how to know one when it is met.

    Architecture --definition--> the deploy net that the zoo has
    Plan         --recognize-->  the Architecture it is, or None

A net is known by its structure alone. Layers that hold weights must have the zoo's names, as these become the
keys of a state dict; the other layers, and the blobs between, may be called anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from caffe2torch.errors import NetError
from caffe2torch.net import from_message
from caffe2torch.plan import Plan, plan
from caffe2torch.zoo.writer import Definition

VGG16 = (64, 128, 256, 512, 512, 4096, 4096)
"""Channels of the convolutions in VGG-16's five stages, and of fc6 and fc7."""
CAFFENET = (96, 256, 384, 384, 256, 4096, 4096)
"""Channels of conv1 to conv5, fc6 and fc7 in CaffeNet, the public AlexNet."""
VGG16_DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions in each stage of VGG-16."""
AT_ONCE_SCALES = {"pool4": 0.01, "pool3": 0.0001}
"""What FCN-8s at-once multiplies the pools with, to train all three streams together."""


@dataclass(frozen=True)
class Stream:
    """One trunk: a suffix to its layers' names, the blobs it sees, and their channels."""

    suffix: str = ""
    inputs: tuple[tuple[str, int], ...] = (("data", 3),)
    """Blob and channels; several are concatenated (NYUDv2's early fusion)."""
    stem: str = ""
    """The first convolution's name, if it is not conv1_1: conv1_1_bgrd in the zoo's early fusion."""

    @property
    def channels(self) -> int:
        """What the first convolution sees."""
        return sum(channels for _, channels in self.inputs)

    @property
    def image(self) -> str:
        """The blob that the first convolution sees."""
        blobs = [blob for blob, _ in self.inputs]
        return blobs[0] if len(blobs) == 1 else "data_cat" if "data" in blobs else "data"

    def layer(self, name: str) -> str:
        """The name that this trunk's layer `name` has in the net."""
        return (self.stem if self.stem and name == "conv1_1" else name) + self.suffix


@dataclass(frozen=True)
class Head:
    """One prediction: a suffix to its layers' names, and its classes."""

    suffix: str = ""
    classes: int = 21

    def layer(self, name: str) -> str:
        """The name that this head's layer `name` has in the net; score_pool4c is score_pool4_semc."""
        cropped = name.startswith("score_pool") and name.endswith("c")
        return f"{name[:-1]}{self.suffix}c" if cropped else name + self.suffix


SIFT_FLOW = (Head("_sem", 33), Head("_geo", 3))
"""Semantic and geometric classes, predicted together (CVPR 2015, Section 5)."""
COLOR_DEPTH = (Stream("", (("color", 3), ("depth", 1)), "conv1_1_bgrd"),)
"""NYUDv2's early fusion: depth as a fourth channel."""
COLOR_HHA = (Stream("color", (("color", 3),)), Stream("hha", (("hha", 3),)))
"""NYUDv2's late fusion: one trunk for colour and one for depth, coded as HHA."""


@dataclass(frozen=True)
class Architecture:
    """One of the FCN papers' nets, of any width, with any number of classes.

    `name` is the name of the class in `fcn.py`. All have one stream, but FCN32sLateFusion.
    """

    name: str
    heads: tuple[Head, ...] = (Head(),)
    streams: tuple[Stream, ...] = (Stream(),)
    widths: tuple[int, ...] = VGG16
    learned: frozenset[str] = frozenset()
    """The deconvolutions that are learned, and so dense. The others are bilinear, one channel to itself."""

    def __str__(self) -> str:
        classes = (f"{head.classes} classes{f' ({head.suffix})' * bool(head.suffix)}" for head in self.heads)
        return f"{self.name}, {', '.join(classes)}"

    def __post_init__(self) -> None:
        if len(self.widths) != 7:
            raise NetError(f"{self.name}: widths are {self.widths}; give seven, for five stages, fc6 and fc7")
        parts: tuple[Head | Stream, ...] = (*self.heads, *self.streams)
        for layer in (part.layer("conv1_1") for part in parts):
            # Names become attributes of a module, and files may hold any.
            if not layer.startswith("conv1_1") or not layer.isidentifier():
                raise NetError(f"{self.name}: {layer!r} cannot name a layer; conv1_1 can, and conv1_1_rgb")


@dataclass(frozen=True)
class _Upsampling:
    """How a net's scores grow to the size of the image."""

    skips: tuple[tuple[str, str], ...]
    """Pools to fuse, coarse to fine, each after a deconvolution of that name by 2."""
    last: str
    stride: int
    kernel: int


_UPSAMPLING = {
    "FCN32s": _Upsampling((), "upscore", 32, 64),
    "FCN16s": _Upsampling((("pool4", "upscore2"),), "upscore16", 16, 32),
    "FCN8s": _Upsampling((("pool4", "upscore2"), ("pool3", "upscore_pool4")), "upscore8", 8, 16),
    "FCN8sAtOnce": _Upsampling((("pool4", "upscore2"), ("pool3", "upscore_pool4")), "upscore8", 8, 16),
    "FCN32sLateFusion": _Upsampling((), "upscore", 32, 64),
    "FCNAlexNet": _Upsampling((), "upscore", 32, 63),
}
NAMES = tuple(_UPSAMPLING)
"""The architectures' names."""


def definition(architecture: Architecture, size: Sequence[int] = (500, 500)) -> Any:
    """The deploy net as a NetParameter, in the zoo's words, for images of `size` (height, width).

    Every Crop has the offset that the net's own geometry gives.
    """
    net = Definition(architecture.name)
    for stream in architecture.streams:
        inputs = [net.input(blob, channels, size) for blob, channels in stream.inputs]
        if len(inputs) > 1:
            net.add("Concat", stream.image, *inputs)
    if architecture.name == "FCN32sLateFusion":
        _late_fusion(net, architecture)
    else:
        _single_stream(net, architecture)
    return net.aligned()


def _vgg16(net: Definition, stream: Stream, widths: Sequence[int]) -> dict[str, str]:
    """Simonyan and Zisserman's 16 layers, made fully convolutional; the pad of 100 lets small images pass."""
    blobs = vgg16_stages(net, stream, widths, first_pad=100)
    blobs["fc7"] = _classifier(net, stream, blobs["pool5"], widths, 7)
    return blobs


def vgg16_stages(net: Definition, stream: Stream, widths: Sequence[int], first_pad: int) -> dict[str, str]:
    """VGG-16's five stages of convolutions, which all but the first pad by 1; the blobs between them."""
    x = stream.image
    blobs = {"image": x}
    for stage, (depth, width) in enumerate(zip(VGG16_DEPTHS, widths, strict=False), start=1):
        for i in range(1, depth + 1):
            pad = first_pad if (stage, i) == (1, 1) else 1
            x = net.conv(stream.layer(f"conv{stage}_{i}"), x, width, 3, pad=[pad])
            x = net.relu(stream.layer(f"relu{stage}_{i}"), x)
        x = blobs[f"pool{stage}"] = net.pool(stream.layer(f"pool{stage}"), x, 2)
    return blobs


def _caffenet(net: Definition, stream: Stream, widths: Sequence[int]) -> dict[str, str]:
    """Krizhevsky's net as CaffeNet has it: normalization after pooling, three convolutions in two groups."""
    x = net.relu("relu1", net.conv("conv1", stream.image, widths[0], 11, pad=[100], stride=[4]))
    x = net.norm("norm1", net.pool("pool1", x, 3))
    x = net.relu("relu2", net.conv("conv2", x, widths[1], 5, pad=[2], group=2))
    x = net.norm("norm2", net.pool("pool2", x, 3))
    x = net.relu("relu3", net.conv("conv3", x, widths[2], 3, pad=[1]))
    x = net.relu("relu4", net.conv("conv4", x, widths[3], 3, pad=[1], group=2))
    x = net.relu("relu5", net.conv("conv5", x, widths[4], 3, pad=[1], group=2))
    x = net.pool("pool5", x, 3)
    return {"image": stream.image, "fc7": _classifier(net, stream, x, widths, 6)}


def _classifier(net: Definition, stream: Stream, pool5: str, widths: Sequence[int], kernel: int) -> str:
    """The fully connected layers as convolutions (CVPR 2015, Section 3.1)."""
    fc6 = net.relu(stream.layer("relu6"), net.conv(stream.layer("fc6"), pool5, widths[5], kernel))
    fc6 = net.dropout(stream.layer("drop6"), fc6)
    fc7 = net.relu(stream.layer("relu7"), net.conv(stream.layer("fc7"), fc6, widths[6], 1))
    return net.dropout(stream.layer("drop7"), fc7)


def _single_stream(net: Definition, a: Architecture) -> None:
    (stream,) = a.streams
    trunk = _caffenet if a.name == "FCNAlexNet" else _vgg16
    blobs = trunk(net, stream, a.widths)
    for head in a.heads:
        score_fr = net.conv(head.layer("score_fr"), blobs["fc7"], head.classes, 1)
        _upsample(net, a, head, score_fr, blobs)


def _upsample(net: Definition, a: Architecture, head: Head, score: str, blobs: dict[str, str]) -> None:
    """From the coarse score to the image's size, with the skips of CVPR 2015, Figure 3."""
    how, classes = _UPSAMPLING[a.name], head.classes
    for pool, upscore in how.skips:
        name = head.layer(upscore)
        score = net.upsample(name, score, classes, 4, 2, name in a.learned)
        if a.name == "FCN8sAtOnce" and head is a.heads[0]:
            blobs[pool] = net.scale(f"scale_{pool}", blobs[pool], AT_ONCE_SCALES[pool])
        skip = net.conv(head.layer(f"score_{pool}"), blobs[pool], classes, 1)
        skip = net.crop(head.layer(f"score_{pool}c"), skip, score)
        score = net.sum(head.layer(f"fuse_{pool}"), score, skip)
    name = head.layer(how.last)
    score = net.upsample(name, score, classes, how.kernel, how.stride, name in a.learned)
    net.crop(head.layer("score"), score, blobs["image"])


def _late_fusion(net: Definition, a: Architecture) -> None:
    """A whole net per stream up to its score; the scores are averaged (CVPR 2015, Section 5, NYUDv2)."""
    (head,) = a.heads
    scores = []
    for stream in a.streams:
        fc7 = _vgg16(net, stream, a.widths)["fc7"]
        scores.append(net.conv(stream.layer("score_fr"), fc7, head.classes, 1))
    fused = net.sum("score_fused", *scores, coeff=[1 / len(scores)] * len(scores))
    _upsample(net, a, head, fused, {"image": a.streams[0].image})


@cache
def planned(architecture: Architecture) -> Plan:
    """The plan of the definition."""
    return plan(from_message(definition(architecture)))


def crop_offsets(architecture: Architecture) -> dict[str, int]:
    """The offset of each Crop by its layer's name, the same on both axes, as the net's geometry gives it."""
    layers = planned(architecture).net.layers
    return {layer.name: layer.fields.crop_param.offset[0] for layer in layers if layer.type == "Crop"}
