#!/usr/bin/env bash
# Three counters of multiplications count a transposed convolution as if it were a convolution of its output's size.
#
# Expected: a ConvTranspose2d multiplies each of its input's values with each weight that it meets: pixels of the input x weights.
# Seen with thop 0.1.1.post2209072238, torchinfo 1.8.0 and torchprofile 0.1.0 (torch 2.13.0): pixels of the output x weights. The
# last layer of an FCN-32s (kernel 64, stride 32, grouped) is counted 1156 times over, from 16 x 16 pixels to 544 x 544: 25 GMAC
# in place of 0.022. torch's own counter, fvcore and ptflops give what is multiplied; all six agree on convolutions.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 torchinfo==1.8.0
"$dir/venv/bin/pip" install -q thop==0.1.1.post2209072238 torchprofile==0.1.0 ptflops==0.7.5 --no-deps
"$dir/venv/bin/pip" install -q fvcore==0.1.5.post20221221 iopath==0.1.10 portalocker==3.2.0 tqdm==4.67.1 tabulate==0.9.0 \
    yacs==0.1.8 termcolor==3.1.0 pyyaml==6.0.3 --no-deps
cd "$dir"
venv/bin/python -W ignore - <<'PY'
import logging

import ptflops
import thop
import torch
import torchinfo
import torchprofile
from fvcore.nn import FlopCountAnalysis
from torch.nn import Conv2d, ConvTranspose2d, Sequential
from torch.utils.flop_counter import FlopCounterMode

logging.disable(logging.WARNING)


def by_torch(net, image):
    with FlopCounterMode(display=False) as counter:
        net(image)
    return counter.get_total_flops() // 2


def by_ptflops(net, image):
    options = {"as_strings": False, "print_per_layer_stat": False, "backend": "pytorch"}
    return ptflops.get_model_complexity_info(net, tuple(image.shape[1:]), **options)[0]


COUNTERS = {
    "torch": by_torch,
    "fvcore": lambda net, image: FlopCountAnalysis(net, image).total(),
    "ptflops": by_ptflops,
    "thop": lambda net, image: thop.profile(net, (image,), verbose=False)[0],
    "torchinfo": lambda net, image: torchinfo.summary(net, input_data=image, verbose=0).total_mult_adds,
    "torchprofile": torchprofile.profile_macs,
}
INFLATE = {"thop", "torchinfo", "torchprofile"}


def check(layer, pixels, inflated):
    net, image = Sequential(layer).eval(), torch.zeros(1, layer.in_channels, 16, 16)
    true = pixels * layer.weight.numel()
    print(f"{layer}: {true} multiplications")
    for name, count in COUNTERS.items():
        found = int(count(net, image))
        print(f"  {name}: {found / true:.2f} times that")
        assert found == (inflated * layer.weight.numel() if name in INFLATE else true)


check(Conv2d(8, 16, 3, padding=1, groups=4, bias=False), 16 * 16, 16 * 16)
check(ConvTranspose2d(8, 2, 4, 2, bias=False), 16 * 16, 34 * 34)
check(ConvTranspose2d(21, 21, 64, 32, groups=21, bias=False), 16 * 16, 544 * 544)
PY
