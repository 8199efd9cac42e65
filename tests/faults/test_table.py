"""The table of faults in docs/trust.md is that of the tests."""

from __future__ import annotations

from tests.faults import table
from tests.places import ROOT


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    assert table.text() in page, "run python -m tests.faults.table, and put what it prints into docs/trust.md"


def test_every_row_is_a_fault_once() -> None:
    rows = table.rows()
    assert len(rows) > 20
    assert len({(row.what, row.commands) for row in rows}) == len(rows)
    assert not any("|" in word for row in rows for word in (row.what, row.commands, row.then))
