"""A table's cells against what was measured: differences, tolerances, exit codes, and their printing."""

from __future__ import annotations

import json
import re

import pytest

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.report.text import as_text
from fcn_repro.tables.compare import Finding, How, Measured, Missing, as_data, compare, exit_code, summary
from fcn_repro.tables.papers import Cell, Column, PaperTable, Row, papers

PAPER = papers()["cvpr2015"]
SKIPS = PAPER.tables["2"]
"""16 cells, all scores."""
TEST_SETS = PAPER.tables["3"]
"""7 cells: 4 baselines', 2 scores of the server, 1 time."""


def measured(value: float, **facts: object) -> Measured:
    return Measured(value, How.COMPUTED, **{"about": "54 images", "tolerance": 0.1, **facts})


def skips(found: dict[str, Finding | Exception], otherwise: Finding) -> tuple:
    """Table 2 with what was found of FCN-8s, by measure; of all else, `otherwise`."""

    def measure(row, column) -> Finding:
        finding = found.get(column.measure, otherwise) if row.name == "FCN-8s" else otherwise
        if isinstance(finding, Exception):
            raise finding
        return finding

    names = ("pixel_accuracy", "mean_accuracy", "mean_iu", "fw_iu")
    return compare(SKIPS, dict.fromkeys(names, measure))


def closed(text: str) -> str:
    """Without the spaces that align columns."""
    return re.sub(" +", " ", text)


NOT_HERE = Missing("not here", "fcn-repro --fetch it")


def test_every_printed_cell_has_ours_beside_published() -> None:
    compared = skips({"mean_iu": measured(62.69), "fw_iu": measured(83.0)}, NOT_HERE)
    assert len(compared) == 16
    found = {cell.column.measure: cell for cell in compared if cell.row.name == "FCN-8s"}
    assert [found["mean_iu"].ours, found["mean_iu"].difference, found["mean_iu"].within] == [
        62.69,
        -0.01,
        True,
    ]
    assert [found["fw_iu"].difference, found["fw_iu"].within] == [-0.2, False]
    assert [found["mean_accuracy"].ours, found["mean_accuracy"].within] == [None, None]


EXACT = {"pixel_accuracy": measured(90.3), "mean_accuracy": measured(75.9), "mean_iu": measured(62.7)}


@pytest.mark.parametrize(
    ("found", "otherwise", "code", "said"),
    [
        ({}, NOT_HERE, 3, "0 of 16 cells measured"),
        (EXACT, NOT_HERE, 3, "3 of 16 cells measured"),
        (EXACT, Missing("", optional=True), 0, "3 of 16 cells measured"),
        ({}, Missing("", optional=True), 3, "0 of 16 cells measured"),
        ({"mean_iu": measured(62.8)}, Missing("", optional=True), 0, "1 of 16 cells measured"),
        ({"mean_iu": measured(62.81)}, NOT_HERE, 1, "1 of 16 cells measured, 1 outside the tolerance"),
        (
            {"mean_iu": measured(12.0, tolerance=None)},
            Missing("", optional=True),
            0,
            "1 of 16 cells measured",
        ),
        (
            {"mean_iu": measured(12.0, whole=False)},
            Missing("", optional=True),
            3,
            "1 of 16 cells measured, 1 on some of the images",
        ),
    ],
)
def test_exit_codes(found: dict[str, Finding], otherwise: Finding, code: int, said: str) -> None:
    compared = skips(found, otherwise)
    assert (exit_code(compared), summary(compared)) == (code, said)


def test_missing_data_is_a_missing_cell_and_other_refusals_go_on() -> None:
    compared = skips({"mean_iu": MissingData("no labels")}, NOT_HERE)
    assert [c.finding.reason for c in compared if c.row.name == "FCN-8s"][2] == "no labels"
    with pytest.raises(ReadError, match="broken"):
        skips({"mean_iu": ReadError("broken")}, NOT_HERE)


def test_baselines_are_not_ours_to_measure() -> None:
    def fail(row, column) -> Finding:
        assert row.name == "FCN-8s", f"{row.name} was measured"
        return measured(62.7 if column.dataset == "voc2011" else 62.2)

    compared = compare(
        TEST_SETS, {"server": fail, "time": lambda row, column: measured(31.25, tolerance=None)}
    )
    assert [cell.ours for cell in compared] == [None] * 4 + [62.7, 62.2, 31.25]
    assert (exit_code(compared), summary(compared)) == (0, "3 of 3 cells measured")
    text = as_text(PAPER, "3", compared)
    assert text.count("baseline") == 4
    assert "62.70 62.7 0 computed now [1]" in closed(text)
    assert "31.2 ~175 ms -143.8 computed now [1]" in closed(text)


def test_the_text_says_all_of_it_once() -> None:
    found = {"mean_iu": measured(61.0), "fw_iu": measured(83.3, whole=False)}
    text = as_text(PAPER, "2", skips(found, NOT_HERE), ["Ours are ours."])
    assert "61.00 62.7 !-1.70 computed now [2]" in closed(text)
    assert "83.30 83.2 +0.10 computed now, in part [2]" in closed(text)
    assert text.count("[1] not here\n      fcn-repro --fetch it\n[2] 54 images\n") == 1
    assert "\nOurs are ours.\n" in text
    assert "\n!: outside the tolerance\n" in text


def test_json_says_the_same() -> None:
    data = json.loads(json.dumps(as_data(PAPER, "2", skips({"mean_iu": measured(61.0)}, NOT_HERE))))
    of_8s = {cell["metric"]: cell for cell in data["cells"] if cell["row"] == "FCN-8s"}
    shown = {
        key: of_8s["mean IU"][key]
        for key in ("ours", "published", "difference", "within", "tolerance", "how")
    }
    assert shown == {
        "ours": 61.0,
        "published": 62.7,
        "difference": -1.7,
        "within": False,
        "tolerance": 0.1,
        "how": "computed now",
    }
    assert of_8s["mean acc."]["ours"] is None
    assert of_8s["mean acc."]["command"] == "fcn-repro --fetch it"


def test_a_row_that_nothing_can_measure_says_why() -> None:
    column = Column("mean IU", "%", "a split", "mean_iu", "voc2011/val")
    row = Row("Lost", {"iu": Cell(62.5, ("A",), True)}, why="the weights were lost")
    (cell,) = compare(PaperTable("A table", {"iu": column}, (row,)), {})
    assert (cell.finding.reason, cell.finding.command) == ("not measurable here: the weights were lost", "")
