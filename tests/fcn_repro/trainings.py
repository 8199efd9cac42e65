"""Small trainings: images, a recipe, and fcn-repro in processes of its own that are stopped and killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fcn_repro import cli
from fcn_repro.data.datasets import Dataset, open_dataset
from fcn_repro.recipes import DataSpec, Init, LossSpec, NetSpec, Recipe
from fcn_repro.scoring.device import Process
from fcn_repro.training.first_weights import initial
from fcn_repro.training.loop import Training
from fcn_repro.workspace import Workspace

WIDTHS = (4, 4, 6, 6, 8, 12, 12)
CLASSES = ("ground", "sky", "tree")
MEAN_BGR = (104.0, 117.0, 123.0)

RECIPE = """
title = "A narrow FCN-32s on a few small images"
source = []
seed = 5

[data]
train = "folder/train"
val = "folder/val"
folder = "mine"
mean_bgr = [104.0, 117.0, 123.0]
order = "epochs"
mirror = true

[net]
name = "FCN32s"
widths = [4, 4, 6, 6, 8, 12, 12]

[init]
fresh = ["conv*", "fc6", "fc7", "score_fr"]

[loss]
normalize = true

[solver]
base_lr = 0.004
lr_policy = "step"
gamma = 0.7
stepsize = 7
momentum = 0.9
weight_decay = 0.0005
average_loss = 4
display = 1
"""


def write_images(folder: Path, *, classes: Sequence[str] = CLASSES, seed: int = 3) -> Path:
    """A folder of one's own: five images to train on and two to validate on, of different sizes."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(classes))
    for split, count in (("train", 5), ("val", 2)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            size, name = (9 + number, 17 - 2 * number), f"{split}{number}.png"
            image = random.integers(0, 256, (*size, 3), np.uint8)
            Image.fromarray(image).save(folder / split / "images" / name)
            label = random.integers(0, len(classes), size, np.uint8)
            label[random.random(size) < 0.1] = 255
            Image.fromarray(label).save(folder / split / "labels" / name)
    return folder


def write_recipe(path: Path, **solver: int) -> Path:
    """RECIPE with more solver fields, beside the images it names."""
    path.write_text(RECIPE + "".join(f"{name} = {value}\n" for name, value in solver.items()))
    return path


def small_recipe(*, normalize: bool = True, dropout: float = 0.5, **solver: Any) -> Recipe:
    """The like, for a training in this process."""
    given = {"base_lr": 0.01, "lr_policy": "fixed", "max_iter": 5, "display": 1, **solver}
    return Recipe(
        title="A narrow FCN-32s",
        source=(),
        data=DataSpec("folder/train", MEAN_BGR),
        net=NetSpec("FCN32s", (len(CLASSES),), widths=WIDTHS, dropout=dropout),
        init=Init(fresh=("*",)),
        loss=LossSpec(normalize),
        solver=given,
    )


def training(recipe: Recipe, images: Path, folder: Path, **parts: Any) -> Training:
    """A training in this process, on a folder that `write_images` wrote."""
    train: Dataset = open_dataset("folder", images, "train")
    model = initial(recipe, Workspace(folder), train).model
    alone = Process(0, 1, torch.device("cpu"))
    return Training("my", recipe, model, train, folder=folder, **{"val": None, "process": alone, **parts})


_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(
    ["fcn_repro.cli", "fcn_repro.report.training_page", "fcn_repro.training.run", "torch._dynamo", __name__]
)


class Command:
    """fcn-repro with these arguments, in a process of its own.

    It is forked from one that has loaded torch and done nothing with it, so that it starts at once. `limit`
    is how many bytes a file of its may have, `environment` what torchrun would say.
    """

    def __init__(
        self,
        *arguments: object,
        limit: int | None = None,
        environment: Mapping[str, object] = {},
    ) -> None:
        self._reads, writes = _forking.Pipe(duplex=False)
        words, said = [str(word) for word in arguments], {k: str(v) for k, v in environment.items()}
        self.process = _forking.Process(target=_main, args=(words, writes, limit, said))
        self.process.start()
        writes.close()

    def wait(self) -> tuple[int, str]:
        """Its exit code (negative: the signal that ended it), and what it printed."""
        said = b""
        while piece := os.read(self._reads.fileno(), 1 << 16):
            said += piece
        self._reads.close()
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        return code, said.decode()

    def done(self) -> str:
        """What it printed, when it ended well."""
        code, said = self.wait()
        assert code == 0, said
        return said

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


def _main(words: list[str], writes: Connection, limit: int | None, environment: dict[str, str]) -> None:
    for stream in (1, 2):
        os.dup2(writes.fileno(), stream)
    writes.close()
    os.environ.update(environment)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python ignores SIGXFSZ: an OSError
    sys.exit(cli.main(words))


def together(processes: int, *arguments: object) -> list[Command]:
    """The command in several processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        Command(*arguments, environment={**group, "RANK": rank, "LOCAL_RANK": rank})
        for rank in range(processes)
    ]
