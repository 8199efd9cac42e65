"""onnxruntime: int8 after training, as QuantizeLinear and DequantizeLinear."""

import onnx
import onnxruntime
from in_engines.quantizing import CALIBRATED_ON, in_float
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)


class _Images(CalibrationDataReader):
    def __init__(self, names, sets):
        self._sets = iter([dict(zip(names, arrays, strict=True)) for arrays in sets])

    def get_next(self):
        return next(self._sets, None)


def load(path, sets, how="all"):
    graph = onnx.load(path).graph
    quantize_static(
        path,
        path + ".int8.onnx",
        _Images([value.name for value in graph.input], sets[:CALIBRATED_ON]),
        quant_format=QuantFormat.QDQ,
        per_channel="tensor" not in how,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,  # the others take images of one size only
        nodes_to_exclude=in_float([node.name for node in graph.node], how),
    )
    session = onnxruntime.InferenceSession(path + ".int8.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))
