"""Two trainings in one folder, and what is said of the images before the first step."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import WriteError
from fcn_repro.training.lock import locked
from tests.fcn_repro.trainings import Command, write_images, write_recipe


@pytest.fixture
def work(tmp_path):
    write_images(tmp_path / "mine")
    write_recipe(tmp_path / "my.toml", max_iter=10**6)
    return tmp_path


@pytest.mark.fault(
    "two trainings in one folder, one killed",
    "fcn-repro --train",
    "the second is refused until the first is gone",
)
def test_a_second_training_is_refused_until_the_first_is_gone(work):
    asked = ("--train", work / "my.toml", "--home", work)
    first = Command(*asked)
    try:
        while first.process.is_alive() and not (work / "training/my/train.csv").is_file():
            time.sleep(0.01)
        code, said = Command(*asked, "--iterations", 1).wait()
    finally:
        first.signal(signal.SIGKILL)
    first.wait()
    assert code == 1
    assert said == (
        f"fcn-repro: {work / 'training/my'}: another training works here, process {first.process.pid} on "
        f"{os.uname().nodename}; wait until it ends, or train under another name or in another --home\n"
    )
    Command(*asked, "--iterations", 1).done()


def test_the_lock_ends_with_the_work_and_is_each_folders_own(tmp_path):
    refused = pytest.raises(WriteError, match="another training works here")
    with locked(tmp_path / "a"), locked(tmp_path / "b"), refused, locked(tmp_path / "a"):
        pass
    with pytest.raises(KeyError), locked(tmp_path / "a"):
        raise KeyError
    with locked(tmp_path / "a"):
        pass


def test_what_to_know_about_the_images_is_said_before_the_first_step(work):
    for path in (work / "mine/train/labels").iterdir():
        label = np.array(Image.open(path))
        Image.fromarray(np.where(label == 1, 0, label)).save(path)
    (work / "mine/val/images/notes.txt").touch()
    said = Command("--train", work / "my.toml", "--home", work, "--iterations", 1).done()
    first, second, *_ = said.splitlines()
    assert first == (
        "fcn-repro: folder/train: No label shows sky: not to be learned from these, and IU 0 where predicted."
    )
    assert second.startswith("fcn-repro: folder/val: Left out of images, being none of JPEG, PNG, ")
