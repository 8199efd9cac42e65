"""Which FCN of the papers a planned net is, told by its structure and never by its name."""

from __future__ import annotations

from typing import Any

from caffe2torch.errors import NetError
from caffe2torch.plan import Plan, Step
from caffe2torch.zoo.fcn import NAMES, Architecture, Head, Stream, planned


def recognize(found: Plan) -> Architecture | None:
    """The architecture that a TEST plan is, None if it is none of them."""
    for name in NAMES:
        try:
            architecture = described(found, name)
        except NetError:
            continue
        if difference(found, architecture) is None:
            return architecture
    return None


def insist(found: Plan, name: str) -> Architecture:
    """The plan as the architecture called `name`. Raises NetError, saying what differs, if it is not that."""
    if name not in NAMES:
        raise NetError(f"no architecture is called {name!r}; known are {', '.join(NAMES)}")
    architecture = described(found, name)
    problem = difference(found, architecture)
    if problem is not None:
        raise NetError(f"{_source(found)}: is not {name}: {problem}")
    return architecture


def described(found: Plan, name: str) -> Architecture:
    """The architecture called `name` with the plan's own heads, streams, widths and learned deconvolutions.

    Whether the plan is one is for `difference` to say. Raises NetError where these cannot be read off it.
    """
    layers = {step.key: step for step in found.steps}
    streams = _streams(found)
    if not streams or (len(streams) > 1) != (name == "FCN32sLateFusion"):
        raise NetError(f"{_source(found)}: is not {name}: {len(streams)} convolutions read the inputs")
    convolutions = [f"conv{i}" if name == "FCNAlexNet" else f"conv{i}_1" for i in range(1, 6)]
    widths = []
    for layer in [*convolutions, "fc6", "fc7"]:
        step = layers.get(streams[0].layer(layer))
        if step is None:
            raise NetError(f"{_source(found)}: is not {name}: has no layer '{streams[0].layer(layer)}'")
        widths.append(step.layer.fields.convolution_param.num_output)
    learned = frozenset(key for key, step in layers.items() if _is_learned(found, step))
    return Architecture(name, _heads(found, name), streams, tuple(widths), learned)


def _source(found: Plan) -> str:
    return found.net.weights or found.net.source or f"net '{found.net.name}'"


def _heads(found: Plan, name: str) -> tuple[Head, ...]:
    """A head for each output; it ends in a Crop of a Deconvolution, which has a channel for each class."""
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
    """A stream for each convolution that reads an input, or some of them concatenated."""
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
        # A caffemodel tells only the sum. NYUDv2's early fusion adds depth to a colour image.
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
    return not weight.diagonal if found.net.weights else weight.trained


def difference(found: Plan, architecture: Architecture) -> str | None:
    """What keeps a TEST plan from being the architecture, None if nothing does. No blob is read.

    Dropout does nothing in phase TEST, so a deploy net may lack it.
    """
    name, own = architecture.name, planned(architecture)
    expected = [step for step in own.steps if step.layer.type != "Input"]
    theirs = {blob: blob for blob in found.inputs}
    ours = {blob: blob for blob in own.inputs}
    for step in found.steps:
        if step.layer.type == "Input":
            continue
        while expected and expected[0].layer.type == "Dropout" != step.layer.type:
            del expected[0]
        if not expected:
            return f"has {_text(step)} where {name} ends"
        problem = _differs(step, expected[0], theirs, ours)
        if problem is not None:
            return f"{problem} in {name}"
        theirs |= dict.fromkeys(step.layer.tops, step.key)
        ours |= dict.fromkeys(expected.pop(0).layer.tops, step.key)
    if expected:
        return f"ends where {name} has {_text(expected[0])}"
    return None


def _differs(step: Step, own: Step, theirs: dict[str, str], ours: dict[str, str]) -> str | None:
    """How a layer differs from the one at its place; `theirs` and `ours` tell which layer made a blob."""
    if step.layer.type != own.layer.type or (own.parameters and step.key != own.key):
        return f"has {_text(step)} at the place of {_text(own)}"
    sources = (
        [theirs[bottom] for bottom in step.layer.bottoms],
        [ours[bottom] for bottom in own.layer.bottoms],
    )
    if sources[0] != sources[1]:
        return f"{_text(step)} reads {', '.join(sources[0])}, not {', '.join(sources[1])} as"
    for parameter in step.parameters:
        if parameter.owner != parameter.key:
            return f"{_text(step)} shares its values with '{parameter.owner}', not so"
    for name, value in _settings(own).items():
        if (other := _settings(step)[name]) != value:
            shown, wanted = (f"{x:g}" if isinstance(x, float) else x for x in (other, value))
            return f"{_text(step)} has {name} {shown}, not {wanted} as"
    return None


def _settings(step: Step) -> dict[str, Any]:
    """The settings by name; the converter knows the ones that Caffe allows to write in several ways."""
    message, *names = _SETTINGS[step.layer.type]
    given = getattr(step.layer.fields, message)
    return {name: getattr(step.converter if hasattr(step.converter, name) else given, name) for name in names}


def _text(step: Step) -> str:
    return f"layer '{step.key}' ({step.layer.type})"


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
"""What of a layer changes its numbers. How it is filled, trained or computed does not."""
