"""Models by name or file, run over a data set: scored, or predicted and packed for the evaluation server."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

from caffe2torch.command_line import ProgressLine
from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import Dataset
from fcn_repro.data.datasets.pascal_voc import PascalVoc
from fcn_repro.data.survey import surveyed
from fcn_repro.fetching.zoo import zoo
from fcn_repro.files import write_json
from fcn_repro.scoring.evaluate import evaluate
from fcn_repro.scoring.models import load, preparation
from fcn_repro.scoring.result import Evaluation, read_json
from fcn_repro.scoring.voc_server import ServerResult, pack, read_answer
from fcn_repro.workspace import Workspace


@dataclass(frozen=True)
class ModelRun:
    """A model to run on a data set NAME/SPLIT, and how, as the command line says.

    `model` is a name in the zoo or a file; `name` is the model's in the record, by default the file's.
    `mean_bgr` is what the user says of the model, `trained_on` the data set of a model that has only a name.
    To `show` images, their predictions are saved, by default with the results.
    """

    workspace: Workspace
    model: str
    images: str
    name: str = ""
    device: str = "cpu"
    precision: str = "fp32"
    mean_bgr: tuple[float, ...] | None = None
    save_predictions: Path | None = None
    show: bool = False
    trained_on: str = ""
    command: str = ""

    @property
    def called(self) -> str:
        """The model's name in the record."""
        return self.name or (self.model if self.model in zoo().models else Path(self.model).stem)

    @property
    def stem(self) -> str:
        """What the files of this run are called: MODEL-DATASET-SPLIT."""
        return f"{self.called}-{self.images.replace('/', '-')}"

    @property
    def stored(self) -> Path:
        """Where the evaluation is stored."""
        return self.workspace.results / f"{self.stem}.json"

    @property
    def predictions(self) -> Path:
        """The folder for predictions."""
        return self.save_predictions or self.workspace.results / f"{self.stem}-predictions"

    @cached_property
    def opened(self) -> Dataset:
        """The data set, looked over. Raises what `open_dataset` and `surveyed` raise."""
        return surveyed(self.workspace.open(self.images), ProgressLine("labels", quiet=not first_process()))

    def evaluate(self) -> Evaluation:
        """The model's scores, stored; an interrupted run continues where it stopped."""
        evaluation = self._over_images(self.predictions if self.show else self.save_predictions)
        if first_process() and evaluation.heads:
            evaluation.save(self.stored)
        return evaluation

    def pack(self, archive: Path) -> str:
        """Predicts a VOC test set and packs it for its server; returns what to do with the archive."""
        test = self.opened
        if not isinstance(test, PascalVoc) or test.labelled:
            raise MissingData(f"{self.images}: only PASCAL VOC's test sets have a server; name voc2012/test")
        self._over_images(self.predictions)
        return pack(self.predictions, test, archive) if first_process() else ""

    def _over_images(self, folder: Path | None) -> Evaluation:
        opened, module = self.opened, load(self.workspace, self.model, self.trained_on)
        journal = self.workspace.results / f"{self.stem}.journal"
        evaluation = evaluate(
            module,
            opened,
            preparation=preparation(module, self.model, self.mean_bgr),
            device=self.device,
            precision=self.precision,
            save_predictions=folder,
            resume=journal,
            name=self.called,
            command=self.command,
        )
        if first_process():
            shutil.rmtree(journal, ignore_errors=True)
        return evaluation


def keep_answer(workspace: Workspace, answer: Path, model: str, images: str, command: str) -> Path:
    """Stores the evaluation server's answer for a model, for the tables."""
    result = read_answer(answer)
    path = workspace.results / "server" / f"{model}-{images.replace('/', '-')}.json"
    write_json(
        path,
        {
            "model": model,
            "images": images,
            "mean_iu": result.mean_iu,
            "per_class_iu": result.per_class_iu,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": command,
        },
    )
    return path


def kept_answer(workspace: Workspace, model: str, images: str) -> tuple[ServerResult, str] | None:
    """The server's answer for a model, and when it was stored; None without one."""
    path = workspace.results / "server" / f"{model}-{images.replace('/', '-')}.json"
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return ServerResult(content["mean_iu"], content["per_class_iu"]), str(content["date"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReadError(f"{path}: a damaged answer: {type(error).__name__}: {error}") from error


def first_process() -> bool:
    """Whether this is the only process, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"
