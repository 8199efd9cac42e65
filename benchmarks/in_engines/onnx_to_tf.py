"""onnx2tf, and its file in LiteRT; images have their channels last there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter


def load(path, sets):
    folder = Path(path).with_suffix("")
    subprocess.run([sys.executable, "-m", "onnx2tf", "-i", path, "-o", folder], check=True)
    (file,) = folder.glob("*_float32.tflite")
    net = Interpreter(str(file))
    # Outputs have them last or first, as it suits the converter.
    classes = {value.type.tensor_type.shape.dim[1].dim_value for value in onnx.load(path).graph.output}

    def run(arrays):
        given = [np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in arrays]
        for place, x in zip(net.get_input_details(), given, strict=True):
            net.resize_tensor_input(place["index"], x.shape)
        net.allocate_tensors()
        for place, x in zip(net.get_input_details(), given, strict=True):
            net.set_tensor(place["index"], x)
        net.invoke()
        tops = [net.get_tensor(place["index"]) for place in net.get_output_details()]
        return [top if top.shape[1] in classes else top.transpose(0, 3, 1, 2) for top in tops]

    return run
