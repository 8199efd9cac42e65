"""What the commands work on: a folder with models, photos, a data set and databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import caffe2torch as c2t
from tests.nets import net_of
from tests.places import GOLDEN

NET = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: 'score' type: 'Convolution' bottom: 'data' top: 'score'
        convolution_param { num_output: 3 kernel_size: 1 } }
"""
TRAIN = """
layer { name: 'data' type: 'ImageData' top: 'data' top: 'label'
        image_data_param { source: 'same.txt' root_folder: 'images/' batch_size: 2 } }
layer { name: 'fc' type: 'InnerProduct' bottom: 'data' top: 'fc'
        inner_product_param { num_output: 10 weight_filler { type: 'gaussian' std: 1e-4 } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'fc' bottom: 'label' top: 'loss' }
"""
SOLVER = """
net: 'train.prototxt' base_lr: 1e-7 lr_policy: 'fixed' max_iter: 4 snapshot: 2 snapshot_prefix: 'snap'
random_seed: 1
"""
FEATURES = TRAIN[: TRAIN.index("layer { name: 'loss'")]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    folder = tmp_path_factory.mktemp("faults") / "work"
    shutil.copytree(GOLDEN / "pycaffe" / "feeding", folder)
    shutil.copy(GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel", folder / "voc.caffemodel")
    model = c2t.build(net_of(NET, score=[np.eye(3)[:, :, None, None], np.zeros(3)]))
    model.preprocessing = {"data": c2t.Preprocessing((0.0, 0.0, 0.0), channels="BGR")}
    colours = ((0, 0, 255), (0, 200, 0), (255, 0, 0))
    model.labellings = {"score": c2t.Labelling(("blue", "green", "red"), colours)}
    c2t.export(model, folder / "known.safetensors")
    random = np.random.default_rng(1)
    for place in ("photos", "mine/train/images", "mine/train/labels", "mine/val/images", "mine/val/labels"):
        (folder / place).mkdir(parents=True)
        for name in ("a.png", "b.png", "c.png"):
            image = random.integers(0, 3 if "labels" in place else 256, (16, 12, 3), np.uint8)
            image = image[:, :, 0] if "labels" in place else image
            Image.fromarray(image).save(folder / place / name)
    (folder / "mine" / "classes.txt").write_text("blue\ngreen\nred\n")
    (folder / "train.prototxt").write_text(TRAIN)
    (folder / "features.prototxt").write_text(FEATURES)
    (folder / "solver.prototxt").write_text(SOLVER)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the folder."""
    count = 0

    def copy() -> Path:
        nonlocal count
        count += 1
        return shutil.copytree(made, tmp_path / str(count))

    return copy
