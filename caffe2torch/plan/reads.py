"""What Caffe's layers read in their backward pass, and what one in place leaves of it (*_layer.cpp)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from caffe2torch.net import Layer

How = Literal["sign", "scaled", "value"]
"""What of a blob counts: whether values are above 0; each value, times its own gradient; the values."""
Use = Literal["weights", "bottoms", "others"]
"""The gradients that a read is for; "others" are those of the other bottoms."""


class Read(NamedTuple):
    """Something that the backward of a layer reads."""

    end: Literal["bottom", "top"]
    position: int
    how: How
    use: Use = "bottoms"


_READS: dict[str, tuple[Read, ...]] = {
    **dict.fromkeys(("Sigmoid", "TanH", "Exp", "Swish"), (Read("top", 0, "scaled"),)),
    **dict.fromkeys(("AbsVal", "BNLL", "Clip", "Log"), (Read("bottom", 0, "value"),)),
    **dict.fromkeys(("InnerProduct", "Embed"), (Read("bottom", 0, "value", "weights"),)),
    **dict.fromkeys(("LSTM", "RNN"), (Read("bottom", 0, "value", "weights"), Read("bottom", 1, "value"))),
    **dict.fromkeys(
        ("SoftmaxWithLoss", "HingeLoss", "InfogainLoss", "SigmoidCrossEntropyLoss", "BatchReindex"),
        (Read("bottom", 1, "value"),),
    ),
    "MultinomialLogisticLoss": (Read("bottom", 0, "value"), Read("bottom", 1, "value")),
    "ContrastiveLoss": (Read("bottom", 2, "value"),),
    "ELU": (Read("bottom", 0, "sign"), Read("top", 0, "scaled")),
    "PReLU": (Read("bottom", 0, "value", "weights"), Read("bottom", 0, "sign")),
    "ReLU": (Read("bottom", 0, "sign"),),
    "Softmax": (Read("top", 0, "value"),),
}


def backward_reads(layer: Layer, positive: bool) -> tuple[Read, ...]:
    """What the backward of a layer reads, but for what the layer itself overwrites in place.

    `positive` says that its bottom has no values below 0, for which alone ELU looks at its top.
    """
    reads = _reads(layer)
    if layer.type == "ELU" and positive:
        reads = reads[:1]
    if not is_in_place(layer):
        return reads
    if layer.type in _READS_SIGN_OF_TOP:
        return tuple(read._replace(end="top") for read in reads)
    return tuple(read for read in reads if read[:2] != ("bottom", 0))


def _reads(layer: Layer) -> tuple[Read, ...]:
    first, fields = Read("bottom", 0, "value"), layer.fields
    if layer.type in ("Convolution", "Deconvolution"):
        return tuple(Read("bottom", i, "value", "weights") for i in range(len(layer.bottoms)))
    if layer.type == "Eltwise":
        is_product = fields.eltwise_param.operation == "PROD"
        factors = range(len(layer.bottoms)) if is_product else ()
        return tuple(Read("bottom", i, "value", "others") for i in factors)
    if layer.type == "LRN":
        across = fields.lrn_param.norm_region == "ACROSS_CHANNELS"
        return (first, Read("top", 0, "value")) if across else (first,)
    if layer.type == "MVN":
        return (Read("top", 0, "value"),) if fields.mvn_param.normalize_variance else ()
    if layer.type == "Pooling":
        return (Read("top", 1, "value"),) if len(layer.tops) > 1 else ()
    if layer.type == "Power":
        p = fields.power_param
        if p.power in (0, 1) or not p.scale:
            return ()
        return (first,) if p.power == 2 else (first, Read("top", 0, "value"))
    if layer.type == "Reduction":
        return (first,) if fields.reduction_param.operation in ("ASUM", "SUMSQ") else ()
    if layer.type == "Scale":
        uses: tuple[Use, ...] = ("weights",) if len(layer.bottoms) == 1 else ("others", "others")
        return tuple(Read("bottom", i, "value", use) for i, use in enumerate(uses))
    return _READS.get(layer.type, ())


_KEEPS_COPY = ("PReLU", "Scale")
"""In place, they read a copy of their bottom."""
_READS_SIGN_OF_TOP = ("ELU", "ReLU")
"""In place, their top has the sign of their bottom, which is what they need."""


def spoils_its_gradient(layer: Layer) -> bool:
    """Whether a layer in place, by itself, makes its own gradients wrong: it reads what it has overwritten.

    Power and MVN write the gradient of their bottom over that of their top before they have read it all.
    """
    fields = layer.fields
    if layer.type == "Power":
        return bool(fields.power_param.power and fields.power_param.scale)
    if layer.type == "MVN":
        return bool(fields.mvn_param.normalize_variance)
    if layer.type == "ReLU":
        return bool(fields.relu_param.negative_slope < 0)
    if layer.type == "ELU":
        return bool(fields.elu_param.alpha < 0)
    reads_bottom = any(read[:2] == ("bottom", 0) for read in _reads(layer))
    return reads_bottom and layer.type not in (*_KEEPS_COPY, *_READS_SIGN_OF_TOP)


def spoils_its_top(layer: Layer) -> bool:
    """Whether a layer in place makes even its top wrong: it writes there before it has read its bottom."""
    if layer.type == "Eltwise":
        return bool(layer.fields.eltwise_param.operation != "PROD")
    if layer.type == "LRN":
        return bool(layer.fields.lrn_param.norm_region == "ACROSS_CHANNELS")
    return layer.type in ("InnerProduct", "Pooling")


def takes_gradient(layer: Layer) -> bool:
    """Whether the gradient of its bottom becomes that of its top, memory and all (flatten_layer.cpp)."""
    return layer.type == "Flatten"


def shares_gradient(layer: Layer) -> bool:
    """Whether a layer waits for its gradient in memory of its own, where a Flatten above it puts none."""
    renames = layer.type in ("Concat", "Slice") and len(layer.bottoms) == len(layer.tops) == 1
    return renames or layer.type in ("LSTM", "Reshape", "RNN")


def is_in_place(layer: Layer) -> bool:
    """Whether a top of the layer is its bottom at the same position."""
    return any(top == bottom for top, bottom in zip(layer.tops, layer.bottoms, strict=False))


_KEEPS_SIGN = ("ELU", "LRN", "PReLU", "Swish", "TanH")
"""Caffe's PReLU has slopes above 0 but for a net that has learned others."""


def _keeps_sign(layer: Layer) -> bool:
    """Whether the top of a layer is above 0 where its bottom is, and nowhere else."""
    fields = layer.fields
    if layer.type == "ReLU":
        return bool(fields.relu_param.negative_slope >= 0)
    if layer.type == "Clip":
        return bool(fields.clip_param.min <= 0 < fields.clip_param.max)
    if layer.type == "Power":
        p = fields.power_param
        return bool(p.power == 1 and p.scale > 0 and not p.shift)
    return layer.type in _KEEPS_SIGN


def never_below_0(layer: Layer, bottom: bool) -> bool:
    """Whether a layer's tops have no values below 0, given that of its first bottom."""
    if layer.type in ("AbsVal", "BNLL", "Exp", "Sigmoid", "Softmax"):
        return True
    if layer.type == "ReLU" and not layer.fields.relu_param.negative_slope:
        return True
    return bottom and layer.type in _KEEPS_0_AND_ABOVE


_KEEPS_0_AND_ABOVE = ("Dropout", "ELU", "Flatten", "LRN", "Pooling", "PReLU", "ReLU", "Reshape", "TanH")


def left(layer: Layer, how: How, *, positive: bool, straight: bool) -> bool:
    """Whether a layer in place leaves what counts of its bottom, to a layer below that reads it.

    `positive` says that its bottom has no values below 0, `straight` that its gradient is all that the layer
    below gets: 0, whatever is read, where it has made a value 0.
    """
    if layer.type == "Dropout":
        return how == "sign" and straight
    if positive and layer.type in ("AbsVal", "ELU", "PReLU", "ReLU"):
        return True
    if how == "scaled":
        return straight and layer.type == "ReLU" and not layer.fields.relu_param.negative_slope
    return how == "sign" and _keeps_sign(layer)
