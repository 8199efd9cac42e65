"""Checks what a net is called with: inputs by name or in order, and images that it can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.fx import Proxy
from torch.jit import is_tracing  # type: ignore[attr-defined]

from caffe2torch.errors import NetError


def by_name(
    net: str, names: Sequence[str], images: Sequence[Tensor], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Inputs given in order (`images`) or by name, all by name. Raises NetError if they are not `names`."""
    named = dict(zip(names, images, strict=False)) | dict(inputs)
    if set(named) != set(names) or len(named) != len(images) + len(inputs):
        given = [*inputs, *[f"{len(images)} without a name"] * bool(images)]
        raise NetError(f"{net} takes inputs {', '.join(names)}; given: {', '.join(given) or 'none'}")
    return named


def check_image(net: str, blob: str, image: Tensor, channels: int) -> None:
    """Raises NetError for anything but a batch of images (N, `channels`, H, W) of floating-point numbers.

    torch.compile and torch.export check once, when they trace; their graphs do not contain the checks.
    """
    if is_tracing() or isinstance(image, Proxy):  # type: ignore[no-untyped-call]
        return  # torch.jit.trace and torch.fx would record the comparisons
    if not isinstance(image, Tensor):
        raise NetError(f"{net}: {blob} is of type {type(image).__name__}; give a torch.Tensor")
    if image.ndim != 4 or image.shape[1] != channels:
        raise NetError(
            f"{net}: {blob} is {tuple(image.shape)}; give (N, {channels}, H, W){_hint(image, channels)}"
        )
    if not image.is_floating_point():
        dtype = str(image.dtype).removeprefix("torch.")
        raise NetError(f"{net}: {blob} is {dtype}; give floats: image.float(), minus the mean")


def _hint(image: Tensor, channels: int) -> str:
    shape = tuple(image.shape)
    if len(shape) == 3 and shape[0] == channels:
        return ": it lacks a batch axis, image[None]"
    if len(shape) == 3 and shape[2] == channels:
        return ": channels come first, image.permute(2, 0, 1)[None]"
    if len(shape) == 4 and shape[3] == channels:
        return ": channels come first, image.permute(0, 3, 1, 2)"
    return f", with {channels} channels, not {shape[1]}" if len(shape) == 4 else ""
