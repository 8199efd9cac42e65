"""What only a GPU can show, the numbers of a CPU: run by benchmarks/gpu.sh, and skipped without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from fcn_repro.scoring.device import Process, arithmetic
from fcn_repro.scoring.metrics import Confusion
from fcn_repro.training.arrangement import arranged
from fcn_repro.training.log import TRAIN, read_rows
from fcn_repro.training.loop import Options
from tests.fcn_repro.trainings import small_recipe, training, write_images
from tests.places import GOLDEN, ROOT

F = TypeVar("F", bound=Callable[..., Any])
GPU = torch.cuda.is_available()


def on_a_gpu(test: F) -> F:
    """Marks a test, and skips it where there is no GPU."""
    marked: F = pytest.mark.cuda(pytest.mark.skipif(not GPU, reason="needs a CUDA device")(test))
    return marked


@on_a_gpu
@pytest.mark.parametrize("name", ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"])
def test_scores_are_what_caffe_computed(name: str) -> None:
    folder, device = GOLDEN / "fcn" / name, torch.device("cuda")
    net = c2t.load(folder / "weights.caffemodel").eval().to(device)
    with np.load(folder / "io.npz") as caffe, torch.no_grad(), arithmetic("fp32", device):
        for i in range(2):
            score = net(data=torch.from_numpy(caffe[f"{i}.in.data"]).to(device)).cpu()
            wanted = caffe[f"{i}.out.score"]
            np.testing.assert_allclose(score, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@on_a_gpu
@pytest.mark.parametrize("name", ["FCN32s", "FCN8s"])
def test_an_arranged_net_has_the_scores_and_gradients_of_the_cpu(name: str) -> None:
    torch.manual_seed(3)
    net, image = getattr(c2t, name)(4, widths=(3, 4, 5, 5, 4, 40, 48)).eval(), torch.randn(1, 3, 41, 58)
    found = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        net.to(device).zero_grad()
        with arranged(net), arithmetic("fp32", device):
            scores = net(image.to(device))
            torch.autograd.backward((scores * torch.linspace(-1, 2, 58, device=device)).sum())
        found.append([scores.cpu(), *(p.grad.cpu() for p in net.parameters() if p.grad is not None)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


@on_a_gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 3e-2)])
def test_a_training_has_the_losses_of_the_cpu(tmp_path: Path, precision: str, tolerance: float) -> None:
    images, losses = write_images(tmp_path / "images"), []
    for device, options in (("cpu", Options()), ("cuda", Options(precision))):
        process = Process(0, 1, torch.device(device))
        own = training(small_recipe(dropout=0.0), images, tmp_path / device, process=process, options=options)
        own.model.to(device)
        own.run()
        losses.append([row["loss"] for row in read_rows(tmp_path / device / "train.csv", TRAIN)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)


@on_a_gpu
def test_counts_are_the_same_integers() -> None:
    random = np.random.default_rng(7)
    label, prediction = random.integers(0, 40, (2, 31, 47))
    here, there = Confusion(40), Confusion(40)
    here.add(label, prediction)
    there.add(label, torch.from_numpy(prediction).cuda())
    assert (there.counts == here.counts).all()


def test_the_run_for_gpus_as_a_trial_on_a_cpu(tmp_path: Path) -> None:
    """All commands of benchmarks/gpu.sh, so that it works whenever there is a GPU."""
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    script = [str(ROOT / "benchmarks" / "gpu.sh"), "--dry", str(tmp_path / "out")]
    run = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "a step of CamVid's FCN8s | bf16 |" in summary
    assert "mean IU" in summary.partition("## scores")[2]
