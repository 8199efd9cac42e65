#!/usr/bin/env bash
# ONNX's own reference evaluator computes MaxPool with auto_pad SAME_LOWER wrongly, with too few outputs.
#
# Expected: SAME_LOWER pads so that there are ceil(length / stride) outputs, an odd surplus at the start.
# Seen with onnx 1.23.2: for the values 1 to 5, kernel 2, stride 2 the reference gives 3 5, as if nothing were padded;
# right is 1 3 5, which onnxruntime 1.32.0 gives. Kernel 3 needs one on each side, as SAME_UPPER does, and even there
# SAME_LOWER differs from SAME_UPPER. The reference's AveragePool takes the same settings right.
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

x = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 5)


def pooled(op, auto_pad, kernel):
    """What onnxruntime gives, and the reference."""
    pool = helper.make_node(op, ["x"], ["y"], kernel_shape=[kernel], strides=[2], auto_pad=auto_pad)
    tensor = lambda name, length: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, length])
    graph = helper.make_graph([pool], "pool", [tensor("x", 5)], [tensor("y", 3)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    run, reference = session.run(None, {"x": x})[0], ReferenceEvaluator(model).run(None, {"x": x})[0]
    print(f"{op}, kernel {kernel}, {auto_pad}: onnxruntime {run.ravel()}, reference {reference.ravel()}")
    return run.ravel().tolist(), reference.ravel().tolist()


assert pooled("MaxPool", "SAME_LOWER", 2) == ([1, 3, 5], [3, 5])
assert pooled("MaxPool", "SAME_LOWER", 3) == ([2, 4, 5], [3, 5])
assert pooled("MaxPool", "SAME_UPPER", 3) == ([2, 4, 5], [2, 4, 5])
for kernel, right in (2, [1, 2.5, 4.5]), (3, [1.5, 3, 4.5]):
    assert pooled("AveragePool", "SAME_LOWER", kernel) == (right, right)
PY
