"""Small files that took minutes: all of them within seconds of processor time, which a limit ends."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from tests.hostile.data import matrices
from tests.hostile.models import zipped
from tests.limited import printed

READS = """
import sys
from pathlib import Path
from caffe2torch.errors import Caffe2TorchError
from caffe2torch.untrusted.npz import stored_inputs
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.reading import read_ids
from fcn_repro.recipes import Recipe
from fcn_repro.scoring.voc_server import read_answer
from fcn_repro.toml_records import load

folder = Path(sys.argv[1])
for name, read in {
    "ids.txt": read_ids,
    "answer.html": read_answer,
    "sets.npz": lambda path: list(stored_inputs(path)),
    "bombs.mat": lambda path: read_matrix(path, "LabelMap"),
    "dots.toml": lambda path: load(path, Recipe),
}.items():
    try:
        read(folder / name)
    except Caffe2TorchError as error:
        print(name, str(error)[:200])
"""


def saved_array() -> bytes:
    """One number, as np.save writes it."""
    content = io.BytesIO()
    np.save(content, np.zeros(1, np.float32))
    return content.getvalue()


def test_time_is_in_proportion_to_the_file(tmp_path: Path) -> None:
    bombs = dict(matrices())["bombs.mat"]
    header, array = bombs[:128], saved_array()
    for name, content in {
        "ids.txt": "".join(f"{i}\n" for i in range(400_000)).encode() + b"399999\n",
        "answer.html": b"<tr><td>" + b"a<b>" * 250_000,
        "sets.npz": zipped({f"{i}.in.data.npy": array for i in range(9000)} | {"9000.in.data.npy": b""}),
        "bombs.mat": header + bombs[128:] * 40,
        "dots.toml": b"a" + b".a" * 300_000 + b" = 1",
    }.items():
        (tmp_path / name).write_bytes(content)
    said = dict(line.split(" ", 1) for line in printed(READS, tmp_path).splitlines())
    assert said.keys() == {"ids.txt", "answer.html", "sets.npz", "bombs.mat", "dots.toml"}
    assert "399999 is listed twice" in said["ids.txt"]
