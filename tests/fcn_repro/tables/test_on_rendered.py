"""A paper's table on rendered images, and the nets that come with us for it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import caffe2torch as c2t
from caffe2torch.errors import MissingData
from fcn_repro import cli
from fcn_repro.data.datasets import open_dataset
from fcn_repro.data.transforms import net_inputs, prepared
from fcn_repro.scoring.metrics import Confusion
from fcn_repro.tables.compare import Compared, How, Measured, exit_code
from fcn_repro.tables.on_rendered import carried_over, counterpart
from fcn_repro.tables.papers import papers
from fcn_repro.workspace import Workspace

NETS = ("shapes-fcn32s-fixed", "shapes-fcn32s", "shapes-fcn16s", "shapes-fcn8s")
PAPER = papers()["cvpr2015"]


def test_each_row_is_one_of_our_recipes() -> None:
    table = carried_over(PAPER, "2", "shapes").tables["2"]
    assert [row.recipe for row in table.rows] == list(NETS)
    assert {row.model for row in table.rows} == {""}
    assert {column.on for column in table.columns.values()} == {"shapes/test"}
    assert [row.cells["mean_iu"].value for row in table.rows if row.cells["mean_iu"]] == [
        45.4,
        59.4,
        62.4,
        62.7,
    ]


def test_the_journals_table_leaves_out_what_has_no_recipe() -> None:
    rows = carried_over(papers()["pami2017"], "3", "shapes").tables["3"].rows
    assert [row.recipe for row in rows] == [
        "shapes-fcn32s",
        "shapes-fcn16s",
        "shapes-fcn8s",
        "shapes-fcn32s-fixed",
    ]
    atonce = next(row for row in papers()["pami2017"].tables["3"].rows if row.recipe == "voc-fcn8s-atonce")
    assert counterpart(atonce, "shapes") == ""


def test_numbers_of_other_images_are_not_compared() -> None:
    table = carried_over(PAPER, "2", "shapes").tables["2"]
    row, column = table.rows[0], table.columns["mean_iu"]
    cell = row.cells["mean_iu"]
    assert cell is not None
    ours = Measured(12.0, How.COMPUTED, tolerance=0.1)
    assert (Compared(row, column, cell, ours).difference, Compared(row, column, cell, ours).within) == (
        None,
        None,
    )
    here = dataclasses.replace(column, elsewhere=False)
    assert Compared(row, here, cell, ours).difference == pytest.approx(-33.4)
    assert exit_code([Compared(row, column, cell, ours)]) == 0
    assert exit_code([Compared(row, here, cell, ours)]) == 1


def test_a_table_without_such_nets_is_refused() -> None:
    with pytest.raises(MissingData, match="table 4 has no net that a recipe trains on shapes"):
        carried_over(PAPER, "4", "shapes")


def test_the_command_takes_the_name_of_rendered_images(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = cli.main(["--table", "2", "--data", "shapes", "--stored", "--json", "--home", str(tmp_path)])
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert code == 3  # nothing was evaluated yet, and --stored evaluates nothing
    assert {(cell["split"], cell["ours"], cell["difference"]) for cell in cells} == {
        ("shapes test", None, None)
    }


def test_the_nets_that_come_with_us_have_the_papers_order(tmp_path: Path) -> None:
    """On a tenth of shapes/test: finer strides score higher, and all beat the most frequent class."""
    test, found = open_dataset("shapes", tmp_path, "test"), []
    for name in NETS:
        file = Workspace(tmp_path).model(name)
        assert file is not None, name
        model = c2t.load(file)
        seen, constant = Confusion(len(test.classes)), Confusion(len(test.classes))
        for index in range(0, len(test), 10):
            sample = test[index]
            with torch.inference_mode():
                image = net_inputs(sample, ("data",), prepared(("data",), test.mean_bgr))["data"]
                score = model(data=torch.from_numpy(image)[None])
            label = torch.from_numpy(sample.label.copy())
            assert tuple(score.shape) == (1, 11, *label.shape)
            seen.add(label, score[0].argmax(0).to(torch.uint8))
            constant.add(label, torch.zeros_like(label))
        found.append(100 * seen.scores().mean_iu)
    numbers = f"{dict(zip(NETS, found, strict=True))}, constant {100 * constant.scores().mean_iu}"
    assert found == sorted(found), numbers
    assert found[0] > 100 * constant.scores().mean_iu, numbers
    assert found[-1] > found[1] + 5, numbers
    assert found[-1] > 40, numbers  # the first picture that is shown must be worth a look


def test_the_nets_that_come_with_us_are_small(tmp_path: Path) -> None:
    """Dense upsampling, as in the published files, would make them 10 MB."""
    files = [Workspace(tmp_path).model(name) for name in NETS]
    assert sum(file.stat().st_size for file in files if file) < 6_000_000
