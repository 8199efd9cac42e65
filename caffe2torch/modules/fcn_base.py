"""What the FCNs share: the trunk, inputs by name, several heads, and the way back to Caffe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from caffe2torch.blob import Array, Blob, dense
from caffe2torch.errors import NetError
from caffe2torch.modules.fcn_parts import Concat, Crop, Layers, learnable, max_pool
from caffe2torch.net import Layer, Net, from_message
from caffe2torch.zoo.fcn import (
    VGG16,
    VGG16_DEPTHS,
    Architecture,
    Head,
    Stream,
    crop_offsets,
    definition,
    planned,
)

Features = tuple[Tensor, Tensor, Tensor]
Scores = Tensor | dict[str, Tensor]


class FCN(nn.Module):
    """VGG-16 made fully convolutional (CVPR, Sections 3.1 and 4.1); subclasses make predictions of it.

    `classes` counts the background; `widths` are the channels of the five stages, of fc6 and of fc7. `heads`
    takes the place of `classes`, `streams` that of `in_channels`: see SIFT_FLOW and COLOR_DEPTH in
    architectures.py. Deconvolutions are bilinear and frozen, but those whose names are in `learned`.

    Called with float32 images (N, in_channels, H, W) of any size, by name as in `fcn(data=image)` or in
    order; the zoo's nets want BGR, 0 to 255, minus the mean. Returns scores (N, classes, H, W); those of
    several heads as {"score_sem": ..., "score_geo": ...}. Raises NetError for other inputs.

    New convolutions hold PyTorch's random numbers, score layers zeros. Raises NetError for a layer in
    `learned` that is none of its deconvolutions.
    """

    name: ClassVar[str]
    """The name of the architecture."""

    def __init__(
        self,
        classes: int = 21,
        in_channels: int = 3,
        widths: Sequence[int] = VGG16,
        *,
        heads: Sequence[Head] = (),
        streams: Sequence[Stream] = (),
        learned: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.architecture = Architecture(
            self.name,
            tuple(heads) or (Head("", classes),),
            tuple(streams) or (Stream("", (("data", in_channels),)),),
            tuple(widths),
            frozenset(learned),
        )
        for stream in self.architecture.streams:
            if len(stream.inputs) > 1:
                setattr(self, stream.image, Concat())
            self.add_trunk(Layers(self, stream), stream.channels)
        for head in self.architecture.heads:
            self.add_head(Layers(self, head), head.classes)
        for layer, offset in crop_offsets(self.architecture).items():
            setattr(self, layer, Crop(offset))
        for layer in learned:
            setattr(self, layer, learnable(self._deconvolution(layer)))
        # In the net's order, which is also that of a solver's history.
        for step in planned(self.architecture).steps:
            if step.key in self._modules:
                self._modules[step.key] = self._modules.pop(step.key)

    def _deconvolution(self, layer: str) -> nn.ConvTranspose2d:
        known = {name: part for name, part in self.named_children() if isinstance(part, nn.ConvTranspose2d)}
        if layer not in known:
            raise NetError(f"{self.name} has no deconvolution {layer!r} to learn; it has {', '.join(known)}")
        return known[layer]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the input blobs, in order."""
        return tuple(blob for stream in self.architecture.streams for blob, _ in stream.inputs)

    @property
    def trunks(self) -> list[Layers]:
        """The layers of each trunk."""
        return [Layers(self, stream) for stream in self.architecture.streams]

    @property
    def heads(self) -> list[Layers]:
        """The layers of each head."""
        return [Layers(self, head) for head in self.architecture.heads]

    def add_trunk(self, trunk: Layers, channels: int) -> None:
        """VGG-16 up to fc7, for an image of that many channels."""
        *stages, fc6, fc7 = self.architecture.widths
        for stage, (depth, width) in enumerate(zip(VGG16_DEPTHS, stages, strict=True), start=1):
            for i in range(1, depth + 1):
                # The first padding lets images pass that are smaller than what fc6 sees.
                padding = 100 if (stage, i) == (1, 1) else 1
                setattr(trunk, f"conv{stage}_{i}", nn.Conv2d(channels, width, 3, padding=padding))
                setattr(trunk, f"relu{stage}_{i}", nn.ReLU(inplace=True))
                channels = width
            setattr(trunk, f"pool{stage}", max_pool(2))
        self.add_classifier(trunk, (channels, fc6, fc7), kernel=7)

    def add_classifier(self, trunk: Layers, widths: tuple[int, int, int], kernel: int) -> None:
        """The fully connected layers as convolutions (CVPR, Section 3.1)."""
        pool5, fc6, fc7 = widths
        trunk.fc6 = nn.Conv2d(pool5, fc6, kernel)
        trunk.fc7 = nn.Conv2d(fc6, fc7, 1)
        trunk.relu6, trunk.relu7 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        trunk.drop6, trunk.drop7 = nn.Dropout(0.5), nn.Dropout(0.5)

    def add_head(self, head: Layers, classes: int) -> None:
        """The layers from the trunk's features to the scores of so many classes, but for the crops."""
        raise NotImplementedError

    def images(self, images: tuple[Tensor, ...], inputs: dict[str, Tensor]) -> list[Tensor]:
        """What each trunk sees, of inputs given in order or by name."""
        named = dict(zip(self.inputs, images, strict=False)) | inputs
        if set(named) != set(self.inputs) or len(named) != len(images) + len(inputs):
            given = [*inputs, f"{len(images)} without a name"] if images else list(inputs)
            raise NetError(f"{self.name} takes inputs {', '.join(self.inputs)}; given: {', '.join(given)}")
        seen = []
        for stream in self.architecture.streams:
            blobs = [named[blob] for blob, _ in stream.inputs]
            seen.append(blobs[0] if len(blobs) == 1 else getattr(self, stream.image)(*blobs))
        return seen

    def trunk(self, image: Tensor, trunk: Layers) -> Features:
        """VGG-16 (CVPR, Section 4.1): pool3 at stride 8, pool4 at stride 16 and fc7 at stride 32.

        Shapes leave out what the padding adds: H / 2 is (H + 198) / 2, rounded up.
        """
        x = trunk.relu1_1(trunk.conv1_1(image))  # (N, 64, H + 198, W + 198)
        x = trunk.relu1_2(trunk.conv1_2(x))
        x = trunk.pool1(x)  # (N, 64, H / 2, W / 2)
        x = trunk.relu2_1(trunk.conv2_1(x))
        x = trunk.relu2_2(trunk.conv2_2(x))
        x = trunk.pool2(x)  # (N, 128, H / 4, W / 4)
        x = trunk.relu3_1(trunk.conv3_1(x))
        x = trunk.relu3_2(trunk.conv3_2(x))
        x = trunk.relu3_3(trunk.conv3_3(x))
        pool3 = trunk.pool3(x)  # (N, 256, H / 8, W / 8)
        x = trunk.relu4_1(trunk.conv4_1(pool3))
        x = trunk.relu4_2(trunk.conv4_2(x))
        x = trunk.relu4_3(trunk.conv4_3(x))
        pool4 = trunk.pool4(x)  # (N, 512, H / 16, W / 16)
        x = trunk.relu5_1(trunk.conv5_1(pool4))
        x = trunk.relu5_2(trunk.conv5_2(x))
        x = trunk.relu5_3(trunk.conv5_3(x))
        pool5 = trunk.pool5(x)  # (N, 512, H / 32, W / 32)
        return pool3, pool4, self.classifier(pool5, trunk)

    def classifier(self, pool5: Tensor, trunk: Layers) -> Tensor:
        """The layers fc6 and fc7."""
        fc6 = trunk.drop6(trunk.relu6(trunk.fc6(pool5)))  # (N, 4096, H / 32, W / 32)
        fc7: Tensor = trunk.drop7(trunk.relu7(trunk.fc7(fc6)))  # (N, 4096, H / 32, W / 32)
        return fc7

    def output(self, scores: list[Tensor]) -> Scores:
        """The scores of one head as they are, of several by name."""
        names = [head.layer("score") for head in self.architecture.heads]
        return scores[0] if len(scores) == 1 else dict(zip(names, scores, strict=True))

    def every_blob(self, **inputs: Tensor) -> dict[str, Tensor]:
        """All blobs by Caffe's names, with the value that each was last given (a `fc7` is after its ReLU)."""
        blobs = dict(inputs)
        tops = {step.key: step.layer.tops[0] for step in planned(self.architecture).steps}
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
        """The parameters of each layer that has some, in Caffe's order."""
        steps = planned(self.architecture).steps
        return {
            step.key: [self.get_parameter(p.key) for p in step.parameters]
            for step in steps
            if step.parameters
        }

    def net(self) -> Net:
        """The deploy net, with blobs that read the module's values; deconvolutions are dense, as in Caffe."""
        net, blobs = from_message(definition(self.architecture)), self.blobs()
        layers = tuple(
            _valued(layer, blobs[layer.name]) if layer.name in blobs else layer for layer in net.layers
        )
        return replace(net, layers=layers, weights=f"the values of {self.name}")


def _keep(blobs: dict[str, Tensor], name: str, layer: nn.Module, bottoms: Any, top: Tensor) -> None:
    blobs[name] = top


def _valued(layer: Layer, parameters: list[Tensor]) -> Layer:
    """A layer of a definition with blobs that read these parameters; what is frozen has no learning rate."""
    blobs = tuple(_blob(layer, parameter) for parameter in parameters)
    specs = layer.fields.param
    param = tuple(
        spec if parameter.requires_grad else spec.replace(lr_mult=0.0)
        for spec, parameter in zip(specs, parameters, strict=True)
    )
    return replace(layer, blobs=blobs, fields=layer.fields.replace(param=param))


def _blob(layer: Layer, parameter: Tensor) -> Blob:
    def values() -> Array:
        array: Array = parameter.detach().cpu().float().numpy().reshape(-1)
        return array

    shape = tuple(parameter.shape)
    if layer.type == "Deconvolution" and shape[1] < layer.fields.convolution_param.num_output:
        return dense(shape, values)
    return Blob(shape, np.dtype(np.float32), values)
