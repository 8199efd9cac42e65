#!/usr/bin/env bash
# MNN's importer of Caffe nets reads the sizes of a convolution width first.
#
# Expected: of two kernel_size, stride or pad in a row, the first is the height's, as caffe.proto says ("spatial dimensions").
# Seen with MNN 3.6.1: they are exchanged. A kernel of 3 rows and 1 column with steps of 2 and 1 makes 7x9 pixels into 7x4, not
# into 3x9, with the weights read in that order, too. kernel_h, kernel_w and their like are read as they are written.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q MNN==3.6.1 numpy==2.2.6
cd "$dir"
mkdir bin && printf '#!/bin/sh\nexit 1\n' > bin/pip && chmod +x bin/pip # mnnconvert calls pip
PATH="$dir/bin:$PATH" venv/bin/python - <<'PY'
import subprocess

import MNN.expr as F
import MNN.nn
import numpy as np

x = np.arange(63, dtype=np.float32).reshape(1, 1, 7, 9)
weights = np.array([1, 10, 100], np.float32).reshape(1, 1, 3, 1)
# A NetParameter of one layer (100) with a name (1), a type (2) and a blob (7) of a shape (7) and data (5).
shape = b"\x3a\x06\x0a\x04" + bytes(weights.shape)
blob = shape + b"\x2a\x0c" + weights.tobytes()
layer = b"\x0a\x01l\x12\x0bConvolution\x3a" + bytes([len(blob)]) + blob
with open("net.caffemodel", "wb") as file:
    file.write(b"\xa2\x06" + bytes([len(layer)]) + layer)


def run(parameters):
    with open("net.prototxt", "w") as file:
        file.write('input: "x" input_shape { dim: 1 dim: 1 dim: 7 dim: 9 }\n')
        file.write('layer { name: "l" type: "Convolution" bottom: "x" top: "l" convolution_param {')
        file.write(f"num_output: 1 bias_term: false {parameters} }} }}")
    files = ["--modelFile", "net.caffemodel", "--prototxt", "net.prototxt", "--MNNModel", "net.mnn"]
    log = subprocess.run(["venv/bin/mnnconvert", "-f", "CAFFE", *files, "--bizCode", "x"], capture_output=True, text=True)
    assert "Converted Success" in log.stdout, log.stdout
    net = MNN.nn.load_module_from_file("net.mnn", ["x"], ["l"])
    return np.array(F.convert(net.forward([F.const(x, list(x.shape), F.NCHW)])[0], F.NCHW).read())


down = x[:, :, :-2:2] + 10 * x[:, :, 1:-1:2] + 100 * x[:, :, 2::2]  # a kernel of 3x1, steps of 2 and 1
across = (x[..., :-2] + 10 * x[..., 1:-1] + 100 * x[..., 2:])[..., ::2]  # the same turned
named = run("kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 1")
listed = run("kernel_size: 3 kernel_size: 1 stride: 2 stride: 1")
print(f"kernel_h: 3 kernel_w: 1 gives {named.shape[2:]}; kernel_size: 3 kernel_size: 1 gives {listed.shape[2:]}")
assert np.array_equal(named, down)
assert np.array_equal(listed, across)
PY
