"""Which FCN of the papers a net is, judged by its structure and never by its name.

Layers that hold weights must have the zoo's names; the other layers, and the blobs, may be called anything.
Nothing is planned here, and no blob is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from caffe2torch.errors import NetError
from caffe2torch.layers.converter import Converter
from caffe2torch.layers.registry import converter_for
from caffe2torch.net import Layer
from caffe2torch.plan import Plan, Step
from caffe2torch.zoo.fcn import LAST_STAGE, NAMES, Architecture, Head, Stream, deploy_net


def recognize(found: Plan) -> Architecture | None:
    """The architecture of a TEST plan, None if it is not one of the papers'."""
    for name in NAMES:
        try:
            return insist(found, name)
        except NetError:
            continue
    return None


def insist(found: Plan, name: str) -> Architecture:
    """The architecture called `name` as the plan has it. Raises NetError, saying where the plan differs."""
    if name not in NAMES:
        raise NetError(f"no architecture is called {name!r}; known are {', '.join(NAMES)}")
    architecture = described(found, name)
    problem = difference(found, architecture)
    if problem is not None:
        raise NetError(f"{_source(found)}: is not {name}: {problem}")
    return architecture


def described(found: Plan, name: str) -> Architecture:
    """The architecture called `name` with the heads, streams, widths and learned layers of the plan.

    Raises NetError where the plan does not show them. `difference` decides whether it matches.
    """
    layers = {step.key: step for step in found.steps}
    streams = _streams(found)
    if not streams or (len(streams) > 1) != (name == "FCN32sLateFusion"):
        raise NetError(f"{_source(found)}: is not {name}: {len(streams)} convolutions read the inputs")
    convolutions = [f"conv{i}" if name == "FCNAlexNet" else f"conv{i}_1" for i in range(1, 6)]
    widths = []
    for layer in [*convolutions, "fc6", "fc7"][: LAST_STAGE.get(name)]:
        step = layers.get(streams[0].layer(layer))
        if step is None:
            raise NetError(f"{_source(found)}: is not {name}: has no layer '{streams[0].layer(layer)}'")
        widths.append(step.layer.fields.convolution_param.num_output)
    learned = frozenset(key for key, step in layers.items() if _is_learned(found, step))
    return Architecture(name, _heads(found, name), streams, tuple(widths), learned)


def _source(found: Plan) -> str:
    return found.net.weights or found.net.read_from or f"net '{found.net.name}'"


def _heads(found: Plan, name: str) -> tuple[Head, ...]:
    """One head per output, which must be a cropped deconvolution with a channel per class."""
    makers = {top: step.layer for step in found.steps for top in step.layer.tops}
    heads = []
    for output in found.outputs:
        crop = makers[output]
        upscore = makers[crop.bottoms[0]] if crop.bottoms else crop
        if not output.startswith("score") or (crop.type, upscore.type) != ("Crop", "Deconvolution"):
            raise NetError(
                f"{_source(found)}: is not {name}: its output '{output}' is not an upsampled, cropped score"
            )
        heads.append(Head(output.removeprefix("score"), upscore.fields.convolution_param.num_output))
    return tuple(heads)


def _streams(found: Plan) -> tuple[Stream, ...]:
    """One stream per convolution that reads an input or several concatenated inputs."""
    images: dict[str, tuple[str, ...]] = {blob: (blob,) for blob in found.inputs}
    stems: list[tuple[Step, tuple[str, ...]]] = []
    for step in found.steps:
        layer = step.layer
        if layer.type == "Concat" and set(layer.bottoms) <= set(found.inputs):
            images |= dict.fromkeys(layer.tops, layer.bottoms)
        elif layer.type == "Convolution" and layer.bottoms[0] in images:
            stems.append((step, images[layer.bottoms[0]]))
    if len(stems) == 1:
        ((step, blobs),) = stems
        stem = "" if step.key in ("conv1", "conv1_1") else step.key
        return (Stream("", _inputs(found, step, blobs), stem),)
    return tuple(
        Stream(step.key.removeprefix("conv1_1"), _inputs(found, step, blobs)) for step, blobs in stems
    )


def _inputs(found: Plan, stem: Step, blobs: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    shapes = [found.inputs[blob] for blob in blobs]
    channels = [shape[1] if shape is not None else None for shape in shapes]
    total = stem.parameters[0].shape[1]
    if None in channels and total is not None:
        # A caffemodel determines only the sum. NYUDv2's early fusion adds depth to a color image.
        channels = [total] if len(blobs) == 1 else [3, total - 3]
    known = [size for size in channels if size is not None and size > 0]
    if len(known) != len(blobs):
        raise NetError(
            f"{_source(found)}: the channels of its inputs {', '.join(blobs)} are not known; "
            f"give weights, or a --prototxt with Input layers"
        )
    return tuple(zip(blobs, known, strict=True))


def _is_learned(found: Plan, step: Step) -> bool:
    if step.layer.type != "Deconvolution":
        return False
    weight = step.parameters[0]
    if found.net.weights:
        return not (weight.diagonal or _is_channelwise(step))
    return weight.trained


def _is_channelwise(step: Step) -> bool:
    """Whether it is a frozen deconvolution with a group per channel: the zoo's, without its zeros."""
    p = step.layer.fields.convolution_param
    return (
        step.layer.type == "Deconvolution" and p.group == p.num_output > 1 and not step.parameters[0].trained
    )


def difference(found: Plan, architecture: Architecture) -> str | None:
    """The first difference between a TEST plan and the architecture's deploy net, None if they agree.

    The plan may leave out Dropout layers, which do nothing in phase TEST.
    """
    layers = deploy_net(architecture).layers
    expected = [layer for layer in layers if layer.type != "Input"]
    theirs = {blob: blob for blob in found.inputs}
    ours = {blob: blob for layer in layers if layer.type == "Input" for blob in layer.tops}
    for step in found.steps:
        if step.layer.type == "Input":
            continue
        while expected and expected[0].type == "Dropout" != step.layer.type:
            del expected[0]
        if not expected:
            return f"has {_text(step.key, step.layer)} where {architecture.name} ends"
        problem = _differs(step, expected[0], theirs, ours)
        if problem is not None:
            return f"{problem} in {architecture.name}"
        theirs |= dict.fromkeys(step.layer.tops, step.key)
        ours |= dict.fromkeys(expected.pop(0).tops, step.key)
    if expected:
        return f"ends where {architecture.name} has {_text(expected[0].name, expected[0])}"
    return None


def _differs(step: Step, own: Layer, theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """How a layer differs from the expected one; `theirs` and `ours` say which layer wrote a blob."""
    converter = converter_for(own, (None,) * len(own.bottoms))
    shown = _text(step.key, step.layer)
    if step.layer.type != own.type or (converter.blob_specs() and step.key != own.name):
        return f"has {shown} in place of {_text(own.name, own)}"
    bottoms = [theirs[bottom] for bottom in step.layer.bottoms], [ours[bottom] for bottom in own.bottoms]
    if bottoms[0] != bottoms[1]:
        return f"{shown} reads {', '.join(bottoms[0])}, not {', '.join(bottoms[1])} as"
    for parameter in step.parameters:
        if parameter.owner != parameter.key:
            return f"{shown} shares its values with '{parameter.owner}', unlike"
    found = _settings(step.converter)
    if _is_channelwise(step):
        found["group"] = converter.layer.fields.convolution_param.group
    for name, value in _settings(converter).items():
        if found[name] != value:
            pair = (f"{x:g}" if isinstance(x, float) else x for x in (found[name], value))
            return "{} has {} {}, not {} as".format(shown, name, *pair)
    return None


def _settings(converter: Converter) -> dict[str, object]:
    """The settings by name; the converter normalizes those that Caffe accepts in several forms."""
    message, *names = _SETTINGS[converter.layer.type]
    given = getattr(converter.layer.fields, message)
    return {name: getattr(converter if hasattr(converter, name) else given, name) for name in names}


def _text(key: str, layer: Layer) -> str:
    return f"layer '{key}' ({layer.type})"


_SLIDING = ("convolution_param", "num_output", "kernel", "stride", "pad", "dilation", "group", "bias_term")
_SETTINGS = {
    "Convolution": _SLIDING,
    "Deconvolution": _SLIDING,
    "Pooling": ("pooling_param", "pool", "kernel", "stride", "pad", "round_mode", "global_pooling"),
    "LRN": ("lrn_param", "norm_region", "local_size", "alpha", "beta", "k"),
    "ReLU": ("relu_param", "negative_slope"),
    "Dropout": ("dropout_param", "dropout_ratio"),
    "Scale": ("scale_param", "axis", "num_axes", "bias_term"),
    "Concat": ("concat_param", "axis"),
    "Eltwise": ("eltwise_param", "operation", "coeff"),
    "Crop": ("crop_param", "axis", "offsets"),
}
"""The settings that change a layer's numbers; fillers, learning rates and engines do not."""
