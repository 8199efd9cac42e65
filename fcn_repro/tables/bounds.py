"""Appendix A: the best mean IU that labels of a coarse grid allow, measured on the ground truth itself.

The labels go down to the grid and up again (downsampling.py), and are scored against the originals. The
paper names no interpolation (arXiv 1411.4038v2); the default protocol is the one that gives its numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from caffe2torch.command_line import Progress
from caffe2torch.errors import ReadError
from fcn_repro.data.datasets import Dataset
from fcn_repro.scoring.metrics import Confusion, Scores
from fcn_repro.tables.downsampling import PROTOCOLS, Protocol, confusions

FACTORS = (128, 64, 32, 16, 8, 4)
"""The paper's factors."""

DEFAULT_PROTOCOL = "bilinear"


@dataclass(frozen=True)
class Bounds:
    """The scores of labels resampled through a grid, by its factor; `protocol` is a key of PROTOCOLS."""

    protocol: str
    images: int
    seconds: float
    scores: Mapping[int, Scores]

    @property
    def text(self) -> str:
        """What the protocol does."""
        return PROTOCOLS[self.protocol].text


def tolerance(factor: int) -> float:
    """By how many points of mean IU a measured bound may differ from the published one.

    At 128 a few cells cover the image, and the result depends on where they start, which the paper omits.
    """
    return 1.0 if factor >= 128 else 0.3


def upper_bounds(
    dataset: Dataset,
    factors: Sequence[int] = FACTORS,
    protocol: str = DEFAULT_PROTOCOL,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Bounds:
    """The bounds on a data set's labels (first head), in `workers` threads, by default one per core.

    Raises KeyError for an unknown protocol, ValueError for a factor below 1, ReadError for broken labels.
    """
    if wrong := [factor for factor in factors if factor < 1]:
        raise ValueError(f"factor {wrong[0]}: expected 1 or more")
    begin = time.perf_counter()
    classes = len(dataset.classes)
    total = np.zeros((len(factors), classes, classes), np.int64)
    count = partial(_count, dataset, factors, PROTOCOLS[protocol])
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for done, counts in enumerate(pool.map(count, range(len(dataset))), start=1):
            total += counts
            if progress is not None:
                progress(done, len(dataset))
    scores = [Confusion(classes).with_counts(counts).scores() for counts in total]
    return Bounds(
        protocol, len(dataset), time.perf_counter() - begin, dict(zip(factors, scores, strict=True))
    )


def _count(dataset: Dataset, factors: Sequence[int], protocol: Protocol, index: int) -> npt.NDArray[np.int64]:
    label = next(iter(dataset.labels(index).values()))
    try:
        return confusions(label, len(dataset.classes), factors, protocol)
    except ValueError as error:
        raise ReadError(f"{dataset.ids[index]}: {error}") from error
