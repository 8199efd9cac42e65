"""The nets of the FCN papers as data: what distinguishes them, and their deploy nets in Caffe's format.

    Architecture ─ message ─→ NetParameter ─ deploy_net ─→ Net ─ plan_of ─→ Plan

Layers that hold weights have the zoo's names, which become the keys of a state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from caffe2torch.errors import NetError
from caffe2torch.net import Net, from_message
from caffe2torch.plan import Plan, plan
from caffe2torch.schema import Message
from caffe2torch.zoo.writer import NetWriter

VGG16 = (64, 128, 256, 512, 512, 4096, 4096)
"""Output channels of VGG-16's five stages, fc6 and fc7."""
CAFFENET = (96, 256, 384, 384, 256, 4096, 4096)
"""Output channels of conv1 to conv5, fc6 and fc7 in CaffeNet, the AlexNet that Caffe's authors published."""
VGG16_DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions in each stage of VGG-16."""
LAST_STAGE = {"FCNPool5": 5, "FCNPool4": 4, "FCNPool3": 3}
"""Where VGG-16 is cut in the nets that score its pools alone (PAMI, Table 3)."""
AT_ONCE_SCALES = {"pool4": 0.01, "pool3": 0.0001}
"""The factors by which FCN-8s at-once scales its pooled features, so that all three skips train together."""


@dataclass(frozen=True)
class Stream:
    """One trunk of a net, from its inputs to fc7."""

    suffix: str = ""
    """Appended to the names of its layers."""
    inputs: tuple[tuple[str, int], ...] = (("data", 3),)
    """Input blobs and their channels; several are concatenated (NYUDv2's early fusion)."""
    stem: str = ""
    """The name of the first convolution where it is not conv1_1: conv1_1_bgrd in the zoo's early fusion."""

    @property
    def channels(self) -> int:
        """The channels that the first convolution sees."""
        return sum(channels for _, channels in self.inputs)

    @property
    def image(self) -> str:
        """The blob that the first convolution sees."""
        blobs = [blob for blob, _ in self.inputs]
        return blobs[0] if len(blobs) == 1 else "data_cat" if "data" in blobs else "data"

    def layer(self, name: str) -> str:
        """The full name of the trunk's layer `name`."""
        return (self.stem if self.stem and name == "conv1_1" else name) + self.suffix


@dataclass(frozen=True)
class Head:
    """One prediction of a net: its number of classes, and the suffix of its layers' names."""

    suffix: str = ""
    classes: int = 21

    def layer(self, name: str) -> str:
        """The full name of the head's layer `name`; score_pool4c becomes score_pool4_semc."""
        cropped = name.startswith("score_pool") and name.endswith("c")
        return f"{name[:-1]}{self.suffix}c" if cropped else name + self.suffix


SIFT_FLOW = (Head("_sem", 33), Head("_geo", 3))
"""Semantic and geometric classes, predicted jointly (CVPR 2015, Section 5)."""
COLOR_DEPTH = (Stream("", (("color", 3), ("depth", 1)), "conv1_1_bgrd"),)
"""NYUDv2's early fusion: depth as a fourth channel."""
COLOR_HHA = (Stream("color", (("color", 3),)), Stream("hha", (("hha", 3),)))
"""NYUDv2's late fusion: one trunk for color, one for depth encoded as HHA."""


@dataclass(frozen=True)
class Architecture:
    """One of the FCN papers' nets, of any width, with any number of classes.

    `name` is one of `NAMES`. Only FCN32sLateFusion has several streams, and one head. Raises NetError for
    another name, number or width than a net can have, and for suffixes that cannot be part of an attribute's
    name.
    """

    name: str
    heads: tuple[Head, ...] = (Head(),)
    streams: tuple[Stream, ...] = (Stream(),)
    widths: tuple[int, ...] = ()
    """Output channels of the stages, fc6 and fc7; by default those that were published."""
    learned: frozenset[str] = frozenset()
    """The deconvolutions that are learned, and so dense; the others are bilinear, channel by channel."""

    @property
    def channels(self) -> dict[str, int]:
        """The channels of each input."""
        return {blob: channels for stream in self.streams for blob, channels in stream.inputs}

    @property
    def is_plain(self) -> bool:
        """Whether it has one head and the input `data`, and no layer has a suffix."""
        plain = Stream("", (("data", self.streams[0].channels),))
        return self.streams == (plain,) and [head.suffix for head in self.heads] == [""]

    def __str__(self) -> str:
        classes = (f"{head.classes} classes{f' ({head.suffix})' * bool(head.suffix)}" for head in self.heads)
        return f"{self.name}, {', '.join(classes)}"

    def __post_init__(self) -> None:
        published = (CAFFENET if self.name == "FCNAlexNet" else VGG16)[: LAST_STAGE.get(self.name)]
        object.__setattr__(self, "widths", self.widths or published)
        if problem := self._problem(len(published)):
            raise NetError(problem)
        parts: tuple[Head | Stream, ...] = (*self.heads, *self.streams)
        for layer in (part.layer("conv1_1") for part in parts):
            # Layer names become attributes of a module, and a file may hold any name.
            if not layer.startswith("conv1_1") or not layer.isidentifier():
                raise NetError(f"{self.name}: {layer!r} cannot name a layer; conv1_1 and conv1_1_rgb can")

    def _problem(self, stages: int) -> str:
        """What of it no net has, that has as many widths as `stages`; empty where all is well."""
        if self.name not in NAMES:
            return f"no net is called {self.name!r}; known are {', '.join(NAMES)}"
        fused, streams, heads = self.name == "FCN32sLateFusion", len(self.streams), len(self.heads)
        if (streams > 1) != fused:
            return f"{self.name}: streams are {streams}, expected {'2 or more' if fused else '1'}"
        if fused and heads != 1:
            return f"{self.name}: heads are {heads}, expected 1"
        if len(self.widths) != stages or min(self.widths) < 1:
            of = "one for each stage" if self.name in LAST_STAGE else "for five stages, fc6 and fc7"
            return f"{self.name}: widths are {self.widths}; give {stages}, {of}"
        if self.name == "FCNAlexNet" and any(width % 2 for width in self.widths[:5]):
            return f"{self.name}: widths are {self.widths}; the first five are even, for two groups"
        if any(head.classes < 1 for head in self.heads):
            classes = [head.classes for head in self.heads]
            return f"{self.name}: classes of its heads are {classes}, expected 1 or more"
        return ""


@dataclass(frozen=True)
class _Skip:
    """Scores of a pooling layer, added to the coarser scores after upsampling those by 2."""

    pool: str
    upscore: str
    """The deconvolution before it."""
    offset: int
    """Where its scores are cropped, on both axes."""


@dataclass(frozen=True)
class _Upsampling:
    """How a net's scores reach the size of the image; `offset` is where they are cropped."""

    last: str
    kernel: int
    stride: int
    offset: int
    skips: tuple[_Skip, ...] = ()
    """Coarse to fine."""


# The net's geometry determines the offsets (layers/geometry.py); a test compares them.
_POOL4 = _Skip("pool4", "upscore2", 5)
_POOL3 = _Skip("pool3", "upscore_pool4", 9)
_UPSAMPLING = {
    "FCN32s": _Upsampling("upscore", 64, 32, 19),
    "FCN16s": _Upsampling("upscore16", 32, 16, 27, (_POOL4,)),
    "FCN8s": _Upsampling("upscore8", 16, 8, 31, (_POOL4, _POOL3)),
    "FCN8sAtOnce": _Upsampling("upscore8", 16, 8, 31, (_POOL4, _POOL3)),
    "FCN32sLateFusion": _Upsampling("upscore", 64, 32, 19),
    "FCNAlexNet": _Upsampling("upscore", 63, 32, 18),
    "FCNPool5": _Upsampling("upscore", 64, 32, 115),
    "FCNPool4": _Upsampling("upscore", 32, 16, 107),
    "FCNPool3": _Upsampling("upscore", 16, 8, 103),
}
NAMES = tuple(_UPSAMPLING)
"""The names of the architectures."""


def message(architecture: Architecture, size: Sequence[int] = (500, 500)) -> Message:
    """The deploy net as a NetParameter, as the zoo writes it, for images of `size` (height, width)."""
    net = NetWriter(architecture.name)
    for stream in architecture.streams:
        inputs = [net.input(blob, channels, size) for blob, channels in stream.inputs]
        if len(inputs) > 1:
            net.add("Concat", stream.image, *inputs)
    if architecture.name == "FCN32sLateFusion":
        _late_fusion(net, architecture)
    else:
        _single_stream(net, architecture)
    return net.message


def _vgg16(net: NetWriter, stream: Stream, widths: Sequence[int]) -> dict[str, str]:
    """VGG-16, fully convolutional; the padding of 100 makes room for images smaller than fc6's view."""
    blobs = vgg16_stages(net, stream, widths, first_pad=100)
    if len(widths) == len(VGG16):
        blobs["fc7"] = _classifier(net, stream, blobs["pool5"], widths, 7)
    return blobs


def vgg16_stages(net: NetWriter, stream: Stream, widths: Sequence[int], first_pad: int) -> dict[str, str]:
    """VGG-16's stages, one for each of the first five widths; every convolution but the first pads by 1.

    Returns the pooled blobs by name.
    """
    x = stream.image
    blobs = {"image": x}
    for stage, (depth, width) in enumerate(zip(VGG16_DEPTHS, widths, strict=False), start=1):
        for i in range(1, depth + 1):
            pad = first_pad if (stage, i) == (1, 1) else 1
            x = net.conv(stream.layer(f"conv{stage}_{i}"), x, width, 3, pad=[pad])
            x = net.relu(stream.layer(f"relu{stage}_{i}"), x)
        x = blobs[f"pool{stage}"] = net.pool(stream.layer(f"pool{stage}"), x, 2)
    return blobs


def _caffenet(net: NetWriter, stream: Stream, widths: Sequence[int]) -> dict[str, str]:
    """CaffeNet: AlexNet, but it normalizes after pooling. Three convolutions have two groups."""
    x = net.relu("relu1", net.conv("conv1", stream.image, widths[0], 11, pad=[100], stride=[4]))
    x = net.norm("norm1", net.pool("pool1", x, 3))
    x = net.relu("relu2", net.conv("conv2", x, widths[1], 5, pad=[2], group=2))
    x = net.norm("norm2", net.pool("pool2", x, 3))
    x = net.relu("relu3", net.conv("conv3", x, widths[2], 3, pad=[1]))
    x = net.relu("relu4", net.conv("conv4", x, widths[3], 3, pad=[1], group=2))
    x = net.relu("relu5", net.conv("conv5", x, widths[4], 3, pad=[1], group=2))
    x = net.pool("pool5", x, 3)
    return {"image": stream.image, "fc7": _classifier(net, stream, x, widths, 6)}


def _classifier(net: NetWriter, stream: Stream, pool5: str, widths: Sequence[int], kernel: int) -> str:
    """The fully connected layers as convolutions (CVPR 2015, Section 3.1)."""
    fc6 = net.relu(stream.layer("relu6"), net.conv(stream.layer("fc6"), pool5, widths[5], kernel))
    fc6 = net.dropout(stream.layer("drop6"), fc6)
    fc7 = net.relu(stream.layer("relu7"), net.conv(stream.layer("fc7"), fc6, widths[6], 1))
    return net.dropout(stream.layer("drop7"), fc7)


def _single_stream(net: NetWriter, a: Architecture) -> None:
    (stream,) = a.streams
    trunk = _caffenet if a.name == "FCNAlexNet" else _vgg16
    blobs = trunk(net, stream, a.widths)
    scored = blobs[f"pool{LAST_STAGE[a.name]}" if a.name in LAST_STAGE else "fc7"]
    for head in a.heads:
        score_fr = net.conv(head.layer("score_fr"), scored, head.classes, 1)
        _upsample(net, a, head, score_fr, blobs)


def _upsample(net: NetWriter, a: Architecture, head: Head, score: str, blobs: dict[str, str]) -> None:
    """From the coarse scores to the size of the image, with the skips of CVPR 2015, Figure 3."""
    how, classes = _UPSAMPLING[a.name], head.classes
    for skip in how.skips:
        name, pool = head.layer(skip.upscore), skip.pool
        score = net.upsample(name, score, classes, 4, 2, name in a.learned)
        if a.name == "FCN8sAtOnce" and head is a.heads[0]:
            blobs[pool] = net.scale(f"scale_{pool}", blobs[pool], AT_ONCE_SCALES[pool])
        finer = net.conv(head.layer(f"score_{pool}"), blobs[pool], classes, 1)
        finer = net.crop(head.layer(f"score_{pool}c"), finer, score, skip.offset)
        score = net.sum(head.layer(f"fuse_{pool}"), score, finer)
    name = head.layer(how.last)
    score = net.upsample(name, score, classes, how.kernel, how.stride, name in a.learned)
    net.crop(head.layer("score"), score, blobs["image"], how.offset)


def _late_fusion(net: NetWriter, a: Architecture) -> None:
    """A complete net per stream up to its scores, which are averaged (CVPR 2015, Section 5, NYUDv2)."""
    (head,) = a.heads
    scores = []
    for stream in a.streams:
        fc7 = _vgg16(net, stream, a.widths)["fc7"]
        scores.append(net.conv(stream.layer("score_fr"), fc7, head.classes, 1))
    fused = net.sum("score_fused", *scores, coeff=[1 / len(scores)] * len(scores))
    _upsample(net, a, head, fused, {"image": a.streams[0].image})


@cache
def deploy_net(architecture: Architecture) -> Net:
    """The deploy net, for images of 500x500."""
    return from_message(message(architecture))


@cache
def plan_of(architecture: Architecture) -> Plan:
    """The plan of the deploy net."""
    return plan(deploy_net(architecture))
