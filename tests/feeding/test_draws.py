"""What is drawn at random: every value that may come does, and one seed gives one order."""

from collections import Counter

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.feeding.layers import datum, source, write_lmdb
from tests.plain_protobuf import message

IMAGE = np.arange(2 * 6 * 7, dtype=np.uint8).reshape(2, 6, 7)
"""Every value once, so that a crop's first value says where it is from."""


@pytest.fixture
def database(tmp_path):
    return write_lmdb(tmp_path / "db", [datum(IMAGE)])


def crops(database, transform, phase, count=400, seed=1):
    text = f"type: 'Data' transform_param {{ {transform} }} data_param {{ source: '{database}' backend: LMDB"
    return source(database.parent, f"{text} batch_size: {count} }}", phase, seed).next()[0]


def test_crops_of_training(database):
    found = crops(database, "crop_size: 4", "TRAIN")
    corners = Counter(divmod(int(crop[0, 0, 0]), 7) for crop in found)
    assert corners.keys() == {(top, left) for top in range(3) for left in range(4)}
    assert min(corners.values()) > 400 / 12 / 2
    for crop in found:
        top, left = divmod(int(crop[0, 0, 0]), 7)
        assert (crop == IMAGE[:, top : top + 4, left : left + 4]).all()


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_half_are_mirrored(database, phase):
    found = crops(database, "mirror: true", phase)
    mirrored = sum((image == IMAGE[:, :, ::-1]).all() for image in found)
    assert 150 < mirrored < 250
    assert sum((image == IMAGE).all() for image in found) == 400 - mirrored


def test_mean_of_the_pixels_own_place(database, tmp_path):
    values = np.arange(IMAGE.size, dtype=np.float32).reshape(1, *IMAGE.shape)
    blob = message("BlobProto")(num=1, channels=2, height=6, width=7, data=values.ravel())
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    found = crops(database, f"crop_size: 3 mirror: true mean_file: '{tmp_path}/mean.binaryproto'", "TRAIN")
    assert not found.any()  # each pixel is its mean, wherever the crop is and whichever way it is turned


def test_a_window_is_without_the_middle_of_the_mean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels, mean = np.arange(27, dtype=np.uint8).reshape(3, 3, 3), np.arange(75, dtype=np.float32)
    Image.fromarray(pixels).save("a.png")
    blob = message("BlobProto")(num=1, channels=3, height=5, width=5, data=mean)
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    (tmp_path / "list.txt").write_text("# 0 a.png 3 3 3 1\n1 0.1 0 0 2 2")
    text = "transform_param { crop_size: 3 mean_file: 'mean.binaryproto' } "
    text += "window_data_param { source: 'list.txt' batch_size: 1 fg_fraction: 0 scale: 2 }"
    (found,) = source(tmp_path, f"type: 'WindowData' {text}").next()[0]
    bgr = pixels[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(found, (bgr - mean.reshape(3, 5, 5)[:, 1:4, 1:4]) * 2)


def test_dummy_data_of_four_numbers(tmp_path):
    """The older form of its shapes."""
    old = "num: 2 channels: 3 height: 4 width: 5 num: 6 channels: 1 height: 1 width: 2"
    one = source(tmp_path, f"type: 'DummyData' dummy_data_param {{ {old} data_filler {{ value: 7 }} }}")
    assert one.shapes() == ((2, 3, 4, 5), (6, 1, 1, 2))
    assert [(x.shape, set(x.ravel().tolist())) for x in one.start()] == [
        ((2, 3, 4, 5), {7}),
        ((6, 1, 1, 2), {7}),
    ]


def test_seeds(database):
    first, second, third = (
        crops(database, "crop_size: 4 mirror: true", "TRAIN", 20, seed) for seed in (5, 5, 6)
    )
    assert (first == second).all()
    assert (first != third).any()


def lines(folder):
    for i in range(6):
        Image.fromarray(np.full((2, 3), i, np.uint8)).save(folder / f"{i}.png")
    (folder / "list.txt").write_text("".join(f"{folder}/{i}.png {i}\n" for i in range(6)))
    return f"type: 'ImageData' image_data_param {{ source: '{folder}/list.txt' is_color: false "


def test_shuffled_images(tmp_path):
    images = source(tmp_path, f"{lines(tmp_path)} batch_size: 4 shuffle: true }}")
    labels = np.concatenate([images.next()[1] for _ in range(15)]).reshape(10, 6)
    assert (np.sort(labels) == np.arange(6)).all()  # each round has every image, also across batches
    assert len({tuple(order) for order in labels}) > 5
    data, labels = images.next()
    assert (data[:, 0, 0, 0] == labels).all()


def test_images_skipped(tmp_path):
    text = lines(tmp_path)
    starts = {int(source(tmp_path, f"{text} rand_skip: 3 }}", seed=seed).next()[1][0]) for seed in range(20)}
    assert starts == {0, 1, 2}


def test_shuffled_rows(tmp_path):
    for name, start, count in (("a", 0, 3), ("b", 3, 4)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["data"] = file["label"] = np.arange(start, start + count)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.h5\n{tmp_path}/b.h5\n")
    text = f"type: 'HDF5Data' hdf5_data_param {{ source: '{tmp_path}/list.txt' batch_size: 2 shuffle: true }}"
    rows = source(tmp_path, text)
    batches = [rows.next() for _ in range(35)]
    assert all((data == label).all() for data, label in batches)
    rounds = np.concatenate([data for data, _ in batches]).reshape(10, 7)
    assert (np.sort(rounds) == np.arange(7)).all()
    assert {row[:3].max() < 3 for row in rounds} == {True, False}  # either file may be the first
    assert len({tuple(order) for order in rounds}) > 5
    again = source(tmp_path, text)
    assert (np.concatenate([again.next()[0] for _ in range(35)]) == rounds.ravel()).all()


def test_windows_by_share(tmp_path):
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10)).save(tmp_path / "a.png")
    windows = "2 0.7 0 0 4 4\n3 0.5 1 1 5 5\n1 0.2 2 2 6 5\n"
    (tmp_path / "list.txt").write_text(f"# 0\n{tmp_path}/a.png\n3\n6\n10\n3\n{windows}")
    text = f"""type: 'WindowData' transform_param {{ crop_size: 5 }}
      window_data_param {{ source: '{tmp_path}/list.txt' batch_size: 10 fg_fraction: 0.3 }}"""
    reader = source(tmp_path, text)
    labels = np.array([reader.next()[1] for _ in range(30)])
    assert not labels[:, :7].any()
    assert set(labels[:, 7:].ravel()) == {2, 3}
