#!/usr/bin/env bash
# caffe2onnx makes one input of all that a prototxt declares by "input:".
#
# Expected: a net of two inputs becomes an ONNX file of two inputs.
# Seen with caffe2onnx 2.0.1: it becomes a file of one, named "input", of the first one's shape. A sum of two inputs is written as
# Add with one argument, which nothing can run; but Concat with one argument is valid: the file passes ONNX's checker, and its
# output is the first input alone. With Input layers in place of "input:", both are there.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q onnx==1.15.0 protobuf==3.20.3 numpy==1.26.4
venv/bin/pip install -q --no-deps --use-pep517 caffe2onnx==2.0.1 # it names onnx 1.6, which Python 3.11 cannot build
PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python venv/bin/python - <<'PY'
import contextlib
import io

import numpy as np
import onnx
from caffe2onnx.src.caffe2onnx import Caffe2Onnx
from caffe2onnx.src.load_save_model import loadcaffemodel
from onnx.reference import ReferenceEvaluator

SHAPE = "shape { dim: 1 dim: 2 dim: 3 dim: 3 }"
CONCAT = 'layer { name: "l" type: "Concat" bottom: "a" bottom: "b" top: "l" }'
# A NetParameter with one layer (100) that has a name (1) and a type (2), and no blobs.
with open("net.caffemodel", "wb") as file:
    file.write(b"\xa2\x06\x0b\x0a\x01l\x12\x06Concat")


def convert(heads):
    with open("net.prototxt", "w") as file:
        file.write(heads + CONCAT)
    with contextlib.redirect_stdout(io.StringIO()):
        graph, parameters = loadcaffemodel("net.prototxt", "net.caffemodel")
        model = Caffe2Onnx(graph, parameters, "net").createOnnxModel()
    onnx.checker.check_model(model)
    return model


declared = convert("".join(f'input: "{name}" input_{SHAPE}\n' for name in "ab"))
names = [value.name for value in declared.graph.input]
print(f"declared by input: {names}")
assert names == ["input"]
assert list(declared.graph.node[0].input) == ["input"]
x = np.ones((1, 2, 3, 3), np.float32)
found = ReferenceEvaluator(declared).run(None, {"input": x})[0]
print(f"two blobs of {x.shape} joined: {found.shape}")
assert np.array_equal(found, x)
layers = convert("".join(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ {SHAPE} }} }}\n' for name in "ab"))
names = [value.name for value in layers.graph.input]
print(f"declared by layers: {names}")
assert names == ["a_input", "b_input"]
PY
