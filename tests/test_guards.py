"""benchmarks/guards.py can take out each guard; whether its test fails then takes minutes."""

from __future__ import annotations

import ast
from dataclasses import astuple
from pathlib import Path

import pytest

from benchmarks.guards import GUARDS, Guard

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.against)
def test_it_is_there_and_can_be_taken_out(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text(encoding="utf-8")
    assert text.count(guard.text) == 1
    ast.parse(text.replace(guard.text, guard.without))
    file, _, name = guard.test.split()[0].partition("::")
    assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8")


def test_none_is_there_twice() -> None:
    assert len({astuple(guard)[1:] for guard in GUARDS}) == len(GUARDS)
