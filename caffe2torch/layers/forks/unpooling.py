"""Upsample and Unpooling: pooling undone with the positions of its maxima, or pixels repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import is_exporting, torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View, Window
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


def unpool(x: Tensor, mask: Tensor, height: int, width: int) -> Tensor:
    """Each value of `x` at its position in `mask`, (N, C, height, width), zero elsewhere.

    Where two values collide, the last one stays, as in the forks' loops.
    """
    places = mask.flatten(2).long()
    order = torch.arange(places.shape[2], device=x.device).expand_as(places)
    nobody = torch.full((*x.shape[:2], height * width), -1, device=x.device)
    last = nobody.scatter_reduce(2, places, order, "amax")
    values = x.flatten(2).gather(2, last.clamp(min=0))
    return values.where(last >= 0, torch.zeros_like(values)).view(*x.shape[:2], height, width)


class _Unpool(Converter):
    """Two bottoms: the values and the mask that a Pooling gave as its second top."""

    bottom_count = (1, 2)

    def _unpooled(self, size: int, axis: int) -> int:
        """The top's height (axis 0) or width (axis 1)."""
        raise NotImplementedError

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        if len(bottom) != 4:
            raise self.refuse(f"needs a bottom of 4 axes, it has {len(bottom)}")
        mask = self.bottoms[-1] or bottom
        if any(None not in pair and pair[0] != pair[1] for pair in zip(bottom, mask, strict=False)):
            raise self.refuse(f"its bottom {bottom} and its mask {mask} differ")
        sizes = (None if size is None else self._unpooled(size, axis) for axis, size in enumerate(bottom[2:]))
        return ((*bottom[:2], *sizes),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x, mask = bottoms
        if x.shape != mask.shape:
            raise self.refuse(f"its bottom {tuple(x.shape)} and its mask {tuple(mask.shape)} differ")
        height, width = (self._unpooled(x.shape[2 + axis], axis) for axis in (0, 1))
        if self._is_seen(mask) and mask.numel() and mask.max() >= height * width:
            raise self.refuse(
                f"its mask points past {height} x {width} pixels; the pooling saw a larger image"
            )
        return unpool(x, mask, height, width)

    @staticmethod
    def _is_seen(mask: Tensor) -> bool:
        """Whether its values are there to be looked at; a graph looks at none."""
        return mask.device.type != "meta" and not is_exporting()


@converts("Upsample")
class Upsample(_Unpool):
    """SegNet's and ENet's unpooling with a mask (two bottoms); MobileNet-YOLO's repeated pixels (one bottom).

    To `upsample_h` and `upsample_w`, or by `scale`, or by `scale_h` and `scale_w`; less a pixel with
    `pad_out_h` and `pad_out_w`. With one bottom, only by `scale`.
    """

    held_against = "NumPy loops; SSD's Caffe"
    fork_fields = frozenset({"upsample_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.upsample_param
        if len(bottoms) == 1 and {name for name, _ in p.given()} - {"scale"}:
            raise self.refuse("takes only scale when it has one bottom")
        pairs = (("upsample_h", "upsample_w"), ("scale_h", "scale_w"))
        if any(p.has(height) != p.has(width) for height, width in pairs) or (
            p.has("scale") and p.has("scale_h")
        ):
            raise self.refuse("takes scale, or scale_h and scale_w, or upsample_h and upsample_w")
        self.scale = (p.scale_h, p.scale_w) if p.has("scale_h") else (p.scale, p.scale)
        if min(self.scale) < 1 or any(
            out and s != 2 for out, s in zip(self._pad_out, self.scale, strict=True)
        ):
            raise self.refuse(f"scale {self.scale} must be positive, and 2 with pad_out_h or pad_out_w")

    @property
    def _pad_out(self) -> tuple[bool, bool]:
        return self.p.pad_out_h, self.p.pad_out_w

    def _unpooled(self, size: int, axis: int) -> int:
        if self.p.has("upsample_h"):
            return int((self.p.upsample_h, self.p.upsample_w)[axis])
        top: int = size * self.scale[axis] - self._pad_out[axis]  # a symbol while a graph is exported
        return top

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        if len(bottoms) == 2:
            return super().forward(*bottoms)
        return bottoms[0].repeat_interleave(self.p.scale, 2).repeat_interleave(self.p.scale, 3)


@converts("Unpooling")
class Unpooling(_Unpool):
    """DeconvNet's, and a BVLC branch's: undoes the max pooling that gave the mask.

    DeconvNet's `unpooling_param` names the size: `unpool_size`, or `unpool_h` and `unpool_w`. The branch's
    layer has the `pooling_param` of that pooling, from which the size follows.
    """

    bottom_count = (2, 2)
    held_against = "NumPy loops"
    fork_fields = frozenset({"unpooling_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        deconvnet = layer.fields.has("unpooling_param")
        if deconvnet and layer.fields.has("pooling_param"):
            raise self.refuse("takes unpooling_param or pooling_param, has both")
        self.undoes = self._size() if deconvnet else self._window()

    def _size(self) -> tuple[int, int]:
        """The (height, width) that DeconvNet names."""
        p = self.layer.fields.unpooling_param
        if p.unpool != "MAX" or p.pad or p.pad_h or p.pad_w:
            raise self.refuse("undoes only unpool: MAX, and no padding")
        size = (p.unpool_size, p.unpool_size) if p.has("unpool_size") else (p.unpool_h, p.unpool_w)
        if min(size) < 1 or (p.has("unpool_size") and (p.has("unpool_h") or p.has("unpool_w"))):
            raise self.refuse("needs unpool_size, or unpool_h and unpool_w")
        return size

    def _window(self) -> Window:
        """The pooling's."""
        p = self.layer.fields.pooling_param
        if p.pool != "MAX" or p.global_pooling:
            raise self.refuse("undoes only pool: MAX, and not global pooling")
        kernel = (p.kernel_h, p.kernel_w) if p.has("kernel_h") else (p.kernel_size, p.kernel_size)
        stride = (p.stride_h, p.stride_w) if p.has("stride_h") else (p.stride, p.stride)
        if min(kernel + stride) < 1:
            raise self.refuse(f"kernel {kernel} and stride {stride} must be positive")
        return Window(kernel, stride, (p.pad_h, p.pad_w) if p.has("pad_h") else (p.pad, p.pad))

    def _unpooled(self, size: int, axis: int) -> int:
        undoes = self.undoes
        if isinstance(undoes, Window):
            return (size - 1) * undoes.stride[axis] + undoes.kernel[axis] - 2 * undoes.pad[axis]
        return undoes[axis]
