"""Evaluation: the counts against other code, in one process and two, at one go and interrupted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import caffe2torch as c2t
from caffe2torch.errors import MissingData, NetError, ReadError
from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.datasets.base import Dataset, Sample, Split
from fcn_repro.data.palette import colormap, labelling
from fcn_repro.data.transforms import prepared
from fcn_repro.files import write
from fcn_repro.scoring.device import DeviceError, arithmetic, usable
from fcn_repro.scoring.evaluate import evaluate
from fcn_repro.scoring.metrics import Over
from fcn_repro.scoring.predict import by_head, model_sha256
from fcn_repro.scoring.result import Evaluation, stored_evaluations
from tests.nets import net_of

MEAN_BGR = (104.0, 117.0, 123.0)
CLASSES = ("ground", "sky", "tree", "road")


class Linear(nn.Module):
    """Whole-number scores of each pixel's colour, so that no rounding can change which is largest."""

    inputs = ("data",)

    def __init__(self, classes=4, seed=5):
        super().__init__()
        weights = np.random.default_rng(seed).integers(-9, 10, (classes, 3, 1, 1))
        self.score = nn.Conv2d(3, classes, 1, bias=False)
        self.score.weight.data = torch.from_numpy(weights).float()
        self.calls = 0

    def forward(self, data):
        self.calls += 1
        return self.score(data)


class TwoHeads(Linear):
    """As a SIFT Flow net gives its scores."""

    def forward(self, data):
        scores = super().forward(data)
        return {"score_geo": scores[:, [3, 0, 2]], "score_sem": scores}


class Stops(Linear):
    """Fails at its sixth image, the first of them to see what it predicts."""

    def forward(self, data):
        if self.calls == 6:
            raise KeyboardInterrupt
        return super().forward(data)


@pytest.fixture
def images(tmp_path):
    """Eleven images of eleven sizes, as the user's own folder."""
    folder, random = tmp_path / "mine", np.random.default_rng(11)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    for number in range(11):
        size = (9 + number, 31 - 2 * number)
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(
            folder / f"images/im{number:02}.png"
        )
        label = random.choice([0, 1, 2, 3, 255], size, p=[0.4, 0.3, 0.2, 0.05, 0.05]).astype(np.uint8)
        Image.fromarray(label).save(folder / f"labels/im{number:02}.png")
    return folder


def counts_by_loops(folder, model=None):
    """The confusion matrix of a Linear on that folder, in numpy and plain loops."""
    weights = (model or Linear()).score.weight.detach().numpy()[:, :, 0, 0].astype(int)
    counts = [[0] * len(weights) for _ in weights]
    for path in sorted((folder / "images").iterdir()):
        bgr = np.asarray(Image.open(path)).astype(int)[:, :, ::-1] - np.array(MEAN_BGR, int)
        label = np.asarray(Image.open(folder / "labels" / path.name))
        predicted = (bgr @ weights.T).argmax(-1)
        for truth, guess in zip(label.ravel().tolist(), predicted.ravel().tolist(), strict=True):
            if truth != 255:
                counts[truth][guess] += 1
    return counts


def run(model, dataset, **options):
    return evaluate(model, dataset, preparation=prepared(model.inputs, MEAN_BGR), **options)


def test_the_counts_and_what_is_said_of_them(images):
    dataset, model, seen = open_dataset("folder", images, "all"), Linear(), []
    result = run(
        model,
        dataset,
        name="linear",
        command="fcn-repro --evaluate linear",
        progress=lambda *p: seen.append(p),
    )
    assert result.head.confusion.counts.tolist() == counts_by_loops(images)
    assert seen == [(n, 11) for n in range(1, 12)]
    assert (result.model, result.dataset, result.split, result.images) == ("linear", "folder", "all", 11)
    assert (result.precision, result.processes, result.command) == ("fp32", 1, "fcn-repro --evaluate linear")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", result.date)
    assert result.seconds > 0
    assert "thread" in result.device
    assert result.model_sha256 == model_sha256(Linear()) != model_sha256(Linear(seed=6))


def test_labels_that_are_void_everywhere_have_no_scores(images):
    for path in (images / "labels").iterdir():
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 255)).save(path)
    with pytest.raises(ReadError, match=r"split all: all labels 'sem' are 255, void, .*nothing to score"):
        run(Linear(), open_dataset("folder", images, "all"))


def test_the_model_comes_back_as_it_was(images):
    model = Linear().train()
    run(model, open_dataset("folder", images, "all"))
    assert model.training
    assert not any(parameter.is_inference() for parameter in model.parameters())


def test_a_stored_evaluation_is_read_back(images, tmp_path):
    result = run(Linear(), open_dataset("folder", images, "all"))
    result.save(tmp_path / "results" / "linear.json")
    (found,) = stored_evaluations(tmp_path / "results")
    assert (found.head.confusion.counts == result.head.confusion.counts).all()
    assert found.scores == result.scores
    assert replace(found, heads={}) == replace(result, heads={})
    assert json.loads((tmp_path / "results" / "linear.json").read_text())["heads"]["sem"]["classes"] == [
        *CLASSES
    ]


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        (r'"format".*', '"format": 7,'),
        (r'"images": 11', '"images": "11"'),
        (r'"confusion": \[\s*\[', '"confusion": [[0.5, '),
        (r'"over": "[^"]*"', '"over": "nothing"'),
        (r'"date": "[^"]*",', ""),
        (r"\{", "["),
    ],
)
def test_a_damaged_one_is_refused_by_name(images, tmp_path, pattern, damage):
    path = tmp_path / "linear.json"
    run(Linear(), open_dataset("folder", images, "all")).save(path)
    text = path.read_text()
    path.write_text(re.sub(pattern, damage, text, count=1))
    assert path.read_text() != text
    with pytest.raises(ReadError, match=r"linear\.json: "):
        Evaluation.load(path)


def test_predictions_are_palette_pngs(images, tmp_path):
    dataset, out = open_dataset("folder", images, "all"), tmp_path / "predictions"
    run(Linear(), dataset, save_predictions=out)
    assert sorted(path.name for path in out.iterdir()) == [f"im{number:02}.png" for number in range(11)]
    counts = np.zeros((4, 4), int)
    for path in out.iterdir():
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[:12] == colormap(4).ravel().tolist()
            predicted = np.asarray(image)
        label = np.asarray(Image.open(images / "labels" / path.name))
        np.add.at(counts, (label[label != 255], predicted[label != 255]), 1)
    assert counts.tolist() == counts_by_loops(images)


def test_an_interrupted_run_goes_on_from_the_images_done(images, tmp_path):
    dataset, journal = open_dataset("folder", images, "all"), tmp_path / "journal"
    with pytest.raises(KeyboardInterrupt):
        run(Stops(), dataset, resume=journal)
    (part,) = journal.iterdir()
    assert json.loads(part.read_text())["ids"] == ["im00", "im01", "im02", "im03", "im04"]
    stops = Stops()
    stops.calls = -100
    result = run(stops, dataset, resume=journal)
    assert stops.calls == -100 + 1 + 6, "one to see what it predicts, and the six that were left"
    assert result.head.confusion.counts.tolist() == counts_by_loops(images)
    again = run(stops, dataset, resume=journal)
    assert again.head.confusion.counts.tolist() == counts_by_loops(images)
    assert again.seconds == pytest.approx(result.seconds)


def interrupted(images, journal, **options):
    with pytest.raises(KeyboardInterrupt):
        run(Stops(), open_dataset("folder", images, "all"), resume=journal, **options)
    return next(journal.glob("part-*.json"))


def test_a_journal_of_another_evaluation_is_refused(images, tmp_path):
    interrupted(images, tmp_path / "j")
    dataset = open_dataset("folder", images, "all")
    with pytest.raises(ReadError, match=r"model was '\w{64}' and is '\w{64}' now.*delete .*j to start anew"):
        run(Stops(seed=9), dataset, resume=tmp_path / "j")
    with pytest.raises(ReadError, match=r"preparation was 'data: BGR, minus \(104\.0, .* and is .* \(0\.0, "):
        evaluate(Stops(), dataset, preparation=prepared(("data",), (0, 0, 0)), resume=tmp_path / "j")
    with pytest.raises(ReadError, match="precision was 'fp32' and is 'bf16' now"):
        run(Stops(), dataset, precision="bf16", resume=tmp_path / "j")
    with pytest.raises(ReadError, match="images was"):
        run(Stops(), replace(dataset, ids=dataset.ids[:10]), resume=tmp_path / "j")


def test_images_done_twice_are_refused(images, tmp_path):
    part = interrupted(images, tmp_path / "j")
    write(part.with_name("part-copy.json"), part.read_bytes())
    with pytest.raises(ReadError, match="'im00' was already done"):
        run(Stops(), open_dataset("folder", images, "all"), resume=tmp_path / "j")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ids": ["im00", "other"]}, "'other' is not in the split"),
        ({"ids": "im00"}, "ids, heads or seconds are damaged"),
        ({"seconds": "1"}, "ids, heads or seconds are damaged"),
        ({"heads": {}}, "heads are , expected sem"),
    ],
)
def test_a_part_that_cannot_be_is_refused(images, tmp_path, changed, message):
    part = interrupted(images, tmp_path / "j")
    part.write_text(json.dumps(json.loads(part.read_text()) | changed))
    with pytest.raises(ReadError, match=rf"{part.name}: .*{message}"):
        run(Stops(), open_dataset("folder", images, "all"), resume=tmp_path / "j")


def test_an_image_done_whose_prediction_is_gone_is_refused(images, tmp_path):
    interrupted(images, tmp_path / "j", save_predictions=tmp_path / "p")
    (tmp_path / "p" / "im03.png").unlink()
    with pytest.raises(ReadError, match=r"im03\.png: an earlier run evaluated this image"):
        run(
            Stops(),
            open_dataset("folder", images, "all"),
            resume=tmp_path / "j",
            save_predictions=tmp_path / "p",
        )


class InMemory(Dataset):
    """Two labellings of three images; the second class of the first is nowhere."""

    name, title = "in-memory", "a data set of two labellings"
    labellings: ClassVar = {
        "sem": labelling(CLASSES, colormap(4)),
        "geo": labelling(("flat", "up", "down"), colormap(3)),
    }
    splits: ClassVar = {"test": Split(3, absent=("sky",)), "secret": Split(3, labelled=False)}

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (5 + index, 7, 3), np.uint8)
        sem, geo = random.choice([0, 2, 3, 255], (5 + index, 7)), random.integers(0, 3, (5 + index, 7))
        labels = {"sem": sem.astype(np.uint8), "geo": geo.astype(np.uint8)}
        return Sample(self.ids[index], image, labels if self.labelled else {})


def in_memory(split="test"):
    return InMemory(Path(), split, ("a", "b", "c"))


def test_two_heads_and_a_class_that_the_split_lacks():
    result = run(TwoHeads(), in_memory())
    weights, expected = (
        Linear().score.weight.detach()[:, :, 0, 0],
        {"sem": np.zeros((4, 4)), "geo": np.zeros((3, 3))},
    )
    for sample in in_memory():
        bgr = sample.image_hwc[:, :, ::-1].astype(np.float32) - np.array(MEAN_BGR, np.float32)
        scores = bgr @ weights.numpy().T
        for head, chosen in (("sem", scores), ("geo", scores[:, :, [3, 0, 2]])):
            label, guess = sample.labels[head], chosen.argmax(-1)
            np.add.at(expected[head], (label[label != 255], guess[label != 255]), 1)
    assert {head: found.confusion.counts.tolist() for head, found in result.heads.items()} == {
        head: counts.tolist() for head, counts in expected.items()
    }
    assert result.head.over is Over.LABELLED
    assert result.heads["geo"].over is Over.SEEN
    assert np.isnan(result.head.per_class_iu[1])


def test_predictions_of_two_heads_lie_apart(tmp_path):
    run(TwoHeads(), in_memory(), save_predictions=tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        *("geo/a.png", "geo/b.png", "geo/c.png", "sem/a.png", "sem/b.png", "sem/c.png")
    ]


def test_a_split_of_secret_labels_is_predicted_only(tmp_path):
    with pytest.raises(MissingData, match="in-memory secret: the labels are secret"):
        run(TwoHeads(), in_memory("secret"))
    result = run(Linear(), in_memory("secret"), save_predictions=tmp_path)
    assert result.heads == {}
    assert len(list(tmp_path.glob("*.png"))) == 3
    with pytest.raises(MissingData, match="secret"):
        _ = result.scores


@pytest.mark.parametrize("height", [9, 24])
def test_a_classifier_is_refused(images, height):
    """Whether or not its fully connected layer takes images of the size at hand."""
    net = net_of(
        f"""name: "a classifier"
        layer {{ name: "data" type: "Input" top: "data"
                input_param {{ shape {{ dim: 1 dim: 3 dim: {height} dim: 31 }} }} }}
        layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
                inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}"""
    )
    with pytest.raises(NetError) as refused:
        run(c2t.build(net), open_dataset("folder", images, "all"))
    assert str(refused.value) == (
        "net 'a classifier': output 'prob' is (N, 4), as a classifier's; only a net that scores each pixel, "
        "(N, classes, H, W), predicts a segmentation"
    )


def test_a_model_that_does_not_fit_is_refused(images):
    dataset = open_dataset("folder", images, "all")
    with pytest.raises(
        NetError, match=r"im00: the model scores 'sem' as \(1, 7, 9, 31\), folder needs \(1, 4, 9, 31\)"
    ):
        run(Linear(classes=7), dataset)
    broken = Linear()
    broken.score.weight.data[2, 0] = torch.nan
    with pytest.raises(NetError, match="im00: the model's scores of 'sem' are not finite"):
        run(broken, dataset)


def test_outputs_are_matched_to_heads_by_name():
    tensor = torch.zeros(1)
    assert by_head(tensor, ("sem", "geo")) == {"sem": tensor}
    assert by_head({"score": tensor}, ("sem",)) == {"sem": tensor}
    with pytest.raises(NetError, match="outputs are score, loss; the labellings to predict are sem"):
        by_head({"score": tensor, "loss": tensor}, ("sem",))
    with pytest.raises(NetError, match="outputs are score_sem, score_depth"):
        by_head({"score_sem": tensor, "score_depth": tensor}, ("sem", "geo"))


def test_bf16_rounds_and_fp32_does_not():
    model, image = Linear(), torch.full((1, 3, 2, 2), 100.3)
    with arithmetic("fp32", torch.device("cpu")), torch.inference_mode():
        exact = model(image)
    with arithmetic("bf16", torch.device("cpu")), torch.inference_mode():
        rounded = model(image)
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    ("precision", "message"), [("fp16", "known are fp32, tf32, bf16"), ("tf32", "tf32 needs a CUDA device")]
)
def test_an_arithmetic_that_is_not_there_is_refused(images, precision, message):
    with pytest.raises(DeviceError, match=message):
        run(Linear(), open_dataset("folder", images, "all"), precision=precision)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta:x"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(DeviceError, match=f"device '{device}' cannot be used: .*; use --device cpu"):
        usable(device)


TORCHRUN = """
import sys
from pathlib import Path
from tests.fcn_repro.scoring.test_evaluate import Stops, run
from fcn_repro.data.datasets import open_dataset
from fcn_repro.scoring.device import this_process
images, work = map(Path, sys.argv[1:])
dataset = open_dataset("folder", images, "all")
with this_process("cpu") as process:
    for name, options in {
        "whole": {"save_predictions": work / "predictions"}, "resumed": {"resume": work / "journal"}
    }.items():
        model = Stops()
        model.calls = -100
        result = run(model, dataset, **options)
        result.save(work / "out" / f"{name}{process.rank}.json")
        (work / f"{name}{process.rank}.calls").write_text(str(model.calls + 100))
"""


def test_two_processes_count_the_same_integers(images, tmp_path):
    """Also when they go on from what one process did; each shows one image more, to see what is predicted."""
    interrupted(images, tmp_path / "journal")
    (tmp_path / "script.py").write_text(TORCHRUN)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, tmp_path / "script.py", images, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    calls = {path.stem: int(path.read_text()) for path in tmp_path.glob("*.calls")}
    assert [calls["resumed0"], calls["resumed1"]] == [4, 4]
    assert sorted([calls["whole0"], calls["whole1"]]) == [6, 7]
    for name in ("whole0", "whole1", "resumed0", "resumed1"):
        result = Evaluation.load(tmp_path / "out" / f"{name}.json")
        assert result.processes == 2
        assert result.head.confusion.counts.tolist() == counts_by_loops(images), name
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 11


class FirstClasses(nn.Module):
    """A net with more classes than the data set: its scores are noise here, and cut to fit."""

    def __init__(self, net, classes):
        super().__init__()
        self.net, self.classes, self.inputs = net, classes, net.inputs

    def forward(self, data):
        return self.net(data=data)[:, : self.classes]


def counts_by_another_road(net, dataset, mean):
    """The same zoo net as `build` runs it, on images read by other code."""
    folder, classes = dataset.folder, len(dataset.classes)
    counts = np.zeros((classes, classes), np.int64)
    for identifier in dataset.ids:
        bgr = np.asarray(Image.open(dataset.image_path(identifier)))[:, :, ::-1].astype(
            np.float32
        ) - np.float32(mean)
        with torch.inference_mode():
            (score,) = net(data=torch.from_numpy(bgr.transpose(2, 0, 1).copy())[None]).values()
        (path,) = dataset.label_paths(identifier).values()
        label, guess = np.asarray(Image.open(path)), score[0, :classes].numpy().argmax(0)
        assert path.is_relative_to(folder)
        labelled = label < classes
        np.add.at(counts, (label[labelled], guess[labelled]), 1)
    return counts


@pytest.mark.parametrize(
    ("net", "name", "folder", "split"),
    [("voc-fcn8s", "voc2012", "voc100", "seg11valid"), ("pascalcontext-fcn8s", "camvid", "camvid", "test")],
)
def test_a_zoo_net_on_real_images(golden, data, tmp_path, net, name, folder, split):
    dataset = open_dataset(name, data / folder, split, partial=True)
    dataset = replace(dataset, ids=dataset.ids[:3])
    weights, mean = golden / "fcn" / net / "weights.caffemodel", (104.00699, 116.66877, 122.67892)
    model = FirstClasses(c2t.load(weights), len(dataset.classes))
    result = evaluate(model, dataset, preparation=prepared(model.inputs, mean), save_predictions=tmp_path)
    expected = counts_by_another_road(c2t.build(c2t.read(weights=weights)), dataset, mean)
    assert result.head.confusion.counts.tolist() == expected.tolist()
    assert len(list(tmp_path.glob("*.png"))) == 3
