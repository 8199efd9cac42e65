"""How long a net takes for an image: only forward passes, on a named device.

The image is on the device when the clock starts, and the scores are when it stops. The papers give the mean
of 20 runs at 500 x 500 (CVPR 2015, Table 1, Tesla K40c); here it is the median, with the spread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fcn_repro.scoring.device import device_name, synchronize, usable
from fcn_repro.scoring.predict import inference

RUNS, WARM_UP = 20, 3
SIZES = ((500, 500),)
"""Height and width in the papers' tables."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds for one image of (H, W): the median of `runs`, and their quartiles."""

    size: tuple[int, int]
    median_ms: float
    quartiles_ms: tuple[float, float]
    runs: int
    precision: str
    device: str

    def __str__(self) -> str:
        (height, width), (low, high) = self.size, self.quartiles_ms
        return (
            f"{self.median_ms:.1f} ms (half of {self.runs} runs within {low:.1f} to {high:.1f}), "
            f"{height} x {width}, {self.precision}, {self.device}"
        )


def forward_times(
    model: nn.Module,
    sizes: Sequence[tuple[int, int]] = SIZES,
    *,
    channels: Mapping[str, int] | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    runs: int = RUNS,
) -> tuple[Timing, ...]:
    """The time for one image of each size (H, W), after a warm-up; the pixels are random numbers.

    `channels` of each input blob, by default 3 for each name in `model.inputs`. Raises DeviceError.
    """
    if runs < 1:
        raise ValueError(f"{runs} runs: at least one is needed")
    place = usable(device)
    blobs = channels or dict.fromkeys(model.inputs, 3)  # type: ignore[arg-type]
    with inference(model, precision, place):
        return tuple(_timing(model, size, blobs, place, precision, runs) for size in sizes)


def _timing(
    model: nn.Module,
    size: tuple[int, int],
    channels: Mapping[str, int],
    device: torch.device,
    precision: str,
    runs: int,
) -> Timing:
    generator = torch.Generator().manual_seed(0)
    images = {
        blob: torch.rand((1, count, *size), generator=generator).mul(255).sub(110).to(device)
        for blob, count in channels.items()
    }
    seconds = [_seconds(model, images, device) for _ in range(WARM_UP + runs)][WARM_UP:]
    low, median, high = (1e3 * np.percentile(seconds, [25, 50, 75])).tolist()
    return Timing(size, median, (low, high), runs, precision, device_name(device))


def _seconds(model: nn.Module, images: Mapping[str, torch.Tensor], device: torch.device) -> float:
    synchronize(device)
    begin = time.perf_counter()
    model(**images)
    synchronize(device)
    return time.perf_counter() - begin
