"""MNN: its converter, then its interpreter, on a CPU."""

import subprocess
import sys

import MNN
import numpy as np


def load(path, arrays):
    converted = path + ".mnn"
    subprocess.run([sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", "--modelFile", path,
                    "--MNNModel", converted], check=True, capture_output=True)  # fmt: skip
    import onnx

    graph = onnx.load(path).graph
    names = [x.name for x in graph.input], [x.name for x in graph.output]
    net = MNN.nn.load_module_from_file(converted, *names)

    def run(arrays):
        inputs = [MNN.expr.const(x, x.shape, MNN.expr.NCHW) for x in arrays]
        return [np.array(MNN.expr.convert(top, MNN.expr.NCHW).read()) for top in net.forward(inputs)]

    return run
