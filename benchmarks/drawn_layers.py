"""Layers of random type, parameters and sizes, with random bottoms, for caffe_layers.py.

Not drawn, because Caffe would read out of bounds: a stride of 0, and the gradient of a maximum over no pixel.
Nor images smaller than a kernel, which Caffe treats as padded and we refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

GAUSSIAN = '{ type: "gaussian" std: 0.5 }'
FILLED = f"weight_filler {GAUSSIAN} bias_filler {GAUSSIAN}"


@dataclass(frozen=True)
class Drawn:
    """A layer: its type, its fields as prototxt, its bottoms, and how many tops it has."""

    kind: str
    fields: str
    bottoms: list[np.ndarray]
    tops: int = 1
    labels: int = 0
    """How many of the last bottoms take no gradient."""
    backward: bool = True
    train: bool = False


class Draw(Random):
    """Random texts, shapes and arrays."""

    def maybe(self, text: str, chance: float = 0.5) -> str:
        """The text or nothing."""
        return text if self.random() < chance else ""

    def shape(self, least: int = 1, most: int = 5) -> tuple[int, ...]:
        """Between `least` and `most` axes, each of size 1 to 5."""
        return tuple(self.randint(1, 5) for _ in range(self.randint(least, most)))

    def image(self) -> tuple[int, ...]:
        """Batch, channels, height and width."""
        return (self.randint(1, 3), self.choice((1, 2, 3, 4, 6)), self.randint(5, 9), self.randint(5, 9))

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Normal numbers, sometimes rounded to integers, so that some tie."""
        values = np.random.default_rng(self.getrandbits(32)).standard_normal(shape)
        return np.asarray(np.round(values) if self.random() < 0.1 else values, np.float32)

    def labels(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        """Integers from 0 to below `count`."""
        return np.random.default_rng(self.getrandbits(32)).integers(0, count, shape).astype(np.float32)

    def axis(self, shape: tuple[int, ...]) -> int:
        """An axis, counted from either end, sometimes out of range."""
        return self.randint(-len(shape), len(shape) - 1 + (self.random() < 0.05))


def message(name: str, *fields: str) -> str:
    """A field of a layer that holds others."""
    return f"{name} {{ {' '.join(filter(None, fields))} }}"


def convolution(draw: Draw, kind: str = "Convolution") -> Drawn:
    """Also Deconvolution, whose num_output is drawn the same way, and Im2col."""
    shape = draw.image()
    group = draw.choice([g for g in (1, 1, 2, shape[1]) if shape[1] % g == 0])
    sizes = [f"kernel_size: {draw.randint(1, 2)}", draw.maybe(f"stride: {draw.randint(1, 3)}")]
    sizes += [draw.maybe(f"pad: {draw.randint(0, 2)}"), draw.maybe("dilation: 2", 0.2)]
    if draw.random() < 0.5:
        pairs = {"kernel": (1, 4), "stride": (1, 3), "pad": (0, 2)}
        sizes = [f"{k}_h: {draw.randint(*r)} {k}_w: {draw.randint(*r)}" for k, r in pairs.items()]
    filled = "" if kind == "Im2col" else FILLED + draw.maybe(" bias_term: false", 0.3)
    count = 2 if kind != "Im2col" and draw.random() < 0.2 else 1
    outputs = f"num_output: {group * draw.randint(1, 3)} group: {group}"
    text = message("convolution_param", outputs, *sizes, filled)
    return Drawn(kind, text, [draw.array(shape) for _ in range(count)], count)


def pooling(draw: Draw) -> Drawn:
    """Also global, with a mask, and with only one size of a pair."""
    method, (kernel, other), stride = (
        draw.choice(("MAX", "AVE")),
        draw.choices((2, 3, 4), k=2),
        draw.randint(1, 2),
    )
    sizes = [f"kernel_size: {kernel}", draw.maybe(f"stride: {stride}"), draw.maybe("pad: 1")]
    if draw.random() < 0.5:
        sizes = [f"kernel_h: {kernel} kernel_w: {other}", f"stride_h: {stride} stride_w: 2"]
        sizes += [draw.maybe("pad_h: 1", 0.7), draw.maybe("pad_w: 0", 0.7)]
    if draw.random() < 0.1:
        sizes = ["global_pooling: true", draw.maybe("kernel_size: 2", 0.2)]
    tops = 2 if method == "MAX" and draw.random() < 0.1 else 1
    return Drawn(
        "Pooling", message("pooling_param", f"pool: {method}", *sizes), [draw.array(draw.image())], tops
    )


def lrn(draw: Draw) -> Drawn:
    """Both regions, and sizes that are even."""
    region = draw.choice(("ACROSS_CHANNELS", "WITHIN_CHANNEL"))
    sizes = f"local_size: {draw.choice((1, 3, 4, 5))} alpha: {draw.choice((0.1, 2))}"
    text = message("lrn_param", sizes, draw.maybe("k: 2"), f"norm_region: {region}")
    return Drawn("LRN", text, [draw.array(draw.image())])


def inner_product(draw: Draw) -> Drawn:
    """At any axis."""
    shape = draw.shape()
    more = [
        draw.maybe(f"axis: {draw.axis(shape)}"),
        draw.maybe("transpose: true"),
        draw.maybe("bias_term: false"),
    ]
    text = message("inner_product_param", f"num_output: {draw.randint(1, 4)}", *more, FILLED)
    return Drawn("InnerProduct", text, [draw.array(shape)])


def eltwise(draw: Draw) -> Drawn:
    """With coefficients, sometimes too many or too few."""
    shape, operation, count = draw.shape(), draw.choice(("SUM", "PROD", "MAX")), draw.randint(2, 4)
    coeffs = [f"coeff: {draw.choice((1, -1, 0.5))}" for _ in range(draw.choice((0, 0, count, 3)))]
    text = message("eltwise_param", f"operation: {operation}", *coeffs)
    return Drawn("Eltwise", text, [draw.array(shape) for _ in range(count)])


def concat(draw: Draw) -> Drawn:
    """Bottoms that differ along the axis."""
    shape = draw.shape()
    axis, count = draw.axis(shape), draw.randint(1, 3)
    place = axis % len(shape)
    shapes = [(*shape[:place], draw.randint(1, 4), *shape[place + 1 :]) for _ in range(count)]
    return Drawn("Concat", message("concat_param", f"axis: {axis}"), list(map(draw.array, shapes)))


def slices(draw: Draw) -> Drawn:
    """In equal parts or at points, of which there may be none."""
    shape, tops = draw.shape(), draw.randint(1, 3)
    points = " ".join(f"slice_point: {point}" for point in sorted(draw.choices(range(6), k=tops - 1)))
    text = message("slice_param", f"axis: {draw.axis(shape)}", draw.maybe(points, 0.7))
    return Drawn("Slice", text, [draw.array(shape)], tops)


def crop(draw: Draw) -> Drawn:
    """With no offset, one, or one for each axis."""
    shape = draw.shape()
    smaller = tuple(max(1, size - draw.randint(0, 2)) for size in shape)
    axis = draw.randint(-len(shape), len(shape) - 1)
    count = draw.choice((0, 1, len(shape) - axis % len(shape)))
    text = message("crop_param", f"axis: {axis}", *(f"offset: {draw.randint(0, 1)}" for _ in range(count)))
    return Drawn("Crop", text, [draw.array(shape), draw.array(smaller)])


def reshape(draw: Draw) -> Drawn:
    """To sizes that usually do not fit."""
    dims = message("shape", *(f"dim: {draw.choice((0, -1, 1, 2, 3, 4))}" for _ in range(draw.randint(0, 4))))
    axis, count = (
        draw.maybe(f"axis: {draw.randint(-3, 3)}", 0.3),
        draw.maybe(f"num_axes: {draw.randint(-1, 3)}", 0.3),
    )
    return Drawn("Reshape", message("reshape_param", dims, axis, count), [draw.array(draw.shape())])


def flatten(draw: Draw) -> Drawn:
    """From an axis to a later one."""
    shape = draw.shape(2)
    first = draw.randint(0, len(shape) - 1)
    last = draw.randint(first, len(shape) - 1) - draw.choice((0, len(shape)))
    text = message("flatten_param", f"axis: {first} end_axis: {last}")
    return Drawn("Flatten", text, [draw.array(shape)])


def along(draw: Draw) -> Drawn:
    """Scale and Bias, with a blob or a second bottom."""
    kind, shape = draw.choice(("Scale", "Bias")), draw.shape()
    bias = draw.maybe(f"bias_term: true bias_filler {GAUSSIAN}") if kind == "Scale" else ""
    axis, bottoms = draw.axis(shape), [draw.array(shape)]
    fields = [draw.maybe(f"num_axes: {draw.randint(-1, 3)}"), f"filler {GAUSSIAN}"]
    if draw.random() < 0.5:
        axis, fields = draw.randint(0, len(shape) - 1), []
        bottoms.append(draw.array(shape[axis : draw.randint(axis, len(shape))]))
    return Drawn(kind, message(f"{kind.lower()}_param", f"axis: {axis}", bias, *fields), bottoms)


def batch_norm(draw: Draw) -> Drawn:
    """In both phases."""
    stored = draw.maybe(f"use_global_stats: {draw.choice(('true', 'false'))}")
    text = message("batch_norm_param", "eps: 0.01", stored)
    return Drawn("BatchNorm", text, [draw.array(draw.shape(2))], train=draw.random() < 0.5)


def one_bottom(draw: Draw) -> Drawn:
    """Types that take one bottom of any shape and have few fields."""
    shape = draw.shape()
    axis, base = draw.axis(shape), draw.choice((-1, 2, 10))
    power, scale, operation = (
        draw.randint(0, 2),
        draw.choice((1, 0, -2)),
        draw.choice(("SUM", "ASUM", "SUMSQ", "MEAN")),
    )
    kind, text = draw.choice(
        (
            *((kind, "") for kind in ("ReLU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Split")),
            ("ReLU", f"relu_param {{ negative_slope: {draw.choice((0.1, -0.2))} }}"),
            ("ELU", f"elu_param {{ alpha: {draw.choice((1, 0.3, 2))} }}"),
            ("Exp", f"exp_param {{ base: {base} scale: 0.5 shift: {draw.randint(0, 1)} }}"),
            ("Log", f"log_param {{ base: {base} scale: 0.05 shift: 4 }}"),
            ("Power", f"power_param {{ power: {power} scale: {scale} shift: 1 }}"),
            ("Softmax", f"softmax_param {{ axis: {axis} }}"),
            ("Tile", f"tile_param {{ axis: {axis} tiles: {draw.randint(0, 3)} }}"),
            ("Reduction", f"reduction_param {{ operation: {operation} axis: {axis} coeff: -0.5 }}"),
        )
    )
    return Drawn(kind, text, [draw.array(shape)], draw.randint(1, 3) if kind == "Split" else 1)


def one_image(draw: Draw) -> Drawn:
    """Types that take only images."""
    mvn = [draw.maybe("across_channels: true"), draw.maybe("normalize_variance: false")]
    levels, method = draw.randint(1, 3), draw.choice(("MAX", "AVE"))
    kind, text = draw.choice(
        (
            ("MVN", message("mvn_param", *mvn)),
            ("PReLU", message("prelu_param", draw.maybe("channel_shared: true"), f"filler {GAUSSIAN}")),
            (
                "SPP",
                f"spp_param {{ pyramid_height: {levels} pool: {method} }}",
            ),
        )
    )
    return Drawn(kind, text, [draw.array(draw.image())])


def argmax(draw: Draw) -> Drawn:
    """With and without an axis."""
    shape = draw.shape()
    axis, values = draw.maybe(f"axis: {draw.axis(shape)}"), draw.maybe("out_max_val: true")
    text = message("argmax_param", axis, values, f"top_k: {draw.randint(1, 3)}")
    return Drawn("ArgMax", text, [draw.array(shape)], backward=False)


def picking(draw: Draw) -> Drawn:
    """Embed, BatchReindex and Filter, which select by a bottom."""
    shape, count = draw.shape(), draw.randint(2, 5)
    kind = draw.choice(("Embed", "BatchReindex", "Filter"))
    if kind == "Embed":
        text = message("embed_param", f"num_output: {draw.randint(1, 4)} input_dim: {count}", FILLED)
        return Drawn(kind, text, [draw.labels(count, shape)], labels=1, backward=False)
    picks = draw.labels(shape[0], (count,)) if kind == "BatchReindex" else draw.labels(2, shape[:1])
    return Drawn(kind, "", [draw.array(shape), picks], labels=1, backward=False)


def recurrent(draw: Draw) -> Drawn:
    """LSTM and RNN, with sequences that start anywhere."""
    steps, items, inputs = (draw.randint(1, 4) for _ in range(3))
    text = message("recurrent_param", f"num_output: {draw.randint(1, 3)}", FILLED)
    bottoms = [draw.array((steps, items, inputs)), draw.labels(2, (steps, items))]
    return Drawn(draw.choice(("LSTM", "RNN")), text, bottoms, labels=1, backward=False)


def classified(draw: Draw) -> Drawn:
    """SoftmaxWithLoss and Accuracy, over any axis."""
    shape = draw.shape(2, 4)
    axis = draw.randint(1, len(shape) - 1)
    labels = draw.labels(shape[axis], (*shape[:axis], 1, *shape[axis + 1 :]))
    ignored = draw.maybe(f"ignore_label: {draw.randint(0, shape[axis] - 1)}")
    if draw.random() < 0.3:
        # No scores tie, as Caffe's versions break ties differently; and no label is ignored.
        scores = np.random.default_rng(draw.getrandbits(32)).permutation(labels.size * shape[axis])
        text = message("accuracy_param", f"axis: {axis} top_k: {draw.randint(1, 3)}")
        bottoms = [scores.reshape(shape).astype(np.float32), labels]
        return Drawn("Accuracy", text, bottoms, labels=1, backward=False)
    norm = draw.maybe(f"normalization: {draw.choice(('FULL', 'VALID', 'BATCH_SIZE', 'NONE'))}", 0.7)
    text = f"softmax_param {{ axis: {axis} }} {message('loss_param', ignored, norm)}"
    text += draw.maybe(" loss_weight: 2.5")
    return Drawn("SoftmaxWithLoss", text, [draw.array(shape), labels], labels=1, train=True)


def losses(draw: Draw) -> Drawn:
    """The other losses."""
    shape = draw.randint(1, 4), draw.randint(2, 5)
    scores, labels = draw.array(shape), draw.labels(shape[1], shape[:1])
    legacy = draw.maybe("legacy_version: true")
    kind, text, bottoms = draw.choice(
        (
            ("EuclideanLoss", "", [scores, draw.array(shape)]),
            ("HingeLoss", f"hinge_loss_param {{ norm: {draw.choice(('L1', 'L2'))} }}", [scores, labels]),
            ("MultinomialLogisticLoss", "", [np.abs(scores) / 10 + np.float32(0.05), labels]),
            ("SigmoidCrossEntropyLoss", "", [scores, draw.labels(2, shape)]),
            (
                "ContrastiveLoss",
                message("contrastive_loss_param", "margin: 2", legacy),
                [scores, draw.array(shape), draw.labels(2, shape[:1])],
            ),
        )
    )
    text += draw.maybe(" loss_weight: 2.5")
    return Drawn(kind, text, bottoms, labels=int(kind != "EuclideanLoss"), train=True)


DRAWS: tuple[Callable[[Draw], Drawn], ...] = (
    *(convolution, lambda draw: convolution(draw, "Deconvolution"), lambda draw: convolution(draw, "Im2col")),
    *(pooling, lrn, inner_product, eltwise, concat, slices, crop, reshape, flatten, along, batch_norm),
    *(one_bottom, one_bottom, one_image, argmax, picking, recurrent, classified, losses),
)
