"""The eight example notebooks of Caffe in miniature: each replay gives what it gave under real Caffe.

replays.py of the golden files ran there, and wrote replays.npz.
"""

import importlib
import shutil
import sys

import numpy as np
import pytest

from caffe2torch.pycaffe import install
from tests.places import GOLDEN

FOLDER = GOLDEN / "pycaffe" / "scripts"
NAMES = (
    "classification",
    "learning_lenet",
    "fine_tuning",
    "brewing_logreg",
    "net_surgery",
    "multilabel",
    "detection",
    "siamese",
)


@pytest.fixture
def replays(monkeypatch, tmp_path):
    """The script, which imports `caffe`, with nothing of it left in this process afterwards."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(tmp_path)
    install()
    yield importlib.import_module("replays")
    for name in {name for name in sys.modules if name.partition(".")[0] in ("caffe", "replays")} - known:
        del sys.modules[name]


def test_all_are_replayed(replays):
    assert tuple(replay.__name__ for replay in replays.REPLAYS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_replay(replays, tmp_path, name):
    if name == "learning_lenet":
        pytest.importorskip("plyvel")
    feeding = shutil.copytree(FOLDER.parent / "feeding", tmp_path / "feeding")
    found = getattr(replays, name)(feeding)
    with np.load(FOLDER / "replays.npz") as stored:
        expected = {key.partition("/")[2]: stored[key] for key in stored if key.startswith(f"{name}/")}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=2e-5, atol=2e-5 * np.abs(value).max(), err_msg=key)
