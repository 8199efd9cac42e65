"""NetParameter and SolverParameter of any age -> the current format, as Caffe's upgrade_proto.cpp does.

    V0 (2013)  layers { layer { type: "conv" kernelsize: 3 } bottom: "data" top: "conv1" }
    V1 (2014)  layers { type: CONVOLUTION convolution_param { kernel_size: 3 } bottom: "data" top: "conv1" }
    current    layer { type: "Convolution" convolution_param { kernel_size: 3 } bottom: "data" top: "conv1" }

Smaller changes came in between: transform_param, Input layers, BatchNorm's `param`. Where Caffe logs an
error, drops a field and goes on, we refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from google.protobuf.unknown_fields import UnknownFieldSet

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.schema import Message
from caffe2torch.upgrades.parameters import needs_own_parameters, own_parameters
from caffe2torch.upgrades.speed import drop_speed, needs_speed
from caffe2torch.upgrades.v0 import fold_padding, is_unknown_source, v1_layer

Notes = tuple[str, ...]


def format_of(net: Message) -> Literal["V0", "V1", "current"]:
    """The layer format of a NetParameter; one without layers is current."""
    if needs_v0(net):
        return "V0"
    return "V1" if needs_v1(net) else "current"


def upgrade_net(net: Message, source: str) -> tuple[Message, Notes]:
    """A copy of a NetParameter in the current format, and a sentence for each rewrite.

    `source` names the file in errors. Blobs, with or without data, stay with their layers, in order.

    Raises NetError for a net that mixes formats, a type or field that Caffe cannot upgrade, and inputs
    that do not match their shapes.
    """
    if net.layers and net.layer:
        raise NetError(
            f"{source}: has `layers` (V0, V1) and `layer` (current); give all layers in one format"
        )
    upgraded = schema.message("NetParameter")()
    upgraded.CopyFrom(net)
    notes: Notes = ()
    for needs, upgrade in _STEPS:
        if needs(upgraded):
            notes += upgrade(upgraded, source)
    return upgraded, notes


def upgrade_solver(solver: Message) -> Message:
    """A copy of a SolverParameter with `solver_type` (an enum) turned into `type` (a string).

    Nets inside the solver are left as they are, as in Caffe. Raises NetError when it has both types.
    """
    upgraded = schema.message("SolverParameter")()
    upgraded.CopyFrom(solver)
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise NetError("solver: has solver_type (old) and type (current); keep one")
        upgraded.type = _SOLVER_TYPES[solver.SolverType.Name(solver.solver_type)]
        upgraded.ClearField("solver_type")
    return upgraded


_SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


# The steps change the copy that upgrade_net made, and return their notes.


def needs_v0(net: Message) -> bool:
    """Whether any layer is V0 (NetNeedsV0ToV1Upgrade)."""
    return any(layer.HasField("layer") for layer in net.layers)


def upgrade_v0(net: Message, source: str) -> Notes:
    """V0 -> V1 (UpgradeV0Net)."""
    layers, notes = fold_padding(net, source)
    net.ClearField("layers")
    net.layers.extend(v1_layer(layer, source) for layer in layers)
    sources = tuple(
        f"layer '{layer.layer.name}' ({layer.layer.type}, which Caffe does not know) taken for a data layer"
        for layer in filter(is_unknown_source, layers)
    )
    return ("upgraded from V0 (2013) to V1 (2014)", *notes, *sources)


def needs_transform(net: Message) -> bool:
    """Whether a V1 data layer holds its own transformation fields (NetNeedsDataUpgrade)."""
    return any(_transform_fields(param) for _, param in _data_params(net))


def upgrade_transform(net: Message, source: str) -> Notes:
    """Transformation fields of V1 data layers -> transform_param (UpgradeNetDataTransformation)."""
    notes = []
    for layer, param in _data_params(net):
        # Once one data layer needs this, Caffe gives both messages to each of them.
        param.SetInParent()
        layer.transform_param.SetInParent()
        fields = _transform_fields(param)
        for name in fields:
            _move(name, param, layer.transform_param)
        if fields:
            notes.append(f"{', '.join(fields)} of data layer {layer.name!r} moved to its transform_param")
    return tuple(notes)


def _data_params(net: Message) -> Iterator[tuple[Message, Message]]:
    for layer in net.layers:
        kind = layer.LayerType.Name(layer.type)
        if kind in ("DATA", "IMAGE_DATA", "WINDOW_DATA"):
            yield layer, getattr(layer, f"{kind.lower()}_param")


_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror", "transform_param")
"""Caffe moves the first four; the last, only in data and image data layers, predates its release."""


def _transform_fields(param: Message) -> list[str]:
    return [
        name for name in _TRANSFORM_FIELDS if name in param.DESCRIPTOR.fields_by_name and param.HasField(name)
    ]


def _move(name: str, param: Message, transform: Message) -> None:
    if name == "transform_param":
        transform.MergeFrom(param.transform_param)
    else:
        setattr(transform, name, getattr(param, name))
    param.ClearField(name)


def needs_v1(net: Message) -> bool:
    """Whether any layer is older than the current format (NetNeedsV1ToV2Upgrade)."""
    return len(net.layers) > 0


def upgrade_v1(net: Message, source: str) -> Notes:
    """V1 -> current (UpgradeV1Net)."""
    net.layer.extend(_current_layer(layer, source) for layer in net.layers)
    net.ClearField("layers")
    return ("upgraded from V1 (2014) to the current format",)


_V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "CROP": "Crop",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
    # Types of forks, which only a prototxt can name (forks.proto).
    "ACCURACY_REGRESSION": "AccuracyRegression",
    "BN": "BN",
    "CONVOLUTION3D": "Convolution3D",
    "DECONVOLUTION3D": "Deconvolution3D",
    "ELTWISE_ACCURACY": "EltwiseAccuracy",
    "IMAGE_SEG_DATA": "ImageSegData",
    "IMPORT": "Import",
    "INTERP": "Interp",
    "LOCAL": "Local",
    "LOCAL_WEIGHTED_CONVOLUTION": "LocalWeightedConvolution",
    "LRN_MAP": "LRNMap",
    "MULTI_STAGE_MEANFIELD": "MultiStageMeanfield",
    "POOLING3D": "Pooling3D",
    "ROI_POOLING": "ROIPooling",
    "SEG_ACCURACY": "SegAccuracy",
    "SMOOTH_L1_LOSS": "SmoothL1Loss",
    "SPATIAL_PYRAMID_POOLING": "SpatialPyramidPooling",
    "SPATIAL_PYRAMID_POOLING_DATA": "SpatialPyramidPoolingData",
    "TOPK": "TopK",
    "UNPOOLING": "Unpooling",
    "VIDEO_DATA": "VideoData",
    "WINDOW_SEG_DATA": "WindowSegData",
}

_SPEC_FIELDS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}


def _current_layer(v1: Message, source: str) -> Message:
    """A V1 layer as a LayerParameter (UpgradeV1LayerParameter): most fields keep their names."""
    if not v1.HasField("type"):
        raise NetError(f"{source}: layer '{v1.name}' {_missing_type(v1)}")
    same = {f.name: value for f, value in v1.ListFields() if f.name != "type" and f.name not in _SPEC_FIELDS}
    kind = _V1_TYPES[v1.LayerType.Name(v1.type)]
    layer = schema.message("LayerParameter")(type=kind, param=_param_specs(v1), **same)
    if kind == "Crop":
        # longjon/caffe "future" derived the offset from the two bottoms' coordinates.
        layer.crop_param.align = True
    return layer


def _missing_type(v1: Message) -> str:
    number = v1.DESCRIPTOR.fields_by_name["type"].number
    unknown = UnknownFieldSet(v1)
    for field in map(unknown.__getitem__, range(len(unknown))):
        if field.field_number == number:
            return f"has the type number {field.data}, which only a fork of Caffe knows"
    return "has no type"


def _param_specs(v1: Message) -> list[Message]:
    """One ParamSpec for each blob that any of the four parallel lists of a V1 layer covers."""
    specs = [schema.message("ParamSpec")() for _ in range(max(len(getattr(v1, f)) for f in _SPEC_FIELDS))]
    for field, name in _SPEC_FIELDS.items():
        for spec, value in zip(specs, getattr(v1, field), strict=False):
            setattr(spec, name, value)
    return specs


def needs_input(net: Message) -> bool:
    """Whether the net names its inputs itself, outside of any layer (NetNeedsInputUpgrade)."""
    return len(net.input) > 0


def upgrade_input(net: Message, source: str) -> Notes:
    """`input` with `input_shape` or `input_dim` -> one Input layer, the first (UpgradeNetInput).

    Inputs without a shape just disappear, as in Caffe.
    """
    names = ", ".join(net.input)
    note = f"inputs without a shape, which Caffe leaves undefined: {names}"
    if net.input_shape or net.input_dim:
        layer = schema.message("LayerParameter")(name="input", type="Input", top=net.input)
        layer.input_param.shape.extend(_input_shapes(net, source))
        net.layer.insert(0, layer)
        note = f"inputs turned into an Input layer: {names}"
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)
    return (note,)


def _input_shapes(net: Message, source: str) -> list[Message]:
    count, shapes, dims = len(net.input), list(net.input_shape), net.input_dim
    if not shapes and len(dims) == 4 * count:
        shapes = [schema.message("BlobShape")(dim=dims[i : i + 4]) for i in range(0, len(dims), 4)]
    if len(shapes) != count:
        given = f"{len(shapes)} input_shape" if shapes else f"{len(dims)} input_dim"
        needed = f"{count} input_shape or {4 * count} input_dim"
        raise NetError(f"{source}: {given} for input {', '.join(net.input)}; expected {needed}")
    return shapes


def needs_batch_norm(net: Message) -> bool:
    """Whether a BatchNorm layer gives `param` for its three statistics (NetNeedsBatchNormUpgrade)."""
    return any(_is_old_batch_norm(layer) for layer in net.layer)


def upgrade_batch_norm(net: Message, source: str) -> Notes:
    """BatchNorm's three `param` get learning rate and decay 0; the rest stays (UpgradeNetBatchNorm)."""
    changed = 0
    for layer in filter(_is_old_batch_norm, net.layer):
        changed += any(spec.lr_mult or spec.decay_mult for spec in layer.param)
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0
    return (f"BatchNorm layers whose lr_mult and decay_mult were set to 0: {changed}",) if changed else ()


def _is_old_batch_norm(layer: Message) -> bool:
    return layer.type == "BatchNorm" and len(layer.param) == 3


def needs_crop_bottom(net: Message) -> bool:
    """Whether a fork's SimpleCrop names the blob whose size it takes, without having it as a bottom."""
    return any(_names_its_size(layer) for layer in net.layer)


def upgrade_crop_bottom(net: Message, source: str) -> Notes:
    """The blob that a SimpleCrop names becomes its second bottom."""
    for layer in filter(_names_its_size, net.layer):
        layer.bottom.append(layer.crop_param.blob_name)
        layer.ClearField("crop_param")
    return ("SimpleCrop layers got the blob they name as their second bottom",)


def _names_its_size(layer: Message) -> bool:
    return layer.type == "SimpleCrop" and bool(layer.crop_param.blob_name)


def needs_ceil_mode(net: Message) -> bool:
    """Whether a Pooling has `ceil_mode`, what became Caffe's `round_mode`."""
    return any(layer.pooling_param.HasField("ceil_mode") for layer in net.layer)


def upgrade_ceil_mode(net: Message, source: str) -> Notes:
    """`ceil_mode` -> `round_mode`, which later versions of Caffe know (BVLC/caffe pull request 3057)."""
    for layer in net.layer:
        pooling = layer.pooling_param
        if layer.HasField("pooling_param") and pooling.HasField("ceil_mode"):
            if pooling.HasField("round_mode") and pooling.round_mode != (not pooling.ceil_mode):
                raise NetError(f"{source}: layer '{layer.name}' has a round_mode and another ceil_mode")
            pooling.round_mode = int(not pooling.ceil_mode)  # CEIL is 0, FLOOR 1
            pooling.ClearField("ceil_mode")
    return ("ceil_mode of Pooling layers became round_mode",)


def needs_auto_crop(net: Message) -> bool:
    """Whether the net has RCF's AutoCrop, which aligns its bottoms as the CVPR 2015 zoo's CROP does."""
    return any(layer.type == "AutoCrop" for layer in net.layer)


def upgrade_auto_crop(net: Message, source: str) -> Notes:
    """AutoCrop -> Crop, aligned."""
    for layer in net.layer:
        if layer.type == "AutoCrop":
            layer.type, layer.crop_param.align = "Crop", True
    return ("AutoCrop layers became Crop layers, whose offsets follow from their two bottoms' coordinates",)


_STEPS: tuple[tuple[Callable[[Message], bool], Callable[[Message, str], Notes]], ...] = (
    (needs_v0, upgrade_v0),
    (needs_transform, upgrade_transform),
    (needs_v1, upgrade_v1),
    (needs_input, upgrade_input),
    (needs_batch_norm, upgrade_batch_norm),
    (needs_crop_bottom, upgrade_crop_bottom),
    (needs_auto_crop, upgrade_auto_crop),
    (needs_own_parameters, own_parameters),
    (needs_speed, drop_speed),
    (needs_ceil_mode, upgrade_ceil_mode),
)
