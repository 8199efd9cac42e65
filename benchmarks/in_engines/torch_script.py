"""torch.jit.script of the .py, saved and loaded."""

import torch
from in_engines.py_file import calling, module


def load(path, sets):
    torch.jit.script(module(path)).save(path + ".pt")
    return calling(torch.jit.load(path + ".pt"))
