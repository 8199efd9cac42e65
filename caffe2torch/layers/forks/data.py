"""The data layers of forks, which become inputs as Caffe's own do (caffe/data.py, plan/phase.py)."""

from __future__ import annotations

from caffe2torch.layers.caffe.data import Data
from caffe2torch.layers.converter import Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

_PARAMETERS = {
    "AnnotatedData": "data_param",
    "CPMData": "cpmdata_param",
    "CustomData": "data_param",
    "DenseImageData": "dense_image_data_param",
    "DocData": "doc_data_param",
    "ImageDataModify": "image_data_modify_param",
    "ImageLabelmapData": "image_data_param",
    "ImageSegData": "image_data_param",
    "MultiLabelData": "multi_label_data_param",
    "RandVec": "rand_vec_param",
    "SparseData": "sparse_data_param",
    "SpatialPyramidPoolingData": "spatial_pyramid_pooling_data_param",
    "VideoData": "video_data_param",
    "WindowSegData": "image_data_param",
}
"""Each type's own message."""


@converts(*_PARAMETERS)
class ForkData(Data):
    """Data layers of SSD, SegNet, DeepLab, DeconvNet, C3D and others: their tops become inputs of the net."""

    held_against = ""

    @classmethod
    def data_shapes(cls, layer: Layer) -> tuple[Shape | None, ...]:
        p, transform = getattr(layer.fields, _PARAMETERS[layer.type]), layer.fields.transform_param
        if layer.type in ("CustomData", "SparseData", "SpatialPyramidPoolingData"):
            return (None,) * len(layer.tops)
        if layer.type == "RandVec":
            p = p if p.has("dim") else layer.fields.randvec_param
            return ((p.batch_size, p.dim),) * len(layer.tops)
        if layer.fields.has("cpm_transform_param"):
            p, transform = layer.fields.data_param, layer.fields.cpm_transform_param
        image: Shape = (p.batch_size or None, _channels(p), *_size(p, transform))
        label = _pose(image, layer.fields.cpm_transform_param)
        return (image, label, *(None,) * len(layer.tops))[: len(layer.tops)]


def _pose(image: Shape, transform: Fields) -> Shape | None:
    """The label of convolutional pose machines, None for other nets.

    It has a map of each part and one of the background, and as many of their weights.
    """
    if not transform.num_parts or not transform.stride:
        return None
    sizes = (None if size is None else size // transform.stride for size in image[2:])
    return (image[0], 2 * (transform.num_parts + 1), *sizes)


def _channels(p: Fields) -> int | None:
    return 3 if getattr(p, "is_color", False) else None


def _size(p: Fields, transform: Fields) -> tuple[int | None, int | None]:
    """Height and width of the images, from what crops or resizes them last."""
    resized = {(resize.height, resize.width) for resize in transform.resize_param}
    for height, width in (
        (transform.crop_size, transform.crop_size),
        (transform.crop_h, transform.crop_w),
        (transform.crop_size_y, transform.crop_size_x),
        (getattr(p, "crop_height", 0), getattr(p, "crop_width", 0)),
        resized.pop() if len(resized) == 1 else (0, 0),
        (getattr(p, "new_height", 0), getattr(p, "new_width", 0)),
    ):
        if height and width:
            return int(height), int(width)
    return None, None
