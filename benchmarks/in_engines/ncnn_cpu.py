"""ncnn, of the .py through a trace and pnnx, which sees two sizes to know that they are free."""

from pathlib import Path

import ncnn
import numpy as np
import pnnx
import torch
from in_engines.py_file import module


class Listed(torch.nn.Module):
    """The module with its outputs in order; pnnx takes no dictionary."""

    def __init__(self, named):
        super().__init__()
        self.named = named

    def forward(self, x):
        tops = self.named(x)
        return tuple(tops.values()) if isinstance(tops, dict) else tops


def load(path, sets):
    one, other = (tuple(torch.from_numpy(x[:1]) for x in arrays) for arrays in sets[:2])
    stem = str(Path(path).with_suffix(""))
    pnnx.export(Listed(module(path)), stem + ".pt", one, other, fp16=False)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(stem + ".ncnn.param")
    net.load_model(stem + ".ncnn.bin")
    outputs = sorted(net.output_names(), key=lambda name: int(name.removeprefix("out")))

    def run(arrays):
        (images,) = arrays
        tops = []
        for image in images:
            extractor = net.create_extractor()
            extractor.input("in0", ncnn.Mat(np.ascontiguousarray(image)))
            tops.append([np.array(extractor.extract(name)[1]) for name in outputs])
        return [np.stack(values) for values in zip(*tops, strict=True)]

    return run
