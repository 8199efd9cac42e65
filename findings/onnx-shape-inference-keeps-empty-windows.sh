#!/usr/bin/env bash
# ONNX's shape inference before opset 22 gives a ceil_mode pooling one output more than engines compute.
#
# Expected: the inferred shape is the shape of the output, whichever opset the same pooling is written in.
# Seen with onnx 1.23.2: for 6 values, kernel 2, stride 3 the last window would start at 6, behind the input. onnxruntime
# 1.32.0 and ONNX's reference evaluator leave it out in every opset: 2 outputs. Strict shape inference says 3 in opset 20
# and 2 in opset 22, whose text alone says that such a window is left out. MaxPool and AveragePool, padded or not.
# onnxruntime warns, at each run, that the shape is not the expected one.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
"$dir/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, shape_inference
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)


def lengths(op, opset, length, kernel, stride, pad):
    """The output's length in onnxruntime, in the reference evaluator, and as inferred."""
    pool = helper.make_node(op, ["x"], ["y"], kernel_shape=[kernel], strides=[stride], pads=[pad, pad], ceil_mode=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, length])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "length"])
    graph = helper.make_graph([pool], "pool", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    checker.check_model(model)
    feed = {"x": np.arange(length, dtype=np.float32).reshape(1, 1, length)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph.output[0]
    return (
        session.run(None, feed)[0].shape[2],
        ReferenceEvaluator(model).run(None, feed)[0].shape[2],
        inferred.type.tensor_type.shape.dim[2].dim_value,
    )


for op in "MaxPool", "AveragePool":
    for setting in (6, 2, 3, 0), (5, 2, 2, 1), (7, 2, 3, 1):
        for opset, surplus in (20, 1), (22, 0):
            found = lengths(op, opset, *setting)
            print(op, opset, "length {}, kernel {}, stride {}, pad {}:".format(*setting), end=" ")
            print("run {}, reference {}, inferred {}".format(*found))
            assert found[0] == found[1] == found[2] - surplus
    assert lengths(op, 20, 6, 3, 2, 1) == (4, 4, 4)  # the last window starts in the input
PY
