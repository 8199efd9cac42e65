"""The list of layer types and its page: complete, current, and true about what each was held against."""

from __future__ import annotations

import json
import re
from pathlib import Path

from caffe2torch.cli import catalogue
from caffe2torch.cli.main import main
from caffe2torch.layers.registry import converters
from tests.places import ROOT

PAGE = ROOT / "docs" / "layers.md"


def test_the_page_is_current():
    assert PAGE.read_text() == catalogue.markdown(), (
        "run python -m caffe2torch.cli.catalogue > docs/layers.md"
    )


def test_every_type_is_described():
    found = [name for entry in catalogue.entries() for name in entry.types]
    assert sorted(found) == sorted(converters())
    assert not [entry.types for entry in catalogue.entries() if len(entry.summary) < 10]


def test_what_is_held_against_caffe_is_in_a_net_that_caffe_ran(golden):
    ran = set()
    for prototxt in [*(golden / "layers").glob("*.prototxt"), *(golden / "fcn").glob("*/train.prototxt")]:
        ran |= set(re.findall(r'type: "(\w+)"', prototxt.read_text()))
    claimed = [entry.types for entry in catalogue.entries() if entry.held_against == "Caffe 1.0"]
    assert [types for types in claimed if not ran & set(types)] == []
    assert len(claimed) > 45


def test_what_is_held_against_ssds_caffe_is_in_a_net_that_it_ran(golden):
    texts = (prototxt.read_text() for prototxt in (golden / "forks").glob("*.prototxt"))
    ran = {kind for text in texts for kind in re.findall(r'name: "l" type: "(\w+)"', text)}
    claimed = [name for entry in catalogue.entries() if "SSD" in entry.held_against for name in entry.types]
    assert sorted(claimed) == sorted(ran)
    assert len(claimed) == 9


def test_what_is_held_against_loops_is_named_in_a_test():
    here = Path(__file__)
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path != here)
    looped = [entry.types for entry in catalogue.entries() if entry.held_against.startswith("NumPy loops")]
    names = {types: [name.rpartition(".")[2] for name in types] for types in looped}
    assert [types for types in looped if not any(re.search(rf"\b{n}\b", tests) for n in names[types])] == []
    assert len(looped) > 25


def test_fields_are_those_of_the_schema():
    pooling = next(entry for entry in catalogue.entries() if entry.types == ("Pooling",))
    ((message, fields),) = pooling.fields
    assert message == "pooling_param"
    assert {"kernel_size", "round_mode", "stride_w", "ceil_mode"} <= set(fields)


def test_through_the_command(capsys):
    assert main(["--list-layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["type", "held", "against", "supported"]
    assert len(lines) == 1 + len(converters())
    assert main(["--list-layers", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["layers"]
    assert {name for entry in listed for name in entry["types"]} == set(converters())
