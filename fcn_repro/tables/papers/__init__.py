"""The papers' tables, as data: one TOML file per paper next to this module, every cell with its source.

A cell is verified if its value was seen in a text that its sources name. `memory` as the only source means
that it was not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from caffe2torch.errors import ReadError
from fcn_repro import recipes
from fcn_repro.data.datasets.masked import KEPT
from fcn_repro.fetching.zoo import zoo
from fcn_repro.toml_records import load

FOLDER = Path(__file__).parent
MEMORY = "memory"
"""The source of a value for which no text was at hand."""


SCORES = ("pixel_accuracy", "mean_accuracy", "mean_iu", "fw_iu")
"""The papers' scores, as metrics.Scores names them."""
STRUCTURE = ("layers", "parameters", "receptive_field", "stride")
"""What follows from a net's definition, as structure.Structure names it."""
OBJECT_IU = "object_iu"
"""Mean IU over all classes but the background."""
MEASURES = (*SCORES, OBJECT_IU, *STRUCTURE, "time", "bound", "server")
"""Also: the time of one forward pass, an upper bound on mean IU, and the mean IU that a server gives."""


@dataclass(frozen=True)
class Column:
    """What a column states, `metric`, and what measures it, one of MEASURES or None.

    `split` is "-" if no images are needed; `on` names it for open_dataset: NAME/SPLIT or NAME/SPLIT:HEAD.
    `elsewhere` is for columns that are measured on other images than the published values; `open`, for ones
    whose images the paper does not state, so that no difference is too large.
    """

    metric: str
    unit: str
    split: str
    measure: str | None
    on: str = ""
    elsewhere: bool = False
    open: bool = False

    def __post_init__(self) -> None:
        if self.measure not in (None, *MEASURES):
            raise ValueError(f"measure is {self.measure!r}; known are {', '.join(MEASURES)}")
        with_images = self.measure in (*SCORES, OBJECT_IU, "bound", "server")
        if with_images != bool(re.fullmatch(r"[a-z0-9+-]+/[a-z0-9_]+(:[a-z]+)?", self.on)):
            expected = "NAME/SPLIT or NAME/SPLIT:HEAD" if with_images else "none"
            raise ValueError(f"on is {self.on!r}, expected {expected} for {self.measure}")

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.on.partition("/")[0]

    @property
    def images(self) -> str:
        """The data set's name and the split, NAME/SPLIT."""
        return self.on.partition(":")[0]

    @property
    def head(self) -> str:
        """The labelling that is scored; "" for the first."""
        return self.on.partition(":")[2]


@dataclass(frozen=True)
class Cell:
    """One published value, in its column's unit; `printed` if the paper writes it differently."""

    value: int | float
    source: tuple[str, ...]
    verified: bool
    printed: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("a cell needs a source")
        if self.verified != (set(self.source) != {MEMORY}):
            raise ValueError("verified must be true with a source other than memory, else false")

    def __str__(self) -> str:
        return self.printed or str(self.value)


@dataclass(frozen=True)
class Row:
    """One line of a table; a cell is None if the paper prints a dash.

    What measures it: published weights by their name in the zoo, the recipe that trains such weights, the net
    by its name in `c2t.define`, or a down-sampling factor; `why` says why nothing can, or why there is no
    recipe. `kept` is what is left of the images if they are masked (data/datasets/masked.py). Baselines are
    other authors' methods, which are not measured here.
    """

    name: str
    cells: Mapping[str, Cell | None]
    baseline: bool = False
    note: str = ""
    model: str = ""
    recipe: str = ""
    net: str = ""
    factor: int = 0
    kept: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        if self.baseline == bool(self.model or self.recipe or self.net or self.factor or self.why):
            raise ValueError(
                "a baseline is not measured; any other row needs model, recipe, net, factor or why"
            )
        if self.kept not in ("", *KEPT):
            raise ValueError(f"kept is {self.kept!r}; known are {', '.join(KEPT)}")

    def measurable(self, measure: str | None) -> bool:
        """Whether the row says how a column of this measure is measured."""
        if measure in (*SCORES, OBJECT_IU, "server"):
            return bool(self.model or self.recipe)
        return bool(self.factor if measure == "bound" else self.net) if measure else False


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper; every row has a cell for every column."""

    title: str
    columns: Mapping[str, Column]
    rows: tuple[Row, ...]
    note: str = ""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rows are named {repeated[0]!r}")
        for row in self.rows:
            if differing := sorted(row.cells.keys() ^ self.columns.keys()):
                raise ValueError(f"row {row.name!r} and the columns differ in {', '.join(differing)}")
            for key, cell in row.cells.items():
                measure = self.columns[key].measure
                if cell and not (row.baseline or row.why or row.measurable(measure)):
                    raise ValueError(f"row {row.name!r} does not say what measures {key} ({measure})")
                if cell and self.columns[key].unit == "%" and not 0 <= cell.value <= 100:
                    raise ValueError(f"row {row.name!r}: {key} is {cell.value} %")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every printed value, row by row."""
        return tuple(cell for row in self.rows for cell in row.cells.values() if cell is not None)


@dataclass(frozen=True)
class Paper:
    """All tables of a paper, by their number there, and what each source code means."""

    title: str
    venue: str
    sources: Mapping[str, str]
    tables: Mapping[str, PaperTable]

    def __post_init__(self) -> None:
        for number, table in self.tables.items():
            cited = {code for cell in table.cells for code in cell.source}
            if unknown := sorted(cited - self.sources.keys()):
                raise ValueError(f"tables.{number} cites {unknown[0]!r}, which is not among the sources")


@cache
def papers() -> Mapping[str, Paper]:
    """Every paper by its key, the name of its file. Raises ReadError (see toml_records.py)."""
    found = {path.stem: load(path, Paper) for path in sorted(FOLDER.glob("*.toml"))}
    rows = [row for paper in found.values() for table in paper.tables.values() for row in table.rows]
    if unknown := sorted({row.model for row in rows if row.model} - zoo().models.keys()):
        raise ReadError(f"a row is measured with {unknown[0]!r}, which is not in the zoo")
    if unknown := sorted({row.recipe for row in rows if row.recipe and not row.why} - {*recipes.names()}):
        raise ReadError(f"a row names the recipe {unknown[0]!r}, which is not there, and does not say why")
    return found
