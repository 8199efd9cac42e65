"""The evaluation server's archive, read back with tarfile, and its answers."""

from __future__ import annotations

import gzip
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image

from caffe2torch.errors import MissingData, ReadError, WriteError
from fcn_repro.data.datasets import open_dataset
from fcn_repro.scoring.voc_server import ServerResult, pack, read_answer
from tests.fcn_repro.miniatures import voc_colour

DEVKIT_COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]  # background to boat, in the devkit
IDS = ("2008_000006", "2008_000011", "2009_000999")
CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
PERCENT = tuple(40.0 + 2.125 * i for i in range(21))


@pytest.fixture
def test_set(tmp_path):
    """VOC 2012 test as unpacked, of three images."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "test.txt").write_text("\n".join(IDS))
    for number, name in enumerate(IDS):
        Image.new("RGB", (31 + number, 20)).save(folder / "JPEGImages" / f"{name}.jpg")
    return open_dataset("voc2012", tmp_path, "test", expected_count=3)


def voc_colormap():
    return [value for label in range(256) for value in voc_colour(label)]


@pytest.fixture
def predictions(tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    for number, name in enumerate(IDS):
        save(folder / f"{name}.png", (20, 31 + number), seed=number)
    return folder


def save(path, shape, seed=0, palette=None, classes=21):
    label = np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)
    image = Image.fromarray(label)
    image.putpalette(palette or voc_colormap())
    image.save(path)


def test_the_archive_has_a_palette_png_for_each_id(test_set, predictions, tmp_path):
    assert voc_colormap()[:15] == DEVKIT_COLOURS
    said = pack(predictions, test_set, tmp_path / "out" / "results.tgz")
    with tarfile.open(tmp_path / "out" / "results.tgz") as tar:
        assert tar.getnames() == [f"results/VOC2012/Segmentation/comp6_test_cls/{name}.png" for name in IDS]
        for entry, name in zip(tar.getmembers(), IDS, strict=True):
            assert tar.extractfile(entry).read() == (predictions / f"{name}.png").read_bytes()
    assert "3 predictions" in said
    assert "http://host.robots.ox.ac.uk:8080/" in said
    assert "VOC2012, Segmentation, comp6" in said


def test_tar_unpacks_it(test_set, predictions, tmp_path):
    pack(
        predictions, open_dataset("voc2011", tmp_path, "test", expected_count=3), tmp_path / "r.tgz", "comp5"
    )
    subprocess.run(["tar", "-xzf", tmp_path / "r.tgz", "-C", tmp_path], check=True)
    assert len(list((tmp_path / "results/VOC2011/Segmentation/comp5_test_cls").glob("*.png"))) == 3


def test_the_same_predictions_give_the_same_bytes(test_set, predictions, tmp_path):
    pack(predictions, test_set, tmp_path / "a.tgz")
    (predictions / f"{IDS[0]}.png").touch()
    pack(predictions, test_set, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tgz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.tgz").read_bytes())


def test_a_missing_prediction_is_said_and_nothing_written(test_set, predictions, tmp_path):
    (predictions / f"{IDS[1]}.png").unlink()
    with pytest.raises(MissingData, match=r"1 of 3 predictions are missing, the first is 2008_000011\.png"):
        pack(predictions, test_set, tmp_path / "r.tgz")
    assert not (tmp_path / "r.tgz").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: save(path, (32, 20)), r"\(H, W\) is \(32, 20\), of its image \(20, 32\)"),
        (lambda path: save(path, (20, 32), palette=list(range(256)) * 3), "its colours are not VOC's"),
        (lambda path: save(path, (20, 32), classes=40), "label 39; the server takes 0 to 20"),
        (lambda path: Image.new("L", (32, 20)).save(path), "its colours are not VOC's"),
        (lambda path: Image.new("RGB", (32, 20)).save(path), "mode RGB"),
        (lambda path: path.write_bytes(b"nothing"), "not a PNG"),
    ],
)
def test_what_the_server_would_refuse_is_refused_by_name(test_set, predictions, tmp_path, spoil, message):
    spoil(predictions / f"{IDS[1]}.png")
    with pytest.raises(ReadError, match=message) as refused:
        pack(predictions, test_set, tmp_path / "r.tgz")
    assert f"{IDS[1]}.png" in str(refused.value)
    assert not (tmp_path / "r.tgz").exists()


def test_a_prediction_has_a_size(test_set, predictions, tmp_path, monkeypatch):
    largest = max(path.stat().st_size for path in predictions.iterdir())
    monkeypatch.setattr("fcn_repro.scoring.voc_server.MAX_PNG_BYTES", largest)
    pack(predictions, test_set, tmp_path / "r.tgz")
    monkeypatch.setattr("fcn_repro.scoring.voc_server.MAX_PNG_BYTES", largest - 1)
    with pytest.raises(ReadError, match=f"{largest} bytes; a prediction has at most {largest - 1}"):
        pack(predictions, test_set, tmp_path / "s.tgz")


def test_only_a_tgz_is_written(test_set, predictions, tmp_path):
    with pytest.raises(WriteError, match=r"results\.zip: the server takes a \.tgz"):
        pack(predictions, test_set, tmp_path / "results.zip")


LISTING = "\n".join(
    [
        "Accuracy for each class (intersection/union measure)",
        *(f"  {name:>14}: {value:6.3f}%" for name, value in zip(CLASSES, PERCENT, strict=True)),
        "-------------------------",
        f"Average accuracy: {sum(PERCENT) / 21:6.3f}%",
    ]
)
TITLES = ("", "mean", "aero plane", "bicycle", "dining table", "tv/<br> monitor", "submission date")
PAGE = f"""<html><body><table><tr><td>menu</td></tr></table><table>
<tr>{"".join(f"<th><a href='?cls=x'>{title}</a></th>" for title in TITLES)}</tr>
<tr><td>FCN-8s &amp; heavy</td><td><b>67.2</b></td><td>82.4</td>
<td>36.1</td><td>-</td><td>58.5</td><td>20-May-2016</td></tr>
</table></body></html>"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LISTING, ServerResult(61.25, dict(zip(CLASSES, PERCENT, strict=True)))),
        (PAGE, ServerResult(67.2, {"aeroplane": 82.4, "bicycle": 36.1, "tvmonitor": 58.5})),
        (" 67.2 %\n", ServerResult(67.2)),
        ("mean: 62.2", ServerResult(62.2)),
    ],
)
def test_answers(tmp_path, text, expected):
    (tmp_path / "answer").write_text(text)
    assert read_answer(tmp_path / "answer") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no mean IU found"),
        ("<table><![<td>", "no mean IU found"),
        ("an evaluation error", "no mean IU found"),
        ("person: 73.0%", "no mean IU found"),
        ("100.5", r"100\.5 is not a percentage"),
        (
            LISTING.replace("accuracy: 61.250%", "accuracy: 67.000%"),
            r"the classes' mean is 61\.25, but it is given as 67\.0",
        ),
        (PAGE.replace("</th>", "</th><th></th>"), "no mean IU found"),
    ],
)
def test_what_is_no_answer_is_refused(tmp_path, text, message):
    (tmp_path / "answer.html").write_text(text)
    with pytest.raises(ReadError, match=rf"answer\.html: .*{message}"):
        read_answer(tmp_path / "answer.html")


def test_an_answer_that_is_not_there(tmp_path):
    with pytest.raises(MissingData, match="no such file"):
        read_answer(tmp_path / "answer")
