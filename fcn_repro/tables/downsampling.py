"""A label map through a coarse grid and back: what is left of it, by factor and protocol.

Every protocol is separable and linear in the maps "is this pixel of class k": along each axis, one matrix
takes pixels to cells and one takes cells back to pixels. The class whose map is largest there is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from fcn_repro.data.labels import IGNORE_LABEL

Labels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Protocol:
    """How labels are resized: the kernels down and up, and what becomes of void (255).

    Kernels: "triangle" of half-width `factor`, the bilinear filler of size 2 * factor at that stride; "box"
    over the cell; "centre" and "top left", only that pixel of the cell.
    Void is "background" while resizing, or "left out": a pixel that comes back as void is not scored.
    """

    down: str
    up: str
    void: str
    text: str


PROTOCOLS = {
    "bilinear": Protocol(
        "triangle",
        "triangle",
        "background",
        "bilinear down, bilinear up, as FCN's own layers; void as background",
    ),
    "area": Protocol("box", "triangle", "background", "area average down, bilinear up; void as background"),
    "majority": Protocol(
        "box", "box", "background", "majority down, its class for the whole cell up; void as background"
    ),
    "nearest": Protocol(
        "centre",
        "box",
        "left out",
        "nearest by centres, as in Pillow and torch's nearest-exact, both ways; void left out",
    ),
    "nearest-top-left": Protocol(
        "top left",
        "box",
        "left out",
        "nearest by top left corners, as in OpenCV's INTER_NEAREST and torch's nearest, both ways; "
        "void left out",
    ),
}
"""By name; the first is the one that gives the published row (arXiv 1411.4038v2, Appendix A)."""


def confusions(
    label: Labels, classes: int, factors: Sequence[int], protocol: Protocol
) -> npt.NDArray[np.int64]:
    """For a label map (H, W), how many pixels of class i come back as j: (factors, classes, classes).

    Pixels labelled void are not counted. Raises ValueError for a label that is not a class.
    """
    if wrong := [k for k in _present(label) if k >= classes and k != IGNORE_LABEL]:
        raise ValueError(
            f"label {wrong[0]} is not a class: expected 0 to {classes - 1} or {IGNORE_LABEL} for void"
        )
    kept = (
        np.where(label == IGNORE_LABEL, 0, label).astype(np.uint8) if protocol.void == "background" else label
    )
    return np.stack([_count(label, back, classes) for back in resized(kept, factors, protocol)])


def resized(label: Labels, factors: Sequence[int], protocol: Protocol) -> Labels:
    """The label map (H, W) after going down and up again, (factors, H, W); ties go to the lower class."""
    height, width = label.shape
    back = np.zeros((len(factors), width, height), np.uint8)
    largest = np.zeros(back.shape)
    for k in _present(label):
        shares = (label == k).astype(np.float64)
        for index, factor in enumerate(factors):
            here = _there_and_back(shares, factor, protocol)  # (W, H)
            back[index][here > largest[index]] = k
            np.maximum(largest[index], here, out=largest[index])
    upright: Labels = back.transpose(0, 2, 1)
    return upright


def _present(label: Labels) -> list[int]:
    present: list[int] = np.flatnonzero(np.bincount(label.ravel())).tolist()
    return present


def _there_and_back(shares: Floats, factor: int, protocol: Protocol) -> Floats:
    """One class's map (H, W), resized, and transposed: (W, H)."""
    down_y, up_y = _axis(shares.shape[0], factor, protocol)
    down_x, up_x = _axis(shares.shape[1], factor, protocol)
    cells = (down_x @ (down_y @ shares).T).T  # (h, w)
    back: Floats = up_x @ (up_y @ cells).T
    return back


def _count(label: Labels, back: Labels, classes: int) -> npt.NDArray[np.int64]:
    counted = (label != IGNORE_LABEL) & (back != IGNORE_LABEL)
    pairs = label[counted] * np.intp(classes) + back[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@lru_cache(maxsize=1024)
def _axis(pixels: int, factor: int, protocol: Protocol) -> tuple[csr_array, csr_array]:
    """The sparse matrices (cells, pixels) and (pixels, cells) of an axis cut into cells from its start.

    The last cell may extend past the end. Cells average what is inside the image; going up needs no such
    care, because a weight that all classes share at a pixel does not change which one is largest.
    """
    cells = np.arange(-(-pixels // factor))
    centre = (factor - 1) / 2 + factor * cells
    distance = np.abs(centre[:, None] - np.arange(pixels)) / factor  # in cells
    if protocol.down in ("centre", "top left"):
        first = factor // 2 if protocol.down == "centre" else 0
        nearest = np.minimum(first + factor * cells, pixels - 1)
        weight = (np.arange(pixels) == nearest[:, None]).astype(np.float64)
    else:
        weight = _kernel(protocol.down, distance)
    return csr_array(weight / weight.sum(axis=1, keepdims=True)), csr_array(_kernel(protocol.up, distance).T)


def _kernel(name: str, distance: Floats) -> Floats:
    if name == "triangle":
        return np.maximum(0.0, 1 - distance)
    return (distance < 0.5).astype(np.float64)
