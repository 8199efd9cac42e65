"""The oldest step of `upgrade`: a V0 net (2013), with all of a layer's parameters in one message, becomes V1.

    layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
    layers { layer { name: "conv1" type: "conv" num_output: 96 kernelsize: 5 } bottom: "pad1" top: "conv1" }

becomes

    layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
             convolution_param { num_output: 96 kernel_size: 5 pad: 2 } }
"""

from __future__ import annotations

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.schema import Message

_SOURCE = {"source": "source", "batchsize": "batch_size"}
_FILTERS = {
    "num_output": "num_output",
    "biasterm": "bias_term",
    "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
}
_WINDOW = {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}
_IMAGES = {
    "rand_skip": "rand_skip",
    "shuffle_images": "shuffle",
    "new_height": "new_height",
    "new_width": "new_width",
}
_DETECTION = {
    "det_fg_threshold": "fg_threshold",
    "det_bg_threshold": "bg_threshold",
    "det_fg_fraction": "fg_fraction",
    "det_context_pad": "context_pad",
    "det_crop_mode": "crop_mode",
    # The first R-CNN had these before Caffe (forks.proto).
    "context_pad": "context_pad",
    "crop_mode": "crop_mode",
}
_LRN = {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}

_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

_FIELDS = {
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "conv": ("convolution_param", _FILTERS | _WINDOW | {"group": "group"}),
    "data": ("data_param", _SOURCE | {"rand_skip": "rand_skip"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "hdf5_data": ("hdf5_data_param", _SOURCE),
    "hdf5_output": ("", {"hdf5_output_param": "hdf5_output_param"}),
    "images": ("image_data_param", _SOURCE | _IMAGES),
    "infogain_loss": ("infogain_loss_param", {"source": "source"}),
    "innerproduct": ("inner_product_param", _FILTERS),
    "lrn": ("lrn_param", _LRN),
    "pool": ("pooling_param", _WINDOW | {"pool": "pool"}),
    "window_data": ("window_data_param", _SOURCE | _DETECTION),
}
"""Types with fields of their own: the V1 message that these go to (or the layer), and their names there."""

_DROPPED = ("type", "can_clobber")
"""can_clobber said which memory the first R-CNN may overwrite."""
_CONNECTION = ("layer", "bottom", "top")
_OF_EVERY_TYPE = ("name", "blobs", "blobs_lr", "weight_decay")
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}


def fold_padding(net: Message, source: str) -> tuple[list[Message], tuple[str, ...]]:
    """The V0 layers of a net except padding, and a sentence for each of those (UpgradeV0PaddingLayers).

    The conv or pool that reads a padded blob is changed to read the unpadded one and gets the pad; its own
    pad is lost, as in Caffe. Raises NetError where Caffe stops: another reader, several bottoms or tops,
    a bottom that nothing makes.
    """
    maker: dict[str, Message | None] = dict.fromkeys(net.input)
    kept, notes = [], []
    for layer in net.layers:
        for bottom in layer.bottom:
            if bottom not in maker:
                raise NetError(
                    f"{source}: layer {layer.layer.name!r} needs blob {bottom!r}, which nothing makes"
                )
            padding = maker[bottom]
            if padding is not None and _is_padding(padding):
                notes.append(_fold(padding, layer, source))
        maker.update(dict.fromkeys(layer.top, layer))
        if not _is_padding(layer):
            kept.append(layer)
    return kept, tuple(notes)


def _is_padding(layer: Message) -> bool:
    return bool(layer.layer.type == "padding")


def _fold(padding: Message, layer: Message, source: str) -> str:
    v0, pad = layer.layer, padding.layer
    where = f"{source}: layer '{v0.name}' ({v0.type}) after padding layer {pad.name!r}"
    if v0.type not in ("conv", "pool"):
        raise NetError(f"{where}: only conv and pool can take over padding")
    if (len(layer.bottom), len(padding.bottom), len(padding.top)) != (1, 1, 1):
        raise NetError(f"{where}: needs one bottom, and the padding layer one bottom and one top")
    lost = f", whose own pad {v0.pad} is lost as in Caffe" if v0.pad else ""
    v0.pad = pad.pad
    layer.bottom[0] = padding.bottom[0]
    return f"padding layer {pad.name!r} folded into '{v0.name}'{lost}"


def v1_layer(layer: Message, source: str) -> Message:
    """A V0 layer as a V1LayerParameter (UpgradeV0LayerParameter).

    An unknown source of data becomes DATA: like any data layer, it will be an input of the net.

    Raises NetError for any other unknown type, and for a field that its type does not have: Caffe drops it.
    """
    if not layer.HasField("layer"):
        raise NetError(f"{source}: layer {layer.name!r} is V1 in a V0 net; give all layers in one format")
    v0 = layer.layer
    where = f"{source}: layer '{v0.name}'"
    if stray := [field.name for field, _ in layer.ListFields() if field.name not in _CONNECTION]:
        raise NetError(f"{where} has V1's {', '.join(stray)} next to V0's `layer`; give it in one format")
    kind = "data" if is_unknown_source(layer) else v0.type
    if kind not in _TYPES:
        raise NetError(f"{where} has the V0 type '{kind}'; Caffe knows {', '.join(_TYPES)}")
    v1 = schema.message("V1LayerParameter")(type=_TYPES[kind], bottom=layer.bottom, top=layer.top)
    for field, value in v0.ListFields():
        if field.name not in _DROPPED:
            message, name = _place(v1, kind, field.name, where)
            try:
                _put(message, name, value)
            except ValueError:  # signed in V0 alone
                raise NetError(f"{where}: {field.name} is {value}; it must be 0 or more") from None
    return v1


def is_unknown_source(layer: Message) -> bool:
    """Whether a V0 layer has a type that only a branch knew, such as `memory_data`, and only makes blobs."""
    kind = layer.layer.type
    return bool(kind and kind not in _TYPES and layer.top and not layer.bottom)


def _place(v1: Message, kind: str, field: str, where: str) -> tuple[Message, str]:
    """The V1 message, and the name there, of a field of a V0 layer of this type."""
    if field in _OF_EVERY_TYPE:
        return v1, field
    if field in _TRANSFORM:  # of any type, as in Caffe
        return v1.transform_param, _TRANSFORM[field]
    param, fields = _FIELDS.get(kind, ("", {}))
    if field not in fields:
        raise NetError(f"{where}: {field} is not a field of a V0 {kind} layer")
    return getattr(v1, param) if param else v1, fields[field]


def _put(message: Message, name: str, value: object) -> None:
    held = getattr(message, name)
    if hasattr(held, "extend"):
        # kernel_size, stride and pad of a convolution were single numbers in V0.
        held.extend(value if hasattr(value, "extend") else [value])
    elif hasattr(held, "CopyFrom"):
        held.CopyFrom(value)
    else:
        setattr(message, name, value)
