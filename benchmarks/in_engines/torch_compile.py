"""torch.compile of the .py, with free sizes."""

import torch
from in_engines.py_file import calling, module


def load(path, sets):
    return calling(torch.compile(module(path), dynamic=True))
