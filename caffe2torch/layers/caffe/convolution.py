"""Convolution, Deconvolution and Im2col (base_conv_layer.cpp, deconv_layer.cpp, im2col_layer.cpp)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from caffe2torch._torch import is_exporting, torch
from caffe2torch.blob import Blob
from caffe2torch.layers.axes import canonical, product
from caffe2torch.layers.caffe.neuron import rectified
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View, Window
from caffe2torch.layers.python_form import Place, PythonForm, alike, call, unless
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


def spatial(p: Fields, name: str, axes: int, default: int | None) -> tuple[int, ...] | None:
    """A size per spatial axis from `name` (repeated) or its `_h` and `_w` twins; None if not given.

    One value serves every axis. Caffe allows the `_h`/`_w` form for two axes only.
    """
    short = {"kernel_size": "kernel", "pad": "pad", "stride": "stride"}.get(name)
    if short and (p.has(f"{short}_h") or p.has(f"{short}_w")):
        given = (getattr(p, f"{short}_h"), getattr(p, f"{short}_w"))
        return None if axes != 2 or getattr(p, name) else given
    values = tuple(getattr(p, name)) or ((default,) if default is not None else ())
    if len(values) == 1:
        return values * axes
    return values if len(values) == axes else None


class _Kernel(Converter):
    """A kernel that slides over the last axes: its size, stride, pad and dilation."""

    fork_fields = frozenset({f"convolution_param.{name}" for name in ("hole", "hole_h", "hole_w")})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.convolution_param
        self.axes = self._spatial_axes()
        self.kernel = self._positive("kernel_size", None)
        self.stride = self._positive("stride", 1)
        self.dilation = self._holes() or self._positive("dilation", 1)
        self.pad = self._sizes("pad", 0)

    def _spatial_axes(self) -> int:
        raise NotImplementedError

    def _sizes(self, name: str, default: int | None) -> tuple[int, ...]:
        sizes = spatial(self.p, name, self.axes, default)
        if sizes is None:
            raise self.refuse(f"{name} must be given once, or once for each of {self.axes} axes, in one form")
        return sizes

    def _positive(self, name: str, default: int | None) -> tuple[int, ...]:
        sizes = self._sizes(name, default)
        if min(sizes) < 1:
            raise self.refuse(f"{name}: {sizes} must be positive")
        return sizes

    def _holes(self) -> tuple[int, ...] | None:
        """The dilation under DeepLab's older name."""
        p = self.p
        if not (p.has("hole") or p.has("hole_h") or p.has("hole_w")):
            return None
        holes = (p.hole, p.hole) if p.has("hole") else (p.hole_h, p.hole_w)
        if p.dilation or self.axes != 2 or min(holes) < 1:
            raise self.refuse(f"hole: {holes} must be positive, over two axes, and without dilation")
        return holes

    @property
    def extent(self) -> tuple[int, ...]:
        """The kernel with its dilation, per axis."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def top_size(self, size: int, axis: int) -> int:
        """The number of positions of the kernel along an axis."""
        return (size + 2 * self.pad[axis] - self.extent[axis]) // self.stride[axis] + 1

    def _places(self, bottom: Shape) -> list[int | None]:
        """The sizes of the top's last axes."""
        places = []
        for axis, size in enumerate(bottom[len(bottom) - self.axes :]):
            top = None if size is None else self.top_size(size, axis)
            if top is not None and top < 1:
                raise self.refuse(f"its bottom {bottom} is too small for the kernel {self.kernel}")
            places.append(top)
        return places


@converts("Im2col")
class Im2col(_Kernel):
    """The values under each position of a kernel as channels, on `axis`; rectangular and dilated kernels."""

    def _spatial_axes(self) -> int:
        bottom: Shape = (None,) * 4 if self.bottoms[0] is None else self.bottoms[0]
        self.axis = canonical(self, bottom, self.p.axis)
        if self.axis == len(bottom) - 1:
            raise self.refuse(f"axis: {self.p.axis} leaves no axes of its bottom {bottom} to slide over")
        return len(bottom) - self.axis - 1

    def look(self, view: View) -> View | None:
        return view.through(Window(self.extent, self.stride, self.pad)) if self.axis == 1 else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        return ((*bottom[: self.axis], product((bottom[self.axis], *self.kernel)), *self._places(bottom)),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        if not is_exporting():
            self._places(tuple(bottoms[0].shape))  # a size that the plan did not know may be too small
        sides = [pad for pad in reversed(self.pad) for _ in (0, 1)]
        padded = torch.nn.functional.pad(bottoms[0], sides)
        values = [self._under(padded, offset) for offset in itertools.product(*map(range, self.kernel))]
        return torch.stack(values, self.axis + 1).flatten(self.axis, self.axis + 1)

    def _under(self, padded: Tensor, offset: tuple[int, ...]) -> Tensor:
        """The pixels under one value of the kernel at each of its positions."""
        starts = [at * dilation for at, dilation in zip(offset, self.dilation, strict=True)]
        sides = zip(starts, self.extent, self.stride, strict=True)
        seen = (..., *(slice(start, start - extent + 1 or None, step) for start, extent, step in sides))
        return padded[seen]


class _Sliding(_Kernel):
    """What Convolution and Deconvolution share: blobs, group and any number of bottoms."""

    bottom_count = (1, None)
    top_count = (1, None)
    transposed = False

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p
        if not p.num_output:
            raise self.refuse("num_output must be given and positive")
        if p.num_output % p.group:
            raise self.refuse(f"num_output: {p.num_output} is not a multiple of group: {p.group}")

    def _spatial_axes(self) -> int:
        known = [len(bottom) for bottom in self.bottoms if bottom is not None]
        known += [len(blob.shape) for blob in self.layer.blobs[:1]]
        bottom = (None,) * (known or [4])[0]
        self.channel_axis = canonical(self, bottom, self.p.axis)
        axes = len(bottom) - self.channel_axis - 1
        if axes not in (1, 2, 3):
            raise self.refuse(
                f"axis: {self.p.axis} leaves {axes} axes to slide over; 1, 2 or 3 are supported"
            )
        return axes

    def look(self, view: View) -> View | None:
        window = Window(self.extent, self.stride, self.pad, self.transposed)
        return view.through(window) if self.channel_axis == 1 else None

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        channels = self.bottoms[0][self.channel_axis] if self.bottoms[0] is not None else None
        if channels is not None and channels % self.p.group:
            raise self.refuse(f"{channels} channels are not a multiple of group: {self.p.group}")
        weight = BlobSpec("weight", (*self._ends(channels), *self.kernel), self.p.weight_filler)
        bias = BlobSpec("bias", (self.p.num_output,), self.p.bias_filler)
        return (weight, bias) if self.p.bias_term else (weight,)

    def _ends(self, channels: int | None) -> Shape:
        """The first two axes of the weight."""
        return (self.p.num_output, None if channels is None else channels // self.p.group)

    def shape_by_weights(self) -> Shape | None:
        if not self.layer.blobs or len(self.layer.blobs[0].shape) != 2 + self.axes or self.channel_axis != 1:
            return None
        return (None, self._channels(self.layer.blobs[0]), *(None,) * self.axes)

    def _channels(self, weight: Blob) -> int:
        return int(weight.shape[1] * self.p.group)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return tuple(None if bottom is None else self._top(bottom) for bottom in self.bottoms)

    def _top(self, bottom: Shape) -> Shape:
        return (*bottom[: self.channel_axis], self.p.num_output, *self._places(bottom))

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        # One layer may have several bottoms and as many tops, all with the same weights.
        tops = tuple(self._batched(x, blobs["weight"], blobs.get("bias")) for x in bottoms)
        return tops if len(tops) > 1 else tops[0]

    def _batched(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Treats every axis before the channels as one of items."""
        axis = x.ndim - self.axes - 1
        if axis == 1:
            return self._convolve(x, weight, bias)
        y = self._convolve(x.reshape(-1, *x.shape[axis:]), weight, bias)
        return y.reshape(*x.shape[:axis], *y.shape[1:])

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def python(self, place: Place) -> PythonForm:
        if self.channel_axis != 1:
            raise self.no_python_form(f"axis: {self.p.axis}")
        module = call(
            f"nn.Conv{'Transpose' * self.transposed}{self.axes}d",
            *self._channels_of(place.shapes["weight"]),
            alike(self.kernel),
            stride=unless(self.stride, 1),
            padding=unless(self.pad, 0),
            dilation=unless(self.dilation, 1),
            groups=unless(self._groups(place.shapes["weight"]), 1),
            bias=unless("bias" in place.shapes, True),
        )
        # One layer may have several bottoms and as many tops, all with the same weights.
        tops = (self._written(f"{place.name}({bottom})") for bottom in place.bottoms)
        return PythonForm(", ".join(tops), {"": module})

    def _channels_of(self, weight: tuple[int, ...]) -> tuple[int, int]:
        """Input and output channels, from the weight as stored."""
        raise NotImplementedError

    def _groups(self, weight: tuple[int, ...]) -> int:
        return int(self.p.group)

    def _written(self, top: str) -> str:
        return top


@converts("Convolution")
class Convolution(_Sliding):
    """Convolution over the one to three axes after `axis`, with group, dilation and rectangular kernels.

    DeepLab's `hole` is the dilation; OpenCL's `fuse_type` and Intel's `relu` add a ReLU.
    """

    fork_fields = _Sliding.fork_fields | {
        f"convolution_param.{name}" for name in ("fuse_type", "relu_param", "relu", "negative_slope")
    }

    @property
    def is_linear(self) -> bool:
        """Whether it is nothing but a convolution, of channels in the second axis."""
        return self.channel_axis == 1 and self._fused_slope() is None

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        f = torch.nn.functional
        convolve: dict[int, Callable[..., Tensor]] = {1: f.conv1d, 2: f.conv2d, 3: f.conv3d}
        y = convolve[self.axes](x, weight, bias, self.stride, self.pad, self.dilation, self.p.group)
        slope = self._fused_slope()
        return y if slope is None else torch.nn.functional.leaky_relu(y, slope)

    def _channels_of(self, weight: tuple[int, ...]) -> tuple[int, int]:
        return weight[1] * self.p.group, weight[0]

    def _written(self, top: str) -> str:
        slope = self._fused_slope()
        return top if slope is None else rectified(top, slope)

    def _fused_slope(self) -> float | None:
        """The negative slope of the ReLU that a fork put into this layer, or None."""
        p = self.p
        slope: float = p.relu_param.negative_slope if p.fuse_type == "FUSED_CONV_RELU" else p.negative_slope
        return slope if p.relu or p.fuse_type == "FUSED_CONV_RELU" else None


@converts("Deconvolution")
class Deconvolution(_Sliding):
    """Transposed convolution over one to three axes, with group, dilation and rectangular kernels.

    A frozen dense kernel that is zero off the channel diagonal, as FCN's bilinear ones are, is stored as
    its diagonal and run as one group per channel: the same numbers in 1 / `num_output` of the memory.
    """

    transposed = True

    def _ends(self, channels: int | None) -> Shape:
        return (channels, self.p.num_output // self.p.group)

    def _channels(self, weight: Blob) -> int:
        return weight.shape[0]

    def top_size(self, size: int, axis: int) -> int:
        return self.stride[axis] * (size - 1) + self.extent[axis] - 2 * self.pad[axis]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        f = torch.nn.functional
        spread: dict[int, Callable[..., Tensor]] = {
            1: f.conv_transpose1d,
            2: f.conv_transpose2d,
            3: f.conv_transpose3d,
        }
        group = self._groups(weight.shape)
        return spread[self.axes](x, weight, bias, self.stride, self.pad, 0, group, self.dilation)

    def _channels_of(self, weight: tuple[int, ...]) -> tuple[int, int]:
        return weight[0], self.p.num_output

    def _groups(self, weight: tuple[int, ...]) -> int:
        return int(self.p.num_output // weight[1])  # the diagonal of a dense kernel is (channels, 1, h, w)
