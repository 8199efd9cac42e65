"""Forward times: what is measured, how often, and what is said of it."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from fcn_repro.scoring.device import DeviceError
from fcn_repro.tables.timing import WARM_UP, forward_times


class Sleeps(nn.Module):
    """Slow in its first runs, then ten times quicker; `seen` has the shapes it was given."""

    inputs = ("color", "depth")

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(1)), []

    def forward(self, color, depth):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append((tuple(color.shape), tuple(depth.shape)))
        time.sleep(0.2 if len(self.seen) <= WARM_UP else 0.02)
        return color * self.weight


def test_the_median_leaves_the_warm_up_out():
    model = Sleeps()
    (timing,) = forward_times(model, [(5, 7)], channels={"color": 3, "depth": 1}, runs=2)
    assert model.seen == [((1, 3, 5, 7), (1, 1, 5, 7))] * (WARM_UP + 2)
    assert 20 <= timing.quartiles_ms[0] <= timing.median_ms <= timing.quartiles_ms[1]
    assert timing.median_ms < 150
    assert (timing.size, timing.runs, timing.precision) == ((5, 7), 2, "fp32")
    assert "5 x 7, fp32, " in str(timing)
    assert "thread" in timing.device


def test_each_size_is_timed():
    model = Sleeps()
    timings = forward_times(model, [(2, 3), (4, 6)], runs=1)
    assert [timing.size for timing in timings] == [(2, 3), (4, 6)]
    assert {color for color, _ in model.seen} == {(1, 3, 2, 3), (1, 3, 4, 6)}


def test_a_missing_device_is_refused():
    with pytest.raises(DeviceError, match="cuda:99"):
        forward_times(Sleeps(), device="cuda:99")


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="0 runs"):
        forward_times(Sleeps(), runs=0)
