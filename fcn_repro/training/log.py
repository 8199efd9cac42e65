"""A training's log: train.csv and val.csv, TensorBoard's events, and a line in the terminal.

The columns are TRAIN and VAL. A resumed training first drops the rows after its snapshot, and the scores at
it: it validates again, because it may have been stopped before that was done.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from caffe2torch.command_line import clock
from caffe2torch.errors import MissingData, WriteError
from fcn_repro.files import make_folder, write

TRAIN = ("iteration", "loss", "smoothed_loss", "rate", "images_per_s")
VAL = ("iteration", "pixel_accuracy", "mean_accuracy", "mean_iu", "fw_iu")


class _Events(Protocol):
    """TensorBoard's file."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def close(self) -> None: ...


class TrainingLog:
    """The files in `folder`, from `iteration` on; `rank` 0 writes, the others are silent."""

    def __init__(self, folder: Path, iteration: int, *, rank: int = 0, tensorboard: bool = False) -> None:
        self.folder, self._writes = folder, rank == 0
        self._events = _events(folder, iteration) if tensorboard and rank == 0 else None
        for name, columns, last in (("train", TRAIN, iteration), ("val", VAL, iteration - 1)):
            if self._writes:
                path = folder / f"{name}.csv"
                kept = [row for row in read_rows(path, columns) if row["iteration"] <= last]
                write(path, _text(columns, kept))

    def train(self, row: Mapping[str, float], total: int, seconds_each: float) -> None:
        """A row of train.csv; in a terminal, also the progress through `total` iterations."""
        self._add("train", TRAIN, row)
        if self._writes and sys.stderr.isatty():
            left = (total - row["iteration"]) * seconds_each
            sys.stderr.write(
                f"\rIteration {row['iteration']:.0f} of {total}, loss {row['smoothed_loss']:.6g}, rate "
                f"{row['rate']:.3g}, {row['images_per_s']:.1f} images/s, {clock(left)} left\x1b[K"
            )
            sys.stderr.flush()

    def val(self, row: Mapping[str, float]) -> None:
        """A row of val.csv, scores in percent; in a terminal, a line that stays."""
        self._add("val", VAL, row)
        if self._writes and sys.stderr.isatty():
            scores = ", ".join(f"{name.replace('_', ' ')} {row[name]:.2f}" for name in VAL[1:])
            sys.stderr.write(f"\rIteration {row['iteration']:.0f}: {scores}\x1b[K\n")

    def close(self) -> None:
        """Ends the line in the terminal and TensorBoard's file."""
        if self._writes and sys.stderr.isatty():
            sys.stderr.write("\n")
        if self._events is not None:
            self._events.close()

    def _add(self, name: str, columns: Sequence[str], row: Mapping[str, float]) -> None:
        if not self._writes:
            return
        path = self.folder / f"{name}.csv"
        try:
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(_line([row[column] for column in columns]))
            if self._events is not None:
                for column in columns[1:]:
                    self._events.add_scalar(f"{name}/{column}", row[column], int(row["iteration"]))
        except OSError as error:
            raise WriteError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, float]]:
    """The rows of a log; an unfinished last line, left by a killed process, is dropped."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    rows, (whole, _, _torn) = [], text.rpartition("\n")
    for row in csv.reader(whole.splitlines()[1:]):
        try:
            rows.append(dict(zip(columns, map(float, row), strict=True)))
        except ValueError:
            break
    return rows


def _text(columns: Sequence[str], rows: Sequence[Mapping[str, float]]) -> str:
    return _line(columns) + "".join(_line([row[column] for column in columns]) for row in rows)


def _line(values: Sequence[str | float]) -> str:
    text = io.StringIO()
    shown = [f"{value:.9g}" if isinstance(value, (int, float)) else value for value in values]
    csv.writer(text, lineterminator="\n").writerow(shown)
    return text.getvalue()


def _events(folder: Path, iteration: int) -> _Events:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingData("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    make_folder(folder / "tensorboard")
    return SummaryWriter(str(folder / "tensorboard"), purge_step=iteration + 1)
