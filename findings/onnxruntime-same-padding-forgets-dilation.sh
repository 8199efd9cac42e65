#!/usr/bin/env bash
# onnxruntime's MaxPool and AveragePool reckon auto_pad without the dilation, and give outputs of another size.
#
# Expected: with SAME_UPPER there are ceil(length / stride) outputs, whatever the dilation, or the model is refused: for a
# Conv of these settings onnxruntime says "Dilation not supported for AutoPadType::SAME_UPPER".
# Seen with onnxruntime 1.32.0: the values 1 to 7, kernel 3, dilation 2, stride 2 give 3 maxima, 4 6 6, in place of 4. It
# pads for a kernel of 3 values, where the dilated one spans 5. Right is 3 5 7 7, which ONNX 1.23.2's reference evaluator
# gives; ONNX's shape inference says 4 values, too.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy==2.3.5
"$dir/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
x = np.arange(1, 8, dtype=np.float32).reshape(1, 1, 7)


def session_and_model(op, *weights, **attributes):
    node = helper.make_node(op, ["x", *weights], ["y"], strides=[2], dilations=[2], auto_pad="SAME_UPPER", **attributes)
    tensor = lambda name, length: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, length])
    initializers = [numpy_helper.from_array(np.ones((1, 1, 3), np.float32), name) for name in weights]
    graph = helper.make_graph([node], "same", [tensor("x", 7)], [tensor("y", "length")], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]), model


session, model = session_and_model("MaxPool", kernel_shape=[3])
(y,), (reference,) = session.run(None, {"x": x}), ReferenceEvaluator(model).run(None, {"x": x})
inferred = shape_inference.infer_shapes(model, strict_mode=True).graph.output[0].type.tensor_type.shape.dim[2].dim_value
print("MaxPool: onnxruntime", y.ravel(), "reference", reference.ravel(), "inferred length", inferred)
assert y.ravel().tolist() == [4, 6, 6] and reference.ravel().tolist() == [3, 5, 7, 7] and inferred == 4
(y,) = session_and_model("AveragePool", kernel_shape=[3])[0].run(None, {"x": x})
print("AveragePool: onnxruntime", y.ravel())
assert y.ravel().tolist() == [3, 4, 5]
try:
    session_and_model("Conv", "w")[0].run(None, {"x": x})
except Exception as error:
    print("Conv:", str(error)[:200])
    assert "Dilation not supported for AutoPadType::SAME_UPPER" in str(error)
else:
    raise SystemExit("Conv: not refused any more")
PY
