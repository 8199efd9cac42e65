"""Large tensors piece by piece, so that all passes of a step but the first find a piece in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from caffe2torch._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = list[Tensor]

PIECE = 1 << 17
"""Numbers in a piece, half a megabyte: with its gradients and history it fits into a core's cache."""
LARGE = 8 * PIECE
"""What is cut has more numbers than this: for fewer, the calls take longer than the memory."""


def in_pieces(lists: Sequence[Tensors]) -> Iterator[tuple[Tensors, ...]]:
    """Lists of the same parameters' tensors, cut alike: all small ones, then the large ones' pieces in turn.

    The pieces are flat views. Tensors that lie differently in memory, or on another device than the CPU, stay
    whole.
    """
    if not any(map(_is_large, lists[0])):
        yield tuple(lists)
        return
    rows = list(zip(*lists, strict=True))
    cut = [_is_large(row[0]) and _alike(row) for row in rows]
    whole = [row for row, is_cut in zip(rows, cut, strict=True) if not is_cut]
    if whole:
        yield tuple(map(list, zip(*whole, strict=True)))
    for row, is_cut in zip(rows, cut, strict=True):
        if is_cut:
            flat = (tensor.as_strided((tensor.numel(),), (1,)).split(PIECE) for tensor in row)
            yield from (tuple([piece] for piece in pieces) for pieces in zip(*flat, strict=True))


def _is_large(tensor: Tensor) -> bool:
    return tensor.numel() > LARGE and tensor.device.type == "cpu"


def _alike(tensors: Sequence[Tensor]) -> bool:
    """Whether all have their numbers in the same order, without gaps."""
    first = tensors[0]
    dense = first.is_contiguous() or (
        first.ndim == 4 and first.is_contiguous(memory_format=torch.channels_last)
    )
    return dense and all(tensor.stride() == first.stride() for tensor in tensors)
