"""Fixtures: where the golden files and, if present, the whole reference lie."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """What real Caffe wrote: layers/, fcn/, solver/, legacy/ and caffe-fields.tsv."""
    return GOLDEN


@pytest.fixture(scope="session")
def reference() -> Path:
    """The whole reference, with the corpus of prototxt files and real models; it lies beside the project."""
    folder = Path(__file__).parents[2] / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference corpus is not at {folder}")
    return folder
