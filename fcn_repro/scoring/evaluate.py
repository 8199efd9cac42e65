"""A model on a split, counted into one confusion matrix.

One process or torchrun's many: each takes every n-th remaining image, and the counts are added up, so the
result is the same to the integer. A journal keeps what is done, and an interrupted run continues from it.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from caffe2torch.command_line import Progress, ProgressLine
from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import Dataset, Sample
from fcn_repro.data.png import hexadecimal
from fcn_repro.data.read_ahead import read_ahead
from fcn_repro.data.transforms import Preparation, described
from fcn_repro.scoring.device import Process, device_name, this_process
from fcn_repro.scoring.journal import Done, Journal
from fcn_repro.scoring.metrics import Confusion, Over
from fcn_repro.scoring.predict import PredictionFolder, Predictions, Predictor, inference, model_sha256
from fcn_repro.scoring.result import Evaluation, HeadScores


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    *,
    preparation: Preparation,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    save_predictions: Path | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
    name: str = "",
    command: str = "",
) -> Evaluation:
    """The model's scores on a data set, the same in every process; for the model, see Predictor.

    `preparation` is how the model was trained to see images. `save_predictions` is a folder for palette
    PNGs, `resume` one for the journal. `name` (the model's) and `command` (as typed) are for the record.

    Raises NetError for scores that do not fit the data set, ReadError for a journal of another evaluation,
    MissingData for secret labels without `save_predictions`, DeviceError, and what reading raises.
    """
    if not dataset.labelled and save_predictions is None:
        raise MissingData(f"{dataset.name} {dataset.split}: the labels are secret; save the predictions")
    with this_process(device) as process, inference(model, precision, process.device):
        predictor = Predictor(model, dataset, preparation, process.device, precision)
        run = _Share(predictor, precision, save_predictions, resume)
        before = run.before()
        process.wait_for_all()  # no process writes to the journal before all have read it
        known = frozenset(before.ids)
        left = [index for index, identifier in enumerate(dataset.ids) if identifier not in known]
        report = progress or ProgressLine("images", quiet=process.rank > 0)
        done = run.over(left[process.rank :: process.world], report)
        total = _of_all(before.merge(done) if process.rank == 0 else done, process)
        return Evaluation(
            model=name or type(model).__name__,
            model_sha256=run.sha256,
            dataset=dataset.name,
            split=dataset.split,
            images=len(dataset),
            precision=precision,
            device=device_name(process.device),
            processes=process.world,
            seconds=total.seconds,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            heads=_scored(dataset, total),
            notes=dataset.notes,
            predictions=str(save_predictions.resolve()) if save_predictions else "",
        )


@dataclass(frozen=True)
class _Share:
    """One process's part of an evaluation."""

    predictor: Predictor
    precision: str
    save_predictions: Path | None
    resume: Path | None

    @property
    def dataset(self) -> Dataset:
        return self.predictor.dataset

    @cached_property
    def nothing(self) -> Done:
        heads = self.predictor.heads()
        return Done((), {head: Confusion(len(self.dataset.heads[head].classes)) for head in heads})

    @cached_property
    def folder(self) -> PredictionFolder | None:
        heads = tuple(self.nothing.heads)
        return PredictionFolder(self.save_predictions, self.dataset, heads) if self.save_predictions else None

    @cached_property
    def sha256(self) -> str:
        return model_sha256(self.predictor.model)

    @cached_property
    def journal(self) -> Journal:
        key = {
            "model": self.sha256,
            "preparation": described(self.predictor.preparation),
            "dataset": f"{self.dataset.name} {self.dataset.split}",
            "images": hashlib.sha256("\n".join(self.dataset.ids).encode()).hexdigest(),
            "precision": self.precision,
            "device": self.predictor.device.type,
        }
        return Journal(self.resume, key)

    def before(self) -> Done:
        """What earlier runs did. Raises ReadError if their predictions are needed and missing."""
        done = self.journal.read(self.nothing, self.dataset.ids)
        paths = [path for done_id in done.ids if self.folder for path in self.folder.paths(done_id).values()]
        if missing := [path for path in paths if not path.is_file()]:
            raise ReadError(
                f"{missing[0]}: an earlier run evaluated this image but did not save it there; "
                f"delete {self.resume} to start anew"
            )
        return done

    def over(self, indices: Sequence[int], progress: Progress) -> Done:
        """The counts of these images."""
        done, begin = self.nothing, time.perf_counter()
        try:
            # An image is counted and its files are written while the net computes the next one.
            for one in read_ahead(self._scored, self.predictor.predictions(indices), ahead=1):
                done = replace(done.merge(one), seconds=time.perf_counter() - begin)
                self.journal.write(done)
                progress(len(done.ids), len(indices))
        finally:
            if done.ids:
                self.journal.write(done, now=True)
        return done

    def _scored(self, predicted: tuple[Sample, Predictions]) -> Done:
        """The counts of one image, whose predictions are saved."""
        sample, predictions = predicted
        if self.folder:
            self.folder.save(sample.id, predictions)
        counts = {head: Confusion(confusion.classes) for head, confusion in self.nothing.heads.items()}
        for head, label in sample.labels.items():
            if head in counts:
                counts[head].add(label, predictions[head])
        return Done((sample.id,), counts)


def _of_all(done: Done, process: Process) -> Done:
    """The sum over processes; each keeps its own ids."""
    if process.world == 1:
        return done
    device = process.reduction_device
    heads = {head: counts.across_processes(device) for head, counts in sorted(done.heads.items())}
    seconds = torch.tensor(done.seconds, dtype=torch.float64, device=device)
    dist.all_reduce(seconds)
    return Done(done.ids, {head: heads[head] for head in done.heads}, seconds.item())


def _scored(dataset: Dataset, done: Done) -> dict[str, HeadScores]:
    """The heads with their classes; a mean IU leaves out classes that no image of the split shows.

    Raises ReadError where no pixel was counted: the scores would be NaN.
    """
    if not dataset.labelled:
        return {}
    first = next(iter(dataset.heads))
    heads = {}
    for name, counts in done.heads.items():
        labelling = dataset.heads[name]
        if not counts.counts.any():
            raise ReadError(
                f"{dataset.folder}: {dataset.title}, split {dataset.split}: all labels {name!r} are "
                f"{dataset.ignore_label}, void, in every pixel: there is nothing to score"
            )
        over = Over.LABELLED if name == first and dataset.absent else Over.SEEN
        heads[name] = HeadScores(labelling.classes, hexadecimal(labelling.palette), counts, over)
    return heads
