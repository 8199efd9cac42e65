"""FCN-GoogLeNet (CVPR 2015, Section 4.1): GoogLeNet's nine inception modules, one score, one upsampling.

The authors' own GoogLeNet was never published; widths are those of BVLC's (models/bvlc_googlenet).
"""

from __future__ import annotations

from collections.abc import Sequence

from caffe2torch.schema import Message
from caffe2torch.zoo.writer import NetWriter

INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection."""


def message(classes: int = 21, size: Sequence[int] = (500, 500), *, average_pool: bool = False) -> Message:
    """The deploy net as a NetParameter, for images of `size` (height, width).

    The papers drop the classifier's 7x7 average pool; `average_pool` keeps it, at stride 1.
    """
    net = NetWriter("FCNGoogLeNetPooled" if average_pool else "FCNGoogLeNet")
    x = _stem(net, net.input("data", 3, size))
    for name, widths in INCEPTIONS.items():
        x = _inception(net, f"inception_{name}", x, widths)
        if name in ("3b", "4e"):
            x = net.pool(f"pool{int(name[0])}/3x3_s2", x, 3)
    if average_pool:
        x = net.pool("pool5/7x7_s1", x, 7, stride=1, pool="AVE")
    score = net.conv("score_fr", net.dropout("pool5/drop", x), classes, 1)
    # As in FCN-AlexNet, 63 and not 64: the classifier's grid lies on whole pixels.
    upscore = net.upsample("upscore", score, classes, 63, 32, learned=False)
    net.crop("score", upscore, "data", offset=2 if average_pool else 98)
    return net.message


def _stem(net: NetWriter, data: str) -> str:
    """The layers before the inception modules, with the padding of 100 that all the papers' nets have."""
    x = net.relu("conv1/relu_7x7", net.conv("conv1/7x7_s2", data, 64, 7, pad=[100], stride=[2]))
    x = net.norm("pool1/norm1", net.pool("pool1/3x3_s2", x, 3))
    x = net.relu("conv2/relu_3x3_reduce", net.conv("conv2/3x3_reduce", x, 64, 1))
    x = net.relu("conv2/relu_3x3", net.conv("conv2/3x3", x, 192, 3, pad=[1]))
    return net.pool("pool2/3x3_s2", net.norm("conv2/norm2", x), 3)


def _inception(net: NetWriter, name: str, x: str, widths: Sequence[int]) -> str:
    """Four branches, concatenated."""
    one, three_reduced, three, five_reduced, five, projected = widths

    def conv(branch: str, bottom: str, width: int, kernel: int = 1) -> str:
        top = net.conv(f"{name}/{branch}", bottom, width, kernel, pad=[kernel // 2])
        return net.relu(f"{name}/relu_{branch}", top)

    branches = [
        conv("1x1", x, one),
        conv("3x3", conv("3x3_reduce", x, three_reduced), three, 3),
        conv("5x5", conv("5x5_reduce", x, five_reduced), five, 5),
        conv("pool_proj", net.pool(f"{name}/pool", x, 3, stride=1, pad=1), projected),
    ]
    return net.add("Concat", f"{name}/output", *branches)
