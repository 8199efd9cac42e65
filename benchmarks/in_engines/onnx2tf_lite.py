"""onnx2tf, run by LiteRT."""

import subprocess
import sys
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter


def load(path, sets):
    folder = Path(path + ".tf")
    subprocess.run(
        [sys.executable, "-m", "onnx2tf", "-i", path, "-o", folder], check=True, capture_output=True
    )
    (file,) = folder.glob("*_float32.tflite")
    net = Interpreter(str(file))

    def run(arrays):
        for detail, x in zip(net.get_input_details(), arrays, strict=True):
            net.resize_tensor_input(detail["index"], x.transpose(0, 2, 3, 1).shape)
        net.allocate_tensors()
        for detail, x in zip(net.get_input_details(), arrays, strict=True):
            net.set_tensor(detail["index"], x.transpose(0, 2, 3, 1))
        net.invoke()
        return [net.get_tensor(detail["index"]).transpose(0, 3, 1, 2) for detail in net.get_output_details()]

    return run
