"""torch.jit.trace of the .py, saved and loaded."""

import torch
from in_engines.py_file import calling, module


def load(path, sets):
    traced = torch.jit.trace(module(path), tuple(map(torch.from_numpy, sets[0])), strict=False)
    traced.save(path + ".pt")
    return calling(torch.jit.load(path + ".pt"))
