"""The papers' tables, as data: one TOML file per paper beside this module, every cell with its source.

A cell is verified when its value was seen in a text that its sources name. `memory` as the only source means
that it was not; such a cell is unverified unless independent numbers corroborate it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fcn_repro.records import load

FOLDER = Path(__file__).parent
MEMORY = "memory"
"""The source of a value for which no text was at hand."""


@dataclass(frozen=True)
class Column:
    """What a column measures. `split` is "-" for what needs no images."""

    metric: str
    unit: str
    split: str


@dataclass(frozen=True)
class Cell:
    """One published value, in its column's unit; `printed` where the paper writes it otherwise.

    `corroborated` names the sources of independent numbers that match a value from memory.
    """

    value: int | float
    source: tuple[str, ...]
    verified: bool
    corroborated: tuple[str, ...] = ()
    printed: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("a cell needs a source")
        if self.verified != (set(self.source) != {MEMORY} or bool(self.corroborated)):
            raise ValueError(
                "verified must be true with a source other than memory or corroboration, else false"
            )

    def __str__(self) -> str:
        return self.printed or str(self.value)


@dataclass(frozen=True)
class Row:
    """One line of a table; a cell is None where the paper prints a dash. Baselines are others' methods."""

    name: str
    cells: Mapping[str, Cell | None]
    baseline: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
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
                if cell and self.columns[key].unit == "%" and not 0 <= cell.value <= 100:
                    raise ValueError(f"row {row.name!r}: {key} is {cell.value} %")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every printed value, row by row."""
        return tuple(cell for row in self.rows for cell in row.cells.values() if cell is not None)


@dataclass(frozen=True)
class Paper:
    """All tables of a paper, by their number there, and what each source code stands for."""

    title: str
    venue: str
    sources: Mapping[str, str]
    tables: Mapping[str, Table]

    def __post_init__(self) -> None:
        for number, table in self.tables.items():
            cited = {code for cell in table.cells for code in (*cell.source, *cell.corroborated)}
            if unknown := sorted(cited - self.sources.keys()):
                raise ValueError(f"tables.{number} cites {unknown[0]!r}, which is not among the sources")


@cache
def papers() -> Mapping[str, Paper]:
    """Every paper by its key, the name of its file. Raises ReadError (see records.py)."""
    return {path.stem: load(path, Paper) for path in sorted(FOLDER.glob("*.toml"))}
