"""How each net was trained, as data: one TOML file per net next to this module.

A recipe states the images, the net, its first weights, the solver, and the published score.
`[solver]` is Caffe's SolverParameter, field by field, a repeated one as an array (`stepvalue = [200, 300]`);
omitted fields have Caffe's defaults.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import caffe2torch as c2t
from caffe2torch.errors import MissingData, NetError
from fcn_repro.toml_records import load

FOLDER = Path(__file__).parent
INPUTS = ("data", "color", "hha", "color-depth", "color-hha")
"""What a net sees: a BGR image, or NYUDv2's colour and depth: one of them, early fusion or late fusion."""
ORDERS = ("random", "epochs")
"""Images drawn with replacement, as the reference implementation does (voc_layers.py), or shuffled passes."""
MAX_CLASSES = 255
"""The labels of 8 bits but for 255, which is none."""
MAX_WIDTH = 8192
"""Channels of a layer; the published nets have 4096 at most."""
SolverValue = str | int | float | tuple[str | int | float, ...]
"""The value of a field of SolverParameter; several values for a repeated field."""


@dataclass(frozen=True)
class DataSpec:
    """The images: NAME/SPLIT to train on and, unless empty, to validate on.

    `folder` is where a user's own images are, relative to the recipe's file. `mirror` flips half of them.
    """

    train: str
    mean_bgr: tuple[float, ...]
    val: str = ""
    folder: str = ""
    order: str = "random"
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order is {self.order!r}; known are {', '.join(ORDERS)}")
        if len(self.mean_bgr) != 3:
            raise ValueError(f"mean_bgr has {len(self.mean_bgr)} values, expected 3: blue, green, red")


@dataclass(frozen=True)
class NetSpec:
    """A net of the FCN papers, by a name that `c2t.define` takes, with a head for each labelling.

    `classes` is one number per head, by default that of the data set; `heads` are their names if there are
    several; `widths` are the channels of the stages, fc6 and fc7, if not the published ones. `learned`
    deconvolutions are not frozen. `frozen` layers are not trained, or only `trained` ones are; both are
    patterns such as `conv1_*`. `dropout` is the share of fc6 and fc7 (in FCN-GoogLeNet, of the score's input)
    that a training step drops.
    """

    name: str
    classes: tuple[int, ...] = ()
    heads: tuple[str, ...] = ()
    input: str = "data"
    widths: tuple[int, ...] = ()
    learned: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in c2t.DEFINED:
            raise ValueError(f"name is {self.name!r}; known are {', '.join(c2t.DEFINED)}")
        if self.input not in INPUTS:
            raise ValueError(f"input is {self.input!r}; known are {', '.join(INPUTS)}")
        if self.classes and len(self.classes) != max(1, len(self.heads)):
            raise ValueError(f"{len(self.classes)} numbers of classes for {max(1, len(self.heads))} heads")
        if not all(1 <= classes <= MAX_CLASSES for classes in self.classes):
            raise ValueError(f"classes are {list(self.classes)}; labels of 8 bits name 1 to {MAX_CLASSES}")
        if not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise ValueError(f"widths are {list(self.widths)}; a layer has 1 to {MAX_WIDTH} channels")
        if self.frozen and self.trained:
            raise ValueError("give the frozen layers or the trained ones, not both")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout:g}, expected 0 to below 1")
        fixed = ("heads", "input", "widths", "learned") if self.name.startswith("FCNGoogLeNet") else ()
        for field in fields(self):
            if field.name in fixed and getattr(self, field.name) != field.default:
                raise ValueError(f"{self.name} exists only as published; leave out {field.name}")


@dataclass(frozen=True)
class Weights:
    """Weights to start from: a zoo model, a recipe's result, or a file, relative to the recipe's.

    `suffix` is appended to the names of its layers.
    """

    weights: str
    suffix: str = ""


@dataclass(frozen=True)
class Init:
    """Where the weights come from. Layers that no source fills must be named in `fresh`, by patterns.

    Fresh scores start at zero, learned deconvolutions with the bilinear kernel for each class separately, and
    other fresh layers with He's normal distribution (Caffe's `msra`), fitted to `fit` training images: on
    these each channel has mean 0 and variance 1, without which a deep net hardly learns from scratch
    (Krähenbühl et al., ICLR 2016).
    `depth_from_color` gives a fourth input channel the mean of the first layer's three.
    """

    sources: tuple[Weights, ...] = ()
    fresh: tuple[str, ...] = ()
    fit: int = 0
    depth_from_color: bool = False


@dataclass(frozen=True)
class LossSpec:
    """The softmax loss over the pixels not labelled 255: the sum or, with `normalize`, the mean."""

    normalize: bool


@dataclass(frozen=True)
class ExpectedScore:
    """A published score of the trained net: percent, on which images (NAME/SPLIT), and who says so."""

    metric: str
    percent: float
    on: str
    source: tuple[str, ...]
    verified: bool


@dataclass(frozen=True)
class Recipe:
    """How one net is trained. `source` says where the recipe was published, `note` what to know about it."""

    title: str
    source: tuple[str, ...]
    data: DataSpec
    net: NetSpec
    init: Init
    loss: LossSpec
    solver: Mapping[str, SolverValue]
    note: str = ""
    seed: int = 1337
    expected: tuple[ExpectedScore, ...] = ()

    def __post_init__(self) -> None:
        for field in ("base_lr", "lr_policy", "max_iter"):
            if field not in self.solver:
                raise ValueError(f"solver has no {field}")
        for field, value in self.solver.items():
            _refuse_unlike_caffe(field, value)
        if self.solver["lr_policy"] == "multistep" and not self.solver.get("stepvalue"):
            raise ValueError("solver has no stepvalue, the iterations at which lr_policy 'multistep' steps")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected 0 or more")


def _refuse_unlike_caffe(field: str, value: SolverValue) -> None:
    """Raises ValueError for a field that SolverParameter does not have, or a value that it cannot hold."""
    several, given = isinstance(value, tuple), list(value) if isinstance(value, tuple) else value
    try:
        c2t.solver_prototxt({field: None})
        if several != _is_repeated(field):
            kind = "one value" if several else "an array, because it is repeated"
            raise ValueError(f"solver.{field} is {given!r}; Caffe's field takes {kind}")
        c2t.solver_prototxt({field: given})
    except NetError as error:
        raise ValueError(f"solver: {error}") from error


def _is_repeated(field: str) -> bool:
    """Whether SolverParameter's field takes several values: only then may it take none."""
    try:
        c2t.solver_prototxt({field: ()})
    except NetError:
        return False
    return True


def names() -> tuple[str, ...]:
    """The recipes' names, those of their files."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def recipe(name: str) -> Recipe:
    """A recipe by its name, or a user's own by its file, which ends in .toml.

    Raises MissingData without one, and ReadError if it is malformed (see toml_records.py).
    """
    if name.endswith(".toml"):
        return load(Path(name), Recipe)
    if name not in names():
        raise MissingData(
            f"no recipe is called {name!r}; known are {', '.join(names())}, and your own by its file, my.toml"
        )
    return load(FOLDER / f"{name}.toml", Recipe)


def digest(recipe: Recipe) -> str:
    """A hash of what a training's result depends on: not its texts, nor what is only shown or kept."""
    facts = asdict(recipe)
    for word in ("title", "source", "note", "expected"):
        del facts[word]
    solver = facts["solver"]
    idle = {"display", "snapshot", "test_interval", "average_loss"}
    idle |= {"max_iter"} if solver["lr_policy"] != "poly" else set()
    facts["solver"] = {name: value for name, value in solver.items() if name not in idle}
    facts["data"] = {name: value for name, value in facts["data"].items() if name not in ("val", "folder")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
