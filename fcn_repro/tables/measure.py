"""Measures the cells of a table on this machine, from nets, labels, stored runs, models and their data.

Each measure imports what it needs when it runs: a table with nothing to measure does not load torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import caffe2torch as c2t
from caffe2torch.command_line import ProgressLine
from caffe2torch.errors import MissingData
from fcn_repro import recipes
from fcn_repro.data.datasets import Dataset, dataset
from fcn_repro.data.datasets.masked import masked_images
from fcn_repro.fetching.zoo import UNKNOWN, zoo
from fcn_repro.tables import hints
from fcn_repro.tables.compare import TOLERANCES, Finding, How, Measure, Measured, Missing
from fcn_repro.tables.papers import OBJECT_IU, SCORES, STRUCTURE, Column, Row
from fcn_repro.tables.structure import about, structure
from fcn_repro.workspace import Workspace, count, is_whole

if TYPE_CHECKING:
    from fcn_repro.scoring.result import Evaluation
    from fcn_repro.scoring.voc_server import ServerResult
    from fcn_repro.tables.bounds import Bounds
    from fcn_repro.tables.timing import Timing

DEFAULT_PROTOCOL = "bilinear"
"""For the upper bounds; the others are in downsampling.PROTOCOLS."""


@dataclass
class Measurements:
    """Measures what the workspace allows and was asked for, and remembers it.

    `program` and `table` are what to type for another command, and for this table again. `run` evaluates
    models that are here with their data and have not been evaluated yet.
    """

    workspace: Workspace
    program: str
    table: str
    run: bool = True
    time: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    protocol: str = DEFAULT_PROTOCOL
    fill: str = ""
    """What replaces masked pixels, if not the mean colour."""
    used: list[Evaluation] = field(default_factory=list)
    """The runs shown in the table."""
    _bounds: dict[str, Bounds] = field(default_factory=dict)
    _times: dict[str, Timing] = field(default_factory=dict)
    _opened: dict[str, Dataset | Missing] = field(default_factory=dict)
    _now: list[Evaluation] = field(default_factory=list)

    @property
    def measures(self) -> dict[str, Measure]:
        """By the column's measure."""
        return {
            **dict.fromkeys(STRUCTURE, self.structure),
            **dict.fromkeys((*SCORES, OBJECT_IU), self.score),
            "bound": self.bound,
            "time": self.forward_time,
            "server": self.server,
        }

    def structure(self, row: Row, column: Column) -> Finding:
        """From the net's definition; parameters in millions, as the papers round them."""
        assert column.measure is not None  # noqa: S101 (it chose this method)
        value = getattr(structure(row.net), column.measure)
        shown = round(value / 1e6) if column.measure == "parameters" else value
        return Measured(shown, How.COMPUTED, about(row.net, column.measure), tolerance=0)

    def bound(self, row: Row, column: Column) -> Finding:
        """From the labels only."""
        if column.images not in self._bounds:
            opened = self._open(column.images)
            if isinstance(opened, Missing):
                return opened
            self._bounds[column.images] = _upper_bounds(opened, self.protocol)
        from fcn_repro.tables.bounds import tolerance

        bounds = self._bounds[column.images]
        text = (
            f"{_of(bounds.images, column)} in {bounds.seconds:.0f} s; protocol {self.protocol}: {bounds.text}"
        )
        compared = tolerance(row.factor) if self.protocol == DEFAULT_PROTOCOL else None
        whole = bounds.images == count(column.images)
        return Measured(100 * bounds.scores[row.factor].mean_iu, How.COMPUTED, text, compared, whole)

    def forward_time(self, row: Row, column: Column) -> Finding:
        """For the net with random weights, on request."""
        if not self.time:
            reason = "forward times are measured only on request, with random weights"
            return Missing(reason, f"{self.table} --time", optional=True)
        if row.net not in self._times:
            self._times[row.net] = _forward_time(row.net, self.device, self.precision)
        timing = self._times[row.net]
        return Measured(timing.median_ms, How.COMPUTED, str(timing))

    def score(self, row: Row, column: Column) -> Finding:
        """From a stored run; else by running the model, if it and its data are here."""
        column = replace(column, on=masked_images(column.on, row.kept, self.fill))
        runs = [run for run in self._stored if _is_of(run, row, column)]
        whole = [run for run in runs if _is_whole(run, column)]
        if not whole and self.run and (model := self._here(row, column)):
            opened = self._open(column.images)
            if isinstance(opened, Dataset) and is_whole(opened):
                whole = [self._evaluated(model, column)]
        if whole or runs:
            return self._found((whole or runs)[0], row, column)
        return self._unscored(row, column)

    def server(self, row: Row, column: Column) -> Finding:
        """The evaluation server's answer, and the same model's score on seg11valid."""
        for model in filter(None, (row.model, row.recipe)):
            if found := self._answer(model, column.images):
                result, date = found
                text = f"the server's answer for {model}, stored {date}; {self._beside(model)}"
                return Measured(result.mean_iu, How.STORED, text, self._tolerance(model, row))
        predict = f"--predict {row.model} --on {column.images}"
        reason = f"only the evaluation server has its labels; {self._beside(row.model)}"
        return Missing(reason, self._typed(*self._fetches(row, column), predict))

    def _beside(self, model: str) -> str:
        runs = [run for run in self._stored if (run.model, run.split) == (model, "seg11valid")]
        if not runs:
            return f"{model} has not been evaluated on seg11valid yet"
        part = "" if runs[0].images == 736 else f", {runs[0].images} images of it"
        return f"{model} has mean IU {100 * runs[0].scores.mean_iu:.2f} on seg11valid{part}"

    def _open(self, images: str) -> Dataset | Missing:
        if images not in self._opened:
            try:
                self._opened[images] = self.workspace.open(images)
            except MissingData as error:
                reason = str(error) if self.workspace.data else f"not here: the data {images}"
                fetched = [] if self.workspace.data else [hints.fetch_data(images)]
                self._opened[images] = Missing(reason, self._typed(*fetched, again=True))
        return self._opened[images]

    def images_of(self, run: Evaluation) -> Dataset | None:
        """The data set of a run, or None if it is not here."""
        try:
            opened = self.workspace.open(f"{run.dataset}/{run.split}")
        except MissingData:
            return None
        return opened if len(opened) == run.images else None

    def _found(self, run: Evaluation, row: Row, column: Column) -> Finding:
        head = run.heads[column.head] if column.head else run.head
        assert column.measure is not None  # noqa: S101 (it chose this method)
        is_object_iu = column.measure == OBJECT_IU
        value = 100 * head.object_iu if is_object_iu else head.scores.percent()[column.measure]
        if run not in self.used:
            self.used.append(run)
        source = How.COMPUTED if run in self._now else How.STORED
        images = _of(run.images, column)
        text = f"{run.model}, {images}, {run.precision}, {run.device}, {run.date}: {run.command}"
        tolerance = None if column.open else self._tolerance(run.model, row)
        return Measured(value, source, text, tolerance, _is_whole(run, column))

    def _tolerance(self, model: str, row: Row) -> float:
        """For published weights, or for ones trained here, perhaps under the published name."""
        trained = model != row.model or (model == row.recipe and self.workspace.is_trained(model))
        return TOLERANCES["trained" if trained else "published"]

    def _here(self, row: Row, column: Column) -> str:
        """The model here that measures a row: the published one, or one trained by its recipe."""
        suited = [row.model, *([row.recipe] if _suits(row.recipe, column) else [])]
        return next((model for model in suited if model and self.workspace.model(model)), "")

    def _unscored(self, row: Row, column: Column) -> Missing:
        """Why a score is missing, and how to get it."""
        if not row.model:
            return self._untrained(row, column)
        here = self.workspace.model(row.model) is not None
        address = zoo().models[row.model].address
        unknown = ", whose address is unknown," if address == UNKNOWN else ""
        what = [] if here else [f"the weights {row.model}{unknown}"]
        if isinstance(opened := self._open(column.images), Missing):
            why = f" ({opened.reason})" if self.workspace.data else ""
            what.append(f"the data {column.images}{why}")
        reason = f"not here: {' and '.join(what)}" if what else "not evaluated yet"
        anew = row.recipe and f"or train it: {self.program} --train {row.recipe}"
        if not here and (row.why or anew):
            reason += f"; {row.why or anew}"
        return Missing(reason, self._typed(*self._fetches(row, column), again=True))

    def _untrained(self, row: Row, column: Column) -> Missing:
        """For a row without published weights."""
        if row.recipe not in recipes.names():
            return Missing(f"{row.why}, and no such weights were published")
        if not _suits(row.recipe, column):
            return self._unsuited(row, column)
        if self.workspace.model(row.recipe):
            reason, train = f"not evaluated yet: {row.recipe}, trained here", []
        else:
            reason = f"no such weights were published; the recipe {row.recipe} trains them"
            train = [*hints.train(row.recipe, self.workspace)]
        return Missing(reason, self._typed(*train, *self._fetches(row, column), again=True))

    def _unsuited(self, row: Row, column: Column) -> Missing:
        """For a row whose recipe learns other classes, or from images that are masked otherwise."""
        train, kept = recipes.recipe(row.recipe).data.train, dataset(column.dataset).kept
        if not kept:
            return Missing(f"no recipe: {row.recipe} is not for the classes of {column.dataset}")
        name, _, split = train.partition("/")
        wanted = f"{name.partition('+')[0]}+{kept}/{split}"
        reason = f"{row.recipe} learns from {train}: change that in a copy, my.toml, to {wanted}"
        evaluate = f"--evaluate my --on {column.images} --name {row.recipe}"
        return Missing(reason, self._typed("--train my.toml", evaluate, again=True))

    def _fetches(self, row: Row, column: Column) -> Iterator[str]:
        """The options that fetch missing published weights and data."""
        if row.model and self.workspace.model(row.model) is None:
            yield hints.fetch_model(row.model)
        if isinstance(self._open(column.images), Missing):
            yield hints.fetch_data(column.images)

    def _typed(self, *options: str, again: bool = False) -> str:
        """The commands in order, each once; then the table `again`."""
        commands = [f"{self.program} {option}" for option in dict.fromkeys(options) if option]
        return " && ".join([*commands, *([self.table] if again else [])])

    def _evaluated(self, model: str, column: Column) -> Evaluation:
        from fcn_repro.scoring.run import ModelRun

        command = shlex.join(["fcn-repro", "--evaluate", model, "--on", column.images])
        run = ModelRun(
            self.workspace,
            model,
            column.images,
            device=self.device,
            precision=self.precision,
            show=True,
            trained_on=column.dataset,
            command=command,
        )
        evaluation = run.evaluate()
        self._stored.insert(0, evaluation)
        self._now.append(evaluation)
        return evaluation

    @cached_property
    def _stored(self) -> list[Evaluation]:
        if not any(self.workspace.results.glob("*.json")):
            return []
        from fcn_repro.scoring.result import stored_evaluations

        return list(stored_evaluations(self.workspace.results))

    def _answer(self, model: str, images: str) -> tuple[ServerResult, str] | None:
        if not (self.workspace.results / "server").is_dir():
            return None
        from fcn_repro.scoring.run import kept_answer

        return kept_answer(self.workspace, model, images)


def _is_of(run: Evaluation, row: Row, column: Column) -> bool:
    """Whether a stored run applies to a cell."""
    here = f"{run.dataset}/{run.split}" == column.images and (not column.head or column.head in run.heads)
    return here and bool(run.heads) and run.model in {row.model, row.recipe} - {""}


def _is_whole(run: Evaluation, column: Column) -> bool:
    return count(column.images) in (None, run.images)


def _of(images: int, column: Column) -> str:
    """How many images were scored, and of how many."""
    every = count(column.images)
    return f"{images} images" if every in (None, images) else f"{images} of {every} images"


def _suits(recipe: str, column: Column) -> bool:
    """Whether a net trained by this recipe, if it is one, can be scored on a column's images.

    One that learned from whole images can also be scored on masked ones.
    """
    if recipe not in recipes.names():
        return True
    own, scored = (
        dataset(images.partition("/")[0]) for images in (recipes.recipe(recipe).data.val, column.on)
    )
    classes = [[labelling.classes for labelling in kind.labellings.values()] for kind in (own, scored)]
    return classes[0] == classes[1] and own.kept in ("", scored.kept)


def _upper_bounds(opened: Dataset, protocol: str) -> Bounds:
    from fcn_repro.tables.bounds import upper_bounds

    return upper_bounds(opened, protocol=protocol, progress=ProgressLine("labels"))


def _forward_time(net: str, device: str, precision: str) -> Timing:
    import torch

    from fcn_repro.tables.timing import forward_times

    torch.manual_seed(0)
    model = c2t.build(c2t.define(net))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, parameter[0].numel() ** -0.5)
    (timing,) = forward_times(model, device=device, precision=precision)
    return timing
