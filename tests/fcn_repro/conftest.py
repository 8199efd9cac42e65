"""Fixtures: where real images and labels lie, if present."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """VOC and CamVid images with labels, and the labels of seg11valid; they lie beside the project."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images and labels are not at {folder}")
    return folder
