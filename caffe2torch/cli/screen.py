"""What fcn-convert says when it is done: a screen for people, facts for --json, Python to load the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2torch.formats import formats
from caffe2torch.layers.converter import Shape
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.net.text import aligned
from caffe2torch.plan.table import count_text, table_of
from caffe2torch.writing.checking import Check
from caffe2torch.writing.model import Model

if TYPE_CHECKING:
    from caffe2torch.modules.report import Report


@dataclass(frozen=True)
class Outcome:
    """A finished conversion; str(outcome) is one screen."""

    model: Model
    reports: Mapping[str, Report]
    """What --verify found, by how the model was made: "build", or the hand-written module's name."""
    target: str
    format: str
    dtype: str
    seconds: float
    check: Check | None = None
    """How the written file was checked."""
    warnings: tuple[str, ...] = ()
    """What may make it useless; in JSON they are among the notes."""
    replaced: tuple[str, ...] = ()
    """The files that were there before, under the same names."""

    def facts(self) -> dict[str, Any]:
        """The result for JSON."""
        plan, table = self.model.plan, table_of(self.model.plan)
        return {
            **origin_facts(self.model),
            "net": plan.net.name,
            "architecture": self.model.architecture.name if self.model.architecture else "",
            "layers": len(table.rows),
            "parameter_layers": table.parameter_layers,
            "parameters": table.parameters,
            "inputs": dict(plan.inputs),
            **self.model.deployed_knowledge.as_data(),
            "mean_unknown": self.mean_unknown,
            "outputs": plan.outputs,
            "notes": (*plan.net.notes, *self.warnings),
            "diagonal": [parameter.key for parameter in plan.parameters() if parameter.diagonal],
            "verified": verified(self.reports),
            "checked": self.check and self.check.facts(),
            "output": {
                "file": self.target,
                "format": self.format,
                "dtype": self.dtype,
                "replaced": self.replaced,
            },
            "seconds": round(self.seconds, 3),
            "load": self.load(),
        }

    def __str__(self) -> str:
        head = origin_text(self.model)
        lines = aligned([(f"  {name}", value) for name, value in self._lines()])
        checked = f"checked {self.check}" if self.check else ""
        old = f"replaced what was at {' and '.join(self.replaced)}\n" if self.replaced else ""
        written = f"{old}wrote {self.target}: {size_text(self.target)} in {self.seconds:.2f} s; it loads with"
        code = "\n".join(f"    {line}" for line in self.load())
        parts = ["\n".join((head, *lines)), compared(self.reports), checked, f"{written}\n\n{code}"]
        return "\n\n".join(part for part in parts if part)

    def _lines(self) -> list[tuple[str, str]]:
        plan, table = self.model.plan, table_of(self.model.plan)
        diagonal = [parameter.key for parameter in plan.parameters() if parameter.diagonal]
        return [
            ("net", plan.net.name),
            ("architecture", str(self.model.architecture or "none of the FCN zoo's")),
            ("layers", f"{len(table.rows)}, {table.parameter_layers} with parameters"),
            ("parameters", count_text(table.parameters)),
            *(("input", f"{blob} {_axes(shape)}") for blob, shape in plan.inputs.items()),
            *(line for blob, known in self.model.preprocessing.items() for line in _prepared(blob, known)),
            *(("mean", f"unknown, of {blob}; --mean B,G,R tells it") for blob in self.mean_unknown),
            ("output", ", ".join(plan.outputs)),
            *(("classes", _classes(blob, known)) for blob, known in self.model.labellings.items()),
            *(("changed", note) for note in plan.net.notes),
            *(("warning", warning) for warning in self.warnings),
            *(
                ("diagonal", f"{key}: frozen and zero off its diagonal, so only that is kept")
                for key in diagonal
            ),
        ]

    @property
    def mean_unknown(self) -> list[str]:
        """The images, by input, of which nobody says how they were prepared."""
        inputs = self.model.plan.inputs
        images = (blob for blob, shape in inputs.items() if shape is None or len(shape) == 4)
        return [blob for blob in images if blob not in self.model.preprocessing]

    def load(self) -> list[str]:
        """Python that loads what was written, and runs it if the sizes of its inputs are known."""
        shapes = self._example()
        calls = {
            "path": self.target,
            "reading": "\n".join(self.model.origin.code if self.model.origin else ()),
            "inputs": ", ".join(f"{blob}=torch.zeros{shape}" for blob, shape in shapes.items()),
            "arrays": _dictionary({blob: f"numpy.zeros({shape}, 'f')" for blob, shape in shapes.items()}),
        }
        lines = [line for line in formats()[self.format].code if shapes or not _runs(line)]
        return [line for template in lines for line in template.format(**calls).split("\n")]

    def _example(self) -> dict[str, tuple[int, ...]]:
        """Shapes of inputs that the net takes; empty if they are unknown, or a name is not an identifier."""
        if self.model.engine.size:
            tried = {blob: array.shape for blob, array in self.model.trials.trials[0].inputs.items()}
            return tried if all(map(str.isidentifier, tried)) else {}
        shapes = {}
        for blob, shape in self.model.plan.inputs.items():
            batch, *sizes = shape or (1, None)
            if self.model.architecture is not None:
                sizes[1:] = [size or 500 for size in sizes[1:]]
            if None in sizes or not blob.isidentifier():
                return {}
            shapes[blob] = (batch or 1, *(size or 0 for size in sizes))
        return shapes


def origin_facts(model: Model) -> dict[str, str]:
    """The file that a model was read from, for JSON."""
    return {"file": str(model.origin.file), "format": model.origin.format} if model.origin else {}


def origin_text(model: Model) -> str:
    """The file that a model was read from: its name, its format, its size."""
    facts = origin_facts(model)
    return f"{facts['file']}: {facts['format']}, {size_text(facts['file'])}" if facts else model.net.name


def _runs(line: str) -> bool:
    return "{inputs}" in line or "{arrays}" in line


def _dictionary(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key!r}: {value}" for key, value in entries.items()) + "}"


def verified(reports: Mapping[str, Report]) -> dict[str, Any]:
    """The reports for JSON."""
    return {road: report.as_dict() for road, report in reports.items()}


def compared(reports: Mapping[str, Report]) -> str:
    """The reports as one table; empty without any."""
    if not reports:
        return ""
    from caffe2torch.modules.report import side_by_side

    return f"against {next(iter(reports.values())).reference}:\n{side_by_side(reports)}"


def _prepared(blob: str, known: Preprocessing) -> Iterator[tuple[str, str]]:
    """How the images that the net was trained on were prepared, a line for each step."""
    if known.mean_file:
        yield "mean", f"the image {known.mean_file}, to subtract from {blob}"
    if known.mean:
        yield "mean", f"{numbers(known.mean)}, to subtract from {blob}"
    if known.scale != 1:
        yield "scale", f"{known.scale:.8g}, to multiply {blob} by"
    if known.crop_size:
        yield "crop", f"{known.crop_size} pixels square, from the middle of {blob}"


def _classes(blob: str, known: Labelling) -> str:
    """A labelling's classes, for one line."""
    first, *others = known.classes
    more = f", …, {others[-1]}" if others else ""
    return f"{len(known.classes)} of {blob}: {first}{more}"


def numbers(values: Sequence[float]) -> str:
    """Numbers with the digits that float32 has."""
    return ", ".join(f"{value:.8g}" for value in values)


def size_text(path: str) -> str:
    """The size of a file or of a folder's files, in MB or kB."""
    files = Path(path).iterdir() if Path(path).is_dir() else [Path(path)]
    size = sum(file.stat().st_size for file in files)
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _axes(shape: Shape | None) -> str:
    """(N, 3, H, W), with letters for what the net leaves open."""
    if shape is None:
        return "of any shape"
    letters = "NCHW" if len(shape) == 4 else "N" + "?" * (len(shape) - 1)
    sizes = (letter if size is None else str(size) for letter, size in zip(letters, shape, strict=True))
    return f"({', '.join(sizes)})"
