"""What a training step sees: the n-th example depends only on the seed and n.

    n ─ Order ─→ index, mirrored ─ Dataset ─→ Sample ─ net_inputs ─→ Example: tensors

So a resumed training continues with the same examples, and processes split exactly what one would see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from caffe2torch.errors import MissingData
from fcn_repro.data.datasets import Dataset, Sample
from fcn_repro.data.read_ahead import read_ahead
from fcn_repro.data.transforms import net_inputs, prepared

THREADS = 4
"""Images read at a time: decoding releases Python's lock."""

_DRAW, _MIRROR, _SHUFFLE, _DROPOUT = range(4)
"""What is random: each has its own stream."""


@dataclass(frozen=True)
class Example:
    """One image with its labels, a batch of one: float32 (1, C, H, W) by blob, int64 (1, H, W) by head."""

    number: int
    id: str
    inputs: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]

    def to(self, device: torch.device) -> Example:
        """The same on a device; the copy runs in the background."""
        if device.type == "cpu":
            return self
        inputs = {
            blob: image.pin_memory().to(device, non_blocking=True) for blob, image in self.inputs.items()
        }
        labels = {head: x.pin_memory().to(device, non_blocking=True) for head, x in self.labels.items()}
        return Example(self.number, self.id, inputs, labels)


@dataclass(frozen=True)
class Order:
    """Which of `count` images is n-th: drawn with replacement ("random") or in shuffled passes ("epochs")."""

    kind: str
    count: int
    seed: int

    def index(self, number: int) -> int:
        """The image of the example `number`, from 0."""
        if self.kind == "random":
            return int(_random(self.seed, _DRAW, number).integers(self.count))
        epoch, place = divmod(number, self.count)
        return int(_shuffled(self.seed, epoch, self.count)[place])

    def mirrored(self, number: int) -> bool:
        """Whether it is flipped, if the recipe has half of them flipped."""
        return bool(_random(self.seed, _MIRROR, number).integers(2))


def examples(
    dataset: Dataset,
    numbers: Iterable[int],
    order: Order,
    *,
    blobs: Sequence[str],
    mean_bgr: Sequence[float],
    mirror: bool = False,
) -> Iterator[Example]:
    """The examples with these numbers; the next ones are read ahead.

    Raises MissingData for a data set with secret labels or without the blobs that `blobs` names, and what
    reading raises.
    """
    if not dataset.labelled:
        raise MissingData(f"{dataset.name} {dataset.split}: the labels are secret, so nothing can be learned")

    def read(number: int) -> Example:
        sample = dataset[order.index(number)]
        example = _example(number, sample, blobs, mean_bgr)
        return _flipped(example) if mirror and order.mirrored(number) else example

    return read_ahead(read, numbers, threads=THREADS, ahead=2 * THREADS)


def dropout_seed(seed: int, number: int) -> int:
    """The seed of torch's random numbers at an example: dropout is the same in any process."""
    return int(_random(seed, _DROPOUT, number).integers(1 << 62))


def _example(number: int, sample: Sample, blobs: Sequence[str], mean_bgr: Sequence[float]) -> Example:
    images = net_inputs(sample, blobs, prepared(blobs, mean_bgr))
    inputs = {blob: torch.from_numpy(image)[None] for blob, image in images.items()}
    labels = {head: torch.from_numpy(label.astype(np.int64))[None] for head, label in sample.labels.items()}
    return Example(number, sample.id, inputs, labels)


def _flipped(example: Example) -> Example:
    inputs = {blob: image.flip(-1) for blob, image in example.inputs.items()}
    return Example(
        example.number, example.id, inputs, {head: label.flip(-1) for head, label in example.labels.items()}
    )


def _random(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return _random(seed, _SHUFFLE, epoch).permutation(count)
