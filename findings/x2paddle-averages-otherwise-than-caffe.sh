#!/usr/bin/env bash
# X2Paddle's Caffe nets average other things than Caffe does, in pooling and in LRN.
#
# Expected: the converted net gives Caffe's numbers, or the converter says what it cannot do.
# Seen with x2paddle 1.6.0 and paddlepaddle 3.0.0: AVE pooling with padding divides by the pixels of the image in a window, where
# Caffe divides by the padding's as well. LRN's alpha is divided by local_size twice, by the converter and by Paddle's layer, which
# averages: so Caffe's alpha counts for a third of itself at a local_size of 3. norm_region: WITHIN_CHANNEL becomes a sum across
# channels. All without a word.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q x2paddle==1.6.0 paddlepaddle==3.0.0 protobuf==3.20.3 numpy==1.26.4 requests==2.32.5 six==1.17.0 setuptools==80.9.0
venv/bin/python - 2> >(grep -v -i "warn\|ccache" >&2) <<'PY'
import importlib
import subprocess
import sys

import numpy as np
import paddle

sys.path.insert(0, ".")
x = np.random.default_rng(0).uniform(1, 2, (1, 4, 7, 9)).astype(np.float32)


def run(name, kind, parameters):
    with open("net.prototxt", "w") as file:
        file.write(f'name: "{name}" input: "x" input_shape {{ dim: 1 dim: 4 dim: 7 dim: 9 }}\n')
        file.write(f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "l" {parameters} }}')
    layer = b"\x0a\x01l\x12" + bytes([len(kind)]) + kind.encode()  # a NetParameter with one layer (100) without blobs
    with open("net.caffemodel", "wb") as file:
        file.write(b"\xa2\x06" + bytes([len(layer)]) + layer)
    files = ["--prototxt=net.prototxt", "--weight=net.caffemodel", f"--save_dir={name}", "--disable_feedback=True"]
    command = [sys.executable, "-m", "x2paddle.convert", "--framework=caffe", *files]
    subprocess.run(command, check=True, capture_output=True)
    return getattr(importlib.import_module(f"{name}.x2paddle_code"), name)()(paddle.to_tensor(x)).numpy()


def report(name, found, caffe, seen):
    off, same = np.abs(found / caffe - 1).max(), np.abs(found / seen - 1).max()
    print(f"{name}: up to {off:.0%} from Caffe's definition, {same:.0e} from what is said above")
    assert off > 0.05 and same < 1e-5


def windows(divide_by_all):
    """AVE pooling of 3x3 in steps of 2 with a padding of 1."""
    out = np.empty((1, 4, 4, 5), np.float32)
    for row, column in np.ndindex(4, 5):
        top, left = 2 * row - 1, 2 * column - 1
        part = x[:, :, max(top, 0) : top + 3, max(left, 0) : left + 3]
        area = (min(top + 3, 8) - top) * (min(left + 3, 10) - left) if divide_by_all else part.shape[2] * part.shape[3]
        out[:, :, row, column] = part.sum((2, 3)) / area
    return out


def lrn(alpha):
    square = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return x / (1 + alpha * (square[:, :-2] + square[:, 1:-1] + square[:, 2:])) ** 0.75


def within():
    square = np.pad(x**2, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(square[:, :, row : row + 7, column : column + 9] for row in range(3) for column in range(3))
    return x / (1 + 0.6 / 9 * total) ** 0.75


found = run("pooling", "Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
report("AVE pooling", found, windows(divide_by_all=True), windows(divide_by_all=False))
norm = "local_size: 3 alpha: 0.6 beta: 0.75"
report("LRN", run("across", "LRN", f"lrn_param {{ {norm} }}"), lrn(0.6 / 3), lrn(0.6 / 9))
found = run("within", "LRN", f"lrn_param {{ {norm} norm_region: WITHIN_CHANNEL }}")
report("LRN within a channel", found, within(), lrn(0.6 / 9))
PY
