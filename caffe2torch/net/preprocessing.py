"""What a net's data layer did to an image before the net saw it, as one callable per input.

The facts come from the file: `transform_param` (data_transformer.cpp), the `mean` in a Python layer's
`param_str`, or the mean that the layer of that name subtracts in the FCN reference implementation.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from caffe2torch.blob import Array
from caffe2torch.errors import NetError
from caffe2torch.net import Layer, Net

_VOC_MEAN = (104.00699, 116.66877, 122.67892)
_LAYER_MEANS: dict[str, dict[str, tuple[float, ...]]] = {
    "PASCALContextSegDataLayer": {"data": _VOC_MEAN},
    "SIFTFlowSegDataLayer": {"data": (114.578, 115.294, 108.353)},
    "NYUDSegDataLayer": {
        "color": (116.190, 97.203, 92.318),
        "hha": (132.431, 94.076, 118.477),
        "depth": (7.844,),  # of the logarithm of the depth
    },
}
"""Means written in the layers' own code (shelhamer/fcn.berkeleyvision.org, *_layers.py), by top."""

ORDERS = ("BGR", "RGB", "")
"""What `Preprocessing.channels` can be."""
_REVERSED = ("VOCSegDataLayer", "SBDDSegDataLayer", *_LAYER_MEANS)
"""Data layers of the FCN reference implementation, which reverse an RGB image."""
_COLOUR = ("data", "color")
"""Their tops that are colour images."""

MAX_PARAM_STR = 10_000


@dataclass(frozen=True)
class Preprocessing:
    """(image - mean) * scale, centre-cropped: what a data layer produces in phase TEST.

    `mean` is one value per channel, in the net's order, or one for all, or none.
    `mean_file` names a file with a mean image, which `read_binaryproto` reads. `crop_size` is 0 for whole
    images. `mirror` says that half of the images, drawn at random, were flipped. `channels` is the order of a
    colour image's channels: "BGR" (Caffe's), "RGB", or "" where nobody says, or for what is no colour image.

    An input that a mapping of these lacks is unknown: nothing is assumed for it. Raises ValueError for
    another order.
    """

    mean: tuple[float, ...] = ()
    scale: float = 1.0
    crop_size: int = 0
    mirror: bool = False
    mean_file: str = ""
    channels: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        if self.channels not in ORDERS:
            raise ValueError(f"channels are {self.channels!r}; they can be 'BGR', 'RGB' or '' (unknown)")

    def __call__(self, image_hwc: Array, mean_image: Array | None = None) -> npt.NDArray[np.float32]:
        """An image (H, W, C) in the net's channel order, 0 to 255, as the net's input (C, H, W), float32.

        `mean_image` (C, H, W) is needed where there is a `mean_file`. Raises NetError for an image that the
        mean or the crop does not fit.
        """
        image = image_hwc.transpose(2, 0, 1)  # (C, H, W)
        values = (self._crop(image.astype(np.float32) - self._mean(image.shape, mean_image))) * self.scale
        return np.ascontiguousarray(values, np.float32)

    def _mean(self, shape: tuple[int, ...], mean_image: Array | None) -> npt.NDArray[np.float32]:
        if self.mean_file and mean_image is None:
            raise NetError(f"the net subtracts the mean image {self.mean_file!r}; read_binaryproto reads it")
        if mean_image is not None:
            mean = mean_image.reshape(mean_image.shape[-3:])
            if mean.shape != shape:
                raise NetError(f"the image is {shape}, the mean image {mean.shape}; (C, H, W) must be equal")
            return mean.astype(np.float32)
        if len(self.mean) not in (0, 1, shape[0]):
            raise NetError(f"the image has {shape[0]} channels, the net's mean has {len(self.mean)}")
        return np.asarray(self.mean or (0,), np.float32)[:, None, None]

    def _crop(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        size, (_, height, width) = self.crop_size, image.shape
        if not size:
            return image
        if min(height, width) < size:
            raise NetError(f"the image is {height}x{width}, the net's crop_size is {size}")
        top, left = (height - size) // 2, (width - size) // 2
        return image[:, top : top + size, left : left + size]


def preprocessing(net: Net) -> dict[str, Preprocessing]:
    """The preprocessing of each blob that a data layer of `net` makes, as far as the file states it."""
    found: dict[str, Preprocessing] = {}
    for layer in net.layers:
        if layer.bottoms or not layer.tops:
            continue
        for top, known in _of_layer(layer).items():
            found.setdefault(top, known)
    return found


def with_mean(
    known: Mapping[str, Preprocessing],
    inputs: Mapping[str, Sequence[int | None] | None],
    mean: Sequence[float],
) -> dict[str, Preprocessing]:
    """What is known, with the mean of a net's image as a user tells it: blue, green, red.

    `inputs` are the shapes of the net's inputs, as far as they are known. Raises NetError unless one of them
    must be the image.
    """
    able = [blob for blob, shape in inputs.items() if shape is None or _takes(shape, len(mean))]
    named = [blob for blob in able if blob in _COLOUR]
    images = able if len(able) == 1 else named
    if len(images) != 1:
        problem = f"{len(mean)} values are no mean of one of the inputs {', '.join(inputs)}"
        raise NetError(f"mean {', '.join(f'{value:g}' for value in mean)}: {problem}")
    (blob,) = images
    before = known.get(blob, Preprocessing())
    order = (before.channels or "BGR") if len(mean) == 3 else ""
    values = tuple(mean[::-1] if order == "RGB" else mean)
    return {**known, blob: replace(before, mean=values, mean_file="", channels=order)}


def _takes(shape: Sequence[int | None], channels: int) -> bool:
    return len(shape) == 4 and shape[1] in (None, channels)


def _of_layer(layer: Layer) -> dict[str, Preprocessing]:
    if layer.type == "Python":
        order = "BGR" if layer.fields.python_param.layer in _REVERSED else ""
        means = _python_means(layer).items()
        return {top: Preprocessing(mean, channels=order * (top in _COLOUR)) for top, mean in means}
    if layer.fields.has("transform_param"):
        p = layer.fields.transform_param
        mean, scale = tuple(map(_decimal, p.mean_value)), _decimal(p.scale)
        known = Preprocessing(mean, scale, p.crop_size, p.mirror, p.mean_file)
        # NaN and infinity state nothing, nor does a layer that leaves images as they are.
        if known != Preprocessing() and np.isfinite((*mean, scale)).all():
            return {layer.tops[0]: replace(known, channels="BGR")}  # OpenCV reads the images
    return {}


def _python_means(layer: Layer) -> dict[str, tuple[float, ...]]:
    python = layer.fields.python_param
    if python.layer in _LAYER_MEANS:
        return {top: mean for top, mean in _LAYER_MEANS[python.layer].items() if top in layer.tops}
    mean = _literal(python.param_str).get("mean")
    if not isinstance(mean, (tuple, list)) or not all(map(_is_mean, mean)):
        return {}
    return {layer.tops[0]: tuple(map(_decimal, mean))}


def _decimal(value: float) -> float:
    """A float32 as the number that was written: 103.939, not 103.93900299072266."""
    return float(str(np.float32(value)))


def _is_mean(value: object) -> bool:
    """Whether a value is a number the size of a pixel's; an integer of many digits has no float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _literal(text: str) -> dict[object, object]:
    """The dictionary that a param_str holds; {} for any other text. Nothing in it is run."""
    if len(text) > MAX_PARAM_STR:
        return {}
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
