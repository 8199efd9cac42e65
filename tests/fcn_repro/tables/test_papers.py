"""The papers' tables against lists typed apart from them, and the refusals of a faulty file."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path

import pytest

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import dataset
from fcn_repro.fetching.zoo import zoo
from fcn_repro.tables.papers import Paper, PaperTable, papers
from fcn_repro.toml_records import load

FCN = ("cvpr2015", "pami2017")
CVPR_1 = {
    "FCN-AlexNet": (39.8, 50, 8, 57, 355, 32),
    "FCN-VGG16": (56.0, 210, 16, 134, 404, 32),
    "FCN-GoogLeNet": (42.5, 59, 22, 6, 907, 32),
}
CVPR_2 = {
    "FCN-32s-fixed": (83.0, 59.7, 45.4, 72.0),
    "FCN-32s": (89.1, 73.3, 59.4, 81.4),
    "FCN-16s": (90.0, 75.7, 62.4, 83.0),
    "FCN-8s": (90.3, 75.9, 62.7, 83.2),
}
CVPR_3 = {"R-CNN": (47.9, None, None), "SDS": (52.6, 51.6, 50000), "FCN-8s": (62.7, 62.2, 175)}
CVPR_4 = {
    "Gupta et al.": (60.3, None, 28.6, 47.0),
    "FCN-32s RGB": (60.0, 42.2, 29.2, 43.9),
    "FCN-32s RGBD": (61.5, 42.4, 30.5, 45.5),
    "FCN-32s HHA": (57.1, 35.2, 24.2, 40.4),
    "FCN-32s RGB-HHA": (64.3, 44.9, 32.8, 48.0),
    "FCN-16s RGB-HHA": (65.4, 46.1, 34.0, 49.5),
}
SIFT_FLOW_BASELINES = {
    "Liu et al.": (76.7, None, None, None, None),
    "Tighe (transfer)": (None, None, None, None, 90.8),
    "Tighe 1": (75.6, 41.1, None, None, None),
    "Tighe 2": (78.6, 39.2, None, None, None),
    "Pinheiro": (77.7, 29.8, None, None, None),
}
CVPR_5 = {
    **SIFT_FLOW_BASELINES,
    "Farabet 1": (72.3, 50.8, None, None, None),
    "Farabet 2": (78.5, 29.6, None, None, None),
    "FCN-16s": (85.2, 51.7, 39.5, 76.1, 94.3),
}
CVPR_6 = {
    "O2P": (None, None, 18.1, None, None, None, 29.2, None),
    "CFM": (None, None, 31.5, None, None, None, 46.1, None),
    "FCN-32s": (63.8, 42.7, 31.8, 48.3, 69.8, 65.1, 50.4, 54.9),
    "FCN-16s": (65.7, 46.2, 34.8, 50.7, 71.8, 68.0, 53.4, 57.5),
    "FCN-8s": (65.9, 46.5, 35.1, 51.0, 71.8, 67.6, 53.5, 57.7),
}
UPPER_BOUNDS = {
    "factor 128": (50.9,),
    "factor 64": (73.3,),
    "factor 32": (86.1,),
    "factor 16": (92.8,),
    "factor 8": (96.4,),
    "factor 4": (98.5,),
}
PAMI_1 = {
    "FCN-AlexNet": (39.8, 16, 8, 57, 355, 32),
    "FCN-VGG16": (56.0, 100, 16, 134, 404, 32),
    "FCN-GoogLeNet": (42.5, 20, 22, 6, 907, 32),
}
PAMI_2 = {
    "FCN-accum": (86.0, 66.5, 51.9, 76.5),
    "FCN-online": (89.3, 76.2, 60.7, 81.8),
    "FCN-heavy": (90.5, 76.5, 63.6, 83.5),
}
PAMI_3 = {
    "FCN-32s": (90.5, 76.5, 63.6, 83.5),
    "FCN-16s": (91.0, 78.1, 65.0, 84.3),
    "FCN-8s at-once": (91.1, 78.5, 65.4, 84.4),
    "FCN-8s staged": (91.2, 77.6, 65.5, 84.5),
    "FCN-32s fixed": (82.9, 64.6, 46.6, 72.3),
    "FCN-pool5": (87.4, 60.5, 50.0, 78.5),
    "FCN-pool4": (78.7, 31.7, 22.4, 67.0),
    "FCN-pool3": (70.9, 13.7, 9.2, 57.6),
}
PAMI_4 = {"R-CNN": (47.9, None, None), "SDS": (52.6, 51.6, 50000), "FCN-8s": (67.5, 67.2, 100)}
PAMI_5 = {
    "Gupta et al.": (60.3, None, 28.6, 47.0),
    "FCN-32s RGB": (61.8, 44.7, 31.6, 46.0),
    "FCN-32s RGB-D": (62.1, 44.8, 31.7, 46.3),
    "FCN-32s HHA": (58.3, 35.7, 25.2, 41.7),
    "FCN-32s RGB-HHA": (65.3, 44.0, 33.3, 48.6),
}
PAMI_6 = {
    **SIFT_FLOW_BASELINES,
    "Farabet (natural)": (72.3, 50.8, None, None, None),
    "Farabet (balanced)": (78.5, 29.6, None, None, None),
    "FCN-8s": (85.9, 53.9, 41.2, 77.2, 94.6),
}
PAMI_7 = {
    "O2P": (None, None, 18.1, None),
    "CFM": (None, None, 34.4, None),
    "FCN-32s": (65.5, 49.1, 36.7, 50.9),
    "FCN-16s": (66.9, 51.3, 38.4, 52.3),
    "FCN-8s": (67.5, 52.3, 39.1, 53.0),
}
PAMI_8 = {
    "Reference": (84.8,),
    "Reference-FG": (81.0,),
    "Reference-BG": (19.8,),
    "FG-only": (76.1,),
    "BG-only": (37.8,),
    "Shape": (29.1,),
}
PUBLISHED = {
    ("cvpr2015", "1"): CVPR_1,
    ("cvpr2015", "2"): CVPR_2,
    ("cvpr2015", "3"): CVPR_3,
    ("cvpr2015", "4"): CVPR_4,
    ("cvpr2015", "5"): CVPR_5,
    ("cvpr2015", "6"): CVPR_6,
    ("cvpr2015", "A"): UPPER_BOUNDS,
    ("pami2017", "1"): PAMI_1,
    ("pami2017", "2"): PAMI_2,
    ("pami2017", "3"): PAMI_3,
    ("pami2017", "4"): PAMI_4,
    ("pami2017", "5"): PAMI_5,
    ("pami2017", "6"): PAMI_6,
    ("pami2017", "7"): PAMI_7,
    ("pami2017", "8"): PAMI_8,
    ("pami2017", "9"): UPPER_BOUNDS,
}
"""Every table of every paper, in the order of its file."""


def values(table: PaperTable) -> dict[str, tuple[float | None, ...]]:
    cells = {row.name: [row.cells[key] for key in table.columns] for row in table.rows}
    return {name: tuple(cell and cell.value for cell in row) for name, row in cells.items()}


def test_every_table_is_typed_again_here() -> None:
    typed = {key: [number for of, number in PUBLISHED if of == key] for key, _ in PUBLISHED}
    assert {key: list(paper.tables) for key, paper in papers().items()} == typed


@pytest.mark.parametrize(("paper", "number"), PUBLISHED)
def test_every_cell_is_the_published_one(paper: str, number: str) -> None:
    assert values(papers()[paper].tables[number]) == PUBLISHED[paper, number]


def test_every_cell_of_the_journal_paper_was_seen_in_print(reference: Path) -> None:
    """Typed from the printed pages, apart from the tables."""
    lines = (reference / "pami2017-cells.tsv").read_text().splitlines()
    rows = csv.DictReader(lines, delimiter="\t")
    typed = {(x["table"], x["row"], x["column"]): float(x["value in print"]) for x in rows}
    printed = {
        (number, row.name, key): cell.value
        for number, table in papers()["pami2017"].tables.items()
        for row in table.rows
        for key, cell in row.cells.items()
        if cell
    }
    assert len(typed) == 80
    assert typed == {place: printed[place] for place in typed}


def test_no_cell_is_from_memory() -> None:
    for key in FCN:
        cells = [cell for table in papers()[key].tables.values() for cell in table.cells]
        assert all(cell.verified and "memory" not in cell.source for cell in cells)
        assert "memory" not in papers()[key].sources
    assert {cell.source for table in papers()["pami2017"].tables.values() for cell in table.cells} == {
        ("PAMI",)
    }


def rows_by(name: str) -> dict[tuple[str, str, str], str]:
    """What a field says of each row of the FCN papers that has it, by paper, table and row."""
    return {
        (key, number, row.name): value
        for key in FCN
        for number, table in papers()[key].tables.items()
        for row in table.rows
        if (value := getattr(row, name))
    }


def test_every_row_that_is_not_a_baseline_says_how_it_is_measured() -> None:
    models, nets, factors = rows_by("model"), rows_by("net"), rows_by("factor")
    assert models["cvpr2015", "2", "FCN-16s"] == "fcn-16s-pascal"
    assert models["pami2017", "3", "FCN-8s at-once"] == "voc-fcn8s-atonce"
    assert models["pami2017", "2", "FCN-heavy"] == "voc-fcn32s"
    assert len(models) == 23
    assert set(rows_by("kept").values()) == {"foreground", "background", "shape"}
    assert set(models.values()) <= set(zoo().models)
    assert {nets[key, "1", "FCN-GoogLeNet"] for key in FCN} == {"FCNGoogLeNet"}
    assert sorted(factors.values()) == sorted([4, 8, 16, 32, 64, 128] * 2)
    assert list(rows_by("why")) == [("cvpr2015", "4", "FCN-16s RGB-HHA")]


def test_what_a_column_is_measured_on_is_a_split_of_a_data_set() -> None:
    columns = {
        key: [c for table in paper.tables.values() for c in table.columns.values() if c.on]
        for key, paper in papers().items()
    }
    assert {column.on for key in FCN for column in columns[key]} == {
        *("voc2011/val", "voc2011/seg11valid", "voc2011/test", "voc2012/test", "nyudv2/test"),
        *("sift-flow/test", "sift-flow/test:geo", "pascal-context/val", "pascal-context-33/val"),
    }
    for column in chain(*columns.values()):
        kind = dataset(column.dataset)
        assert column.images.partition("/")[2] in kind.splits
        assert not column.head or column.head in kind.labellings


SMALL = """
title = "A paper"
venue = "Here, 2015"
[sources]
A = "the paper"
memory = "from memory"
[tables.7]
title = "A table"
[tables.7.columns]
iu = { metric = "mean IU", unit = "%", split = "val", measure = "mean_iu", on = "voc2012/val" }
time = { metric = "time", unit = "ms", split = "-", measure = "time" }
[[tables.7.rows]]
name = "net"
recipe = "voc-net"
cells.iu = { value = 62.5, source = ["A"], verified = true }
cells.time = "-"
"""


def read(tmp_path: Path, text: str) -> Paper:
    path = tmp_path / "small.toml"
    path.write_text(text)
    return load(path, Paper)


def test_a_small_paper_loads(tmp_path: Path) -> None:
    table = read(tmp_path, SMALL).tables["7"]
    assert values(table) == {"net": (62.5, None)}
    assert table.columns["time"].split == "-"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('venue = "Here, 2015"', "", "small.toml: key 'venue' is missing"),
        ('title = "A paper"', 'titel = "A paper"', "small.toml: unknown key 'titel'; known are title, venue"),
        ('title = "A table"', "title = 3", "small.toml: tables.7.title: expected a string, found 3"),
        (
            'split = "val"',
            'spilt = "val"',
            "small.toml: tables.7.columns.iu: unknown key 'spilt'; known are metric, unit, split, measure",
        ),
        (
            "value = 62.5",
            'value = "62.5"',
            "cells.iu.value: expected int or float, found '62.5'",
        ),
        (
            "value = 62.5",
            "value = true",
            "cells.iu.value: expected int or float, found True",
        ),
        ("value = 62.5", "value = 625.0", "tables.7: row 'net': iu is 625.0 %"),
        ("value = 62.5", "value = nan", "tables.7: row 'net': iu is nan %"),
        ("value = 62.5, ", "", "tables.7.rows[0].cells.iu: key 'value' is missing"),
        ("verified = true", "verified = 1", "cells.iu.verified: expected true or false, found 1"),
        ("verified = true", "verified = false", "cells.iu: verified must be true with"),
        ('source = ["A"]', 'source = ["memory"]', "cells.iu: verified must be true with"),
        ('source = ["A"]', "source = []", "cells.iu: a cell needs a source"),
        ('source = ["A"]', 'source = "A"', "cells.iu.source: expected an array, found 'A'"),
        (
            'source = ["A"]',
            'source = ["B"]',
            "small.toml: tables.7 cites 'B', which is not among",
        ),
        ('cells.time = "-"', "", "small.toml: tables.7: row 'net' and the columns differ in time"),
        ('cells.time = "-"', 'cells.tmie = "-"', "tables.7: row 'net' and the columns differ in time, tmie"),
        ('cells.time = "-"', 'cells.time = "none"', "cells.time: expected a table, found 'none'"),
        ('measure = "time"', 'measure = "tmie"', "columns.time: measure is 'tmie'; known are pixel_accuracy"),
        ('on = "voc2012/val"', 'on = "voc2012"', "columns.iu: on is 'voc2012', expected NAME/SPLIT or NAME/"),
        (
            ', on = "voc2012/val"',
            "",
            "columns.iu: on is '', expected NAME/SPLIT or NAME/SPLIT:HEAD for mean_iu",
        ),
        ('measure = "time"', 'measure = "time", on = "a/b"', "on is 'a/b', expected none for time"),
        (
            'recipe = "voc-net"',
            'recipe = "a"\nkept = "sky"',
            "kept is 'sky'; known are foreground, background, shape",
        ),
        ('recipe = "voc-net"', "", "tables.7.rows[0]: a baseline is not measured; any other row needs model"),
        ('recipe = "voc-net"', 'recipe = "a"\nbaseline = true', "a baseline is not measured; any other row"),
        ('recipe = "voc-net"', 'net = "FCN8s"', "row 'net' does not say what measures iu (mean_iu)"),
        ("[[tables.7.rows]]", "[tables.7.rows]", "small.toml: tables.7.rows: expected an array"),
        ("[tables.7.columns]", "[tables.7.columns", "small.toml: not readable as TOML"),
    ],
)
def test_a_faulty_paper_is_refused_at_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(ReadError) as refused:
        read(tmp_path, SMALL.replace(old, new))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"tables\.7: two rows are named 'net'"):
        read(tmp_path, SMALL + SMALL[SMALL.index("[[tables.7.rows]]") :])


def test_a_missing_file_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"absent\.toml: no such file"):
        load(tmp_path / "absent.toml", Paper)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReadError, match=r"small\.toml: not readable as TOML"):
        load(tmp_path / "small.toml", Paper)
