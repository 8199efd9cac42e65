"""Trained models that people publish give the outputs that Caffe gave.

They come in V1, current and HDF5 files of BVLC's Caffe and of its forks; Caffe ran them on inputs of noise.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from caffe2torch.modules.caffe_net import build
from caffe2torch.net.reading import read


@pytest.fixture(scope="module")
def models(reference: Path) -> dict[Path, Path]:
    """The weights of each model that Caffe ran, by folder."""
    with (reference / "models" / "index.tsv").open() as table:
        rows = [row for row in csv.DictReader(table, delimiter="\t") if row["reference"]]
    folders = [reference / "models" / row["folder"] for row in rows]
    return {folder: folder / row["file"] for folder, row in zip(folders, rows, strict=True)}


def errors_of(folder: Path, weights: Path) -> dict[str, float]:
    """||ours - Caffe's|| / ||Caffe's|| of each output; 0 where both are NaN alike."""
    model = build(read(folder / "net.prototxt", weights))
    with np.load(folder / "ref.npz") as caffe:
        inputs = {name[3:]: torch.from_numpy(caffe[name]) for name in caffe if name.startswith("in.")}
        expected = {name[4:]: caffe[name].astype(np.float64) for name in caffe if name.startswith("out.")}
    with torch.no_grad():
        outputs = model(**inputs)
    assert set(outputs) == set(expected), folder.name
    return {name: error_of(outputs[name].numpy(), expected[name]) for name in expected}


def error_of(ours: np.ndarray, expected: np.ndarray) -> float:
    if ours.shape != expected.shape or not np.array_equal(np.isfinite(ours), np.isfinite(expected)):
        return np.inf
    size = np.linalg.norm(np.nan_to_num(expected))
    return float(np.linalg.norm(np.nan_to_num(ours - expected)) / max(size, 1e-12))


def test_every_model_gives_caffes_outputs(models: dict[Path, Path]) -> None:
    errors = {
        f"{folder.name} {output}": error
        for folder, weights in models.items()
        for output, error in errors_of(folder, weights).items()
    }
    far = {name: f"{error:.1e}" for name, error in errors.items() if error > 1e-5}
    assert len(models) == 35
    assert len(errors) > 70
    assert not far
    assert max(errors.values()) > 0, "nothing was compared"
