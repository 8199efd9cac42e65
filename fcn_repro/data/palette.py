"""The colours that the data sets paint their classes with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from caffe2torch import Labelling


def colormap(count: int) -> npt.NDArray[np.uint8]:
    """PASCAL VOC's colours for the labels 0 to count - 1, (count, 3), RGB; count at most 256."""
    return frozen(Labelling.numbered(count).colours)


def labelling(classes: Sequence[str], colours: npt.NDArray[np.uint8] | Sequence[Sequence[int]]) -> Labelling:
    """Classes with their colours (N, 3), RGB."""
    red_green_blue = ((int(red), int(green), int(blue)) for red, green, blue in colours)
    return Labelling(tuple(classes), tuple(red_green_blue))


def frozen(colours: npt.NDArray[np.uint8] | Sequence[Sequence[int]]) -> npt.NDArray[np.uint8]:
    """Colours (N, 3) as a read-only array."""
    palette = np.array(colours, np.uint8).reshape(-1, 3)
    palette.setflags(write=False)
    return palette
