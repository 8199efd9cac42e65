"""Solvers of every type with fields at random, for caffe_nets.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from drawn_layers import Draw
from drawn_nets import DrawnNet
from drawn_parts import convolution, drawn_net

OWN = {
    "SGD": ("base_lr: 0.05", "momentum: 0", "momentum: 0.9"),
    "Nesterov": ("base_lr: 0.05", "momentum: 0.5", "momentum: 0.9"),
    "AdaGrad": ("base_lr: 0.02", "delta: 1e-3", "delta: 1e-8"),
    "RMSProp": ("base_lr: 0.01", "rms_decay: 0.9", "rms_decay: 0.5 delta: 1e-4"),
    "AdaDelta": ("base_lr: 1", "momentum: 0.95 delta: 1e-4", "momentum: 0.5 delta: 1e-3"),
    "Adam": ("base_lr: 0.01", "momentum: 0.9", "momentum: 0.8 momentum2: 0.99 delta: 1e-4"),
}
"""The rate of each type, and what else it has of its own."""
POLICIES = (
    'lr_policy: "fixed"',
    'lr_policy: "step" gamma: 0.5 stepsize: 2',
    'lr_policy: "exp" gamma: 0.9',
    'lr_policy: "inv" gamma: 0.5 power: 0.75',
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 4',
    'lr_policy: "poly" power: 2 max_iter: 10',
    'lr_policy: "poly" power: 0.5 max_iter: 7',
    'lr_policy: "sigmoid" gamma: -0.5 stepsize: 3',
)
WRONG = ('lr_policy: "cosine"', 'lr_policy: "step" gamma: 0.5')
STEPS, STOP = 6, 3


@dataclass(frozen=True)
class DrawnSolver:
    """A solver.prototxt, its net, and what goes into the inputs at each step."""

    text: str
    net: DrawnNet
    inputs: tuple[dict[str, np.ndarray], ...]
    hdf5: bool
    """The format of its snapshots."""
    iter_size: int


def drawn_solver(seed: int) -> DrawnSolver:
    """The same for the same seed."""
    draw = Draw(seed)
    net = drawn_net(draw.getrandbits(32), "TRAIN", (convolution,), parts=7)
    kind, hdf5 = draw.choice(list(OWN)), draw.random() < 0.5
    iter_size = draw.choice((1, 1, 1, 1, 2, 3))
    rate, *others = OWN[kind]
    fields = [
        *(f'type: "{kind}"', rate, draw.choice(others)),
        draw.choice(WRONG if draw.random() < 0.04 else POLICIES),
        draw.maybe(f"weight_decay: {draw.choice((0.01, 0.1))}"),
        draw.maybe('regularization_type: "L1"', 0.3),
        f"iter_size: {iter_size}" if iter_size > 1 else "",
        draw.maybe(f"clip_gradients: {draw.choice((0.1, 1, 10))}", 0.3),
    ]
    own = f"snapshot_format: {'HDF5' if hdf5 else 'BINARYPROTO'}"
    lines = ['net: "net.prototxt"', *fields, 'solver_mode: CPU snapshot_prefix: "caffe"', own]
    inputs = tuple(
        {blob: x if blob in net.labels else _next(draw, x) for blob, x in net.inputs.items()}
        for _ in range(STEPS)
    )
    return DrawnSolver("".join(f"{line}\n" for line in lines if line), net, inputs, hdf5, iter_size)


def _next(draw: Draw, values: np.ndarray) -> np.ndarray:
    """The same values in another order."""
    return np.random.default_rng(draw.getrandbits(32)).permuted(values, axis=0)
