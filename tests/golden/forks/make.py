"""`PYTHON tests/golden/forks/make.py`: the cases beside this file, written by a Caffe that has SSD's layers.

PYTHON imports that Caffe's `caffe`; it was the one of the package brocolli-caffe 9.0.2, on a CPU, in float32.
Nothing of this project takes part. Keys are those of `../layers`.
"""

from __future__ import annotations

from pathlib import Path

import caffe
import numpy as np

FOLDER = Path(__file__).parent
DRAW = np.random.default_rng(20)
IMAGE = DRAW.standard_normal((2, 6, 3, 5))
BACKWARD = {"LSTMUnit", "Normalize", "Permute", "SmoothL1Loss", "SPP"}
"""Types whose gradients are kept; of the others this Caffe has none, or one that is not theirs."""


def boxes(count: int) -> np.ndarray:
    """Prior boxes and their variances, (1, 2, 4 count)."""
    corner = DRAW.uniform(0, 0.6, (count, 2))
    box = np.concatenate([corner, corner + DRAW.uniform(0.1, 0.4, (count, 2))], 1).reshape(-1)
    return np.stack([box, np.tile([0.1, 0.1, 0.2, 0.2], count)])[None]


def detections(images: int, count: int, classes: int) -> list[np.ndarray]:
    """Offsets, scores of classes, and prior boxes."""
    scores = DRAW.dirichlet(np.full(classes, 0.5), (images, count)).reshape(images, -1)
    return [DRAW.standard_normal((images, 4 * count)) * 0.5, scores, boxes(count)]


DETECTION = "num_classes: 4 background_label_id: 0 nms_param { nms_threshold: 0.4 top_k: 7 }"
CASES = {
    "permute": ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", [IMAGE]),
    "permute_some": ("Permute", "permute_param { order: 3 order: 1 }", [IMAGE]),
    "normalize_image": ("Normalize", 'norm_param { scale_filler { type: "constant" value: 2.5 } }', [IMAGE]),
    "prior_box": (
        "PriorBox",
        "prior_box_param { min_size: 9 max_size: 16 aspect_ratio: [2, 3] clip: false variance: 0.1 }",
        [IMAGE, DRAW.standard_normal((2, 3, 31, 44))],
    ),
    "prior_box_step": (
        "PriorBox",
        "prior_box_param { min_size: 12 aspect_ratio: 2 flip: false clip: true step: 7 offset: 0.3 "
        "variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4 }",
        [IMAGE, DRAW.standard_normal((2, 3, 31, 44))],
    ),
    "detection_output": (
        "DetectionOutput",
        f"detection_output_param {{ {DETECTION} keep_top_k: 9 confidence_threshold: 0.05 "
        "code_type: CENTER_SIZE }",
        detections(2, 11, 4),
    ),
    "detection_output_corner": (
        "DetectionOutput",
        f"detection_output_param {{ {DETECTION} keep_top_k: -1 confidence_threshold: 0.3 "
        "code_type: CORNER variance_encoded_in_target: true }",
        detections(3, 8, 4),
    ),
    "smooth_l1_loss": ("SmoothL1Loss", "loss_weight: 3", [IMAGE, IMAGE + DRAW.standard_normal(IMAGE.shape)]),
    "lstm_unit": (
        "LSTMUnit",
        "",
        [DRAW.standard_normal((1, 3, n)) for n in (4, 16)] + [np.array([[1, 0, 1]])],
    ),
    "spp_ave": ("SPP", "spp_param { pyramid_height: 2 pool: AVE }", [DRAW.standard_normal((2, 3, 5, 8))]),
    "spp_max": ("SPP", "spp_param { pyramid_height: 3 pool: MAX }", [DRAW.standard_normal((2, 3, 9, 7))]),
    "relu6": ("ReLU6", "", [IMAGE * 8]),
    "upsample": ("Upsample", "upsample_param { scale: 3 }", [IMAGE]),
}


def main() -> None:
    """Writes each case."""
    caffe.set_mode_cpu()
    for name, (kind, fields, bottoms) in CASES.items():
        shapes = [" ".join(f"dim: {size}" for size in bottom.shape) for bottom in bottoms]
        inputs = (
            f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }}\n'
            for i, dims in enumerate(shapes)
        )
        ends = " ".join(f'bottom: "x{i}"' for i in range(len(bottoms)))
        tops = ["y0", "y1"] if kind == "LSTMUnit" else ["y0"]
        ends += "".join(f' top: "{top}"' for top in tops)
        prototxt = FOLDER / f"{name}.prototxt"
        layer = f'layer {{ name: "l" type: "{kind}" {ends} {fields} }}\n'
        prototxt.write_text(f'name: "{name}"\nforce_backward: true\n{"".join(inputs)}{layer}')
        net = caffe.Net(str(prototxt), caffe.TEST)
        for i, bottom in enumerate(bottoms):
            net.blobs[f"x{i}"].data[...] = bottom
        net.forward()
        arrays = {f"in.x{i}": np.array(net.blobs[f"x{i}"].data) for i in range(len(bottoms))}
        arrays |= {f"out.{top}": np.array(net.blobs[top].data) for top in tops}
        if kind in BACKWARD:
            for top in () if kind.endswith("Loss") else tops:
                net.blobs[top].diff[...] = DRAW.standard_normal(net.blobs[top].data.shape)
            arrays |= {f"gout.{top}": np.array(net.blobs[top].diff) for top in tops}
            net.backward()
            arrays |= {f"gin.x{i}": np.array(net.blobs[f"x{i}"].diff) for i in range(len(bottoms))}
        if "l" in net.params:
            net.save(str(prototxt.with_suffix(".caffemodel")))
            if kind in BACKWARD:
                arrays |= {f"gparam.l.{i}": np.array(blob.diff) for i, blob in enumerate(net.params["l"])}
        np.savez_compressed(prototxt.with_suffix(".npz"), **arrays)


if __name__ == "__main__":
    main()
