"""`PYTHON tests/golden/nonfinite/make.py`: the cases beside this file, layers that meet NaN and infinities.

PYTHON imports Caffe's `caffe`; it was the one of the package brocolli-caffe 9.0.2, on a CPU, in float32.
Nothing of this project takes part. Keys are those of `../layers`.
"""

from __future__ import annotations

from pathlib import Path

import caffe
import numpy as np

FOLDER = Path(__file__).parent
DRAW = np.random.default_rng(5)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)


def spoiled(shape: tuple[int, ...], chance: float = 0.3) -> np.ndarray:
    """Normal numbers, and NaN and infinities among them."""
    values = DRAW.standard_normal(shape).astype(np.float32)
    spots = DRAW.random(shape) < chance
    values[spots] = DRAW.choice(SPECIAL, spots.sum())
    return values


def holes() -> np.ndarray:
    """An image with a window of 2 x 2 of NaN alone, one of -inf alone, and one of both."""
    image = spoiled((1, 2, 6, 8))
    image[0, 0, :2, :2] = np.nan
    image[0, 0, :2, 2:4] = -np.inf
    image[0, 0, :2, 4:6] = [[np.nan, -np.inf], [-np.inf, np.nan]]
    return image


def scores(*wrong: float) -> np.ndarray:
    """Scores of four classes for six items, the first few of them wrong."""
    values = DRAW.standard_normal((6, 4)).astype(np.float32)
    values.reshape(-1)[: 5 * len(wrong) : 5] = wrong
    return values


LABELS = np.array([0, 1, 2, 3, 1, 2], np.float32)
SIMILAR = np.array([0, 1, 0, 1, 0, 1], np.float32)
CASES = {
    "pool_max": ("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", [holes()], ["y"]),
    "pool_max_mask": ("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", [holes()], ["y", "m"]),
    "pool_max_pad": (
        "Pooling",
        "pooling_param { kernel_size: 3 stride: 2 pad: 1 }",
        [spoiled((2, 3, 6, 8))],
        ["y"],
    ),
    "pool_max_far": ("Pooling", "pooling_param { kernel_size: 2 stride: 3 }", [spoiled((2, 3, 7, 8))], ["y"]),
    "pool_max_global": ("Pooling", "pooling_param { global_pooling: true }", [spoiled((2, 3, 3, 4))], ["y"]),
    "pool_ave": (
        "Pooling",
        "pooling_param { pool: AVE kernel_size: 3 stride: 2 }",
        [spoiled((2, 3, 7, 8), 0.02)],
        ["y"],
    ),
    "spp_max": ("SPP", "spp_param { pyramid_height: 2 }", [spoiled((2, 3, 6, 7))], ["y"]),
    "relu": ("ReLU", "", [spoiled((2, 3, 5))], ["y"]),
    "relu_leaky": ("ReLU", "relu_param { negative_slope: 0.1 }", [spoiled((2, 3, 5))], ["y"]),
    "elu": ("ELU", "elu_param { alpha: 0.5 }", [spoiled((2, 3, 5))], ["y"]),
    "bnll": ("BNLL", "", [spoiled((2, 3, 5))], ["y"]),
    "threshold": ("Threshold", "threshold_param { threshold: 0.2 }", [spoiled((2, 3, 5))], ["y"]),
    "power_root": ("Power", "power_param { power: 0.5 scale: -2 shift: 1 }", [spoiled((2, 3, 5))], ["y"]),
    "power_constant": ("Power", "power_param { power: 0 scale: 2 }", [spoiled((2, 3, 5))], ["y"]),
    "eltwise_max": (
        "Eltwise",
        "eltwise_param { operation: MAX }",
        [spoiled((2, 3, 5)) for _ in range(3)],
        ["y"],
    ),
    "lrn_across": ("LRN", "lrn_param { local_size: 3 alpha: 2 }", [spoiled((2, 8, 3, 2), 0.04)], ["y"]),
    "lrn_across_few": ("LRN", "lrn_param { local_size: 5 alpha: 2 }", [spoiled((2, 2, 3, 2), 0.1)], ["y"]),
    "softmax": ("Softmax", "", [spoiled((6, 4), 0.1)], ["y"]),
    "reduction": ("Reduction", "reduction_param { operation: ASUM axis: 1 }", [spoiled((6, 3), 0.1)], ["y"]),
    "argmax": ("ArgMax", "", [spoiled((6, 7))], ["y"]),
    "argmax_axis": ("ArgMax", "argmax_param { axis: 1 }", [spoiled((2, 7, 3, 2))], ["y"]),
    "argmax_value": ("ArgMax", "argmax_param { axis: 1 out_max_val: true }", [spoiled((2, 7, 3, 2))], ["y"]),
    "accuracy": ("Accuracy", "", [scores(np.nan, np.inf, -np.inf, np.nan), LABELS], ["y"]),
    "hinge_l1": ("HingeLoss", "", [scores(np.nan, -0.3, np.nan), LABELS], ["y"]),
    "hinge_l2": ("HingeLoss", "hinge_loss_param { norm: L2 }", [scores(np.nan, 2, np.nan), LABELS], ["y"]),
    "softmaxloss": ("SoftmaxWithLoss", "", [scores(-np.inf, -np.inf), LABELS], ["y"]),
    "multinomial": (
        "MultinomialLogisticLoss",
        "",
        [np.abs(scores()) + scores(-np.inf) * 0.01, LABELS],
        ["y"],
    ),
    "sigmoid_ce": ("SigmoidCrossEntropyLoss", "", [scores(np.inf), (scores() > 0).astype(np.float32)], ["y"]),
    "contrastive": ("ContrastiveLoss", "", [scores(np.inf), scores(), SIMILAR], ["y"]),
    "contrastive_legacy": (
        "ContrastiveLoss",
        "contrastive_loss_param { legacy_version: true }",
        [scores(np.inf), scores(), SIMILAR],
        ["y"],
    ),
}
BACKWARD = {"relu", "pool_max_far", "hinge_l1", "softmaxloss", "multinomial"}
"""Cases with gradients: Caffe's for a window of NaN alone is written out of bounds."""


def main() -> None:
    """Writes each case."""
    caffe.set_mode_cpu()
    for name, (kind, fields, bottoms, tops) in CASES.items():
        shapes = [" ".join(f"dim: {size}" for size in bottom.shape) for bottom in bottoms]
        inputs = (
            f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }}\n'
            for i, dims in enumerate(shapes)
        )
        ends = " ".join([f'bottom: "x{i}"' for i in range(len(bottoms))] + [f'top: "{top}"' for top in tops])
        layer = f'layer {{ name: "l" type: "{kind}" {ends} {fields} }}\n'
        path = FOLDER / f"{name}.prototxt"
        path.write_text(f"force_backward: true\n{''.join(inputs)}{layer}")
        net = caffe.Net(str(path), caffe.TEST)
        arrays = {f"in.x{i}": np.asarray(bottom, np.float32) for i, bottom in enumerate(bottoms)}
        for i, bottom in enumerate(bottoms):
            net.blobs[f"x{i}"].data[...] = bottom
        net.forward()
        arrays |= {f"out.{top}": np.array(net.blobs[top].data) for top in tops}
        if name in BACKWARD:
            top = net.blobs["y"]
            top.diff[...] = np.float32(1) if kind.endswith("Loss") else DRAW.standard_normal(top.data.shape)
            net.backward()
            arrays |= {"gout.y": np.array(top.diff), "gin.x0": np.array(net.blobs["x0"].diff)}
        np.savez(path.with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
