"""tinygrad, compiled by clang; a runner for each size."""

import os

os.environ["DEV"] = "CPU"

from tinygrad import Tensor
from tinygrad.nn.onnx import OnnxRunner


def load(path, sets):
    def run(arrays):
        runner = OnnxRunner(path)
        names = list(runner.graph_inputs)
        tops = runner({name: Tensor(x) for name, x in zip(names, arrays, strict=True)})
        return [top.numpy() for top in tops.values()]

    return run
