"""`python benchmarks/solver.py [cpu|cuda]`: one step of Solver and of torch.optim.SGD(foreach=True), in turn.

Both have momentum, weight decay, and the rates and decays of the zoo's nets: weights (1, 1), biases (2, 0).
Gradients are random numbers; forward and backward are not timed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

import caffe2torch as c2t
from caffe2torch.modules.fcn import FCN32s
from caffe2torch.zoo.fcn import VGG16

NETS = {"FCN-32s": (VGG16, 21), "FCN-32s, widths / 16": (tuple(width // 16 for width in VGG16), 501)}
"""Widths, and how many steps are timed."""
MOMENTUM, DECAY, RATE = 0.9, 5e-4, 1e-10


def solvers(model: torch.nn.Module) -> dict[str, torch.optim.Optimizer]:
    """Ours and torch's, for the same parameters."""
    ours = c2t.Solver(model, base_lr=RATE, lr_policy="fixed", momentum=MOMENTUM, weight_decay=DECAY)
    groups = [
        {
            "params": [p for p in group["params"] if p.requires_grad],
            "lr": RATE * group["lr_mult"],
            "weight_decay": DECAY * group["decay_mult"],
        }
        for group in ours.param_groups
        if group["lr_mult"]
    ]
    return {"ours": ours, "torch": torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, foreach=True)}


def seconds(step: Callable[[], object], device: str) -> float:
    """The time of one step, including all the work it started on the device."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main(device: str) -> None:
    """Prints one line per net, as a Markdown table."""
    print(f"Medians of steps on {device}, {torch.get_num_threads()} threads, milliseconds\n")
    print("| net | trained parameters | steps | Solver | torch.optim.SGD | ratio |")
    print("|---|---|---|---|---|---|")
    for name, (widths, runs) in NETS.items():
        model = FCN32s(widths=widths).to(device)
        trained = [p for p in model.parameters() if p.requires_grad]
        for p in trained:
            p.grad = torch.randn_like(p)
        steps = {who: solver.step for who, solver in solvers(model).items()}
        times: dict[str, list[float]] = {who: [] for who in steps}
        for _ in range(runs + 2):  # the first two create the history
            for who, step in steps.items():
                times[who].append(1000 * seconds(step, device))
        ours, torchs = (statistics.median(times[who][2:]) for who in ("ours", "torch"))
        count = sum(p.numel() for p in trained)
        print(f"| {name} | {count:,} | {runs} | {ours:.2f} | {torchs:.2f} | {ours / torchs:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
