"""A paper's table on images that are always here: the same nets, each by a recipe of ours.

    Table 2, rows by cvpr-voc-fcn32s, … ─ carried_over("shapes") ─→ Table 2, rows by shapes-fcn32s, …

Published numbers stay next to ours, though from other images: only the order of the rows is comparable.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from caffe2torch.errors import MissingData
from fcn_repro import recipes
from fcn_repro.data.datasets import dataset
from fcn_repro.tables.papers import SCORES, Paper, PaperTable, Row

SPLIT = "test"


def carried_over(paper: Paper, number: str, name: str) -> Paper:
    """The paper with a table whose scores are of the data set `name`, split test.

    Raises MissingData for a table without a row that one of our recipes trains on that data set.
    """
    table = paper.tables[number]
    columns = {
        key: replace(column, on=f"{name}/{SPLIT}", split=f"{name} {SPLIT}", elsewhere=True)
        for key, column in table.columns.items()
        if column.measure in SCORES
    }
    rows = tuple(_row(row, own, columns.keys()) for row in table.rows if (own := counterpart(row, name)))
    if not rows or not columns:
        raise MissingData(f"table {number} has no net that a recipe trains on {name}; table 2 does")
    note = f"Ours are on {dataset(name).title}, published ones on photographs: only the order is comparable."
    own_table = PaperTable(f"{table.title}: on {name}", columns, rows, note)
    return replace(paper, tables={**paper.tables, number: own_table})


def counterpart(row: Row, name: str) -> str:
    """Our recipe for a row's net on the data set `name`, or "": shapes-fcn32s for cvpr-voc-fcn32s."""
    net = re.search(r"fcn\w*s(-\w+)*$", row.recipe)
    return f"{name}-{net[0]}" if net and f"{name}-{net[0]}" in recipes.names() else ""


def _row(row: Row, recipe: str, columns: Collection[str]) -> Row:
    cells = {key: cell for key, cell in row.cells.items() if key in columns}
    return replace(row, cells=cells, model="", recipe=recipe)
