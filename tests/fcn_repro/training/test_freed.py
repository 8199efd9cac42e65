"""What a step has freed is the system's again before the largest gradient is made."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fcn_repro.training import freed, products
from fcn_repro.training.products import multiplied

PIECE, PIECES = 100_000, 640


def resident() -> int:
    """This process's memory, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(freed._trim is None, reason="the C library keeps nothing, or does not give it back")
def test_freed_pieces_go_back_to_the_system():
    pieces = [torch.ones(PIECE // 4) for _ in range(PIECES)]
    before, last = resident(), pieces.pop()  # which holds the end of the heap
    pieces.clear()
    freed.give_back()
    assert before - resident() > PIECE * PIECES // 2
    assert last.sum() == PIECE // 4


def test_nothing_happens_where_the_c_library_cannot(monkeypatch):
    monkeypatch.setattr(freed, "_trim", None)
    freed.give_back()
    monkeypatch.setattr(sys, "platform", "win32")
    assert freed._found() is None


def test_the_features_are_given_back_before_the_gradient_of_a_products_weights(monkeypatch):
    events = []
    monkeypatch.setattr(products, "give_back", lambda: events.append("given back"))
    monkeypatch.setattr(products, "_of_weight", lambda weight, *_: events.append("made") or weight)
    model = nn.Sequential(nn.Conv2d(2, 64, 3))
    with multiplied(model):
        model(torch.ones(1, 2, 4, 5)).sum().backward()
    assert events == ["given back", "made"]
