"""`PYTHON tests/golden/frozen/make.py`: steps of nets with frozen parameters that have gradients in Caffe.

PYTHON imports Caffe's `caffe`; it was the one of the package brocolli-caffe 9.0.2, on a CPU, in float32.
Nothing of this project takes part. Each case has the files of `../solver`, with inputs as `in.BLOB`.
"""

from __future__ import annotations

import os
from pathlib import Path

import caffe
import numpy as np

FOLDER = Path(__file__).parent
STEPS, SNAPSHOT = 8, 4
SGD = 'type: "SGD" base_lr: 0.1 momentum: 0.9'
UNIFORM = 'weight_filler { type: "uniform" min: -1 max: 1 }'
SEQUENCE = {"x": (3, 2, 4), "cont": (3, 2), "t": (3, 2, 3)}
FLAT = {"x": (4, 5), "t": (4, 3)}
IMAGE = {"x": (2, 3, 4, 5), "t": (2, 3, 8, 10)}


def layer(kind: str, bottoms: str, top: str, fields: str = "") -> str:
    ends = "".join(f' bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{top}" type: "{kind}"{ends} top: "{top}" {fields} }}\n'


def dense(bottom: str, top: str, outputs: int, fields: str = "", axis: int = 1) -> str:
    own = f"inner_product_param {{ num_output: {outputs} axis: {axis} {UNIFORM} }}"
    return layer("InnerProduct", bottom, top, f"{fields} {own}")


def frozen(*mults: int) -> str:
    return " ".join(f"param {{ lr_mult: {mult} }}" for mult in mults)


def recurrent(kind: str, bottom: str, fields: str) -> str:
    own = f"recurrent_param {{ num_output: 5 {UNIFORM} }}"
    return layer(kind, f"{bottom} cont", "h", f"{fields} {own}") + dense("h", "y", 3, axis=2) + LOSS


LOSS = layer("EuclideanLoss", "y t", "l")
TWICE = dense("x", "a", 5, "param { name: 'w' %s } param { %s }") + layer("TanH", "a", "r")
TWICE += dense("r", "b", 5, "param { name: 'w' %s } param { %s }") + dense("b", "y", 3) + LOSS
UP = "convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 bias_term: false }"
FORCED = "force_backward: true\n"
TWO = dense("x", "a", 6, frozen(0, 1)) + layer("ReLU", "a", "r") + dense("r", "b", 4, "propagate_down: false")

CASES = {
    "lstm_partly": (SEQUENCE, recurrent("LSTM", "x", frozen(1, 0, 1)), SGD),
    "rnn_partly": (SEQUENCE, recurrent("RNN", "x", frozen(0, 0, 1)), SGD),
    "lstm_wholly": (SEQUENCE, recurrent("LSTM", "x", frozen(0, 0, 0)), SGD),
    "lstm_above_learned": (
        SEQUENCE,
        dense("x", "a", 4, axis=2) + recurrent("LSTM", "a", frozen(0, 0, 0)),
        SGD,
    ),
    "lstm_above_batch_norm": (
        SEQUENCE,
        layer("BatchNorm", "x", "n") + recurrent("LSTM", "n", frozen(0, 0, 0)),
        SGD,
    ),
    "shared_by_frozen_owner": (FLAT, TWICE % ("lr_mult: 0", "", "", "lr_mult: 0"), SGD),
    "shared_with_frozen": (FLAT, TWICE % ("", "lr_mult: 0", "lr_mult: 0", ""), SGD),
    "forced_adam": (
        FLAT,
        FORCED + TWO + dense("b", "y", 3, frozen(0, 2)) + LOSS,
        'type: "Adam" base_lr: 0.01 momentum: 0.9 momentum2: 0.999 delta: 1e-8 weight_decay: 0.02',
    ),
    "forced_iter_size": (
        FLAT,
        FORCED + TWO + dense("b", "y", 3, frozen(0, 2)) + LOSS,
        'type: "RMSProp" rms_decay: 0.98 base_lr: 0.01 delta: 1e-6 iter_size: 3',
    ),
    "forced_upsampling": (
        IMAGE,
        FORCED
        + layer("Convolution", "x", "c", f"convolution_param {{ num_output: 3 kernel_size: 1 {UNIFORM} }}")
        + layer("Deconvolution", "c", "y", f"{frozen(0)} {UP}")
        + LOSS,
        'type: "AdaGrad" base_lr: 0.01 delta: 1e-6',
    ),
}


def main() -> None:
    """Writes each case."""
    caffe.set_mode_cpu()
    for case, (inputs, net, solver) in CASES.items():
        folder = FOLDER / case
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        shapes = {name: " ".join(f"dim: {size}" for size in shape) for name, shape in inputs.items()}
        fed = "".join(
            layer("Input", "", name, f"input_param {{ shape {{ {dims} }} }}") for name, dims in shapes.items()
        )
        forced = FORCED if net.startswith(FORCED) else ""
        Path("net.prototxt").write_text(forced + fed + net.removeprefix(FORCED))
        Path("solver.prototxt").write_text(
            f'net: "net.prototxt" {solver} lr_policy: "fixed" clip_gradients: 0.5 max_iter: {STEPS} '
            f'snapshot: {SNAPSHOT} snapshot_prefix: "snap" random_seed: 7\n'
        )
        train(caffe.get_solver("solver.prototxt"), np.random.default_rng(12))


def train(solver: caffe.SGDSolver, draw: np.random.Generator) -> None:
    """Steps of a solver in the current folder, and what they left."""
    net, arrays = solver.net, {"loss": []}
    for name in ("x", "t"):
        net.blobs[name].data[...] = draw.standard_normal(net.blobs[name].data.shape)
    if "cont" in net.blobs:
        net.blobs["cont"].data[...] = [[0, 0], [1, 1], [1, 0]]
    if net.params.get("y") and net.params["y"][0].data.shape == (3, 3, 4, 4):
        ramp = np.array([1, 3, 3, 1]) / 4
        net.params["y"][0].data[range(3), range(3)] = np.outer(ramp, ramp)
    arrays |= {f"in.{name}": np.array(net.blobs[name].data) for name in net.inputs}
    net.save("init.caffemodel")
    for step in range(1, STEPS + 1):
        solver.step(1)
        arrays["loss"].append(float(net.blobs["l"].data))
        for name, blobs in net.params.items():
            arrays |= {f"w{step:02}.{name}.{i}": np.array(blob.data) for i, blob in enumerate(blobs)}
    np.savez_compressed("traj.npz", **arrays)
    for path in Path().glob(f"snap_iter_{STEPS}.*"):
        path.unlink()


if __name__ == "__main__":
    main()
