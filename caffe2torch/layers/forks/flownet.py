"""FlowNet 2: Correlation, FlowWarp, ChannelNorm, Resample, Downsample, Accum (lmb-freiburg/flownet2)."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("Correlation")
class Correlation(Converter):
    """FlowNet's: how similar the patches of two images are, one channel per displacement, row by row.

    MULTIPLY and SUBTRACT, as a mean over the patch and its channels; `do_abs` and `single_direction` are
    refused.
    """

    bottom_count = (2, 2)
    held_against = "NumPy loops"
    fork_fields = frozenset({"correlation_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.correlation_param
        if p.kernel_size % 2 == 0 or not p.has("max_displacement") or min(p.stride_1, p.stride_2) < 1:
            raise self.refuse("needs an odd kernel_size, max_displacement and positive strides")
        if p.do_abs or p.single_direction:
            raise self.refuse("do_abs and single_direction are not supported")
        self.reach = range(-(p.max_displacement // p.stride_2), p.max_displacement // p.stride_2 + 1)

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        sizes = (None if size is None else self._size(size) for size in bottom[2:])
        return ((bottom[0], len(self.reach) ** 2, *sizes),)

    def _size(self, size: int) -> int:
        border = self.p.max_displacement + (self.p.kernel_size - 1) // 2
        places = (size + 2 * (self.p.pad - border) + self.p.stride_1 - 1) // self.p.stride_1
        if places < 1:
            raise self.refuse(f"its displacements and kernel do not fit a bottom of {size} pixels")
        return int(places)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        p, (height, width) = self.p, (self._size(size) for size in bottoms[0].shape[2:])
        a, b = (torch.nn.functional.pad(x, (p.pad,) * 4) for x in bottoms)
        # Patches begin at max_displacement, so that every displaced one lies inside.
        rows, columns = ((size - 1) * p.stride_1 + p.kernel_size for size in (height, width))

        def window(x: Tensor, dy: int, dx: int) -> Tensor:
            top, left = p.max_displacement + dy, p.max_displacement + dx
            return x[:, :, top : top + rows, left : left + columns]

        tops = []
        for y, x in itertools.product(self.reach, self.reach):
            one, other = window(a, 0, 0), window(b, y * p.stride_2, x * p.stride_2)
            alike = one * other if p.correlation_type == "MULTIPLY" else (one - other).abs()
            tops.append(
                torch.nn.functional.avg_pool2d(alike.mean(1, keepdim=True), p.kernel_size, p.stride_1)
            )
        return torch.cat(tops, 1)


@converts("FlowWarp")
class FlowWarp(Converter):
    """FlowNet's: samples the first bottom bilinearly where the flow (N, 2, H, W), in pixels, points.

    Outside the image the top is `fill_value`: ZERO or NOT_A_NUMBER.
    """

    bottom_count = (2, 2)
    held_against = "NumPy loops"
    fork_fields = frozenset({"flow_warp_param"})

    def look(self, view: View) -> View | None:
        return view.whole()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        image, flow = bottoms
        height, width = image.shape[2:]
        if flow.shape != (len(image), 2, height, width):
            raise self.refuse(f"its flow {tuple(flow.shape)} does not fit its image {tuple(image.shape)}")
        flow = flow.nan_to_num(math.inf)  # a NaN flow points out of the image
        y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
        x = torch.arange(width, device=flow.device) + flow[:, 0]
        inside = ((x >= 0) & (y >= 0) & (x < width) & (y < height))[:, None]
        left, top = x.floor().clamp(0, width - 1), y.floor().clamp(0, height - 1)
        alpha, beta = (x - left)[:, None], (y - top)[:, None]
        right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)

        def pixels(rows: Tensor, columns: Tensor) -> Tensor:
            place = (rows * width + columns).long().flatten(1)[:, None].expand(-1, image.shape[1], -1)
            return image.flatten(2).gather(2, place).view(image.shape)

        upper = pixels(top, left) * (1 - alpha) + pixels(top, right) * alpha
        lower = pixels(bottom, left) * (1 - alpha) + pixels(bottom, right) * alpha
        warped = upper * (1 - beta) + lower * beta
        fill = 0.0 if self.layer.fields.flow_warp_param.fill_value == "ZERO" else math.nan
        return torch.where(inside, warped, torch.full_like(warped, fill))


@converts("ChannelNorm")
class ChannelNorm(Converter):
    """FlowNet's: the Euclidean norm of each pixel's channels, (N, 1, H, W)."""

    held_against = "NumPy loops"

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        return (None if bottom is None else (bottom[0], 1, *bottom[2:]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return (bottoms[0] * bottoms[0]).sum(1, keepdim=True).sqrt()


class _Sized(Converter):
    """Resizes the first bottom to the size of a second bottom, or to one that the file gives."""

    bottom_count = (1, 2)
    shape_only = frozenset({1})
    named: tuple[int, int]
    """Height and width if there is no second bottom."""

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        reference = self.bottoms[1] if len(self.bottoms) > 1 else (None, None, *self.named)
        return ((*bottom[:2], *((None, None) if reference is None else reference[2:])),)

    def _filtered(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The image with its axes multiplied by (height, H) and (width, W)."""
        return torch.einsum("yh,nchw,xw->ncyx", rows, x, columns)


@converts("Resample")
class Resample(_Sized):
    """FlowNet's: resizes to `height` and `width` or to a second bottom's size; NEAREST, LINEAR, CUBIC.

    `antialias` widens the filter for a smaller top. With NEAREST a whole `factor` will do, as in OpenCV.
    Refused: AREA, and different scales along the two axes, which FlowNet 2 mixes up.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"resample_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.resample_param
        if p.type == "AREA":
            raise self.refuse("type: AREA is not supported")
        sized = len(bottoms) == 2 or bool(p.height and p.width)
        by_factor = p.has("factor") and not sized and p.type == "NEAREST" and p.factor == int(p.factor) >= 1
        if p.factor != 1 and not by_factor:
            raise self.refuse("takes a whole factor with type: NEAREST and no other size")
        if not sized and not by_factor:
            raise self.refuse("needs height and width, or a second bottom of the wanted size")
        self.named = p.height, p.width
        self.factor = int(p.factor) if by_factor else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if self.factor is None or bottom is None:
            return super().top_shapes()
        return ((*bottom[:2], *(None if size is None else size * self.factor for size in bottom[2:])),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x, to = bottoms[0], bottoms[1].shape[2:] if len(bottoms) > 1 else self.named
        if self.factor is not None:
            return x.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        scales = tuple(size / top for size, top in zip(x.shape[2:], to, strict=True))
        # resample_layer.cu shifts x by half of y's scale and vice versa.
        if len(scales) != 2 or not math.isclose(*scales, rel_tol=1e-6):
            raise self.refuse(f"scales {scales} of height and width differ")
        rows, columns = (self._weights(size, top).to(x) for size, top in zip(x.shape[2:], to, strict=True))
        return self._filtered(x, rows, columns)

    def _weights(self, size: int, top: int) -> Tensor:
        """The weight of each bottom pixel in each top pixel along one axis, (top, size)."""
        scale = size / top
        place = torch.arange(top, dtype=torch.float64)[:, None] * scale + scale / 2 - 0.5
        distance = place - torch.arange(size)
        if self.p.type == "NEAREST":
            nearest = (place + 0.5).floor().clamp(0, size - 1).long()
            return torch.zeros(top, size).scatter_(1, nearest, 1.0)
        wide = scale if self.p.antialias and scale > 1 else 1.0
        weights = (_triangle if self.p.type == "LINEAR" else _cubic)((distance / wide).abs())
        return weights / weights.sum(1, keepdim=True)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -1/2."""
    near = x * x * (1.5 * x - 2.5) + 1
    far = x * (x * (2.5 - 0.5 * x) - 4) + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@converts("Downsample")
class Downsample(_Sized):
    """FlowNet's: shrinks the image with a triangle filter, corners aligned.

    To `top_height` and `top_width`, or to a second bottom's size. NaN pixels are left out; where they
    weigh more than half as much as the others, the top is NaN.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"downsample_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.downsample_param
        if len(bottoms) == 1 and min(p.top_height, p.top_width) < 2:
            raise self.refuse("needs top_height and top_width over 1, or a second bottom of the wanted size")
        self.named = p.top_height, p.top_width

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x, to = bottoms[0], bottoms[1].shape[2:] if len(bottoms) > 1 else self.named
        if tuple(x.shape[2:]) == tuple(to):
            raise self.refuse("its bottom already has the wanted size")
        rows, columns = (self._weights(size, top).to(x) for size, top in zip(x.shape[2:], to, strict=True))
        missing = x.isnan()
        total = self._filtered(x.masked_fill(missing, 0), rows, columns)
        weight = self._filtered((~missing).to(x), rows, columns)
        lost = self._filtered(missing.to(x), rows, columns)
        return (total / weight).masked_fill(lost / weight > 0.5, math.nan)

    def _weights(self, size: int, top: int) -> Tensor:
        scale = (size - 1) / (top - 1)
        place = torch.arange(top, dtype=torch.float64)[:, None] * scale
        return (1 - (place - torch.arange(size)).abs() / scale).clamp(min=0)


@converts("Accum")
class Accum(Converter):
    """FlowNet's: images of any size, concatenated along the channels at the size of the last bottom.

    Bilinear, corners aligned. Without `have_reference` all must have the same size.
    """

    bottom_count = (1, None)
    held_against = "NumPy loops"
    fork_fields = frozenset({"accum_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.reference = layer.fields.accum_param.have_reference
        if not self.reference and {name for name, _ in layer.fields.accum_param.given()} - {"have_reference"}:
            raise self.refuse(
                "top_height, top_width and size_divisible_by are not supported, have_reference is"
            )

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        images = self.bottoms[: len(self.bottoms) - self.reference]
        known = [bottom for bottom in images if bottom is not None]
        last = self.bottoms[-1]
        if last is None or len(known) < len(images):
            return (None,)
        channels = [bottom[1] for bottom in known]
        total = None if None in channels else sum(channel for channel in channels if channel is not None)
        return ((last[0], total, *last[2:]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        images, size = bottoms[: len(bottoms) - self.reference], bottoms[-1].shape[2:]
        if not self.reference and any(image.shape[2:] != size for image in images):
            raise self.refuse("its bottoms differ in size, and have_reference is not set")
        resize = torch.nn.functional.interpolate
        return torch.cat([resize(image, size, mode="bilinear", align_corners=True) for image in images], 1)
