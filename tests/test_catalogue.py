"""The list of layer types and its page: complete, current, and true about what each was held against."""

from __future__ import annotations

import json
import re
from pathlib import Path

from caffe2torch import catalogue
from caffe2torch.cli import main
from caffe2torch.registry import converters

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"


def test_the_page_is_current():
    assert PAGE.read_text() == catalogue.markdown(), "run python -m caffe2torch.catalogue > docs/layers.md"


def test_every_type_is_described():
    found = [name for entry in catalogue.entries() for name in entry.types]
    assert sorted(found) == sorted(converters())
    assert not [entry.types for entry in catalogue.entries() if len(entry.summary) < 10]


def test_what_is_held_against_caffe_is_in_a_net_that_caffe_ran(golden):
    ran = set()
    for prototxt in [*(golden / "layers").glob("*.prototxt"), *(golden / "fcn").glob("*/train.prototxt")]:
        ran |= set(re.findall(r'type: "(\w+)"', prototxt.read_text()))
    claimed = {n for e in catalogue.entries() if e.held_against == "Caffe 1.0" for n in e.types}
    assert claimed - ran == set()
    assert "Convolution" in claimed
    assert "Interp" not in claimed


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
