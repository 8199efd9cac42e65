"""voc-fcn8s (FCN8s), a Caffe model in PyTorch.

Converted from weights.caffemodel
(SHA-256 6d8d1507badbc5b7c52d887daeb2efbef7430c907b7b01c17957c9f0f1571c3a):

    fcn-convert weights.caffemodel -o fcn8s.py

All it needs is torch and safetensors. `load()` gives the net with its weights, from
the .safetensors file beside this one. Inputs are float32; images are from 0 to 255,
and then:

    data: BGR, minus (104.00699, 116.66877, 122.67892)
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).with_suffix(".safetensors")
PREPROCESSING = {
    "data": {
        "mean": (104.00699, 116.66877, 122.67892),
        "scale": 1.0,
        "crop_size": 0,
        "mirror": False,
        "mean_file": "",
        "channels": "BGR",
    },
}
"""By input: (image - mean) * scale. `channels` is the order of image and mean,
`crop_size` a square from the middle if it is not 0."""


def crop(x: Tensor, like: Tensor, top: int, left: int) -> Tensor:
    """`x` from row `top` and column `left` on, as high and wide as `like`."""
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]


class FCN8s(nn.Module):
    """Layers have their Caffe names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Conv2d(3, 4, 3, padding=100)
        self.conv1_2 = nn.Conv2d(4, 4, 3, padding=1)
        self.pool1 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv2_1 = nn.Conv2d(4, 8, 3, padding=1)
        self.conv2_2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool2 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv3_1 = nn.Conv2d(8, 16, 3, padding=1)
        self.conv3_2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3_3 = nn.Conv2d(16, 16, 3, padding=1)
        self.pool3 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv4_1 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv4_2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv4_3 = nn.Conv2d(32, 32, 3, padding=1)
        self.pool4 = nn.MaxPool2d(2, ceil_mode=True)

        self.conv5_1 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv5_2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv5_3 = nn.Conv2d(32, 32, 3, padding=1)
        self.pool5 = nn.MaxPool2d(2, ceil_mode=True)

        self.fc6 = nn.Conv2d(32, 64, 7)
        self.drop6 = nn.Dropout()
        self.fc7 = nn.Conv2d(64, 64, 1)
        self.drop7 = nn.Dropout()
        self.score_fr = nn.Conv2d(64, 21, 1)
        self.upscore2 = nn.ConvTranspose2d(21, 21, 4, stride=2, groups=21, bias=False)

        self.score_pool4 = nn.Conv2d(32, 21, 1)
        self.upscore_pool4 = nn.ConvTranspose2d(
            21, 21, 4, stride=2, groups=21, bias=False
        )

        self.score_pool3 = nn.Conv2d(16, 21, 1)
        self.upscore8 = nn.ConvTranspose2d(21, 21, 16, stride=8, groups=21, bias=False)

        # Caffe left these as they are (lr_mult: 0).
        for layer in [self.upscore2, self.upscore_pool4, self.upscore8]:
            layer.requires_grad_(False)

    def forward(self, data: Tensor) -> Tensor:
        """From data (N, 3, H, W) to score (N, 21, H, W)."""
        x = F.relu(self.conv1_1(data))  # (N, 4, H + 198, W + 198)
        x = F.relu(self.conv1_2(x))
        x = self.pool1(x)  # (N, 4, (H + 1) // 2 + 99, (W + 1) // 2 + 99)

        x = F.relu(self.conv2_1(x))
        x = F.relu(self.conv2_2(x))
        x = self.pool2(x)  # (N, 8, (H + 1) // 4 + 50, (W + 1) // 4 + 50)

        x = F.relu(self.conv3_1(x))
        x = F.relu(self.conv3_2(x))
        x = F.relu(self.conv3_3(x))
        pool3 = self.pool3(x)  # (N, 16, (H + 5) // 8 + 25, (W + 5) // 8 + 25)

        x = F.relu(self.conv4_1(pool3))
        x = F.relu(self.conv4_2(x))
        x = F.relu(self.conv4_3(x))
        pool4 = self.pool4(x)  # (N, 32, (H + 5) // 16 + 13, (W + 5) // 16 + 13)

        x = F.relu(self.conv5_1(pool4))
        x = F.relu(self.conv5_2(x))
        x = F.relu(self.conv5_3(x))
        x = self.pool5(x)  # (N, 32, (H + 5) // 32 + 7, (W + 5) // 32 + 7)

        x = self.drop6(F.relu(self.fc6(x)))  # (N, 64, h, w), h = (H + 5) // 32 + 1
        x = self.drop7(F.relu(self.fc7(x)))
        x = self.score_fr(x)
        upscore2 = self.upscore2(x)  # (N, 21, h, w), h = 2 * ((H + 5) // 32) + 4

        score_pool4 = self.score_pool4(pool4)
        score_pool4c = crop(score_pool4, upscore2, 5, 5)
        fuse_pool4 = upscore2 + score_pool4c
        upscore_pool4 = self.upscore_pool4(fuse_pool4)

        score_pool3 = self.score_pool3(pool3)
        score_pool3c = crop(score_pool3, upscore_pool4, 9, 9)
        fuse_pool3 = upscore_pool4 + score_pool3c
        upscore8 = self.upscore8(fuse_pool3)
        return crop(upscore8, data, 31, 31)  # (N, 21, H, W)


def load(path: str | Path = WEIGHTS) -> FCN8s:
    """The net with its weights, in eval mode."""
    net = FCN8s()
    net.load_state_dict(load_file(path))
    return net.eval()
