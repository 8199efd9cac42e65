#!/usr/bin/env bash
# ONNX's own reference evaluator normalizes only as many channels as there are images in the batch.
#
# Expected: LRN divides every channel by the power of its neighbourhood's sum of squares, as the operator's definition says,
# and as onnxruntime does. The reference evaluator is what other engines are held against.
# Seen with onnx 1.23.2: of six channels, a batch of one has the first normalized and the other five come out as they
# were. With two images the first two are right, with six all of them. Nothing warns. Seven images: IndexError.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
"$dir/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

CHANNELS = 6
tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, CHANNELS, 2, 3])
lrn = helper.make_node("LRN", ["x"], ["y"], size=3, alpha=1.0, beta=0.75, bias=1.0)
graph = helper.make_graph([lrn], "lrn", [tensor("x")], [tensor("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def by_definition(x):
    padded = np.pad(x.astype(np.float64) ** 2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    squares = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return x / (1 + squares / 3) ** 0.75


for images in 1, 2, 4, 6:
    x = np.random.default_rng(images).uniform(1, 3, (images, CHANNELS, 2, 3)).astype(np.float32)
    right = by_definition(x)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert np.allclose(session.run(None, {"x": x})[0], right, rtol=1e-5)
    normalized = [c for c in range(CHANNELS) if np.allclose(y[:, c], right[:, c], rtol=1e-5)]
    untouched = [c for c in range(CHANNELS) if np.allclose(y[:, c], x[:, c])]
    print(f"{images} images: onnxruntime has all channels right, the reference {normalized}; as they were: {untouched}")
    assert normalized == list(range(images)) and untouched == list(range(images, CHANNELS))

try:
    ReferenceEvaluator(model).run(None, {"x": np.ones((7, CHANNELS, 2, 3), np.float32)})
except IndexError as error:
    print(f"7 images: IndexError: {error}")
else:
    raise SystemExit("7 images: no error any more")
PY
