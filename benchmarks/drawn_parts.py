"""The layers that drawn nets are made of. Each function adds some to a Sketch, where they fit.

Not drawn: ArgMax, Threshold and Accuracy with `force_backward`, where Caffe ends; shared parameters for the
Scale of a batch of one, where Caffe keeps the last of the gradients that are to be summed up; sequences that
go on from one run to the next; a HingeLoss of weight 0, whose forward pass leaves in its bottom's gradient
what another reader's is then added to.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from drawn_layers import message
from drawn_nets import DrawnNet, Shape, Sketch

FILLED = 'weight_filler { type: "msra" } bias_filler { type: "gaussian" std: 0.2 }'
GAUSSIAN = '{ type: "gaussian" mean: 1 std: 0.3 }'
NEURONS = (
    *("", "relu_param { negative_slope: 0.1 }"),
    "elu_param { alpha: 0.5 }",
    "exp_param { scale: 0.1 shift: 0.1 }",
    *("power_param { scale: -0.5 shift: 1 }", "power_param { power: 2 scale: 0.5 }"),
)
KINDS = ("ReLU", "ReLU", "Sigmoid", "TanH", "BNLL", "ELU", "Exp", "Power")

Part = Callable[[Sketch], None]


def image(shape: Shape) -> bool:
    """Batch, channels, height and width, of a size that nets go on from."""
    return len(shape) == 4 and max(shape[2:]) <= 40


def batched(shape: Shape) -> bool:
    """At least a batch of something, and not too much of it."""
    return len(shape) >= 2 and math.prod(shape) <= 8000


def _put(s: Sketch, kind: str, bottoms: tuple[str, ...], fields: str = "", in_place: float = 0.6) -> None:
    """A layer whose top is as its first bottom is, often in its place; seldom where that is read already."""
    if s.random() < (in_place if bottoms[0] in s.unread else 0.01):
        s.add_in_place(kind, bottoms, fields)
    else:
        s.add(kind, bottoms, [s.shapes[bottoms[0]]], fields)


def convolution(s: Sketch) -> None:
    """With odd sizes and groups, now and then the padding of an FCN."""
    if (x := s.pick(image)) is None:
        return
    n, c, h, w = s.shapes[x]
    (kernel, stride), dilation = (s.choice((1, 2, 3)), s.randint(1, 2)), s.choice((1, 1, 2))
    pad = s.choice((0, 1, 1, 2, 7 if h < 12 else 0))
    out, group = s.choice((2, 4, 6)), 2 if c % 2 == 0 and s.random() < 0.2 else 1
    sizes = [(size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for size in (h, w)]
    if min(sizes) < 1:
        return
    fields = (
        f"num_output: {out} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}",
        f"group: {group}" if group > 1 else "",
        s.maybe("bias_term: false", 0.3),
    )
    blobs = ((out, c // group, kernel, kernel), (out,))[: 1 if fields[2] else 2]
    s.add(
        "Convolution",
        (x,),
        [(n, out, *sizes)],
        f"{s.params(*blobs)} {message('convolution_param', *fields, FILLED)}",
    )


def upsampling(s: Sketch) -> None:
    """A Deconvolution, learned or of bilinear kernels, and often a Crop to what it is to be added to."""
    if (x := s.pick(lambda shape: image(shape) and max(shape[2:]) < 16)) is None:
        return
    n, c, h, w = s.shapes[x]
    kernel, stride, pad = s.choice(((4, 2, 0), (4, 2, 1), (3, 2, 1), (3, 1, 0), (2, 3, 0)))
    sizes = [stride * (size - 1) + kernel - 2 * pad for size in (h, w)]
    if min(sizes) < 1:
        return
    frozen = s.random() < 0.4
    out = c if frozen else s.randint(1, 4)
    fields = f"num_output: {out} kernel_size: {kernel} stride: {stride} pad: {pad}"
    if frozen:
        grouped = f"group: {c}" if s.random() < 0.5 else ""
        blob = (c, 1 if grouped else c, kernel, kernel)
        fields += f' {grouped} bias_term: false weight_filler {{ type: "bilinear" }}'
        params = s.params(blob, frozen=True) or "param { lr_mult: 0 }"
    else:
        params, fields = s.params((c, out, kernel, kernel), (out,)), f"{fields} {FILLED}"
    for top in s.add(
        "Deconvolution", (x,), [(n, out, *sizes)], f"{params} {message('convolution_param', fields)}"
    ):
        crop(s, top)


def again(s: Sketch) -> None:
    """A layer with the parameters of an earlier one, on the same blob or another of its shape."""
    if not s.named:
        return
    kind, bottom, tops, fields = s.choice(s.named)
    if x := s.pick(bottom.__eq__, unread=0.3):
        s.add(kind, (x,), tops, fields)


def crop(s: Sketch, x: str | None = None) -> None:
    """To another blob's size, from an axis on."""
    x = x or s.pick(lambda shape: len(shape) >= 2)
    if x is None:
        return
    shape = s.shapes[x]
    axis = 2 if len(shape) == 4 else s.randint(0, len(shape) - 1)
    bigger = list(range(axis, len(shape)))
    reference = s.pick(
        lambda other: len(other) == len(shape) and all(other[a] <= shape[a] for a in bigger), unread=0.1
    )
    if reference is None:
        return
    room = [shape[a] - s.shapes[reference][a] for a in bigger]
    offsets = s.choice(([], [min(room)], [s.randint(0, size) for size in room]))
    fields = message("crop_param", f"axis: {axis}", *(f"offset: {offset}" for offset in offsets))
    s.add("Crop", (x, reference), [(*shape[:axis], *s.shapes[reference][axis:])], fields)


def pooling(s: Sketch) -> None:
    """Also global; the last window may hang over, but does not begin in the padding."""
    if (x := s.pick(image)) is None:
        return
    n, c, h, w = s.shapes[x]
    method, kernel, stride, pad = s.choice(("MAX", "AVE")), s.randint(2, 3), s.randint(1, 2), s.randint(0, 1)
    if s.random() < 0.1:
        s.add(
            "Pooling", (x,), [(n, c, 1, 1)], message("pooling_param", f"pool: {method} global_pooling: true")
        )
        return
    if min(h, w) < kernel:
        return
    sizes = [-(-(size + 2 * pad - kernel) // stride) + 1 for size in (h, w)]
    if pad:
        sizes = [n - ((n - 1) * stride >= size + pad) for n, size in zip(sizes, (h, w), strict=True)]
    fields = f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}"
    s.add("Pooling", (x,), [(n, c, *sizes)], message("pooling_param", fields))


def inner_product(s: Sketch) -> None:
    """From the second axis on, or a later one."""
    if (x := s.pick(batched)) is None:
        return
    shape = s.shapes[x]
    axis, out = s.choice((1, 1, len(shape) - 1)), s.choice((2, 3, 4, 6))
    more = [s.maybe(f"axis: {axis}") if axis == 1 else f"axis: {axis}", s.maybe("bias_term: false", 0.2)]
    blobs = ((out, math.prod(shape[axis:])), (out,))[: 1 if more[1] else 2]
    fields = f"{s.params(*blobs)} {message('inner_product_param', f'num_output: {out}', *more, FILLED)}"
    s.add("InnerProduct", (x,), [(*shape[:axis], out)], fields)


def neuron(s: Sketch) -> None:
    """In place more often than not."""
    if (x := s.pick(bool, unread=0.8)) is None:
        return
    kind = s.choice(KINDS)
    own = [fields for fields in NEURONS if fields.startswith(f"{kind.lower()}_param")]
    if s.random() < 0.1:
        s.add("AbsVal", (x,), [s.shapes[x]])  # which is never in place
        return
    _put(s, kind, (x,), s.choice(("", *own)) if kind == "ReLU" else s.choice(own or [""]))


def prelu(s: Sketch) -> None:
    """A slope for each channel, or one."""
    if (x := s.pick(batched)) is None:
        return
    shared = s.random() < 0.3
    params = s.params(() if shared else s.shapes[x][1:2])
    _put(s, "PReLU", (x,), f"{params} {message('prelu_param', 'channel_shared: true' if shared else '')}")


def normalized(s: Sketch) -> None:
    """A BatchNorm, mostly with a Scale after it, both mostly in place."""
    if (x := s.pick(batched, unread=0.8)) is None:
        return
    channels = s.shapes[x][1:2]
    fields = s.maybe(f"use_global_stats: {s.choice(('true', 'false'))}", 0.2)
    own_phase = s.maybe(f"phase: {s.choice(('TEST', 'TRAIN'))}", 0.03)
    params = _statistics(s, channels[0])
    _put(s, "BatchNorm", (x,), f"{own_phase} {params} {message('batch_norm_param', 'eps: 0.01', fields)}")
    if x in s.unread and s.random() < 0.7:
        text = message("scale_param", f"filler {GAUSSIAN} bias_term: true bias_filler {GAUSSIAN}")
        _put(s, "Scale", (x,), f"{_scale_params(s, x, channels, channels)} {text}", in_place=0.8)


def _statistics(s: Sketch, channels: int) -> str:
    """Frozen, as an old Caffe trains them otherwise, by weight decay alone; now and then another layer's."""
    prefix = f"bn{channels}{s.choice('ab')}" if s.random() < 0.1 else ""
    names = (f'name: "{prefix}{i}" ' if prefix else "" for i in range(3))
    return " ".join(f"param {{ {name}lr_mult: 0 }}" for name in names)


def along(s: Sketch) -> None:
    """Scale and Bias, by a blob or another bottom, whose axes are some of the first's."""
    if (x := s.pick(batched)) is None:
        return
    shape, kind = s.shapes[x], s.choice(("Scale", "Bias"))
    other = s.pick(lambda other: 0 < len(other) < len(shape) and shape[: len(other)] == other, unread=0.3)
    if other is not None and s.random() < 0.6:
        _put(s, kind, (x, other), f"{kind.lower()}_param {{ axis: 0 }}")
        return
    count = s.choice((1, 1, 2)) if len(shape) > 2 else 1
    bias = "bias_term: true" if kind == "Scale" and s.random() < 0.5 else ""
    text = message(f"{kind.lower()}_param", f"axis: 1 num_axes: {count} filler {GAUSSIAN}", bias)
    _put(s, kind, (x,), f"{_scale_params(s, x, *[shape[1 : 1 + count]] * (2 if bias else 1))} {text}")


def _scale_params(s: Sketch, x: str, *shapes: Shape) -> str:
    return s.params(*shapes) if s.shapes[x][0] > 1 else ""


def whole_image(s: Sketch) -> None:
    """LRN, MVN and Softmax."""
    if (x := s.pick(image)) is None:
        return
    kind, fields = s.choice(
        (
            ("LRN", "lrn_param { local_size: 3 alpha: 0.5 }"),
            ("LRN", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"),
            ("MVN", "mvn_param { eps: 0.01 }"),
            ("Softmax", ""),
        )
    )
    _put(s, kind, (x,), fields, in_place=0.4 if kind == "Softmax" else 0)


def eltwise(s: Sketch) -> None:
    """Of two or three blobs of one shape, now and then one blob twice."""
    if (x := s.pick(lambda shape: len(shape) >= 1)) is None:
        return
    bottoms = (x, *(s.pick(s.shapes[x].__eq__) or x for _ in range(s.randint(1, 2))))
    operation = s.choice(("SUM", "SUM", "PROD", "MAX"))
    coeffs = [f"coeff: {s.choice((1, -1, 0.5))}" for _ in bottoms if operation == "SUM"]
    text = message("eltwise_param", f"operation: {operation}", *(coeffs if s.random() < 0.4 else []))
    _put(s, "Eltwise", bottoms, text, in_place=0.1)


def concat(s: Sketch) -> None:
    """Of one to three blobs."""
    if (x := s.pick(lambda shape: len(shape) >= 1)) is None:
        return
    shape, bottoms = s.shapes[x], [x]
    axis = min(s.choice((0, 1, 1, 2)), len(shape) - 1)

    def fits(other: Shape) -> bool:
        return len(other) == len(shape) and all(other[a] == shape[a] for a in range(len(shape)) if a != axis)

    bottoms += [s.pick(fits) or x for _ in range(s.randint(0, 2))]
    size = sum(s.shapes[bottom][axis] for bottom in bottoms)
    top = (*shape[:axis], size, *shape[axis + 1 :])
    s.add("Concat", tuple(bottoms), [top], message("concat_param", f"axis: {axis}"))


def slices(s: Sketch) -> None:
    """Into one to three parts; often one of them changes in place."""
    if (x := s.pick(lambda shape: len(shape) >= 2)) is None:
        return
    shape, axis = s.shapes[x], s.randint(0, 1)
    parts = min(s.randint(1, 3), shape[axis])
    points = sorted(s.sample(range(1, shape[axis]), parts - 1))
    sizes = [b - a for a, b in zip([0, *points], [*points, shape[axis]], strict=True)]
    tops = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    text = message("slice_param", f"axis: {axis}", *(f"slice_point: {point}" for point in points))
    s.add("Slice", (x,), tops, text)


def seen_otherwise(s: Sketch) -> None:
    """Split, Flatten and Reshape, whose tops are their bottom's memory, often written over afterwards."""
    if (x := s.pick(batched)) is None:
        return
    shape, kind = s.shapes[x], s.choice(("Split", "Flatten", "Reshape"))
    if kind == "Split":
        tops = s.add(kind, (x,), [shape] * s.randint(1, 3))
    elif kind == "Flatten":
        first = s.randint(0, 1)
        tops = s.add(
            kind,
            (x,),
            [(*shape[:first], math.prod(shape[first:]))],
            s.maybe(f"flatten_param {{ axis: {first} }}") if first else "flatten_param { axis: 0 }",
        )
    else:
        dims, top = s.choice(
            (
                ("dim: 0 dim: -1", (shape[0], math.prod(shape[1:]))),
                ("dim: -1", (math.prod(shape),)),
                ("dim: 0 dim: 1 dim: -1 dim: 1", (shape[0], 1, math.prod(shape[1:]), 1)),
            )
        )
        tops = s.add(kind, (x,), [top], f"reshape_param {{ shape {{ {dims} }} }}")
    if tops and s.random() < 0.4:
        s.add_in_place(s.choice(("ReLU", "Sigmoid", "TanH")), (s.choice(tops),))


def shrunk(s: Sketch) -> None:
    """Reduction and Tile."""
    if (x := s.pick(batched)) is None:
        return
    shape = s.shapes[x]
    axis = s.randint(0, len(shape) - 1)
    if s.random() < 0.5:
        operation = s.choice(("SUM", "MEAN", "ASUM", "SUMSQ"))
        text = message("reduction_param", f"axis: {axis} operation: {operation} coeff: 0.5")
        s.add("Reduction", (x,), [shape[:axis]], text)
    elif math.prod(shape) < 2000:
        top = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
        s.add("Tile", (x,), [top], message("tile_param", f"axis: {axis} tiles: 2"))


def recurrent(s: Sketch) -> None:
    """LSTM and RNN over the first axis of what has three or more."""
    if (x := s.pick(lambda shape: batched(shape) and len(shape) >= 3 and shape[0] <= 4)) is None:
        return
    steps, items = s.shapes[x][:2]
    begins, kind, out = s.labels(2, (steps, items)), s.choice(("LSTM", "RNN")), s.randint(1, 3)
    begins[0] = 0
    text = message("recurrent_param", f"num_output: {out}", FILLED)
    s.add(kind, (x, s.input(begins, labels=True)), [(steps, items, out)], text)


def picked(s: Sketch) -> None:
    """ArgMax and Threshold, which have no gradient, with nothing learned after them but seldom."""
    if (x := s.pick(batched)) is None or s.forced or s.random() < 0.6:
        return
    kind, shape = s.choice(("ArgMax", "Threshold")), s.shapes[x]
    top = (shape[0], 1, *shape[2:]) if kind == "ArgMax" else shape
    for blob in s.add(kind, (x,), [top], "argmax_param { axis: 1 }" if kind == "ArgMax" else ""):
        if s.random() < 0.8:  # an output
            del s.shapes[blob]


def silence(s: Sketch) -> None:
    """Of one blob or two."""
    blobs = [blob for blob in (s.pick(bool), s.pick(bool)) if blob]
    if blobs:
        s.add("Silence", tuple(dict.fromkeys(blobs)), [])


def classified(s: Sketch) -> None:
    """SoftmaxWithLoss, Accuracy and HingeLoss of scores and labels."""
    if (x := s.pick(lambda shape: batched(shape) and shape[1] > 1)) is None:
        return
    shape = s.shapes[x]
    kind = s.choice(
        ("SoftmaxWithLoss", "SoftmaxWithLoss", "HingeLoss" if s.forced else "Accuracy", "HingeLoss")
    )
    labels = (shape[0],) if kind == "HingeLoss" else (shape[0], *s.choice(((), (1,))), *shape[2:])
    classes = math.prod(shape[1:]) if kind == "HingeLoss" else shape[1]
    normalization = s.maybe(f"normalization: {s.choice(('FULL', 'VALID', 'BATCH_SIZE', 'NONE'))}")
    loss = message("loss_param", s.maybe("ignore_label: 0"), normalization)
    fields = loss if kind == "SoftmaxWithLoss" else ""
    s.add(kind, (x, s.input(s.labels(classes, labels), labels=True)), [()], fields)


def compared(s: Sketch) -> None:
    """EuclideanLoss and SigmoidCrossEntropyLoss, of a blob with one that is fed or another of the net."""
    if (x := s.pick(batched)) is None:
        return
    kind, shape = s.choice(("EuclideanLoss", "SigmoidCrossEntropyLoss")), s.shapes[x]
    if kind == "SigmoidCrossEntropyLoss":
        target = s.input(s.labels(2, shape), labels=True)
    elif (target := s.pick(shape.__eq__) or "") in ("", x) or s.random() < 0.4:
        target = s.input(s.array(shape))
    s.add(kind, (x, target), [()])


def of_losses(s: Sketch) -> None:
    """What is made of losses: their sum, or a multiple, which may be in place."""
    losses = [blob for blob, shape in s.shapes.items() if shape == ()]
    if len(losses) > 1 and s.random() < 0.5:
        s.add("Eltwise", tuple(s.sample(losses, 2)), [()])
    elif losses:
        _put(s, "Power", (s.choice(losses),), "power_param { scale: 0.5 }")


PARTS: tuple[Part, ...] = (
    *(convolution, convolution, convolution, again, again, upsampling, crop, pooling, inner_product),
    *(neuron, neuron, neuron, prelu, normalized, normalized, along, whole_image, eltwise, eltwise),
    *(concat, slices, seen_otherwise, seen_otherwise, shrunk, recurrent, picked, silence),
    *(classified, compared, of_losses),
)


def drawn_net(seed: int, phase: str, first: tuple[Part, ...] = (), parts: int = 12) -> DrawnNet:
    """A net of some first parts and up to so many others, in TRAIN with a loss; one seed gives one net."""
    s = Sketch(seed, phase)
    for _ in range(s.choice((1, 1, 2))):
        s.input(s.array((s.randint(1, 3), s.randint(1, 4), s.randint(6, 13), s.randint(6, 13))))
    for part in (*first, *s.choices(PARTS, k=s.randint(3, parts))):
        part(s)
    while phase == "TRAIN" and not any(layer.kind.endswith("Loss") for layer in s.layers):
        s.choice((classified, compared))(s)
    return s.net()
