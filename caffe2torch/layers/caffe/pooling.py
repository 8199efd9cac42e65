"""Pooling (pooling_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from caffe2torch._torch import is_exporting, torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View, Window
from caffe2torch.layers.nonfinite import FLT_MAX, all_finite
from caffe2torch.layers.python_form import Place, PythonForm, alike, call, unless
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor

_Pair = tuple[int, int]


def _rounded(p: Fields) -> Fields:
    """The fields with `ceil_mode: false` under Caffe's own name for it."""
    return p if p.ceil_mode else p.replace(round_mode="FLOOR")


def _least(a: int, b: int) -> int:
    """The smaller of two sizes, which are symbols while a graph is exported."""
    least: Callable[[int, int], int] = min if isinstance(a, int) else torch.sym_min
    return least(a, b)


@converts("Pooling")
class Pooling(Converter):
    """MAX (with the mask as a second top) and AVE, rectangular, global, round_mode CEIL and FLOOR.

    DenseNet's `ceil_mode: false` is FLOOR. STOCHASTIC is refused.
    """

    top_count = (1, 2)
    fork_fields = frozenset({"pooling_param.ceil_mode"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = _rounded(layer.fields.pooling_param)
        if p.pool == "STOCHASTIC":
            raise self.refuse("pool: STOCHASTIC has no deterministic meaning here; MAX and AVE are supported")
        if len(layer.tops) > 1 and p.pool != "MAX":
            raise self.refuse("only pool: MAX has a second top, the mask")
        if bottoms[0] is not None and len(bottoms[0]) != 4:
            raise self.refuse(f"its bottom has {len(bottoms[0])} axes; pooling needs 4")
        self.stride, self.pad = self._pair("stride"), self._pair("pad")
        self.kernel = (0, 0) if p.global_pooling else self._pair("kernel")
        self._check()

    def _pair(self, name: str) -> tuple[int, int]:
        both = {"kernel": "kernel_size"}.get(name, name)
        given = [self.p.has(f"{name}_{axis}") for axis in "hw"]
        if any(given):
            if self.p.has(both):
                raise self.refuse(f"{both} and {name}_h, {name}_w are both given")
            if not all(given):
                raise self.refuse(f"{name}_h and {name}_w go together; Caffe takes neither without the other")
            return getattr(self.p, f"{name}_h"), getattr(self.p, f"{name}_w")
        size = getattr(self.p, both)
        return size, size

    def _check(self) -> None:
        if self.p.global_pooling:
            if self.pad != (0, 0) or self.stride != (1, 1):
                raise self.refuse("global_pooling takes pad 0 and stride 1")
            if any(map(self.p.has, ("kernel_size", "kernel_h", "kernel_w"))):
                raise self.refuse("global_pooling and a kernel are both given; Caffe takes only one of them")
        elif min(self.kernel) < 1 or min(self.stride) < 1:
            raise self.refuse(f"kernel {self.kernel} and stride {self.stride} must be positive")
        elif any(pad >= kernel for pad, kernel in zip(self.pad, self.kernel, strict=True)):
            raise self.refuse(f"pad {self.pad} must be smaller than the kernel {self.kernel}")

    def look(self, view: View) -> View | None:
        if self.p.global_pooling:
            return view.whole()
        return view.through(Window(self.kernel, self.stride, self.pad))

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,) * len(self.layer.tops)
        sizes = [None if size is None else self.top_size(size, axis) for axis, size in enumerate(bottom[2:])]
        if any(size is not None and size < 1 for size in sizes):
            raise self.refuse(f"its bottom {bottom} is too small for the kernel {self.kernel}")
        return ((*bottom[:2], *sizes),) * len(self.layer.tops)

    def top_size(self, size: int, axis: int) -> int:
        if self.p.global_pooling:
            return 1
        span = size + 2 * self.pad[axis] - self.kernel[axis]
        up = 0 if self.p.round_mode == "FLOOR" else self.stride[axis] - 1  # ONNX rounds a negative towards 0
        steps = (span + up) // self.stride[axis]
        # Caffe drops a last window that starts in the padding, but only if there is any.
        last = (size + self.pad[axis] - 1) // self.stride[axis]
        return (_least(steps, last) if any(self.pad) else steps) + 1

    @property
    def _torch_agrees(self) -> bool:
        """Whether torch's ceil_mode, which drops windows that start beyond the image, gives what Caffe does.

        It takes pads up to half a kernel.
        """
        windows = tuple(zip(self.kernel, self.stride, self.pad, strict=True))
        if any(self.pad):
            return all(2 * pad <= kernel for kernel, _, pad in windows)
        return all(s <= kernel for kernel, s, _ in windows)

    @property
    def _drops(self) -> bool:
        """Whether Caffe drops the last window at some sizes."""
        windows = zip(self.kernel, self.stride, self.pad, strict=True)
        return any(self.pad) and any(s + pad - 1 >= kernel for kernel, s, pad in windows)

    @property
    def _is_padded(self) -> bool:
        """Whether the image is padded to fit the windows, which are then all inside.

        A graph for other sizes than its own cannot rely on ceil_mode: an engine may compile the size of the
        top, or whether the last window is cut, as it was at the size of the export (AOTInductor, LiteRT).
        """
        rounds_up = self.p.round_mode == "CEIL" and max(self.stride) > 1
        return not self._torch_agrees or (rounds_up and is_exporting())

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        (x,) = bottoms
        tops = self._pooled(x)
        y = tops if isinstance(tops, torch.Tensor) else tops[0]
        return self._above_least(x) if self.p.pool == "MAX" and not all_finite(y) else tops

    def _above_least(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Caffe's MAX starts from -FLT_MAX and a mask of -1, and NaN and -inf are not above it."""
        tops = self._pooled(x.where(x > -FLT_MAX, -FLT_MAX))
        return tops if isinstance(tops, torch.Tensor) else (tops[0], _without_pixels(*tops))

    def _pooled(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.p.global_pooling:
            return self._global(x)
        if self._is_padded:
            return self._padded(x)
        pool = self._max if self.p.pool == "MAX" else self._average
        return pool(x, self.kernel, self.stride, self.pad, self.p.round_mode == "CEIL")

    def python(self, place: Place) -> PythonForm:
        if len(self.layer.tops) > 1:
            raise self.no_python_form("its mask")
        kind = "Max" if self.p.pool == "MAX" else "Avg"
        if self.p.global_pooling:
            return PythonForm.module(place, call(f"nn.Adaptive{kind}Pool2d", 1))
        if not self._torch_agrees:
            raise self.no_python_form(f"kernel {self.kernel}, stride {self.stride} and pad {self.pad}")
        module = call(
            f"nn.{kind}Pool2d",
            alike(self.kernel),
            stride=unless(self.stride, alike(self.kernel)),
            padding=unless(self.pad, 0),
            ceil_mode=unless(self.p.round_mode == "CEIL", False),
        )
        return PythonForm.module(place, module)

    def _global(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        f = torch.nn.functional
        if self.p.pool == "AVE":
            return f.adaptive_avg_pool2d(x, 1)
        if len(self.layer.tops) == 1:
            return f.adaptive_max_pool2d(x, 1)
        y, mask = f.adaptive_max_pool2d(x, 1, return_indices=True)
        return y, mask.to(x.dtype)

    def _max(
        self, x: Tensor, kernel: _Pair, stride: _Pair, pad: _Pair = (0, 0), ceil: bool = False
    ) -> Tensor | tuple[Tensor, ...]:
        f = torch.nn.functional
        if len(self.layer.tops) == 1:
            return f.max_pool2d(x, kernel, stride, pad, 1, ceil)
        y, mask = f.max_pool2d(x, kernel, stride, pad, 1, ceil, return_indices=True)
        return y, mask.to(x.dtype)

    def _average(
        self, x: Tensor, kernel: _Pair, stride: _Pair, pad: _Pair = (0, 0), ceil: bool = False
    ) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, kernel, stride, pad, ceil)

    def _padded(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Pads the image so that every window fits, then pools without padding."""
        size = x.shape[2:]
        tops = [self.top_size(size[axis], axis) for axis in (0, 1)]
        kernel, stride = self._within(self.kernel, size), self._within(self.stride, size)
        after = [self._after(size[i], tops[i], kernel[i], stride[i], self.pad[i]) for i in (0, 1)]
        sides = (self.pad[1], after[1], self.pad[0], after[0])
        if self.p.pool == "MAX":
            y = self._max(torch.nn.functional.pad(x, sides, value=-FLT_MAX), kernel, stride)
            return y if isinstance(y, torch.Tensor) else (y[0], self._unpadded(y[0], y[1], sides, size))
        total = self._average(torch.nn.functional.pad(x, sides), kernel, stride) * math.prod(kernel)
        rows, columns = (self._counts(tops[axis], size[axis], axis) for axis in (0, 1))
        return total / torch.outer(rows, columns).to(x)

    def _within(self, lengths: _Pair, size: Sequence[int]) -> _Pair:
        """A kernel or stride, but no further than past the image: beyond is nothing but padding."""
        if is_exporting():  # for any size
            return lengths
        rows, columns = (min(lengths[i], size[i] + self.pad[i]) for i in (0, 1))
        return rows, columns

    def _after(self, size: int, top: int, kernel: int, stride: int, pad: int) -> int:
        """How much padding follows the image; in a graph, the same at every size if no window is dropped."""
        if is_exporting() and self.p.round_mode == "CEIL" and not self._drops:
            return pad + stride - 1
        return (top - 1) * stride - pad + kernel - size

    def _counts(self, top: int, size: int, axis: int) -> Tensor:
        """How many pixels Caffe divides by along one axis: those of the image and of its leading padding."""
        start = torch.arange(top) * self.stride[axis] - self.pad[axis]
        return (start + self.kernel[axis]).clamp(max=size + self.pad[axis]) - start

    def _unpadded(self, y: Tensor, mask: Tensor, sides: tuple[int, ...], size: Sequence[int]) -> Tensor:
        """Turns positions in the padded image into positions in the image, -1 for a window without pixels."""
        left, right, top, _ = sides
        index = mask.long()
        width = size[1] + left + right
        row = index // width
        inside = (row - top) * size[1] + (index - row * width) - left
        return _without_pixels(y, inside.to(mask.dtype))


def _without_pixels(y: Tensor, mask: Tensor) -> Tensor:
    """The mask, -1 for a window in which no pixel is above -FLT_MAX."""
    return mask.masked_fill(y == -FLT_MAX, -1)
