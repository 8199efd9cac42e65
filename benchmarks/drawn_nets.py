"""Whole nets, drawn at random, for caffe_nets.py: what a layer is like is in drawn_parts.py."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from drawn_layers import Draw, message

Shape = tuple[int, ...]
HEEDLESS = ("BatchNorm", "MVN", "Softmax", "Flatten", "Reshape")
"""Types whose backward pass in Caffe does not look at `propagate_down`."""
MULTIPLIERS = ("", "lr_mult: 1 decay_mult: 1", "lr_mult: 2 decay_mult: 0", "lr_mult: 0", "lr_mult: 0.5")


@dataclass(frozen=True)
class LayerText:
    """A layer of a prototxt; `included` says whether the net has it in its phase and with its stages."""

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: str = ""
    included: bool = True

    def __str__(self) -> str:
        bottoms = (f'bottom: "{bottom}"' for bottom in self.bottoms)
        tops = (f'top: "{top}"' for top in self.tops)
        given = " ".join(filter(None, (*bottoms, *tops, self.fields)))
        return f'layer {{ name: "{self.name}" type: "{self.kind}" {given} }}'


@dataclass(frozen=True)
class DrawnNet:
    """A net: its own fields, its layers, what goes into its inputs, and the phase it runs in."""

    head: tuple[str, ...]
    layers: tuple[LayerText, ...]
    inputs: dict[str, np.ndarray]
    labels: frozenset[str]
    """The inputs that take no gradient."""
    phase: str
    shapes: dict[str, Shape]
    """Of blobs that layers may go on from."""

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in (*self.head, *self.layers))

    @property
    def force_backward(self) -> bool:
        """Whether the inputs get gradients."""
        return "force_backward: true" in self.head

    def unshared(self) -> DrawnNet:
        """The net whose layers have all their parameters to themselves."""
        layers = (replace(layer, fields=re.sub(r' name: "\w+"', "", layer.fields)) for layer in self.layers)
        return replace(self, layers=tuple(layers))


class Sketch(Draw):
    """A net while it is drawn: its layers so far, and the shapes of its blobs."""

    def __init__(self, seed: int, phase: str) -> None:
        super().__init__(seed)
        self.phase, self.stages = phase, self.choice(((), (), ("a",), ("a", "b")))
        self.forced = self.random() < 0.3
        self.layers: list[LayerText] = []
        self.inputs: dict[str, np.ndarray] = {}
        self.labelled: set[str] = set()
        self.shapes: dict[str, Shape] = {}
        self.unread: set[str] = set()
        self.named: list[tuple[str, Shape, list[Shape], str]] = []
        """Layers that others can share their parameters with: type, shapes of bottom and tops, fields."""
        self.shared: dict[tuple[Shape, bool], list[str]] = {}

    def input(self, values: np.ndarray, labels: bool = False) -> str:
        """A blob that is fed."""
        blob = f"x{len(self.inputs)}"
        shape = message("shape", *(f"dim: {size}" for size in values.shape))
        self.layers.append(LayerText(blob, "Input", (), (blob,), message("input_param", shape)))
        self.inputs[blob] = values
        if labels:
            self.labelled.add(blob)
        else:
            self.shapes[blob] = values.shape
            self.unread.add(blob)
        return blob

    def pick(self, fits: Callable[[Shape], bool], *, unread: float = 0.6) -> str | None:
        """A blob of a shape that fits, most often one that nothing has read yet; None where there is none."""
        blobs = [blob for blob, shape in self.shapes.items() if fits(shape)]
        fresh = [blob for blob in blobs if blob in self.unread]
        if fresh and self.random() < unread:
            return self.choice(fresh)
        return self.choice(blobs) if blobs else None

    def add(self, kind: str, bottoms: tuple[str, ...], shapes: list[Shape], fields: str = "") -> list[str]:
        """A layer with tops of its own, which the list of their shapes counts. Returns their names."""
        if len(bottoms) == 1 and 'param { name: "' in fields:
            self.named.append((kind, self.shapes[bottoms[0]], shapes, fields))
        tops = tuple(f"b{len(self.layers)}" + "abcdef"[i] * (len(shapes) > 1) for i in range(len(shapes)))
        return self._add(kind, bottoms, tops, shapes, fields)

    def add_in_place(self, kind: str, bottoms: tuple[str, ...], fields: str = "") -> None:
        """A layer that writes over its first bottom."""
        self._add(kind, bottoms, bottoms[:1], [self.shapes[bottoms[0]]], fields)

    def _add(
        self, kind: str, bottoms: tuple[str, ...], tops: tuple[str, ...], shapes: list[Shape], fields: str
    ) -> list[str]:
        rule, included = self._rule()
        more = [fields, rule, self._loss_weight(kind, len(tops)), self._propagate_down(kind, bottoms)]
        name = f"{kind.lower()}{len(self.layers)}"
        self.layers.append(LayerText(name, kind, bottoms, tops, " ".join(filter(None, more)), included))
        if not included:
            return []
        self.unread -= set(bottoms)
        self.unread |= set(tops)
        self.shapes |= dict(zip(tops, shapes, strict=True))
        return list(tops)

    def _rule(self) -> tuple[str, bool]:
        """An include or exclude rule, and whether the layer is in the net with it."""
        if self.random() > 0.06:
            return "", True
        phase, a = self.phase, "a" in self.stages
        other = "TEST" if phase == "TRAIN" else "TRAIN"
        return self.choice(
            (
                (f"include {{ phase: {phase} }}", True),
                (f"include {{ phase: {other} }}", False),
                (f"exclude {{ phase: {other} }}", True),
                ('include { stage: "a" }', a),
                ('include { not_stage: "a" }', not a),
                (f'include {{ phase: {other} }} include {{ stage: "a" max_level: 0 }}', a),
                (f'exclude {{ phase: {phase} stage: "a" }}', not a),
                ("include { min_level: 1 }", False),
            )
        )

    def _loss_weight(self, kind: str, tops: int) -> str:
        """Now and then a loss weight for each top, more often for a loss."""
        if self.random() > (0.3 if kind.endswith("Loss") else 0.04):
            return ""
        weights = (1, 0.5, -2) if kind == "HingeLoss" else (0, 1, 0.5, -2)
        return " ".join(f"loss_weight: {self.choice(weights)}" for _ in range(tops))

    def _propagate_down(self, kind: str, bottoms: tuple[str, ...]) -> str:
        if self.random() > 0.04 or kind in HEEDLESS or kind.endswith("Loss") or self.labelled & set(bottoms):
            return ""
        return " ".join(f"propagate_down: {self.choice(('true', 'false'))}" for _ in bottoms)

    def params(self, *shapes: Shape, frozen: bool = False) -> str:
        """A `param` for each of a layer's first blobs: multipliers, and names by which blobs are shared."""
        if self.random() < 0.4:
            return ""
        count = self.randint(1, len(shapes)) + (self.random() < 0.01)
        return " ".join(self.param(shape, frozen) for shape in (*shapes, (1,))[:count])

    def param(self, shape: Shape, frozen: bool) -> str:
        """A `param` for a blob of a shape, now and then one that another layer has, too."""
        known = self.shared.setdefault((shape, frozen), [])
        size = math.prod(shape), frozen
        alike = [spec for (x, f), specs in self.shared.items() if (math.prod(x), f) == size for spec in specs]
        if alike and self.random() < 0.1:
            return self.choice(alike).replace("param {", "param { share_mode: PERMISSIVE")
        if known and self.random() < 0.5:
            return self.choice(known)
        multipliers = "lr_mult: 0" if frozen else self.choice(MULTIPLIERS)
        if self.random() < 0.5:
            return f"param {{ {multipliers} }}"
        name = f"p{sum(map(len, self.shared.values()))}"
        known.append(f'param {{ name: "{name}" {multipliers} }}')
        if not frozen and self.random() < 0.2:  # another sharer leaves it unsaid, or says it differently
            known.append(f'param {{ name: "{name}" {self.choice(MULTIPLIERS[:4])} }}')
        return known[0]

    def net(self) -> DrawnNet:
        """What was drawn."""
        stages = " ".join(f'stage: "{stage}"' for stage in self.stages)
        head = (
            'name: "drawn"',
            "force_backward: true" if self.forced else "",
            message("state", stages) if stages else "",
        )
        labels = frozenset(self.labelled)
        layers = tuple(self.layers)
        return DrawnNet(tuple(filter(None, head)), layers, self.inputs, labels, self.phase, self.shapes)
