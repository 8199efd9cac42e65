"""The engines of `--check-in`, by the same code."""

from pathlib import Path

import onnx

from caffe2torch.formats.onnx import open_onnx
from caffe2torch.formats.onnx.engines import ENGINES


def load(path, sets, engine):
    graph = onnx.load(path).graph
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    file = Path(path)
    run = open_onnx(file) if engine == "onnxruntime" else ENGINES[engine].open(file, inputs, outputs)

    def listed(arrays):
        tops = run(dict(zip(inputs, arrays, strict=True)))
        return [tops[name] for name in outputs]

    return listed
