"""What the FCNs share and their readers can skip: initial weights, input checks, the way back to Caffe."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor, nn

from caffe2torch.blob import Blob, blob_of
from caffe2torch.errors import NetError
from caffe2torch.modules.inputs import by_name, check_image
from caffe2torch.net import Layer, Net
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.weights.surgery import bilinear_weight
from caffe2torch.zoo.fcn import Architecture, Head, Stream, deploy_net

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Parts(TypedDict, total=False):
    """What the constructors of the FCNs take besides classes, channels and widths."""

    heads: Sequence[Head]
    """Instead of `classes`; see SIFT_FLOW. Only for the nets in fcn_general.py."""
    streams: Sequence[Stream]
    """Instead of `in_channels`; see COLOR_DEPTH. Only for the nets in fcn_general.py."""
    learned: Collection[str]
    """The deconvolutions that are learned; the others are bilinear and frozen."""


def architecture_of(
    name: str, classes: int, in_channels: int, widths: Sequence[int], **parts: Unpack[Parts]
) -> Architecture:
    """The architecture that a constructor's arguments describe."""
    heads = tuple(parts.get("heads", ())) or (Head("", classes),)
    streams = tuple(parts.get("streams", ())) or (Stream("", (("data", in_channels),)),)
    return Architecture(name, heads, streams, tuple(widths), frozenset(parts.get("learned", ())))


def one_stream(
    name: str, classes: int, in_channels: int, widths: Sequence[int], **parts: Unpack[Parts]
) -> Architecture:
    """The same for a net with one head and the input `data`. Raises NetError for heads or streams."""
    if parts.get("heads") or parts.get("streams"):
        raise NetError(
            f"{name} has one head and the input data; fcn_of(Architecture({name!r}, heads, streams)) builds "
            f"one with others"
        )
    return architecture_of(name, classes, in_channels, widths, **parts)


class FCN(nn.Module):
    """One of the papers' FCNs. Its submodules have Caffe's layer names, in the net's order.

    Call it with float32 images (N, C, H, W) of any size, in order or by the names of its inputs, as in
    `fcn(data=image)`; the zoo's nets expect BGR, 0 to 255, minus the mean. Returns scores (N, classes, H, W);
    a net with several heads returns them by name, {"score_sem": ..., "score_geo": ...}. `preprocessing` says
    by input how images were prepared, `labellings` by output which classes there are, as far as it is known.
    Raises NetError for images of the wrong shape or type.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self._channels = architecture.channels
        self.preprocessing: Mapping[str, Preprocessing] = {}
        self.labellings: Mapping[str, Labelling] = {}

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(self._channels)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the scores, one for each head."""
        return tuple(head.layer("score") for head in self.architecture.heads)

    def initialize(self) -> None:
        """Sets the weights that training starts from: zero for scores, bilinear for upsampling.

        Upsampling is frozen, except in the `learned` layers, which become dense. Other convolutions keep
        PyTorch's random weights. Raises NetError for a learned layer that is not a deconvolution.
        """
        name, learned = self.architecture.name, self.architecture.learned
        children = dict(self.named_children())
        upsampling = {key: x for key, x in children.items() if isinstance(x, nn.ConvTranspose2d)}
        for layer in learned - upsampling.keys():
            raise NetError(f"{name} has no deconvolution {layer!r} to learn; it has {', '.join(upsampling)}")
        for key, deconvolution in upsampling.items():
            setattr(self, key, _bilinear(deconvolution, key in learned))
        for key, score in children.items():
            if isinstance(score, nn.Conv2d) and key.startswith("score"):
                for parameter in score.parameters():
                    nn.init.zeros_(parameter)

    def check(self, *images: Tensor) -> None:
        """Raises NetError if the net cannot take these images, one for each input."""
        for image, (blob, channels) in zip(images, self._channels.items(), strict=True):
            check_image(self.architecture.name, blob, image, channels)

    def every_blob(self, **inputs: Tensor) -> dict[str, Tensor]:
        """All blobs by Caffe's names, each as last written (`fc7` is what its in-place ReLU left).

        Raises NetError for inputs that are not the net's.
        """
        blobs = by_name(self.architecture.name, self.inputs, (), inputs)
        tops = {layer.name: layer.tops[0] for layer in deploy_net(self.architecture).layers}
        hooks = [
            layer.register_forward_hook(partial(_keep, blobs, tops.get(name, name)))
            for name, layer in self.named_children()
        ]
        try:
            self(**inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return blobs

    def blobs(self) -> dict[str, list[Tensor]]:
        """The parameters of each layer that has any, in Caffe's order."""
        names = (layer.name for layer in deploy_net(self.architecture).layers)
        layers = {name: self.get_submodule(name) for name in names if name in self._modules}
        return {name: blobs for name, layer in layers.items() if (blobs := list[Tensor](layer.parameters()))}

    def net(self) -> Net:
        """The deploy net, with blobs that read the module's values; deconvolutions are dense, as in Caffe."""
        net, blobs = deploy_net(self.architecture), self.blobs()
        layers = tuple(
            _valued(layer, blobs[layer.name]) if layer.name in blobs else layer for layer in net.layers
        )
        return replace(net, layers=layers, weights=f"the values of {self.architecture.name}")


def _keep(
    blobs: dict[str, Tensor], name: str, layer: nn.Module, bottoms: Collection[Tensor], top: Tensor
) -> None:
    blobs[name] = top


def _bilinear(layer: nn.ConvTranspose2d, learned: bool) -> nn.ConvTranspose2d:
    """The layer, frozen, with weight (C, 1, k, k); or a learned one, with weight (C, C, k, k)."""
    if learned:
        channels, kernel, stride = layer.out_channels, layer.weight.shape[2], layer.stride[0]
        layer = nn.ConvTranspose2d(channels, channels, kernel, stride, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(bilinear_weight(layer.weight.shape)))
    layer.weight.requires_grad_(learned)
    return layer


def _valued(layer: Layer, parameters: list[Tensor]) -> Layer:
    """The layer with blobs that read these parameters; frozen ones get an lr_mult of 0."""
    blobs = tuple(_blob(layer, parameter) for parameter in parameters)
    specs = layer.fields.param
    param = tuple(
        spec if parameter.requires_grad else spec.replace(lr_mult=0.0)
        for spec, parameter in zip(specs, parameters, strict=True)
    )
    return replace(layer, blobs=blobs, fields=layer.fields.replace(param=param))


def _blob(layer: Layer, parameter: Tensor) -> Blob:
    is_deconvolution = layer.type == "Deconvolution"
    outputs = layer.fields.convolution_param.num_output
    return blob_of(parameter, diagonal=is_deconvolution and parameter.shape[1] < outputs)
