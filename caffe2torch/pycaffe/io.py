"""`caffe.io`: images as arrays, the Transformer, and the messages that hold arrays.

Images are (H, W, C), float32, RGB, 0 to 1, until a Transformer makes a net's input (C, H, W) of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from caffe2torch import schema
from caffe2torch.blob import Array
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.pixels import read_pixels


def blobproto_to_array(blob: Message, return_diff: bool = False) -> Array:
    """The values of a BlobProto, or its diff, in its shape."""
    values: Array = np.array(blob.diff if return_diff else blob.data)
    legacy = ("num", "channels", "height", "width")
    shape = [getattr(blob, name) for name in legacy] if any(map(blob.HasField, legacy)) else blob.shape.dim
    shaped: Array = np.reshape(values, list(shape))
    return shaped


def array_to_blobproto(arr: Array, diff: Array | None = None) -> Message:
    """The BlobProto of an array, and of a diff of the same shape."""
    blob = schema.message("BlobProto")()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(np.asarray(arr, float).flat)
    if diff is not None:
        blob.diff.extend(np.asarray(diff, float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """A serialized BlobProtoVector of the arrays."""
    vector = schema.message("BlobProtoVector")()
    vector.blobs.extend(map(array_to_blobproto, arraylist))
    return vector.SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:  # noqa: A002  # pycaffe's name
    """The arrays of a serialized BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in schema.message("BlobProtoVector").FromString(str).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Message:
    """The Datum of an array (C, H, W): bytes if it is uint8, floats otherwise."""
    if arr.ndim != 3:
        raise ValueError(f"a Datum holds an array of 3 axes, found shape {arr.shape}")
    channels, height, width = arr.shape
    datum = schema.message("Datum")(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(np.asarray(arr, float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Message) -> Array:
    """The array (C, H, W) of a Datum that is not encoded: uint8, or float64 if it holds floats."""
    shape = (datum.channels, datum.height, datum.width)
    values: Array = (
        np.frombuffer(datum.data, np.uint8).copy() if datum.data else np.array(datum.float_data, float)
    )
    shaped: Array = values.reshape(shape)
    return shaped


class Transformer:
    """Makes a net's inputs of images, and images of inputs.

    `inputs` gives the shape of each input, `{"data": (N, C, H, W)}`. Its settings are those of its methods,
    and apply in this order: resize, transpose, channel_swap, raw_scale, mean, input_scale.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: Array) -> Array:
        """An image (H, W, C) as the input `in_`, float32; the image itself stays as it is."""
        shape = self._shape(in_)
        image = np.array(data, np.float32)
        if image.shape[:2] != shape[2:]:
            image = resize_image(image, shape[2:])
        if in_ in self.transpose:
            image = image.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            image = image[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            image *= self.raw_scale[in_]
        if in_ in self.mean:
            image -= self.mean[in_]
        if in_ in self.input_scale:
            image *= self.input_scale[in_]
        return image

    def deprocess(self, in_: str, data: Array) -> Array:
        """The image of an input `in_`: `preprocess` undone, but for the size."""
        self._shape(in_)
        image: Array = data.copy().squeeze()
        if in_ in self.input_scale:
            image /= self.input_scale[in_]
        if in_ in self.mean:
            image += self.mean[in_]
        if in_ in self.raw_scale:
            image /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            image = image[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            image = image.transpose(np.argsort(self.transpose[in_]))
        return image

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """The order of the axes, (2, 0, 1) for (H, W, C) to (C, H, W)."""
        if len(order) != len(self._shape(in_)) - 1:
            raise Exception(f"transpose {tuple(order)}: {in_!r} has {len(self.inputs[in_]) - 1} axes")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """The order of the channels, (2, 1, 0) for RGB to BGR; the image has been transposed before."""
        if len(order) != self._shape(in_)[1]:
            raise Exception(f"channel swap {tuple(order)}: {in_!r} has {self.inputs[in_][1]} channels")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """A factor before the mean: 255 for images of 0 to 1 and a mean of 0 to 255."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """What is subtracted: a value for each channel (C,), or an image (C, H, W), resized if need be.

        Raises ValueError for a mean of other channels or axes.
        """
        shape = self._shape(in_)[1:]
        problem = f"a mean of shape {mean.shape} for {in_!r} of {shape}"
        if mean.ndim == 1:
            if len(mean) != shape[0]:
                raise ValueError(problem)
            mean = mean[:, None, None]
        elif (mean.ndim == 2 and (1, *mean.shape) != shape) or mean.ndim > 3:
            raise ValueError(problem)
        elif mean.ndim == 3 and mean.shape != shape:
            if mean.shape[0] != shape[0]:
                raise ValueError(problem)
            mean = _resized_mean(mean, shape[1:])
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """A factor after the mean."""
        self._shape(in_)
        self.input_scale[in_] = scale

    def _shape(self, in_: str) -> tuple[int, ...]:
        """The shape of an input. Raises Exception for a name that is none."""
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {list(self.inputs)}")
        return self.inputs[in_]


def _resized_mean(mean: Array, size: Sequence[int]) -> Array:
    """A mean image (C, h, w) of another size (C, *size)."""
    low, high = mean.min(), mean.max()
    if high == low:
        return np.full((len(mean), *size), low)
    resized = resize_image(((mean - low) / (high - low)).transpose(1, 2, 0), size).transpose(2, 0, 1)
    return np.asarray(resized * (high - low) + low)


def load_image(filename: AnyPath, color: bool = True) -> Array:
    """An image file as (H, W, 3), RGB, or without `color` as grey (H, W, 1); float32, 0 to 1.

    Transparency is dropped, and the image is not turned as its EXIF data say. Raises MissingData without
    the file, ReadError for one that is no image, is broken or too large.
    """
    pixels = read_pixels(filename)  # (H, W, 1 or 3), uint8 or uint16
    image: Array = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    if not color and image.shape[2] == 3:
        image = image @ np.array([[0.2125], [0.7154], [0.0721]])  # scikit-image's grey
    return np.repeat(image, 3 if color and image.shape[2] == 1 else 1, axis=2).astype(np.float32)


def resize_image(im: Array, new_dims: Sequence[int], interp_order: int = 1) -> Array:
    """An image (H, W, C) in another size, `new_dims` = (height, width), float32; nothing is smoothed.

    With 1 or 3 channels pixels are areas, and there are zeros beyond the border; with any other number they
    are points, and the corners stay where they are: both as pycaffe's does, with scikit-image 0.14.
    """
    if im.shape[-1] not in (1, 3):
        factors = (*np.divide(new_dims, im.shape[:2]), 1)
        return np.asarray(ndimage.zoom(im, factors, order=interp_order), np.float32)
    low, high = im.min(), im.max()
    if high <= low:
        return np.full((*new_dims, im.shape[-1]), low, np.float32)
    unit = np.asarray((im - low) / (high - low), np.float64)
    factors = (*np.divide(new_dims, im.shape[:2]), 1)
    resized = ndimage.zoom(unit, factors, order=interp_order, mode="grid-constant", cval=0, grid_mode=True)
    return np.asarray(resized * (high - low) + low, np.float32)


def oversample(images: Sequence[Array] | Array, crop_dims: Sequence[int] | Array) -> Array:
    """Ten crops of each image (H, W, C): the corners, the centre, and these five mirrored.

    Returns (10 * len(images), *crop_dims, C), float32; all images have the size of the first.
    """
    image_size, crop = np.array(images[0].shape[:2]), np.array(crop_dims)
    top, left = (0, int(image_size[0] - crop[0])), (0, int(image_size[1] - crop[1]))
    middle = tuple((image_size - crop) // 2)
    corners = [*((y, x) for y in top for x in left), middle]
    crops = np.empty((10 * len(images), *crop_dims, images[0].shape[-1]), np.float32)
    for i, image in enumerate(images):
        for j, (y, x) in enumerate(corners):
            own = image[y : y + crop[0], x : x + crop[1]]
            crops[10 * i + j], crops[10 * i + 5 + j] = own, own[:, ::-1]
    return crops
