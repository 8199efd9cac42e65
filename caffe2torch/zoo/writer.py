"""Writes a net as a NetParameter, layer by layer, the way the FCN zoo's prototxts are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe2torch import schema

Sizes = int | Sequence[int]
"""A number, or a list: one for both axes, or one for each."""
_LEARNING = ({"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0})
"""For a weight and its bias."""


class NetWriter:
    """Builds a NetParameter, `message`. Each method appends a layer and returns the name of its top."""

    def __init__(self, name: str) -> None:
        self.message = schema.message("NetParameter")(name=name)

    def add(self, layer_type: str, name: str, *bottoms: str, top: str = "", **fields: Any) -> str:
        """Any layer; its top is named after it unless `top` is given."""
        top = top or name
        self.message.layer.add(name=name, type=layer_type, bottom=bottoms, top=[top], **fields)
        return top

    def input(self, name: str, channels: int, size: Sequence[int]) -> str:
        """An image of `size` (height, width)."""
        return self.add("Input", name, input_param={"shape": [{"dim": [1, channels, *size]}]})

    def conv(self, name: str, bottom: str, num_output: int, kernel_size: int, **sizes: Sizes) -> str:
        """A convolution whose biases learn twice as fast and do not decay."""
        p = {"num_output": num_output, "kernel_size": [kernel_size], **sizes}
        return self.add("Convolution", name, bottom, param=_LEARNING, convolution_param=p)

    def inner_product(self, name: str, bottom: str, num_output: int) -> str:
        """A fully connected layer, with the learning rates of a convolution."""
        p = {"num_output": num_output}
        return self.add("InnerProduct", name, bottom, param=_LEARNING, inner_product_param=p)

    def relu(self, name: str, blob: str) -> str:
        """In place."""
        return self.add("ReLU", name, blob, top=blob)

    def dropout(self, name: str, blob: str) -> str:
        """In place, at a ratio of 0.5."""
        return self.add("Dropout", name, blob, top=blob, dropout_param={"dropout_ratio": 0.5})

    def pool(self, name: str, bottom: str, kernel_size: int, **how: int | str) -> str:
        """Max pooling at stride 2; `how` overrides fields of the PoolingParameter."""
        p = {"kernel_size": kernel_size, "stride": 2, **how}
        return self.add("Pooling", name, bottom, pooling_param=p)

    def norm(self, name: str, bottom: str) -> str:
        """AlexNet's local response normalization."""
        return self.add("LRN", name, bottom, lrn_param={"local_size": 5, "alpha": 1e-4, "beta": 0.75})

    def scale(self, name: str, bottom: str, value: float) -> str:
        """Multiplication by a constant that is not trained."""
        filler = {"type": "constant", "value": value}
        return self.add("Scale", name, bottom, param=[{"lr_mult": 0}], scale_param={"filler": filler})

    def upsample(self, name: str, bottom: str, classes: int, kernel: int, stride: int, learned: bool) -> str:
        """A deconvolution, frozen unless `learned`."""
        p = {"num_output": classes, "bias_term": False, "kernel_size": [kernel], "stride": [stride]}
        param = [{"lr_mult": 1 if learned else 0}]
        return self.add("Deconvolution", name, bottom, param=param, convolution_param=p)

    def crop(self, name: str, bottom: str, reference: str, offset: int) -> str:
        """Height and width cut to those of `reference`, starting at `offset` on both axes."""
        return self.add("Crop", name, bottom, reference, crop_param={"axis": 2, "offset": [offset]})

    def sum(self, name: str, *bottoms: str, coeff: Sequence[float] = ()) -> str:
        """The sum of blobs, weighted by `coeff`."""
        return self.add("Eltwise", name, *bottoms, eltwise_param={"operation": "SUM", "coeff": coeff})
