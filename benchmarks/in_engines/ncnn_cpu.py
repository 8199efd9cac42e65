"""ncnn, of the .py through a trace and pnnx."""

import ncnn
import numpy as np
import pnnx
import torch
from in_engines.py_file import module


def load(path, arrays):
    shown = tuple(map(torch.from_numpy, arrays))
    pnnx.export(module(path), path + ".pt", shown)
    stem = path + ".ncnn"
    net = ncnn.Net()
    net.load_param(stem.replace(".py.ncnn", ".py.ncnn.param"))
    net.load_model(stem.replace(".py.ncnn", ".py.ncnn.bin"))

    def run(arrays):
        (images,) = arrays
        tops = []
        for image in images:
            extractor = net.create_extractor()
            extractor.input("in0", ncnn.Mat(np.ascontiguousarray(image)))
            tops.append([np.array(extractor.extract(name)[1]) for name in net.output_names()])
        return [np.stack(values) for values in zip(*tops, strict=True)]

    return run
