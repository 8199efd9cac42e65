#!/usr/bin/env bash
# onnxruntime calibrates a net with free sizes on images of several sizes by MinMax, but by no other of its methods.
#
# Expected: quantize_static takes what the model takes, whatever the calibration_method; or says which images it needs.
# Seen with onnxruntime 1.32.0, numpy 2.3.5: with images of three sizes Percentile, Entropy and Distribution end in numpy's
# ValueError about "an inhomogeneous shape"; MinMax takes them, and all four take three images of one size.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q onnxruntime==1.32.0 numpy==2.3.5 onnx==1.23.2 sympy==1.14.0
cd "$dir"
venv/bin/python - <<'PY'
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static


class Images(CalibrationDataReader):
    def __init__(self, sizes):
        draw = np.random.default_rng(0)
        self.left = iter([{"x": draw.random((1, 1, *size), np.float32)} for size in sizes])

    def get_next(self):
        return next(self.left, None)


weight = helper.make_tensor("w", TensorProto.FLOAT, (2, 1, 3, 3), np.ones(18, np.float32))
values = [
    helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    for name, shape in (("x", (1, 1, "height", "width")), ("y", (1, 2, "rows", "columns")))
]
convolution = helper.make_node("Conv", ["x", "w"], ["y"])
graph = helper.make_graph([convolution], "net", values[:1], values[1:], [weight])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "net.onnx")
found = {}
for method in CalibrationMethod:
    for name, sizes in (("one size", [(8, 9)] * 3), ("three sizes", [(8, 9), (7, 9), (8, 6)])):
        try:
            quantize_static("net.onnx", "int8.onnx", Images(sizes), calibrate_method=method)
            found[method.name, name] = "done"
        except ValueError as error:
            found[method.name, name] = str(error)
print(*found.items(), sep="\n")
assert {method.name for method in CalibrationMethod} == {"MinMax", "Entropy", "Percentile", "Distribution"}
for (method, sizes), said in found.items():
    fails = method != "MinMax" and sizes == "three sizes"
    assert ("inhomogeneous shape" in said) if fails else said == "done", (method, sizes, said)
PY
