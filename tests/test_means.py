"""--mean of the three commands: numbers that a file can hold, or a mistake on the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caffe2torch.cli import main as fcn_convert
from fcn_repro import cli as fcn_repro
from fcn_repro.segmenting import cli as fcn_segment

COMMANDS = {
    "fcn-convert": (fcn_convert.main, ["net.caffemodel"]),
    "fcn-repro": (fcn_repro.main, ["--evaluate", "shapes-fcn8s", "--on", "shapes/val"]),
    "fcn-segment": (fcn_segment.main, ["a.png", "--model", "shapes-fcn8s"]),
}


@pytest.mark.parametrize("mean", ["nan,1,2", "1,inf,2", "1,2,-1e7"])
@pytest.mark.parametrize(("main", "arguments"), COMMANDS.values(), ids=COMMANDS)
def test_what_is_no_mean(
    main: Callable[[list[str]], int], arguments: list[str], mean: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--mean", mean]) == 2
    assert f"argument --mean: '{mean}' is no mean of pixels" in capsys.readouterr().err
