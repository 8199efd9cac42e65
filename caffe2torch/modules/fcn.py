"""FCN-32s, FCN-16s and FCN-8s as PyTorch modules, to read, subclass and train.

CVPR: Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, 2015.
PAMI: Shelhamer, Long, Darrell, the journal version, 2017.

Layers are named as in the Model Zoo, so a state dict fits both `FCN8s` and the CaffeNet that `build` makes
from the same caffemodel. Nets with several heads or inputs are in fcn_general.py.

The shapes at line ends ignore what the padding of 100 adds: H / 2 stands for (H + 198) / 2, rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from caffe2torch.modules.fcn_base import FCN, one_stream
from caffe2torch.modules.fcn_parts import Crop, Sum
from caffe2torch.zoo.fcn import VGG16

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from caffe2torch.modules.fcn_base import Parts


class VGG16Trunk(FCN):
    """VGG-16 made fully convolutional (CVPR, Sections 3.1 and 4.1), for subclasses to add scores to.

    `classes` includes the background; `widths` are the channels of the five stages, of fc6 and of fc7.
    """

    def __init__(
        self, name: str, classes: int, in_channels: int, widths: Sequence[int], **parts: Unpack[Parts]
    ) -> None:
        super().__init__(one_stream(name, classes, in_channels, widths, **parts))
        stage1, stage2, stage3, stage4, stage5, fc6, fc7 = widths

        # The padding of 100 allows images smaller than fc6's receptive field.
        self.conv1_1 = nn.Conv2d(in_channels, stage1, 3, padding=100)
        self.relu1_1 = nn.ReLU(inplace=True)
        self.conv1_2 = nn.Conv2d(stage1, stage1, 3, padding=1)
        self.relu1_2 = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool2d(2, ceil_mode=True)  # Caffe rounds sizes up (pooling_layer.cpp)

        self.conv2_1 = nn.Conv2d(stage1, stage2, 3, padding=1)
        self.relu2_1 = nn.ReLU(inplace=True)
        self.conv2_2 = nn.Conv2d(stage2, stage2, 3, padding=1)
        self.relu2_2 = nn.ReLU(inplace=True)
        self.pool2 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv3_1 = nn.Conv2d(stage2, stage3, 3, padding=1)
        self.relu3_1 = nn.ReLU(inplace=True)
        self.conv3_2 = nn.Conv2d(stage3, stage3, 3, padding=1)
        self.relu3_2 = nn.ReLU(inplace=True)
        self.conv3_3 = nn.Conv2d(stage3, stage3, 3, padding=1)
        self.relu3_3 = nn.ReLU(inplace=True)
        self.pool3 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv4_1 = nn.Conv2d(stage3, stage4, 3, padding=1)
        self.relu4_1 = nn.ReLU(inplace=True)
        self.conv4_2 = nn.Conv2d(stage4, stage4, 3, padding=1)
        self.relu4_2 = nn.ReLU(inplace=True)
        self.conv4_3 = nn.Conv2d(stage4, stage4, 3, padding=1)
        self.relu4_3 = nn.ReLU(inplace=True)
        self.pool4 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv5_1 = nn.Conv2d(stage4, stage5, 3, padding=1)
        self.relu5_1 = nn.ReLU(inplace=True)
        self.conv5_2 = nn.Conv2d(stage5, stage5, 3, padding=1)
        self.relu5_2 = nn.ReLU(inplace=True)
        self.conv5_3 = nn.Conv2d(stage5, stage5, 3, padding=1)
        self.relu5_3 = nn.ReLU(inplace=True)
        self.pool5 = nn.MaxPool2d(2, ceil_mode=True)

        self.fc6 = nn.Conv2d(stage5, fc6, 7)
        self.relu6 = nn.ReLU(inplace=True)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Conv2d(fc6, fc7, 1)
        self.relu7 = nn.ReLU(inplace=True)
        self.drop7 = nn.Dropout(0.5)

    def trunk(self, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pool3 at stride 8, pool4 at stride 16 and fc7 at stride 32, for images (N, 3, H, W)."""
        self.check(data)
        x = self.relu1_1(self.conv1_1(data))  # (N, 64, H + 198, W + 198)
        x = self.relu1_2(self.conv1_2(x))
        x = self.pool1(x)  # (N, 64, H / 2, W / 2)

        x = self.relu2_1(self.conv2_1(x))
        x = self.relu2_2(self.conv2_2(x))
        x = self.pool2(x)  # (N, 128, H / 4, W / 4)

        x = self.relu3_1(self.conv3_1(x))
        x = self.relu3_2(self.conv3_2(x))
        x = self.relu3_3(self.conv3_3(x))
        pool3 = self.pool3(x)  # (N, 256, H / 8, W / 8)

        x = self.relu4_1(self.conv4_1(pool3))
        x = self.relu4_2(self.conv4_2(x))
        x = self.relu4_3(self.conv4_3(x))
        pool4 = self.pool4(x)  # (N, 512, H / 16, W / 16)

        x = self.relu5_1(self.conv5_1(pool4))
        x = self.relu5_2(self.conv5_2(x))
        x = self.relu5_3(self.conv5_3(x))
        x = self.pool5(x)  # (N, 512, H / 32, W / 32)

        x = self.drop6(self.relu6(self.fc6(x)))  # (N, 4096, H / 32, W / 32)
        fc7 = self.drop7(self.relu7(self.fc7(x)))  # (N, 4096, H / 32, W / 32)
        return pool3, pool4, fc7


class FCN32s(VGG16Trunk):
    """Coarse scores, upsampled by 32 in one step (CVPR, Section 4.1; the top row of Figure 3)."""

    def __init__(
        self,
        classes: int = 21,
        in_channels: int = 3,
        widths: Sequence[int] = VGG16,
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__("FCN32s", classes, in_channels, widths, **parts)
        *_, fc7 = widths
        self.score_fr = nn.Conv2d(fc7, classes, 1)
        self.upscore = nn.ConvTranspose2d(classes, classes, 64, stride=32, groups=classes, bias=False)
        self.score = Crop(19)
        self.initialize()

    def forward(self, data: Tensor) -> Tensor:
        """From images (N, 3, H, W) to scores (N, classes, H, W)."""
        _, _, fc7 = self.trunk(data)
        score_fr = self.score_fr(fc7)  # (N, classes, H / 32, W / 32)
        upscore = self.upscore(score_fr)
        score: Tensor = self.score(upscore, data)  # (N, classes, H, W)
        return score


class FCN16s(VGG16Trunk):
    """Adds the scores of pool4 at stride 16 (CVPR, Section 4.2; the middle row of Figure 3)."""

    def __init__(
        self,
        classes: int = 21,
        in_channels: int = 3,
        widths: Sequence[int] = VGG16,
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__("FCN16s", classes, in_channels, widths, **parts)
        *_, pool4, _, _, fc7 = widths
        self.score_fr = nn.Conv2d(fc7, classes, 1)
        self.upscore2 = nn.ConvTranspose2d(classes, classes, 4, stride=2, groups=classes, bias=False)
        self.score_pool4 = nn.Conv2d(pool4, classes, 1)
        self.score_pool4c = Crop(5)
        self.fuse_pool4 = Sum()
        self.upscore16 = nn.ConvTranspose2d(classes, classes, 32, stride=16, groups=classes, bias=False)
        self.score = Crop(27)
        self.initialize()

    def forward(self, data: Tensor) -> Tensor:
        """From images (N, 3, H, W) to scores (N, classes, H, W)."""
        _, pool4, fc7 = self.trunk(data)
        score_fr = self.score_fr(fc7)  # (N, classes, H / 32, W / 32)
        upscore2 = self.upscore2(score_fr)  # (N, classes, H / 16, W / 16)

        score_pool4 = self.score_pool4c(self.score_pool4(pool4), upscore2)
        fuse_pool4 = self.fuse_pool4(upscore2, score_pool4)
        upscore16 = self.upscore16(fuse_pool4)
        score: Tensor = self.score(upscore16, data)  # (N, classes, H, W)
        return score


class FCN8s(VGG16Trunk):
    """Adds the scores of pool4, then those of pool3 (CVPR, Section 4.2; the bottom row of Figure 3)."""

    def __init__(
        self,
        classes: int = 21,
        in_channels: int = 3,
        widths: Sequence[int] = VGG16,
        **parts: Unpack[Parts],
    ) -> None:
        super().__init__("FCN8s", classes, in_channels, widths, **parts)
        _, _, pool3, pool4, _, _, fc7 = widths
        self.score_fr = nn.Conv2d(fc7, classes, 1)
        self.upscore2 = nn.ConvTranspose2d(classes, classes, 4, stride=2, groups=classes, bias=False)
        self.score_pool4 = nn.Conv2d(pool4, classes, 1)
        self.score_pool4c = Crop(5)
        self.fuse_pool4 = Sum()
        self.upscore_pool4 = nn.ConvTranspose2d(classes, classes, 4, stride=2, groups=classes, bias=False)
        self.score_pool3 = nn.Conv2d(pool3, classes, 1)
        self.score_pool3c = Crop(9)
        self.fuse_pool3 = Sum()
        self.upscore8 = nn.ConvTranspose2d(classes, classes, 16, stride=8, groups=classes, bias=False)
        self.score = Crop(31)
        self.initialize()

    def forward(self, data: Tensor) -> Tensor:
        """From images (N, 3, H, W) to scores (N, classes, H, W)."""
        pool3, pool4, fc7 = self.trunk(data)
        score_fr = self.score_fr(fc7)  # (N, classes, H / 32, W / 32)
        upscore2 = self.upscore2(score_fr)  # (N, classes, H / 16, W / 16)

        score_pool4 = self.score_pool4c(self.score_pool4(pool4), upscore2)
        fuse_pool4 = self.fuse_pool4(upscore2, score_pool4)
        upscore_pool4 = self.upscore_pool4(fuse_pool4)  # (N, classes, H / 8, W / 8)

        score_pool3 = self.score_pool3c(self.score_pool3(pool3), upscore_pool4)
        fuse_pool3 = self.fuse_pool3(upscore_pool4, score_pool3)
        upscore8 = self.upscore8(fuse_pool3)
        score: Tensor = self.score(upscore8, data)  # (N, classes, H, W)
        return score
