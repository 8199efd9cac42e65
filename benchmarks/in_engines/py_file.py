"""The .py, loaded as fcn-convert says."""

import importlib.util
import sys

import torch


def module(path):
    spec = importlib.util.spec_from_file_location("net", path)
    sys.modules["net"] = net = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(net)
    return net.load()


def calling(function):
    def run(arrays):
        with torch.no_grad():
            tops = function(*map(torch.from_numpy, arrays))
        return [top.numpy() for top in (tops.values() if isinstance(tops, dict) else [tops])]

    return run


def load(path, sets):
    return calling(module(path))
