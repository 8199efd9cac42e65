"""A model scored by every road, each with the model's own preprocessing: the same four scores.

The recipe's mean is one that no data set has. The roads outside this package get it from what the exported
files say, and subtract it here, in NumPy.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import caffe2torch as c2t
from caffe2torch.errors import ReadError
from fcn_repro import cli
from tests.fcn_repro.trainings import CLASSES, MEAN_BGR, RECIPE, WIDTHS

MEAN = (31.5, 203.25, 87.0)

Scores = dict[str, float]


def write_blocks(folder: Path) -> None:
    """Two images to train on and two to validate on, of blocks of one colour each, with labels by chance."""
    random = np.random.default_rng(3)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for name in ("a.png", "b.png"):
            blocks = random.integers(0, 256, (4, 6, 3), np.uint8)
            Image.fromarray(blocks.repeat(9, 0).repeat(9, 1)).save(folder / split / "images" / name)
            label = random.choice([*range(len(CLASSES)), 255], (36, 54)).astype(np.uint8)
            Image.fromarray(label).save(folder / split / "labels" / name)
    (folder / "classes.txt").write_text("\n".join(CLASSES))


def first_net() -> c2t.FCN:
    """A net by chance, whose score of pool3 decides: it tells blocks of these images apart."""
    torch.manual_seed(4)
    net = c2t.FCN8s(len(CLASSES), widths=WIDTHS)
    for name, blobs in net.blobs().items():
        if name not in ("score_fr", "score_pool4") and not name.startswith("upscore"):
            torch.nn.init.kaiming_normal_(blobs[0])
            torch.nn.init.zeros_(blobs[1])
    return net


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a net was trained by a recipe of this mean, for a small step, and exported."""
    work = tmp_path_factory.mktemp("mean")
    write_blocks(work / "mine")
    first = first_net()
    c2t.export(first, work / "first.caffemodel")
    text = RECIPE.replace(str([*MEAN_BGR]), str([*MEAN])).replace("FCN32s", "FCN8s")
    text = re.sub("fresh = .*", 'sources = [{ weights = "first.caffemodel" }]', text).replace("0.004", "1e-9")
    (work / "odd.toml").write_text(f"{text}max_iter = 1\n")
    assert cli.main(["--train", str(work / "odd.toml"), "--home", str(work)]) == 0
    trained = c2t.load(work / "models/odd.safetensors")
    for suffix in ("caffemodel", "onnx", "py", "pt2"):
        (work / suffix).mkdir()
        c2t.export(trained, work / suffix / f"odd.{suffix}", check=False)
    c2t.export(trained, f"{work}/hub/", check=False)
    return work


def evaluated(
    home: Path, file: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, str, str]:
    data = ("--on", "folder/val", "--data", str(home / "mine"), "--home", str(home / "again"), "--json")
    code = cli.main(["--evaluate", str(home / file), *data, *options])
    out, err = capsys.readouterr()
    return code, out, err


def four_scores(counts: np.ndarray) -> Scores:
    """Percent, by the formulas of CVPR 2015, Section 5; counts[i, j] are pixels of class i taken for j."""
    right, of_class = np.diag(counts), counts.sum(1)
    iu = right / (of_class + counts.sum(0) - right)
    return {
        "pixel_accuracy": 100 * right.sum() / counts.sum(),
        "mean_accuracy": 100 * (right / of_class).mean(),
        "mean_iu": 100 * iu.mean(),
        "fw_iu": 100 * (of_class * iu).sum() / counts.sum(),
    }


def counted(home: Path, score: Callable[[np.ndarray], np.ndarray], known: Mapping[str, Any]) -> np.ndarray:
    """The confusion matrix on the validation images, prepared as a file says."""
    assert (known["channels"], known["crop_size"], known["mean_file"]) == ("BGR", 0, "")
    counts = np.zeros((len(CLASSES),) * 2, int)
    for path in sorted((home / "mine/val/images").iterdir()):
        bgr = np.asarray(Image.open(path), np.float32)[:, :, ::-1]
        image = (bgr - np.array(known["mean"], np.float32)) * np.float32(known["scale"])
        predicted = score(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))[0].argmax(0)
        label = np.asarray(Image.open(home / "mine/val/labels" / path.name))
        np.add.at(counts, (label[label != 255], predicted[label != 255]), 1)
    return counts


@pytest.fixture(scope="module")
def stored(home: Path) -> dict[str, Any]:
    """What the training stored at its end."""
    result: dict[str, Any] = json.loads((home / "results/odd-folder-val.json").read_text())["heads"]["sem"]
    return result


@pytest.mark.parametrize(
    "file", ["models/odd.safetensors", "caffemodel/odd.caffemodel", "training/odd/odd_iter_1.caffemodel"]
)
def test_the_documented_command_gives_the_trainings_scores(
    home: Path, stored: dict[str, Any], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = evaluated(home, file, capsys)
    assert (code, "mean" in err) == (0, False)
    assert json.loads(out)["heads"]["sem"] == stored


def test_another_mean_gives_other_scores_and_is_said(
    home: Path, stored: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without this, the other tests would prove nothing."""
    _, out, err = evaluated(home, "models/odd.safetensors", capsys, "--mean", "104.00699,116.66877,122.67892")
    assert "its own mean is 31.5, 203.25, 87; --mean is 104.00699, 116.66877, 122.67892" in err
    assert json.loads(out)["heads"]["sem"]["confusion"] != stored["confusion"]


def test_a_file_that_tells_nothing_asks_for_the_mean(
    home: Path, stored: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = tmp_path / "silent.caffemodel"
    silent.write_bytes((home / "caffemodel/odd.caffemodel").read_bytes())
    code, _, err = evaluated(home, str(silent), capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{silent}: the mean of its images is unknown; give it with --mean B,G,R" in err
    _, out, _ = evaluated(home, str(silent), capsys, "--mean", ",".join(map(str, MEAN)))
    assert json.loads(out)["heads"]["sem"] == stored


def test_onnx_and_py_tell_how_to_get_the_same_scores(home: Path, stored: dict[str, Any]) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file = home / "onnx/odd.onnx"
    told = {prop.key: json.loads(prop.value) for prop in onnx.load(file).metadata_props}
    session = onnxruntime.InferenceSession(file)
    by_onnx = counted(home, lambda x: session.run(None, {"data": x})[0], told["preprocessing"]["data"])

    module = runpy.run_path(str(home / "py/odd.py"))
    net = module["load"]()
    with torch.inference_mode():
        by_py = counted(home, lambda x: net(torch.from_numpy(x)).numpy(), module["PREPROCESSING"]["data"])

    for counts in (by_onnx, by_py):
        assert counts.tolist() == stored["confusion"]
        assert four_scores(counts) == pytest.approx(stored["scores_percent"])
    assert tuple(module["LABELLINGS"]["score"]["classes"]) == CLASSES
    assert told["labellings"]["score"]["classes"] == list(CLASSES)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # by torch 2.9
def test_pt2_and_hub_tell_it_too(home: Path) -> None:
    extra = {"preprocessing.json": "", "labellings.json": ""}
    torch.export.load(home / "pt2/odd.pt2", extra_files=extra)
    config = json.loads((home / "hub/config.json").read_text())
    for known in (json.loads(extra["preprocessing.json"]), config["preprocessing"]):
        assert known["data"]["mean"] == [*MEAN]
    assert config["id2label"] == dict(zip("012", CLASSES, strict=True))
    processor = json.loads((home / "hub/preprocessor_config.json").read_text())
    assert (processor["image_mean"], processor["do_flip_channel_order"]) == ([87.0, 203.25, 31.5], True)


def test_what_lies_beside_another_file_is_refused(home: Path, tmp_path: Path) -> None:
    for name in ("odd.caffemodel", "odd.caffemodel.json"):
        (tmp_path / name).write_bytes((home / "caffemodel" / name).read_bytes())
    values = bytearray((tmp_path / "odd.caffemodel").read_bytes())
    values[-1] ^= 1
    (tmp_path / "odd.caffemodel").write_bytes(values)
    with pytest.raises(ReadError, match=r"odd\.caffemodel\.json: belongs to another odd\.caffemodel"):
        c2t.load(tmp_path / "odd.caffemodel")
