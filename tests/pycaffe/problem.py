"""Problem L of the facts about pycaffe: a linear layer on ones, against twos, whose numbers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caffe2torch import pycaffe as caffe

DATA = """
layer { name: 'd' type: 'DummyData' top: 'x' top: 'y' dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 }
  data_filler { type: 'constant' value: 1 } data_filler { type: 'constant' value: 2 } } }
"""
FC = """
layer { name: 'fc' type: 'InnerProduct' bottom: 'x' top: 'fc'
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 1 weight_filler { type: 'constant' value: 0.5 }
    bias_filler { type: 'constant' value: 0.25 } } }
"""
LOSS = "layer { name: 'loss' type: 'EuclideanLoss' bottom: 'fc' bottom: 'y' top: 'loss' }"
NET = DATA + FC + LOSS


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def net_of(folder: Path, text: str, phase: int = caffe.TRAIN, **more: Any) -> caffe.Net:
    return caffe.Net(write(folder / "net.prototxt", text), phase, **more)


def solver_file(folder: Path, settings: str, net: str = NET) -> str:
    path = write(folder / "net.prototxt", net)
    return write(folder / "solver.prototxt", f'net: "{path}"\n{settings}')


def solver_of(folder: Path, settings: str, net: str = NET) -> caffe.SGDSolver:
    return caffe.get_solver(solver_file(folder, settings, net))
