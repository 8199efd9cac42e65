"""onnx2torch, back to torch."""

import onnx2torch
import torch


def load(path, arrays):
    module = onnx2torch.convert(path).eval()

    def run(arrays):
        with torch.no_grad():
            tops = module(*map(torch.from_numpy, arrays))
        return [top.numpy() for top in (tops if isinstance(tops, list | tuple) else [tops])]

    return run
