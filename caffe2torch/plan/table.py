"""Net -> a table of its layers, as text or JSON: types, blobs, parameters, receptive field and stride."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from caffe2torch.errors import Caffe2TorchError
from caffe2torch.net import Net
from caffe2torch.net.text import aligned, shape_text
from caffe2torch.plan import Plan, Step, plan


@dataclass(frozen=True)
class LayerRow:
    """One layer. `receptive_field` and `stride` are (height, width), over the input it sees farthest in."""

    layer: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[tuple[int | None, ...], ...]
    parameters: int | None
    """The number of values in its own blobs; None where their shapes are unknown."""
    receptive_field: tuple[float, ...] | None = None
    """None where the layer sees the whole image, or where that is unknown."""
    stride: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Table:
    """The layers of a net in its order. `problem` says why it has no receptive fields, if it has none."""

    name: str
    rows: tuple[LayerRow, ...]
    problem: str = ""
    notes: tuple[str, ...] = ()
    """What reading and planning rewrote or dropped, and why."""

    @property
    def parameters(self) -> int | None:
        """The number of values in all blobs, shared ones counted once; None where it is unknown."""
        counts = [row.parameters for row in self.rows if row.parameters is not None]
        return sum(counts) if len(counts) == len(self.rows) else None

    @property
    def parameter_layers(self) -> int:
        """The number of layers that have blobs."""
        return sum(bool(row.blobs) for row in self.rows)

    @property
    def coarsest(self) -> LayerRow | None:
        """The last layer at the largest stride: the one whose receptive field the papers give."""
        strided = [row for row in self.rows if row.stride is not None]
        return max(reversed(strided), key=lambda row: row.stride or (), default=None)

    def as_dict(self) -> dict[str, Any]:
        """The table for JSON."""
        totals = {"parameters": self.parameters, "parameter_layers": self.parameter_layers}
        return {
            "net": self.name,
            "layers": [asdict(row) for row in self.rows],
            **totals,
            "problem": self.problem,
        }

    def __str__(self) -> str:
        head = ("layer", "type", "bottoms -> tops", "blobs", "parameters", "receptive field", "stride")
        lines = [head, *(_cells(row) for row in self.rows)]
        return "\n".join((*aligned(lines, right=(4, 5, 6)), "", self.foot()))

    def foot(self) -> str:
        """The totals, one line."""
        count = count_text(self.parameters)
        layers = f"{len(self.rows)} layer{'s' * (len(self.rows) != 1)}"
        text = f"{layers}, {self.parameter_layers} with blobs, {count} parameters"
        coarsest = self.coarsest
        if coarsest is not None:
            field = _extent(coarsest.receptive_field, "of the whole image")
            text += f"; receptive field {field} at stride {_extent(coarsest.stride)} ({coarsest.layer})"
        return f"{text}\n{self.problem}" if self.problem else text


def table(net: Net) -> str:
    """The table of a net as text."""
    return str(table_of(net))


def table_of(net: Net | Plan) -> Table:
    """The table of a plan, or of a net in phase TEST; if it cannot be planned, of its layers as they are."""
    if isinstance(net, Plan):
        return Table(net.net.name, tuple(map(_planned, net.steps)), notes=net.net.notes)
    try:
        return table_of(plan(net, allow_missing=True))
    except Caffe2TorchError as error:
        return Table(net.name, tuple(_plain(net)), f"no receptive fields: {error}", net.notes)


def _planned(step: Step) -> LayerRow:
    layer = step.layer
    shapes = tuple(parameter.shape for parameter in step.parameters)
    own = [p.shape for p in step.parameters if p.owner == p.key]
    sizes = [math.prod(size for size in shape if size is not None) for shape in own]
    count = None if any(None in shape for shape in own) else sum(sizes)
    views = sorted(
        step.views.values(), key=lambda view: (view.receptive_field is None, view.receptive_field or ())
    )
    if not views:
        return LayerRow(layer.name, layer.type, layer.bottoms, layer.tops, shapes, count)
    field, stride = views[-1].receptive_field, views[-1].stride
    seen = None if field is None else tuple(map(_number, field))
    return LayerRow(
        layer.name, layer.type, layer.bottoms, layer.tops, shapes, count, seen, tuple(map(_number, stride))
    )


def _plain(net: Net) -> Iterator[LayerRow]:
    for layer in net.layers:
        shapes = tuple(blob.shape for blob in layer.blobs)
        count = sum(blob.count for blob in layer.blobs)
        yield LayerRow(layer.name, layer.type, layer.bottoms, layer.tops, shapes, count)


def _number(value: Fraction) -> float:
    return int(value) if value.denominator == 1 else float(value)


def _cells(row: LayerRow) -> tuple[str, ...]:
    flow = f"{', '.join(row.bottoms)} -> {', '.join(row.tops)}".strip()
    seen = "" if row.stride is None else _extent(row.receptive_field, "image")
    count = "" if row.parameters == 0 else count_text(row.parameters)
    blobs = " ".join(map(shape_text, row.blobs))
    return row.layer, row.type, flow, blobs, count, seen, _extent(row.stride)


def count_text(count: int | None) -> str:
    """12,345, or ? if unknown."""
    return "?" if count is None else f"{count:,}"


def _extent(sizes: tuple[float, ...] | None, otherwise: str = "") -> str:
    """404 for a square, 404x355 (height x width) for others."""
    if sizes is None:
        return otherwise
    return f"{sizes[0]:g}" if len(set(sizes)) == 1 else "x".join(f"{size:g}" for size in sizes)
