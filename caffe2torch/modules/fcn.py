"""The FCNs of the papers as PyTorch modules, to read, subclass and train.

CVPR: Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015.
PAMI: Shelhamer, Long, Darrell, the journal version, 2017.

Layers have the names that the Model Zoo gives them, so that a state dict fits both `FCN8s` and the CaffeNet
that `build` makes of the same caffemodel. Where a net has several heads or trunks their layers differ by a
suffix: in the loops below `head.score_fr` is `self.score_fr_sem`, then `self.score_fr_geo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.modules.fcn_base import FCN, Features, Scores
from caffe2torch.modules.fcn_parts import Layers, Mean, Scale, Sum, bilinear, max_pool, score
from caffe2torch.zoo.fcn import (
    AT_ONCE_SCALES,
    CAFFENET,
    COLOR_HHA,
    VGG16,
    Architecture,
)


class FCN32s(FCN):
    """Coarse scores, upsampled by 32 in one step (CVPR, Section 4.1; the top row of Figure 3)."""

    name = "FCN32s"
    kernel: ClassVar[int] = 64

    def add_head(self, head: Layers, classes: int) -> None:
        """The score of fc7 and its upsampling."""
        head.score_fr = score(self.architecture.widths[6], classes)
        head.upscore = bilinear(classes, self.kernel, 32)

    def forward(self, *images: Tensor, **inputs: Tensor) -> Scores:
        """Scores of each pixel; see FCN."""
        (image,), (trunk,), scores = self.images(images, inputs), self.trunks, []
        *_, fc7 = self.trunk(image, trunk)
        for head in self.heads:
            score_fr = head.score_fr(fc7)  # (N, classes, H / 32, W / 32)
            upscore = head.upscore(score_fr)
            scores.append(head.score(upscore, image))  # (N, classes, H, W)
        return self.output(scores)


class FCN16s(FCN):
    """The score of pool4 fused in at stride 16 (CVPR, Section 4.2; the middle row of Figure 3)."""

    name = "FCN16s"

    def add_head(self, head: Layers, classes: int) -> None:
        """A score for each of fc7 and pool4, and the upsampling between."""
        _, _, _, pool4, _, _, fc7 = self.architecture.widths
        head.score_fr, head.upscore2 = score(fc7, classes), bilinear(classes, 4, 2)
        head.score_pool4, head.fuse_pool4 = score(pool4, classes), Sum()
        head.upscore16 = bilinear(classes, 32, 16)

    def forward(self, *images: Tensor, **inputs: Tensor) -> Scores:
        """Scores of each pixel; see FCN."""
        (image,), (trunk,), scores = self.images(images, inputs), self.trunks, []
        _, pool4, fc7 = self.trunk(image, trunk)
        for head in self.heads:
            upscore2 = head.upscore2(head.score_fr(fc7))  # (N, classes, H / 16, W / 16)
            score_pool4 = head.score_pool4c(head.score_pool4(pool4), upscore2)
            fuse_pool4 = head.fuse_pool4(upscore2, score_pool4)
            upscore16 = head.upscore16(fuse_pool4)
            scores.append(head.score(upscore16, image))  # (N, classes, H, W)
        return self.output(scores)


class FCN8s(FCN):
    """The scores of pool4 and pool3 fused in (CVPR, Section 4.2; the bottom row of Figure 3)."""

    name = "FCN8s"

    def add_head(self, head: Layers, classes: int) -> None:
        """A score for each of fc7, pool4 and pool3, and the upsampling between."""
        _, _, pool3, pool4, _, _, fc7 = self.architecture.widths
        head.score_fr, head.upscore2 = score(fc7, classes), bilinear(classes, 4, 2)
        head.score_pool4, head.fuse_pool4 = score(pool4, classes), Sum()
        head.upscore_pool4 = bilinear(classes, 4, 2)
        head.score_pool3, head.fuse_pool3 = score(pool3, classes), Sum()
        head.upscore8 = bilinear(classes, 16, 8)

    def forward(self, *images: Tensor, **inputs: Tensor) -> Scores:
        """Scores of each pixel; see FCN."""
        (image,), (trunk,), scores = self.images(images, inputs), self.trunks, []
        pool3, pool4, fc7 = self.trunk(image, trunk)
        for head in self.heads:
            upscore2 = head.upscore2(head.score_fr(fc7))  # (N, classes, H / 16, W / 16)
            score_pool4 = head.score_pool4c(head.score_pool4(pool4), upscore2)
            fuse_pool4 = head.fuse_pool4(upscore2, score_pool4)
            upscore_pool4 = head.upscore_pool4(fuse_pool4)  # (N, classes, H / 8, W / 8)
            score_pool3 = head.score_pool3c(head.score_pool3(pool3), upscore_pool4)
            fuse_pool3 = head.fuse_pool3(upscore_pool4, score_pool3)
            upscore8 = head.upscore8(fuse_pool3)
            scores.append(head.score(upscore8, image))  # (N, classes, H, W)
        return self.output(scores)


class FCN8sAtOnce(FCN8s):
    """FCN-8s trained in one go: with the pools scaled down, all three streams learn together (PAMI)."""

    name = "FCN8sAtOnce"

    def add_trunk(self, trunk: Layers, channels: int) -> None:
        """VGG-16 and the two scales."""
        super().add_trunk(trunk, channels)
        _, _, pool3, pool4, *_ = self.architecture.widths
        trunk.scale_pool4 = Scale(pool4, AT_ONCE_SCALES["pool4"])
        trunk.scale_pool3 = Scale(pool3, AT_ONCE_SCALES["pool3"])

    def trunk(self, image: Tensor, trunk: Layers) -> Features:
        """VGG-16 with scaled pools."""
        pool3, pool4, fc7 = super().trunk(image, trunk)
        return trunk.scale_pool3(pool3), trunk.scale_pool4(pool4), fc7


class FCN32sLateFusion(FCN32s):
    """A trunk for each input; their scores are averaged (CVPR, Section 5, NYUDv2: RGB-HHA)."""

    name = "FCN32sLateFusion"

    def __init__(self, classes: int = 40, widths: Sequence[int] = VGG16, **parts: Any) -> None:
        super().__init__(classes, widths=widths, **{"streams": COLOR_HHA, **parts})

    def add_head(self, head: Layers, classes: int) -> None:
        """A score for each trunk, and the upsampling of their mean."""
        for trunk in self.trunks:
            trunk.score_fr = score(self.architecture.widths[6], classes)
        head.score_fused, head.upscore = Mean(), bilinear(classes, self.kernel, 32)

    def forward(self, *images: Tensor, **inputs: Tensor) -> Scores:
        """Scores of each pixel; see FCN."""
        images, scores = tuple(self.images(images, inputs)), []
        for image, trunk in zip(images, self.trunks, strict=True):
            *_, fc7 = self.trunk(image, trunk)
            scores.append(trunk.score_fr(fc7))  # (N, classes, H / 32, W / 32)
        (head,) = self.heads
        upscore = head.upscore(head.score_fused(*scores))
        return self.output([head.score(upscore, images[0])])  # (N, classes, H, W)


class FCNAlexNet(FCN32s):
    """CaffeNet, the public AlexNet, made fully convolutional, as FCN-32s is of VGG-16 (CVPR, Table 1)."""

    name = "FCNAlexNet"
    kernel = 63

    def __init__(
        self, classes: int = 21, in_channels: int = 3, widths: Sequence[int] = CAFFENET, **parts: Any
    ) -> None:
        super().__init__(classes, in_channels, widths, **parts)

    def add_trunk(self, trunk: Layers, channels: int) -> None:
        """CaffeNet up to fc7: two groups where AlexNet had two GPUs."""
        conv1, conv2, conv3, conv4, conv5, fc6, fc7 = self.architecture.widths
        trunk.conv1 = nn.Conv2d(channels, conv1, 11, stride=4, padding=100)
        trunk.conv2 = nn.Conv2d(conv1, conv2, 5, padding=2, groups=2)
        trunk.conv3 = nn.Conv2d(conv2, conv3, 3, padding=1)
        trunk.conv4 = nn.Conv2d(conv3, conv4, 3, padding=1, groups=2)
        trunk.conv5 = nn.Conv2d(conv4, conv5, 3, padding=1, groups=2)
        for i in range(1, 6):
            setattr(trunk, f"relu{i}", nn.ReLU(inplace=True))
        for i in (1, 2):
            setattr(trunk, f"norm{i}", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
        trunk.pool1, trunk.pool2, trunk.pool5 = max_pool(3), max_pool(3), max_pool(3)
        self.add_classifier(trunk, (conv5, fc6, fc7), kernel=6)

    def trunk(self, image: Tensor, trunk: Layers) -> Features:
        """CaffeNet: pool1 at stride 8, pool2 at stride 16 and fc7 at stride 32."""
        pool1 = trunk.pool1(trunk.relu1(trunk.conv1(image)))  # (N, 96, H / 8, W / 8)
        pool2 = trunk.pool2(trunk.relu2(trunk.conv2(trunk.norm1(pool1))))  # (N, 256, H / 16, W / 16)
        x = trunk.relu3(trunk.conv3(trunk.norm2(pool2)))
        x = trunk.relu4(trunk.conv4(x))
        pool5 = trunk.pool5(trunk.relu5(trunk.conv5(x)))  # (N, 256, H / 32, W / 32)
        return pool1, pool2, self.classifier(pool5, trunk)


KINDS = (FCN32s, FCN16s, FCN8s, FCN8sAtOnce, FCN32sLateFusion, FCNAlexNet)


def fcn_module(architecture: Architecture) -> FCN:
    """A new module of any architecture."""
    a = architecture
    kind = next(kind for kind in KINDS if kind.name == a.name)
    return kind(widths=a.widths, heads=a.heads, streams=a.streams, learned=a.learned)


def poured(net: CaffeNet, architecture: Architecture) -> FCN:
    """The FCN that takes over the parameters of a CaffeNet: every one of both, and none is copied."""
    with torch.device("meta"):
        fcn = fcn_module(architecture)
    fcn.load_state_dict(net.state_dict(), assign=True)
    for parameter in net.plan.parameters():
        fcn.get_parameter(parameter.key).requires_grad_(parameter.trained)
    return fcn.eval()
