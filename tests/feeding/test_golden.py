"""Batches against those of BVLC Caffe: feeding/make.py of the golden files ran it; no draw is in them."""

import shutil

import numpy as np
import pytest

from caffe2torch.feeding.source import source_of
from caffe2torch.net.reading import read
from tests.places import GOLDEN

FOLDER = GOLDEN / "pycaffe" / "feeding"
CASES = sorted(path.stem for path in FOLDER.glob("*.prototxt"))


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """A copy, since LevelDB writes into the folder that it opens."""
    folder = shutil.copytree(FOLDER, tmp_path / "golden")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_batches(golden, case):
    if case == "data_leveldb":
        pytest.importorskip("plyvel")
    (layer,) = read(f"{case}.prototxt").layers
    source = source_of(layer, "TEST", 1)
    stored = np.load(f"{case}.npz")
    shapes = source.shapes()
    for i in range(4):
        for shape, top, values in zip(shapes, layer.tops, source.next(), strict=True):
            expected = stored[f"{i}.{top}"]
            assert i > 0 or shape == expected.shape
            assert values.dtype == np.float32
            assert values.flags.c_contiguous
            np.testing.assert_array_equal(values, expected, f"batch {i} of {top}")


def test_every_kind_of_case_is_there():
    assert len(CASES) == 18
