"""NNCF: int8 after training, for OpenVINO."""

import nncf
import openvino
from in_engines.quantizing import CALIBRATED_ON, in_float


def load(path, sets, how="all"):
    model = openvino.Core().read_model(path)
    names = [node.get_friendly_name() for node in model.get_ops()]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(sets[:CALIBRATED_ON]),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction="exact" not in how,
        subset_size=CALIBRATED_ON,
        ignored_scope=nncf.IgnoredScope(names=in_float(names, how)),
    )
    compiled = openvino.Core().compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda arrays: list(compiled(arrays).values())
