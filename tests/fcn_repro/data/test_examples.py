"""What a training step sees: the order, the flips, and the reading ahead."""

from __future__ import annotations

import threading
import time
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.examples import Order, dropout_seed, examples
from fcn_repro.data.read_ahead import read_ahead
from tests.fcn_repro.trainings import MEAN_BGR, write_images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "mine")


def seen(images, numbers, *, kind="epochs", mirror=False, seed=8):
    dataset = open_dataset("folder", images, "train")
    order = Order(kind, len(dataset), seed)
    return examples(dataset, numbers, order, blobs=("data",), mean_bgr=MEAN_BGR, mirror=mirror)


def test_random_draws_are_with_replacement_and_uniform():
    """Chi-square over 6 images has 5 degrees of freedom; it is below 20.5 in 999 of 1000 cases."""
    drawn = [Order("random", 6, 3).index(number) for number in range(6000)]
    counts = np.bincount(drawn, minlength=6)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 20.5, counts
    repeated = sum(first == second for first, second in pairwise(drawn))
    assert 850 < repeated < 1150, "one in six follows itself, as with replacement"


def test_epochs_are_permutations_each_another():
    order = Order("epochs", 13, 3)
    passes = [tuple(order.index(13 * epoch + place) for place in range(13)) for epoch in range(5)]
    assert all(sorted(indices) == list(range(13)) for indices in passes)
    assert len({*passes, tuple(range(13))}) == 6, passes


@pytest.mark.parametrize("kind", ["random", "epochs"])
def test_the_order_depends_on_the_seed_and_on_nothing_else(kind):
    first, again, other = (
        [Order(kind, 50, seed).index(number) for number in range(200)] for seed in (1, 1, 2)
    )
    assert first == again
    assert sum(a == b for a, b in zip(first, other, strict=True)) < 20
    assert Order(kind, 50, 1).index(123) == first[123], "without what came before"


def test_half_the_images_are_mirrored_whichever_they_are():
    order = Order("random", 2, 3)
    pairs = np.array([(order.index(number), order.mirrored(number)) for number in range(4000)])
    shares = [pairs[pairs[:, 0] == index, 1].mean() for index in (0, 1)]
    assert all(0.46 < share < 0.54 for share in shares), shares


def test_dropout_draws_anew_at_every_example():
    assert len({dropout_seed(seed, number) for seed in (1, 2) for number in range(500)}) == 1000


def test_an_example_is_the_image_and_its_labels(images):
    for example in islice(seen(images, range(5)), 5):
        rgb = np.asarray(Image.open(images / f"train/images/{example.id}.png")).astype(np.float32)
        label = np.asarray(Image.open(images / f"train/labels/{example.id}.png"))
        expected = np.stack([rgb[:, :, 2 - channel] - MEAN_BGR[channel] for channel in range(3)])
        assert example.inputs["data"].dtype == torch.float32
        assert np.array_equal(example.inputs["data"][0].numpy(), expected)
        assert example.labels["sem"].dtype == torch.int64
        assert np.array_equal(example.labels["sem"][0].numpy(), label)


def test_a_mirrored_example_is_flipped_with_its_labels(images):
    plain, mirrored = (list(seen(images, range(40), mirror=mirror)) for mirror in (False, True))
    flipped = 0
    for before, after in zip(plain, mirrored, strict=True):
        image, label = before.inputs["data"].numpy(), before.labels["sem"].numpy()
        if not np.array_equal(after.inputs["data"].numpy(), image):
            flipped, image, label = flipped + 1, image[..., ::-1], label[..., ::-1]
        assert np.array_equal(after.inputs["data"].numpy(), image), after.number
        assert np.array_equal(after.labels["sem"].numpy(), label), after.number
    assert 10 < flipped < 30


@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_see_what_one_does(images, world):
    alone = list(seen(images, range(12), mirror=True))
    shared = [list(seen(images, range(rank, 12, world), mirror=True)) for rank in range(world)]
    together = sorted((example for own in shared for example in own), key=lambda example: example.number)
    assert [(e.number, e.id) for e in together] == [(e.number, e.id) for e in alone]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.inputs["data"], other.inputs["data"])
        assert torch.equal(one.labels["sem"], other.labels["sem"])


def test_secret_labels_are_refused(images):
    secret = open_dataset("folder", images, "train")
    kind = type("Secret", (type(secret),), {"labelled": False})
    dataset = kind(secret.folder, "train", secret.ids)
    with pytest.raises(MissingData, match="folder train: the labels are secret"):
        examples(dataset, range(3), Order("random", 5, 1), blobs=("data",), mean_bgr=MEAN_BGR)


def test_what_reading_raises_comes_at_its_turn(images):
    order = [Order("epochs", 5, 8).index(number) for number in range(5)]
    image, moved, turn = images / "train/images/train3.png", images / "moved.png", order.index(3)
    got = seen(images, range(5))
    image.rename(moved)
    try:
        assert [next(got).id for _ in range(turn)] == [f"train{index}" for index in order[:turn]]
        with pytest.raises((ReadError, MissingData), match=r"train3.*no such file"):
            next(got)
    finally:
        moved.rename(image)


def test_results_come_in_order_however_slow_some_are():
    delays = np.random.default_rng(1).permutation(12) / 500

    def work(item):
        time.sleep(delays[item])
        return item, threading.current_thread().name

    found = list(read_ahead(work, range(12), threads=4, ahead=8))
    assert [item for item, _ in found] == list(range(12))
    assert len({name for _, name in found}) > 1


def test_no_more_is_read_than_is_allowed():
    started = []
    results = read_ahead(started.append, range(100), threads=2, ahead=3)
    next(results)
    assert len(started) <= 4
    results.close()
    assert len(started) <= 4


def test_what_items_raise_comes_after_the_results_before():
    def items():
        yield from (1, 2, 3)
        raise KeyboardInterrupt

    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(read_ahead(lambda x: 10 * x, items(), ahead=2))
    assert found == [10, 20, 30]
