"""VGG-16 from elsewhere -> a Net as in Caffe, to fill an FCN with: torchvision's and Keras' weights.

                  images                                          kernels               fc6 reads
    torchvision   trained_on.py tells                             (out, in, h, w)       (channels, h, w)
    Keras         BGR, 0 to 255, minus a mean                     (h, w, in, out)       (h, w, channels)
    Caffe         BGR, 0 to 255, minus a mean                     (out, in, h, w)       (channels, h, w)

The first layer is linear, so the preprocessing of images can move into it, summed over the channels:
w (x / 255 - m) / s + b = w' (x - M) + b' with w' = w / (255 s) and b' = b + w' (M - 255 m).
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.blob import Array, Blob
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.net import Net, from_message
from caffe2torch.plan import plan
from caffe2torch.schema import Message
from caffe2torch.untrusted import hdf5
from caffe2torch.untrusted.kinds import Kind, look
from caffe2torch.untrusted.mapped import AnyPath, located, mapped
from caffe2torch.untrusted.pickles import read_state_dict, strings, tensor_blobs
from caffe2torch.untrusted.safetensors import read_tensors
from caffe2torch.weights.trained_on import KERAS, Images, images_of, named
from caffe2torch.zoo.fcn import VGG16_DEPTHS, Stream, vgg16_stages
from caffe2torch.zoo.writer import NetWriter

if TYPE_CHECKING:
    from torch import Tensor

_SIZE = 224
"""Height and width of the images that the fully connected layers take: pool5 is 7x7 then."""
_CONVOLUTIONS = tuple(
    f"conv{stage}_{i}" for stage, depth in enumerate(VGG16_DEPTHS, start=1) for i in range(1, depth + 1)
)
_FULL = ("fc6", "fc7", "fc8")

_Weights = dict[str, tuple[Blob, Blob]]
"""Weight and bias of each layer, by Caffe's names."""


@dataclass(frozen=True)
class _Layout:
    """How a file holds weights: what it calls them, and what this module changes besides conv1_1."""

    name: str
    """Whose."""
    layers: Mapping[str, str]
    """Caffe's layer names by theirs."""
    key: re.Pattern[str]
    """The layer and the kind of a weight or a bias."""
    notes: tuple[str, ...] = ()
    """For people."""


_TORCHVISION = _Layout(
    "torchvision",
    {
        "classifier.1": "fc6",  # where dropout came first, as in torchvision before its first weights
        "classifier.4": "fc7",
        **dict(
            zip(
                (
                    *(f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
                    *("classifier.0", "classifier.3", "classifier.6"),
                ),
                _CONVOLUTIONS + _FULL,
                strict=True,
            )
        ),
    },
    re.compile(r"(?P<layer>.+)\.(?P<kind>weight|bias)"),
)
_KERAS = _Layout(
    "Keras",
    {
        **{re.sub(r"conv(\d)_", r"block\1_conv", name): name for name in _CONVOLUTIONS},
        **dict(zip(("fc1", "fc2", "predictions"), _FULL, strict=True)),
    },
    # block1_conv1/block1_conv1_W_1:0 by Keras 1, block1_conv1/block1_conv1/kernel:0 by Keras 2.
    re.compile(r"(?P<layer>[^/]+)/(?:.*[/_])?(?P<kind>W|b|kernel|bias)(?:_\d+)?(?::0)?"),
    (
        "kernels reordered, they were (h, w, in, out)",
        "the file does not say whether these are Caffe's weights, as keras.applications' are; from others, "
        "FCNs do not reach the published scores",
    ),
)


def origin(path: AnyPath) -> str:
    """Who wrote the weights in a file, "torchvision" or "Keras", judged by its content; empty for neither."""
    file = look(path)
    if file.kind is Kind.SAFETENSORS:
        stored, metadata = read_tensors(file)
        return _TORCHVISION.name if _names_vgg(stored) and "net" not in metadata else ""
    if file.kind is Kind.HDF5:
        with located(path):
            return _KERAS.name if hdf5.is_keras(str(path)) else ""
    return _TORCHVISION.name if file.kind is Kind.STATE_DICT and _names_vgg(strings(file)) else ""


def _names_vgg(keys: Container[str]) -> bool:
    """Whether any key is one of torchvision's VGG-16."""
    return any(f"{layer}.weight" in keys for layer in _TORCHVISION.layers)


def vgg16_from(
    source: AnyPath | Mapping[str, Tensor],
    mean: Sequence[float] | None = None,
    trained_on: str | None = None,
) -> Net:
    """VGG-16 as in Caffe, `conv1_1` to `fc8` and `prob`, of any widths, with weights from elsewhere.

    `source` is a state dict of torchvision's vgg16, a file of one (.pth or safetensors), or the .h5 of
    Keras' VGG16 for TensorFlow. Weights without the fully connected layers, or with nothing but NaN in them,
    give the net up to `pool5`. `surgery.transplant` fills an FCN from it.

    The keys of a state dict do not tell which images it was trained on: Caffe's own weights go by
    torchvision's too. `trained_on` does: "torchvision", "caffe" or "caffe-rgb" (trained_on.py). Without it,
    conv1_1 and a classifier of NaN tell; where they do not, WeightsError asks for it.

    The net takes BGR images, 0 to 255, minus `mean` (B, G, R), as the transform_param of its Input says.
    By default that is the mean that the weights were trained with, and the net is exactly theirs. Another,
    such as CAFFE_MEAN, goes into the bias of conv1_1. That is exact where the kernel sees only the image, but
    not where it reaches into the padding, whose zeros then stand for a colour that is not the weights' mean.
    At sizes that are not multiples of 32 the pools differ: Caffe's round up, the others' down.

    Raises MissingData, ReadError, WeightsError for weights that are not VGG-16's, and NetError for a `mean`
    or `trained_on` that cannot be.
    """
    return _net(*_read(source), mean, trained_on)


def _net(
    stored: Mapping[str, Blob],
    layout: _Layout,
    path: str,
    mean: Sequence[float] | None,
    trained_on: str | None,
) -> Net:
    if mean is not None and (len(mean) != 3 or not all(map(math.isfinite, mean))):
        raise NetError(f"the mean is {mean}; it takes three numbers, for blue, green and red")
    weights, notes = _without_nan_classifier(_by_layer(stored, layout, path))
    if layout is _KERAS:
        if trained_on is not None:
            raise NetError(f"{path}: Keras' VGG-16 is trained on BGR from 0 to 255; leave out trained_on")
        weights = {name: (_turned(name, weight, path), bias) for name, (weight, bias) in weights.items()}
    kernel = _kernel(*weights["conv1_1"], path)
    images, evidence = KERAS, ""
    if layout is _TORCHVISION:
        images, evidence = (named(trained_on), "") if trained_on else images_of(kernel, bool(notes), path)
    mean = images.mean if mean is None else tuple(map(float, mean))
    weights["conv1_1"] = _first(kernel, weights["conv1_1"][1], images, mean)
    net = from_message(_definition({name: bias.count for name, (_, bias) in weights.items()}, mean))
    layers = tuple(replace(layer, blobs=weights.get(layer.name, ())) for layer in net.layers)
    notes = (*notes, *_notes(images, evidence, mean), *layout.notes)
    net = replace(net, layers=layers, read_from=path, weights=path, notes=notes)
    plan(net)  # checks every shape
    return net


def _read(source: AnyPath | Mapping[str, Tensor]) -> tuple[Mapping[str, Blob], _Layout, str]:
    """The tensors by key, by whose layout, and what errors call the source."""
    if isinstance(source, Mapping):
        return tensor_blobs(source), _TORCHVISION, "the state dict"
    path, file = str(source), look(source)
    if file.kind is Kind.STATE_DICT:
        return read_state_dict(file), _TORCHVISION, path
    name = origin(file)
    if name == _TORCHVISION.name:
        stored, _ = read_tensors(file)
        return {key: x.blob() for key, x in stored.items()}, _TORCHVISION, path
    if name == _KERAS.name:
        with located(path):
            return hdf5.keras_weights(path, mapped(file)), _KERAS, path
    raise WeightsError(f"{path}: is neither a state dict of torchvision's vgg16 nor a file of Keras' VGG16")


def _without_nan_classifier(weights: _Weights) -> tuple[_Weights, tuple[str, ...]]:
    """The weights as far as pool5 where the fully connected layers hold NaN alone, and a note of it."""
    full = [blob for name in _FULL for blob in weights.get(name, ())]
    if not full or not all(np.isnan(blob.read()).all() for blob in full):
        return weights, ()
    kept = {name: blobs for name, blobs in weights.items() if name not in _FULL}
    return kept, ("fc6, fc7 and fc8 left out: they hold nothing but NaN",)


def _notes(images: Images, evidence: str, mean: tuple[float, ...]) -> tuple[str, ...]:
    known = f"taken as trained on {images.name} images: {evidence}; --trained-on says otherwise"
    own = ", ".join(f"{value:g}" for value in images.mean)
    moved = f"their mean was {own}; conv1_1's bias makes up for the difference, but not at the border"
    known, moved = known * bool(evidence), moved * (mean != images.mean)
    return tuple(filter(None, (images.rewritten, known, moved, images.warning)))


def _by_layer(stored: Mapping[str, Blob], layout: _Layout, path: str) -> _Weights:
    """The weights of VGG-16 by Caffe's names, as stored. Raises WeightsError for any other net's."""
    _refuse_kin(stored, path)
    found: dict[tuple[str, str], Blob] = {}
    for key, blob in stored.items():
        match = layout.key.fullmatch(key)
        layer = layout.layers.get(match["layer"], "") if match else ""
        kind = "weight" if match and match["kind"] in ("weight", "W", "kernel") else "bias"
        if not layer or (layer, kind) in found:
            raise WeightsError(f"{path}: has {key!r}, which {layout.name}'s VGG-16 does not have")
        found[layer, kind] = blob
    theirs = {ours: name for name, ours in layout.layers.items()}
    full = _FULL if any(layer in _FULL for layer, _ in found) else ()
    for layer in _CONVOLUTIONS + full:
        for kind in ("weight", "bias"):
            if (layer, kind) not in found or not found[layer, kind].has_data:
                raise WeightsError(f"{path}: has no {kind} of {theirs[layer]}, which is VGG-16's {layer}")
    return {layer: (found[layer, "weight"], found[layer, "bias"]) for layer in _CONVOLUTIONS + full}


def _refuse_kin(stored: Mapping[str, Blob], path: str) -> None:
    """Refuses the other nets of VGG's family by name."""
    convolutions = sum(len(blob.shape) == 4 for blob in stored.values())
    depth = convolutions + len(_FULL)
    normalized = any(key.endswith(("running_mean", "moving_mean:0", "moving_mean")) for key in stored)
    if normalized and depth in (11, 13, 16, 19):
        raise WeightsError(
            f"{path}: is VGG-{depth} with batch normalization (vgg{depth}_bn); Caffe's VGG-16 and the FCNs "
            f"have none, and its convolutions without it would compute something else; give vgg16"
        )
    if depth in (11, 13, 19):
        raise WeightsError(f"{path}: is VGG-{depth}, with {convolutions} convolutions; give VGG-16, with 13")


def _turned(layer: str, weight: Blob, path: str) -> Blob:
    """A kernel (h, w, in, out) or matrix (h * w * in, out) of Keras as Caffe's, with in before h and w."""
    height, width = (3, 3) if layer in _CONVOLUTIONS else (7, 7) if layer == "fc6" else (1, 1)
    *inner, outputs = weight.shape or (0,)
    inputs = math.prod(inner) // (height * width)
    whole = (height, width, inputs, outputs)
    flat = (height * width * inputs, outputs)
    if weight.shape != (whole if layer in _CONVOLUTIONS else flat) or weight.count == 0:
        needed = "(3, 3, in, out)" if layer in _CONVOLUTIONS else f"({height * width} * in, out)"
        raise WeightsError(f"{path}: the kernel of {layer} is {weight.shape}, not {needed} as in TensorFlow")

    def values() -> Array:
        return np.ascontiguousarray(weight.read().reshape(whole).transpose(3, 2, 0, 1)).reshape(-1)

    shape = (outputs, inputs, height, width)
    return Blob(shape if layer in _CONVOLUTIONS else (outputs, math.prod(shape[1:])), weight.dtype, values)


def _kernel(weight: Blob, bias: Blob, path: str) -> Array:
    """The weights of conv1_1, (N, 3, 3, 3)."""
    if weight.shape[1:] != (3, 3, 3) or bias.shape != weight.shape[:1]:
        raise WeightsError(f"{path}: conv1_1 is {weight.shape} and {bias.shape}, not (N, 3, 3, 3) and (N)")
    return weight.read().astype(np.float64)


def _first(kernel: Array, bias: Blob, images: Images, mean: Sequence[float]) -> tuple[Blob, Blob]:
    """conv1_1 for BGR images from 0 to 255 minus `mean`."""
    kernel = kernel[:, ::-1] if images.is_rgb else kernel
    kernel = kernel / np.array(images.deviation)[:, None, None]
    # Untouched where the mean is their own, so that the bias keeps its bits.
    shift = np.array(mean) - images.mean
    moved = bias.read() + kernel.sum((2, 3)) @ shift if shift.any() else bias.read()
    return Blob.of(kernel.astype(np.float32)), Blob.of(moved.astype(np.float32))


def _definition(widths: Mapping[str, int], mean: Sequence[float]) -> Message:
    """VGG-16 with layers of these widths; up to pool5 if they include no fully connected ones."""
    net = NetWriter("VGG_ILSVRC_16_layers")
    net.input("data", 3, (_SIZE, _SIZE))
    net.message.layer[0].transform_param.mean_value.extend(mean)
    x = vgg16_stages(net, Stream(), [widths[f"conv{i}_1"] for i in range(1, 6)], first_pad=1)["pool5"]
    if "fc6" in widths:
        for i in (6, 7):
            x = net.relu(f"relu{i}", net.inner_product(f"fc{i}", x, widths[f"fc{i}"]))
            x = net.dropout(f"drop{i}", x)
        net.add("Softmax", "prob", net.inner_product("fc8", x, widths["fc8"]))
    return net.message
