"""`python benchmarks/gpu.py DEVICE RATES [MINIATURE]`: what benchmarks/gpu.sh says of throughput.

Images/s of FCN-8s and of training steps, each with its share of what a matrix product of the same precision
reaches; the rates of training go into the file RATES. With a folder MINIATURE everything is tiny, and images
and a trunk as small go into MINIATURE/camvid and MINIATURE/trunk.caffemodel.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import caffe2torch as c2t
from fcn_repro.scoring.device import arithmetic, device_name, synchronize, usable
from fcn_repro.training.arrangement import arranged, channels_last
from fcn_repro.training.loss import softmax_loss

CAMVID, CAMVID_SIZE = 11, (360, 480)
CAMVID_WIDTHS, NARROW = (64, 128, 256, 512, 512, 512, 512), (2, 2, 3, 3, 4, 4, 4)


def throughput(name: str, rates: Path, *, dry: bool) -> None:
    """Prints Markdown tables, and writes the rates of training."""
    device, runs = usable(name), 2 if dry else 10
    print(f"{device_name(device)}, torch {torch.__version__}\n")
    print("| what | precision | images/s | TFLOP/s | share of a matrix product's |\n|---|---|---|---|---|")
    found: dict[str, float] = {}
    for precision in ("bf16",) if dry else ("bf16", "tf32", "fp32"):
        ceiling = matrix_rate(device, precision, 256 if dry else 8192)
        print(f"| a matrix product | {precision} | | {ceiling:.3g} | 1 |")
        for batch in (1,) if dry else (1, 8):
            size = (40, 50) if dry else (500, 500)
            model = c2t.FCN8s(21, widths=NARROW) if dry else c2t.FCN8s(21)
            row = inference_rate(model.to(device), batch, size, precision, device, runs)
            print(_row(f"FCN-8s, {batch} x 500 x 500", precision, *row, ceiling), flush=True)
        for kind in (c2t.FCN32s, c2t.FCN8s):
            size = (24, 32) if dry else CAMVID_SIZE
            own = kind(CAMVID, widths=NARROW if dry else CAMVID_WIDTHS).to(device)
            row = training_rate(own, size, precision, device, runs)
            print(_row(f"a step of CamVid's {kind.__name__}", precision, *row, ceiling), flush=True)
            found.setdefault(kind.__name__, row[0])
    rates.write_text("".join(f"{net} {rate}\n" for net, rate in found.items()))


def _row(what: str, precision: str, images: float, flops: float, ceiling: float) -> str:
    return f"| {what} | {precision} | {images:.1f} | {flops:.3g} | {flops / ceiling:.2f} |"


def matrix_rate(device: torch.device, precision: str, size: int) -> float:
    """TFLOP/s of a square matrix product."""
    a, b = torch.randn(2, size, size, device=device)
    with arithmetic(precision, device), torch.inference_mode():
        return 2e-12 * size**3 / seconds(lambda: a @ b, device, 10)


def inference_rate(
    model: nn.Module, batch: int, size: tuple[int, int], precision: str, device: torch.device, runs: int
) -> tuple[float, float]:
    """Images/s, and TFLOP/s as the net is usually counted."""
    images = 50 * torch.randn(batch, 3, *size, device=device)
    model.eval()
    channels_last(model)
    with arithmetic(precision, device), torch.inference_mode():
        return _rates(lambda: model(images).argmax(1), batch, device, runs)


def training_rate(
    model: nn.Module, size: tuple[int, int], precision: str, device: torch.device, runs: int
) -> tuple[float, float]:
    """Images/s and TFLOP/s of Training's steps, without reading images."""
    image = 50 * torch.randn(1, 3, *size, device=device)
    label = torch.randint(CAMVID, (1, *size), device=device)
    model.train()
    solver = c2t.Solver(model, type="Adam", base_lr=1e-5, lr_policy="fixed", momentum2=0.999, momentum=0.9)

    def step() -> None:
        solver.zero_grad()
        with arithmetic(precision, device):
            loss = softmax_loss({"sem": model(image)}, {"sem": label}, normalize=True)
            torch.autograd.backward(loss)
        solver.step()

    with arranged(model):
        return _rates(step, 1, device, runs)


def _rates(call: Callable[[], object], images: int, device: torch.device, runs: int) -> tuple[float, float]:
    with FlopCounterMode(display=False) as counter:
        call()
    taken = seconds(call, device, runs)
    return images / taken, 1e-12 * counter.get_total_flops() / taken


def seconds(call: Callable[[], object], device: torch.device, runs: int) -> float:
    """The median time of a call, after one."""
    taken = []
    for _ in range(runs + 1):
        synchronize(device)
        begin = time.perf_counter()
        call()
        synchronize(device)
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])


def miniature(out: Path) -> None:
    """A few small images in CamVid's classes, and a narrow trunk."""
    random = np.random.default_rng(2)
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (out / "camvid" / split / kind).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            image = random.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(image).save(out / "camvid" / split / "images" / f"{split}{number}.jpg")
            label = np.resize(np.arange(CAMVID, dtype=np.uint8), (24, 32))
            Image.fromarray(label).save(out / "camvid" / split / "labels" / f"{split}{number}.png")
    torch.manual_seed(1)
    c2t.export(c2t.FCN32s(CAMVID, widths=NARROW), out / "trunk.caffemodel")


if __name__ == "__main__":
    throughput(sys.argv[1], Path(sys.argv[2]), dry=len(sys.argv) > 3)
    if len(sys.argv) > 3:
        miniature(Path(sys.argv[3]))
