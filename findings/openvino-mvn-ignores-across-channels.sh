#!/usr/bin/env bash
# OpenVINO's Model Optimizer turns Caffe's MVN into one that ignores across_channels and adds eps elsewhere.
#
# Expected: across_channels makes one mean and deviation for all channels of an image, and Caffe divides by deviation + eps; or
# the converter says what it cannot do.
# Seen with openvino-dev 2023.3.0, the last year with a Caffe front end: without a word, each channel keeps its own mean and
# deviation, and what it divides by is the root of variance + eps. normalize_variance is read.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q "openvino-dev[caffe]==2023.3.0"
cd "$dir"
venv/bin/python - 2>/dev/null <<'PY'
import numpy as np
import openvino
from openvino.tools.mo import convert_model

x = np.random.default_rng(0).standard_normal((2, 4, 5, 6)).astype(np.float32) + np.arange(4, dtype=np.float32).reshape(4, 1, 1)
# A NetParameter with one layer (100) that has a name (1) and a type (2), and no blobs.
with open("net.caffemodel", "wb") as file:
    file.write(b"\xa2\x06\x08\x0a\x01l\x12\x03MVN")


def run(parameters):
    with open("net.prototxt", "w") as file:
        file.write('input: "x" input_shape { dim: 2 dim: 4 dim: 5 dim: 6 }\n')
        file.write(f'layer {{ name: "l" type: "MVN" bottom: "x" top: "l" mvn_param {{ {parameters} }} }}')
    model = convert_model("net.caffemodel", input_proto="net.prototxt", compress_to_fp16=False, silent=True)
    return openvino.Core().compile_model(model, "CPU")([x])[0]


def mvn(axes, eps=1e-9, under_the_root=False):
    apart, variance = x - x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return apart / (np.sqrt(variance + eps) if under_the_root else np.sqrt(variance) + eps)


def report(name, found, right, seen):
    off, same = np.abs(found - right).max(), np.abs(found - seen).max()
    print(f"{name}: {off:.3f} from Caffe's definition, {same:.0e} from what is said above")
    assert off > 0.1 and same < 1e-5


channel, image = (2, 3), (1, 2, 3)
report("across_channels: true", run("across_channels: true"), mvn(image), mvn(channel))
report("eps: 0.5", run("eps: 0.5"), mvn(channel, 0.5), mvn(channel, 0.5, under_the_root=True))
found = run("normalize_variance: false")
assert np.abs(found - (x - x.mean(channel, keepdims=True))).max() < 1e-5
PY
