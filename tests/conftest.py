"""Fixtures: where the golden files and, if present, the whole reference lie."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.places import GOLDEN

# Small nets gain nothing from threads, and parallel test processes lose much; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from tests.places import SHARED


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Ctrl-C is what it is on a terminal, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden() -> Path:
    """What real Caffe wrote: layers/, fcn/, solver/, legacy/ and caffe-fields.tsv."""
    return GOLDEN


@pytest.fixture(scope="session")
def reference() -> Path:
    """The whole reference, with the corpus of prototxt files and real models; it lies beside the project."""
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference corpus is not at {folder}")
    return folder
