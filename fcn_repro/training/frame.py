"""The frame of 100 pixels that VGG-16's first convolution puts around an image, without the repetitions.

Around a small image the frame is most of what a net computes, and nearly all of it is the same row or column
again and again. `narrowed` leaves these out and puts them back where the next stage needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

import caffe2torch as c2t

_PADDING = (100, 100)
_NARROW = (8, 8)
_PUT_BACK = {"pool1": 6, "pool2": 8, "pool3": 6}
"""How often the output of pool k has its row k repeated, counted from each border, 0 being the first.

Neither the border, through the convolutions' own padding, nor the image has a part in these rows. In pixels,
8 + 2 * 6 + 4 * 8 + 8 * 6 = 100. After pool3 no such rows remain.
"""


@contextmanager
def narrowed(model: nn.Module) -> Iterator[None]:
    """Inside, a VGG-16 net computes the same up to rounding, with less work. Others are left as they are."""
    stem = getattr(model, "conv1_1", None)
    with ExitStack() as after:
        if isinstance(model, c2t.FCN) and isinstance(stem, nn.Conv2d) and stem.padding == _PADDING:
            stem.padding = _NARROW
            after.callback(setattr, stem, "padding", _PADDING)
            for row, (name, times) in enumerate(_PUT_BACK.items(), start=1):
                hook = model.get_submodule(name).register_forward_hook(_repeating(row, times))
                after.callback(hook.remove)
        yield


def _repeating(row: int, times: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A forward hook that repeats a row and a column of the output, counted from each border."""

    def repeat(layer: nn.Module, bottoms: tuple[Tensor, ...], top: Tensor) -> Tensor:
        top = top.permute(0, 2, 3, 1)  # what is joined lies as these axes say: channels last, as before
        for axis in (1, 2):
            inner = top.shape[axis] - 2 * (row + 1)
            before, first, between, last, behind = torch.split(top, [row, 1, inner, 1, row], axis)
            shape = [times + 1 if i == axis else length for i, length in enumerate(top.shape)]
            top = torch.cat([before, first.expand(shape), between, last.expand(shape), behind], axis)
        return top.permute(0, 3, 1, 2)

    return repeat
