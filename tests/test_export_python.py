"""Generated Python files: they read as a person's, and give Caffe's numbers without this package.

The files of all models run in one process where caffe2torch cannot be imported; what they give is compared
with the arrays that real Caffe stored.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffe2torch.export import write
from caffe2torch.export.conversion import conversion
from caffe2torch.read import read

FCNS = sorted((Path(__file__).parent / "golden" / "fcn").iterdir())
ALLOWED = 1e-5

STRANGER = """
import importlib.util, json, sys
import numpy as np, torch

sys.modules["caffe2torch"] = None
answers = {}
for name, path, arrays, prefix in json.load(sys.stdin):
    spec = importlib.util.spec_from_file_location("generated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stored = np.load(arrays)
    inputs = {key[len(prefix) + 3 :]: torch.from_numpy(stored[key]) for key in stored if key.startswith(prefix + "in.")}
    wanted = {key[len(prefix) + 4 :]: stored[key] for key in stored if key.startswith(prefix + "out.")}
    with torch.no_grad():
        found = module.load()(**inputs)
    found = found if isinstance(found, dict) else dict(zip(wanted, [found]))
    assert set(found) == set(wanted), (name, set(found), set(wanted))
    for blob, caffe in wanted.items():
        ours = found[blob].numpy().astype(np.float64)
        same = ours.shape == caffe.shape and np.array_equal(np.isfinite(ours), np.isfinite(caffe))
        size = max(np.linalg.norm(np.nan_to_num(caffe.astype(np.float64))), 1e-12)
        error = np.linalg.norm(np.nan_to_num(ours - caffe)) / size if same else np.inf
        answers[f"{name} {prefix}{blob}"] = float(error)
print(json.dumps(answers))
"""


def errors(jobs: list[tuple[str, str, str, str]]) -> dict[str, float]:
    """||the file's - Caffe's|| / ||Caffe's|| of each output, computed where caffe2torch is not."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER], input=json.dumps(jobs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fcns(tmp_path_factory) -> dict[str, Path]:
    """The generated files of the golden FCNs."""
    folder = tmp_path_factory.mktemp("fcns")
    for fcn in FCNS:
        converted = conversion(read(weights=fcn / "weights.caffemodel"))
        write(converted, folder / f"{fcn.name.replace('-', '_')}.py", check=False)
    return {fcn.name: folder / f"{fcn.name.replace('-', '_')}.py" for fcn in FCNS}


@pytest.fixture(scope="module")
def models(reference, tmp_path_factory) -> dict[Path, Path]:
    """The generated files of the published models that Caffe ran, by the models' folders."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    with (reference / "models" / "index.tsv").open() as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["reference"]:
                model = reference / "models" / row["folder"]
                found[model] = folder / f"{row['folder']}.py"
                net = read(model / "net.prototxt", model / row["file"])
                write(conversion(net), found[model], check=False)
    return found


def test_every_fcn_gives_caffes_outputs(fcns):
    jobs = [
        (name, str(path), str(Path(__file__).parent / "golden" / "fcn" / name / "io.npz"), size)
        for name, path in fcns.items()
        for size in ("0.", "1.")
    ]
    found = errors(jobs)
    assert len(found) == 24
    assert not {name: error for name, error in found.items() if error > ALLOWED}
    assert max(found.values()) > 0, "nothing was compared"


def test_every_published_model_gives_caffes_outputs(models):
    found = errors([(m.name, str(path), str(m / "ref.npz"), "") for m, path in models.items()])
    assert len(models) == 35
    assert len(found) > 70
    assert not {name: error for name, error in found.items() if error > ALLOWED}
