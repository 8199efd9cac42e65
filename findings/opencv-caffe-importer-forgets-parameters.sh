#!/usr/bin/env bash
# OpenCV's importer of Caffe nets runs six layers as if some of their parameters had not been given.
#
# Expected: readNetFromCaffe reads a layer's parameters, or says that it does not know them.
# Seen with opencv-python-headless 4.14.0.94: without a word, LRN computes with k = 1 whatever k is, Log is the natural logarithm
# of its input whatever base, scale and shift are, Swish has a beta of 1, InnerProduct takes its weights as if transpose were
# false, Deconvolution is not dilated, and Concat joins channels whatever concat_dim, its older word for axis, says. Parameters
# beside them are read: alpha and beta of LRN, base, scale and shift of Exp.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q opencv-python-headless==4.14.0.94 numpy==2.2.6
cd "$dir"
venv/bin/python - <<'PY'
import cv2
import numpy as np

x = np.random.default_rng(0).uniform(0.5, 2, (2, 4, 5, 5)).astype(np.float32)
weights = np.random.default_rng(1).uniform(-1, 1, (4, 100)).astype(np.float32)


def varint(value):
    """A number as protobuf writes it."""
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


def field(number, content):
    """A protobuf field of bytes."""
    return varint(number * 8 + 2) + varint(len(content)) + content


def caffemodel(kind, blob):
    """A NetParameter of one layer (100) with a name (1), a type (2) and a blob (7) of a shape (7) and data (5)."""
    shape = field(7, field(1, bytes(blob.shape)))
    return field(100, field(1, b"l") + field(2, kind.encode()) + field(7, shape + field(5, blob.tobytes())))


def run(kind, parameters, blob=None, inputs=("x",)):
    heads = "".join(f'input: "{name}" input_shape {{ dim: 2 dim: 4 dim: 5 dim: 5 }}\n' for name in inputs)
    bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
    text = f'{heads}layer {{ name: "l" type: "{kind}" {bottoms} top: "l" {parameters} }}'
    files = [text.encode()] if blob is None else [text.encode(), caffemodel(kind, blob)]
    net = cv2.dnn.readNetFromCaffe(*(np.frombuffer(file, np.uint8) for file in files))
    for name in inputs:
        net.setInput(x, name)
    return net.forward()


def close(found, expected):
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=1e-4, atol=1e-5))


def report(name, found, right, seen):
    print(f"{name}: as the parameter says {close(found, right)}, as if it were not there {close(found, seen)}")
    assert not close(found, right) and close(found, seen)


def lrn(k):
    square = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return x / (k + 0.5 / 3 * (square[:, :-2] + square[:, 1:-1] + square[:, 2:])) ** 0.6


report("LRN, k", run("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }"), lrn(2), lrn(1))
found = run("Log", "log_param { base: 2 scale: 3 shift: 1 }")
report("Log, base, scale, shift", found, np.log2(3 * x + 1), np.log(x))
report("Swish, beta", run("Swish", "swish_param { beta: 2 }"), x / (1 + np.exp(-2 * x)), x / (1 + np.exp(-x)))
found = run("InnerProduct", "inner_product_param { num_output: 4 bias_term: false transpose: true }", weights.reshape(100, 4))
flat = x.reshape(2, 100)
report("InnerProduct, transpose", found, flat @ weights.reshape(100, 4), flat @ weights.reshape(4, 100).T)
found = run("Concat", "concat_param { concat_dim: 2 }", inputs=("x", "y"))
report("Concat, concat_dim", found, np.concatenate([x, x], 2), np.concatenate([x, x], 1))
parameters = "num_output: 4 kernel_size: 3 dilation: 2 bias_term: false"
found = run("Deconvolution", f"convolution_param {{ {parameters} }}", weights[:, :36].reshape(4, 4, 3, 3).copy())
print(f"Deconvolution, dilation: {found.shape[2]}x{found.shape[3]} where Caffe gives 9x9")
assert found.shape == (2, 4, 7, 7)
assert close(run("Exp", "exp_param { base: 2 scale: 3 shift: 1 }"), 2 ** (3 * x + 1))
PY
