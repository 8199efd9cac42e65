"""fcn-convert as a user meets it: what it prints and writes, its exit codes, its refusals in one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.command_line import ProgressLine
from caffe2torch.errors import NetError
from caffe2torch.layers.registry import converters
from caffe2torch.net.classes import with_classes
from tests import wire_writer as w
from tests.nets import INPUT
from tests.places import GOLDEN, ROOT

MAIN = "import sys; from caffe2torch.cli.main import main; sys.exit(main())"

WITHOUT_TORCH = """
import sys
from caffe2torch.cli.main import main
try:
    code = main()
except SystemExit as end:
    code = end.code
sys.exit("torch was loaded" if "torch._C" in sys.modules else code)
"""


@dataclass
class Run:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.out)
        return facts


Convert = Callable[..., Run]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Convert:
    """The command in this process, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Run:
        code = main([str(argument) for argument in arguments])
        return Run(code, *capsys.readouterr())

    return run


def process(
    *arguments: str | Path, code: str = MAIN, cwd: Path, **more: Any
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, text=True, check=False, **more)


@pytest.fixture
def voc(golden: Path, tmp_path: Path) -> Path:
    path = tmp_path / "voc-fcn8s.caffemodel"
    shutil.copy(golden / "fcn" / "voc-fcn8s" / "weights.caffemodel", path)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- done


def test_one_screen_says_what_was_done(voc: Path, convert: Convert) -> None:
    run = convert(voc.name)
    assert (run.code, run.err) == (0, "")
    for expected in (
        "voc-fcn8s.caffemodel: caffemodel, current format, 1.2 MB",
        "net           voc-fcn8s",
        "architecture  FCN8s",
        "layers        49, 21 with parameters",
        "parameters    291,827",
        "input         data (N, 3, H, W)",
        "mean          104.00699, 116.66877, 122.67892, to subtract from data",
        "output        score",
        "'loss' (SoftmaxWithLoss) dropped, as a deploy net has no loss",
        "5 Split layers removed",
        "diagonal      upscore8.weight",
        "wrote voc-fcn8s.safetensors: 701.7 kB in ",
    ):
        assert expected in run.out, run.out
    assert len(run.out.splitlines()) < 25
    assert max(map(len, run.out.splitlines())) < 120
    assert names(voc.parent) == {"voc-fcn8s.caffemodel", "voc-fcn8s.safetensors"}


@pytest.mark.parametrize("name", sorted(p.name for p in (GOLDEN / "fcn").iterdir()))
def test_every_zoo_fcn_converts_and_agrees_with_caffe_by_both_roads(
    name: str, golden: Path, convert: Convert
) -> None:
    folder = golden / "fcn" / name
    run = convert(
        folder / "weights.caffemodel", "-o", "out.safetensors", "--verify", folder / "io.npz", "--json"
    )
    assert run.code == 0, run.err
    facts = run.json()
    stored = [n.split(".", 1)[1] for n in np.load(folder / "io.npz").files if n[:2] in ("0.", "1.")]
    compared = sorted(n.split(".", 1)[1] for n in stored if not n.startswith("in."))
    assert facts["verified"].keys() == {"build", facts["architecture"]}
    for road, report in facts["verified"].items():
        assert sorted(row["blob"] for row in report["rows"]) == compared, road
        assert max(row["relative"] for row in report["rows"]) <= 1e-5, (road, report["rows"])
    wanted = {"file": "out.safetensors", "format": "safetensors", "dtype": "float32", "replaced": []}
    assert facts["output"] == wanted


LOADS = [
    ("fcn/voc-fcn8s/weights.caffemodel", ["-o", "out.safetensors"]),
    ("fcn/nyud-fcn32s-color-hha/weights.caffemodel", ["-o", "out.safetensors", "--dtype", "bfloat16"]),
    ("fcn/voc-fcn32s/weights.caffemodel", ["-o", "out.pt"]),
    ("fcn/voc-fcn-alexnet/weights.caffemodel", ["-o", "out.caffemodel"]),
    ("fcn/voc-fcn16s/weights.caffemodel", ["-o", "out.prototxt"]),
    ("legacy/v0.caffemodel", ["-o", "out.safetensors"]),
    ("legacy/v0.caffemodel", ["-o", "out.pt", "--convolutionalize"]),
    ("legacy/v1.caffemodel.h5", ["-o", "out.pt", "--prototxt", "legacy/v1.prototxt"]),
]


@pytest.mark.parametrize(("file", "options"), LOADS)
def test_the_lines_of_python_that_are_printed_work(
    file: str, options: list[str], golden: Path, convert: Convert
) -> None:
    options = [str(golden / x) if x.startswith("legacy") else x for x in options]
    run = convert(golden / file, *options)
    assert run.code == 0, run.err
    code = run.out.split("it loads with\n\n")[1]
    scope: dict[str, Any] = {}
    exec("\n".join(line.strip() for line in code.splitlines()), scope)  # noqa: S102
    assert isinstance(scope["model"], torch.nn.Module) if "model" in scope else scope["net"].layers


def test_python_is_printed_for_a_converted_file_too(voc: Path, convert: Convert) -> None:
    assert convert(voc, "-o", "a.safetensors").code == 0
    run = convert("a.safetensors", "-o", "b.pt")
    scope: dict[str, Any] = {}
    exec("\n".join(x.strip() for x in run.out.split("it loads with\n\n")[1].splitlines()), scope)  # noqa: S102
    wanted = c2t.load(voc).state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in scope["model"].state_dict().items())


def test_there_and_back_through_the_command(voc: Path, convert: Convert) -> None:
    assert convert(voc, "-o", "a.safetensors").code == 0
    assert convert("a.safetensors", "-o", "b.caffemodel").code == 0
    assert convert("b.caffemodel", "-o", "c.safetensors").code == 0
    first, again = load_file("a.safetensors"), load_file("c.safetensors")
    assert {key: value.tobytes() for key, value in first.items()} == {
        key: value.tobytes() for key, value in again.items()
    }


def test_a_safetensors_that_begins_like_a_mean(voc: Path, convert: Convert, tmp_path: Path) -> None:
    convert(voc, "-o", "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    padding = (0x08 - length) % 256
    start = (length + padding).to_bytes(8, "little") + whole[8 : 8 + length] + b" " * padding
    (tmp_path / "b.safetensors").write_bytes(start + whole[8 + length :])
    assert start[:1] == b"\x08"
    assert "FCN8s" in convert("b.safetensors", "-o", "c.safetensors").out


def test_means_survive_another_conversion(voc: Path, convert: Convert) -> None:
    convert(voc, "-o", "a.safetensors")
    run = convert("a.safetensors", "-o", "b.safetensors", "--dtype", "float16", "--json")
    assert run.json()["preprocessing"]["data"]["mean"] == [104.00699, 116.66877, 122.67892]
    assert convert("b.safetensors", "--inspect").code == 0
    assert "104.00699" in convert("b.safetensors", "-o", "c.pt").out


def test_classes_of_a_list(voc: Path, convert: Convert) -> None:
    names = ["background", *(f"thing {label}" for label in range(1, 21))]
    Path("classes.txt").write_text("\n".join(names) + "\n")
    assert (
        "classes       21 of score: background, …, thing 20" in convert(voc, "--classes", "classes.txt").out
    )
    run = convert(voc, "-o", "a.caffemodel", "--classes", "classes.txt", "--json")
    assert run.json()["labellings"]["score"]["classes"] == names
    assert c2t.load("a.caffemodel").labellings["score"].classes == tuple(names)
    names[3] = "bicycle 1 2 3"
    Path("other.txt").write_text("\n".join(names) + "\n")
    run = convert("a.caffemodel", "-o", "b.pt2", "--classes", "other.txt")
    assert (run.code, "other.txt:1: 'background': expected NAME R G B" in run.err) == (1, True), run.err
    names[3] = "bicycle"
    Path("other.txt").write_text("\n".join(names) + "\n")
    run = convert("a.caffemodel", "-o", "b.pt2", "--classes", "other.txt")
    assert run.code == 0
    assert "a.caffemodel: names the classes of score otherwise; --classes replaces them" in run.err


def test_classes_go_to_the_output_that_scores_as_many(golden: Path, convert: Convert) -> None:
    model = golden / "fcn" / "siftflow-fcn8s" / "weights.caffemodel"
    Path("geo.txt").write_text("sky\nground\nupright\n")
    convert(model, "-o", "a.safetensors", "--classes", "geo.txt")
    Path("sem.txt").write_text("".join(f"{label}\n" for label in range(9)))
    facts = convert("a.safetensors", "-o", "b.safetensors", "--classes", "sem.txt", "--json").json()
    counts = {blob: len(known["classes"]) for blob, known in facts["labellings"].items()}
    assert counts == {"score_geo": 3, "score_sem": 9}
    Path("four.txt").write_text("a\nb\nc\nd\n")
    run = convert(model, "-o", "c.safetensors", "--classes", "four.txt")
    assert run.code == 1
    assert (
        "4 classes can be those of none of its outputs; its outputs are score_sem (?, 9, ?, ?), " in run.err
    )
    assert convert(model, "-o", "c.safetensors", "--classes", "none.txt").code == 3
    assert not Path("c.safetensors").exists()


def test_classes_that_two_outputs_score() -> None:
    told = c2t.Labelling.numbered(4)
    with pytest.raises(NetError, match=r"4 classes can be those of any of a, b; its outputs are a \(\?, 4"):
        with_classes({}, {"a": (None, 4, 9, 9), "b": None, "c": (3,)}, told)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.caffemodel", "a.safetensors"),
        ("lenet_iter_10000", "lenet_iter_10000.safetensors"),
        ("v1.5.caffemodel", "v1.5.safetensors"),
        ("a.caffemodel.h5", "a.safetensors"),
    ],
)
def test_the_result_lies_beside_the_file_under_its_name(
    name: str, written: str, golden: Path, tmp_path: Path, convert: Convert
) -> None:
    (tmp_path / "folder").mkdir()
    options = ["--prototxt", golden / "legacy" / "v1.prototxt"] if name.endswith("h5") else []
    shutil.copy(
        golden / "legacy" / ("v1.caffemodel.h5" if options else "v1.caffemodel"), tmp_path / "folder" / name
    )
    assert convert(f"folder/{name}", *options).code == 0
    assert names(tmp_path / "folder") == {name, written}


@pytest.mark.parametrize("age", ["v0", "v1"])
def test_every_age_of_a_net_gives_the_same_blobs(age: str, golden: Path, convert: Convert) -> None:
    legacy = golden / "legacy"
    files = [f"{age}.caffemodel", f"{age}.upgraded.caffemodel", f"{age}.caffemodel.h5"]
    for file in files:
        prototxt = ["--prototxt", legacy / f"{age}.prototxt"] if file.endswith("h5") else []
        run = convert(
            legacy / file, *prototxt, "-o", f"{file}.safetensors", "--verify", legacy / f"{age}.npz", "--json"
        )
        assert run.code == 0, run.err
        assert run.json()["format"] == {
            "v0.caffemodel": "caffemodel, V0 format (2013)",
            "v1.caffemodel": "caffemodel, V1 format (2014)",
            "h5": "caffemodel in HDF5",
        }.get(file, "caffemodel in HDF5" if file.endswith("h5") else "caffemodel, current format")
    first, *others = ({k: v.tobytes() for k, v in load_file(f"{file}.safetensors").items()} for file in files)
    assert all(other == first for other in others)


def test_inspect_prints_the_table_and_writes_nothing(voc: Path, convert: Convert) -> None:
    run = convert(voc, "--inspect")
    assert run.code == 0
    assert "score_fr       Convolution    fc7_fc7_0" not in run.out
    assert (
        "49 layers, 21 with blobs, 291,827 parameters; receptive field 404 at stride 32 (score_fr)" in run.out
    )
    assert names(voc.parent) == {voc.name}
    facts = convert(voc, "--inspect", "--json").json()
    assert (facts["parameters"], len(facts["layers"]), facts["format"]) == (
        291827,
        49,
        "caffemodel, current format",
    )


def test_inspect_knows_prototxt_mean_and_hdf5(golden: Path, convert: Convert) -> None:
    assert "prob" in convert(golden / "legacy" / "v1.prototxt", "--inspect").out
    run = convert(golden / "legacy" / "mean.binaryproto", "--inspect", "--json")
    mean = np.load(golden / "legacy" / "mean.npy")
    assert run.json()["shape"] == [1, *mean.shape[-3:]]
    np.testing.assert_allclose(run.json()["mean"], mean.reshape(3, -1).mean(1), rtol=1e-6)
    h5, prototxt = golden / "legacy" / "v0.caffemodel.h5", golden / "legacy" / "v0.prototxt"
    assert "caffemodel in HDF5" in convert(h5, "--prototxt", prototxt, "--inspect").out


def test_list_layers_has_a_line_for_each_type(convert: Convert) -> None:
    run = convert("--list-layers")
    known = {name for entry in convert("--list-layers", "--json").json()["layers"] for name in entry["types"]}
    assert known == converters().keys()
    assert {"Convolution", "Deconvolution", "LRN", "SoftmaxWithLoss"} <= known
    assert known <= set(re.split(r"[\s,]+", run.out)), "not in the text"


def test_arch_insists(voc: Path, convert: Convert) -> None:
    assert convert(voc, "--arch", "FCN8s").code == 0
    (voc.parent / "voc-fcn8s.safetensors").unlink()
    for name in ("FCN32s", "FCN9s"):
        run = convert(voc, "--arch", name)
        assert (run.code, run.err.count("\n"), name in run.err) == (1, 1, True), run.err
    assert names(voc.parent) == {voc.name}


def test_convolutionalize_makes_a_classifier_fully_convolutional(golden: Path, convert: Convert) -> None:
    assert convert(golden / "legacy" / "v0.caffemodel", "-o", "a.safetensors").code == 0
    run = convert(golden / "legacy" / "v0.caffemodel", "--convolutionalize", "-o", "b.safetensors")
    assert run.code == 0, run.err
    dense, sliding = load_file("a.safetensors")["fc6.weight"], load_file("b.safetensors")["fc6.weight"]
    assert (dense.ndim, sliding.ndim) == (2, 4)
    assert dense.tobytes() == sliding.tobytes()


def test_a_prototxt_becomes_the_net_that_one_deploys(golden: Path, convert: Convert) -> None:
    run = convert(golden / "fcn" / "voc-fcn8s" / "train.prototxt", "-o", "deploy.prototxt")
    assert run.code == 0, run.err
    assert [layer.type for layer in c2t.read("deploy.prototxt").layers[:2]] == ["Input", "Convolution"]


def test_nothing_but_computing_loads_torch(voc: Path, golden: Path, tmp_path: Path) -> None:
    shutil.copy(golden / "legacy" / "v1.prototxt", tmp_path / "v1.prototxt")
    shutil.copy(golden / "legacy" / "v1.caffemodel.h5", tmp_path / "v1.h5")
    for arguments in (
        ["--help"],
        ["--list-layers"],
        [voc, "--inspect"],
        [voc],
        [voc, "--convolutionalize", "--arch", "FCN8s"],
        ["voc-fcn8s.safetensors", "-o", "back.caffemodel"],
        ["v1.h5", "--prototxt", "v1.prototxt", "-o", "v1.safetensors"],
    ):
        run = process(*arguments, code=WITHOUT_TORCH, cwd=tmp_path, capture_output=True)
        assert (run.returncode, run.stderr) == (0, ""), arguments
    reference = golden / "fcn" / "voc-fcn8s" / "io.npz"
    control = process(voc, "--verify", reference, code=WITHOUT_TORCH, cwd=tmp_path, capture_output=True)
    assert "torch was loaded" in control.stderr, "the check does not see torch"


def test_the_module_runs_as_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "caffe2torch.cli.main", "none.caffemodel"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (3, "fcn-convert: none.caffemodel: no such file\n")


def test_help_names_every_exit_code(tmp_path: Path) -> None:
    run = process("--help", cwd=tmp_path, capture_output=True)
    assert run.returncode == 0
    for text in ("0 done", "1 refused", "2 usage", "3 a file", "4 verification failed", "130 interrupted"):
        assert text in run.stdout


# --- Caffe's usual two files


@pytest.fixture
def pair(golden: Path, tmp_path: Path) -> tuple[str, str]:
    """A prototxt and its caffemodel, under names that say nothing."""
    shutil.copy(golden / "legacy" / "v1.prototxt", tmp_path / "net.txt")
    shutil.copy(golden / "legacy" / "v1.caffemodel", tmp_path / "weights_iter_9")
    return "net.txt", "weights_iter_9"


@pytest.mark.parametrize("order", [1, -1])
def test_a_prototxt_and_its_caffemodel_in_either_order(
    order: int, pair: tuple[str, str], golden: Path, convert: Convert
) -> None:
    text, weights = pair
    run = convert(*pair[::order], "--json")
    assert (run.code, run.err) == (0, "")
    assert run.json()["file"] == weights
    assert run.json()["output"]["file"] == "weights_iter_9.safetensors"
    assert convert(weights, "--prototxt", text, "-o", "wanted.safetensors").code == 0
    assert load_file("wanted.safetensors").keys() == load_file("weights_iter_9.safetensors").keys()
    run = convert(*pair[::order], "-o", "a.pt", "--verify", golden / "legacy" / "v1.npz")
    assert f"net = c2t.read({text!r}, {weights!r})" in run.out, run.err
    assert convert(*pair[::order], "--inspect").out.startswith(f"{weights}: ")
    assert convert(*pair[::order], "--diff", "weights_iter_9.safetensors").code == 0


def test_an_option_may_stand_between_the_two(pair: tuple[str, str], convert: Convert) -> None:
    text, weights = pair
    assert convert(text, "-o", "a.safetensors", weights).code == 0
    assert convert("--inspect", text, "--json", weights).json()["file"] == weights


def test_two_files_that_are_not_a_net_and_its_weights(pair: tuple[str, str], convert: Convert) -> None:
    text, weights = pair
    before = names(Path())
    for arguments, code, message in (
        ((text, text), 2, "both are text; give one prototxt and the weights"),
        ((weights, weights), 2, "neither is a prototxt; to compare two models, use --diff"),
        ((text, weights, "--prototxt", text), 2, "net.txt and weights_iter_9, and a --prototxt"),
        ((text, weights, text), 2, "3 files were given"),
        ((text, weights, "--list-layers"), 2, "--list-layers does not take it"),
        ((text, "none"), 3, "none: no such file"),
    ):
        run = convert(*arguments)
        assert (run.code, run.out, run.err.count("\n")) == (code, "", 1), arguments
        assert message in run.err
    assert names(Path()) == before


def test_a_mean_is_inspected_without_a_net(golden: Path, convert: Convert) -> None:
    mean = golden / "legacy" / "mean.binaryproto"
    run = convert(mean, "--inspect", "--prototxt", golden / "legacy" / "v1.prototxt")
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert "is a mean; leave out" in run.err


# --- verification


def test_a_net_that_differs_is_not_written(voc: Path, golden: Path, convert: Convert) -> None:
    arrays = dict(np.load(golden / "fcn" / "voc-fcn8s" / "io.npz"))
    arrays["1.blob.pool5"] = arrays["1.blob.pool5"] + 1e-2
    np.savez("ref.npz", **arrays)
    run = convert(voc, "--verify", "ref.npz")
    assert run.code == 4
    assert run.err == f"fcn-convert: {voc}: differs from ref.npz by build and FCN8s; nothing was written\n"
    assert "FAIL build: " in run.out
    assert "1 of 14 blobs fail" in run.out
    facts = convert(voc, "--verify", "ref.npz", "--json").json()
    assert (facts["exit_code"], facts["kind"]) == (4, "NotVerified")
    assert [row["blob"] for row in facts["verified"]["FCN8s"]["rows"] if not row["ok"]] == ["pool5"]
    assert names(voc.parent) == {voc.name, "ref.npz"}


def test_a_reference_that_is_not_there_or_not_one(voc: Path, convert: Convert) -> None:
    assert convert(voc, "--verify", "none.npz").code == 3
    Path("bad.npz").write_text("no archive")
    assert convert(voc, "--verify", "bad.npz").code == 1
    assert names(voc.parent) == {voc.name, "bad.npz"}


# --- refused: one line, the code, nothing left


CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 2 } }"""
WEIGHT, BIAS = w.shape(5, 3, 2, 2), w.shape(5)


def values(count: int) -> bytes:
    return w.packed(5, [0.5] * count)


def model(*layers: bytes) -> bytes:
    """A caffemodel: its name, an Input layer and `layers`."""
    shape = w.delimited(1, w.delimited(1, b"\x01\x03\x08\x09"))
    data = w.layer("data", type_name="Input", more=w.delimited(4, b"data") + w.delimited(143, shape))
    return w.delimited(1, b"net") + data + b"".join(layers)


def conv(*blobs: bytes, more: bytes = b"") -> bytes:
    """The convolution of CONV with these blobs; its filler draws from a normal distribution."""
    ends = w.delimited(3, b"data") + w.delimited(4, b"conv")
    filler = w.delimited(1, b"gaussian") + w.tag(6, w.FIXED32) + struct.pack("<f", 1)
    param = w.integer(1, 5) + w.integer(4, 2) + w.delimited(7, filler)
    return w.layer("conv", *blobs, more=ends + w.delimited(106, param) + more)


def after_conv(name: str, type_name: str, *blobs: bytes) -> bytes:
    return w.layer(name, *blobs, type_name=type_name, more=w.delimited(3, b"conv") + w.delimited(4, b"x"))


FULL = WEIGHT + values(60), BIAS + values(5)
GOOD = model(conv(*FULL))
PROTOTXTS = {
    "good": INPUT + CONV,
    "other": INPUT + CONV.replace('name: "conv"', 'name: "other"'),
    "wide": INPUT + CONV.replace("num_output: 5", "num_output: 6"),
    "fork": INPUT + CONV.replace("num_output", "gadget: 3 num_output"),
}


@dataclass
class Refused:
    """A file `bad.caffemodel` (or `name`), the options, and what comes of it."""

    content: bytes
    message: str
    options: tuple[str, ...] = ()
    name: str = "bad.caffemodel"
    code: int = 1


def prototxt(name: str) -> tuple[str, ...]:
    return ("--prototxt", f"{name}.prototxt")


REFUSED = {
    "no prototxt": Refused(GOOD, "^none.prototxt: no such file$", prototxt("none"), code=3),
    "only a prototxt": Refused((INPUT + CONV).encode(), "without weights", name="bad.prototxt", code=3),
    "empty": Refused(b"", "is empty"),
    "truncated": Refused(GOOD[:-30], "bytes, [0-9]+ are left"),
    "random": Refused(np.random.default_rng(5).bytes(5000), "NetParameter"),
    "zeros": Refused(bytes(999), "no field starts here"),
    "text": Refused(b"layer { name: 'data' }", "is text, not a caffemodel"),
    "prose": Refused(b"Just a note.", "^bad.txt:1:[0-9]+: .*`Just a note.`$", name="bad.txt"),
    "web page": Refused(b"<!DOCTYPE html>", "a web page"),
    "git-LFS": Refused(b"version https://git-lfs.github.com/spec/v1", "git-LFS pointer"),
    "pickle": Refused(b"\x80\x02}q\x00.", "pickle"),
    "hdf5": Refused(b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "solverstate": Refused(
        w.integer(1, 7) + w.delimited(2, b"net"), "is a .solverstate; give the caffemodel"
    ),
    "mean": Refused(WEIGHT + values(60), "is a mean, not a model"),
    "binary as prototxt": Refused(GOOD, "not text", ("--prototxt", "bad.caffemodel")),
    "two texts": Refused(b"name: 'a'", "FILE must hold the weights", prototxt("good"), "bad.prototxt"),
    "no layers": Refused(w.delimited(1, b"net"), "no layers"),
    "wrong prototxt": Refused(GOOD, "has no blobs for layer 'other'", prototxt("other")),
    "wrong shape": Refused(
        GOOD, r"'conv' blob 0 is \(5, 3, 2, 2\), its Convolution needs \(6, 3, 2, 2\)", prototxt("wide")
    ),
    "a layer without blobs": Refused(
        model(conv(), after_conv("bias", "Bias", BIAS + values(5))), "has no blobs for layer 'conv'"
    ),
    "a blob too few": Refused(model(conv(FULL[0])), "holds 1 blobs, its Convolution needs 2"),
    "a shape without data": Refused(model(conv(WEIGHT, FULL[1])), "'conv' blob 0 has a shape, .*and no data"),
    "too few values": Refused(model(conv(WEIGHT + values(59), FULL[1])), "asks for 60 values, 59 are there"),
    "unknown layer": Refused(model(conv(*FULL), after_conv("odd", "Peculiar")), r"'odd' \(Peculiar\): no"),
    "unknown field": Refused(model(conv(*FULL, more=w.integer(777, 1))), "#777; give the net's --prototxt"),
    "unknown text field": Refused(
        GOOD, r"layer 'conv' .*fork.prototxt:\d+:\d+: .*'gadget'", prototxt("fork")
    ),
    "huge shape": Refused(model(conv(w.shape(1 << 40, 1 << 40) + values(1))), "Caffe allows"),
    "huge length": Refused(
        model(conv(WEIGHT + w.tag(5, 2) + w.varint(1 << 40))), "takes 1099511627776 bytes"
    ),
    "huge header": Refused(struct.pack("<Q", 1 << 50) + b"{}", "^bad.caffemodel: "),
    "foreign safetensors": Refused(struct.pack("<Q", 2) + b"{}", "only files that fcn-convert wrote"),
    "cut safetensors": Refused(struct.pack("<Q", 2) + b"{", "^bad.caffemodel: "),
    "no folder": Refused(GOOD, "^none/a.pt: cannot be written: No such file", ("-o", "none/a.pt")),
    "a file as a folder": Refused(GOOD, "cannot be written: Not a dir", ("-o", "bad.caffemodel/a.pt")),
    "a long name": Refused(GOOD, "cannot be written: File name too long", ("-o", "a" * 999 + ".pt")),
    "a long reference": Refused(GOOD, "is not an .npz", ("--verify", "a" * 999)),
    "a folder as a reference": Refused(GOOD, "is a folder; give a file in it", ("--verify", "folder.pt")),
    "a folder": Refused(GOOD, "is a folder", ("-o", "folder.pt")),
    "onto itself": Refused(GOOD, "is the file that is converted", ("--format", "caffemodel")),
    "onto its prototxt": Refused(
        GOOD, "is the file that is converted", (*prototxt("good"), "-o", "good.prototxt")
    ),
    "unknown suffix": Refused(GOOD, "formats are caffemodel, .*safetensors", ("-o", "out.xyz")),
    "no such dtype there": Refused(
        GOOD, "holds float32, not float16", ("-o", "a.caffemodel", "--dtype", "float16")
    ),
    "unknown option": Refused(GOOD, "unrecognized arguments: --frobnicate", ("--frobnicate",), code=2),
    "inspect and write": Refused(GOOD, "^-o belongs to converting;", ("--inspect", "-o", "a.pt"), code=2),
    "abbreviated": Refused(GOOD, "unrecognized arguments: --insp", ("--insp",), code=2),
    "one size": Refused(GOOD, "'9' is not a height and a width, such as 375x500", ("--size", "9"), code=2),
    "no size": Refused(GOOD, "'0x9' is not a height and a width", ("--size", "0x9"), code=2),
    "unknown dtype": Refused(GOOD, "invalid choice: 'int8'", ("--dtype", "int8"), code=2),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_one_line_and_leaves_nothing(case: str, tmp_path: Path, convert: Convert) -> None:
    refused = REFUSED[case]
    (tmp_path / refused.name).write_bytes(refused.content)
    (tmp_path / "folder.pt").mkdir()
    for name, text in PROTOTXTS.items():
        (tmp_path / f"{name}.prototxt").write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    run = convert(refused.name, *refused.options)
    assert run.code == refused.code, run.err
    assert run.out == ""
    assert run.err.startswith("fcn-convert: ")
    assert run.err.count("\n") == 1
    message = run.err.removeprefix("fcn-convert: ").strip()
    assert re.search(refused.message, message), message
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert names(tmp_path / "folder.pt") == set()
    as_json = convert(refused.name, *refused.options, "--json")
    assert as_json.code == refused.code
    assert " ".join(as_json.json()["error"].split()) == message
    assert as_json.json()["exit_code"] == refused.code


def test_the_good_model_of_these_tests_is_good(tmp_path: Path, convert: Convert) -> None:
    (tmp_path / "good.caffemodel").write_bytes(GOOD)
    (tmp_path / "good.prototxt").write_text(PROTOTXTS["good"])
    assert convert("good.caffemodel", "-o", "1.pt").code == 0
    assert convert("good.caffemodel", "-o", "2.pt", "--prototxt", "good.prototxt").code == 0


def test_files_that_are_not_there(convert: Convert) -> None:
    run = convert("none.caffemodel")
    assert (run.code, run.err) == (3, "fcn-convert: none.caffemodel: no such file\n")
    assert convert().code == 2


@pytest.mark.parametrize("cut", range(0, len(GOOD), 7))
def test_every_cut_is_refused_without_a_traceback(cut: int, tmp_path: Path, convert: Convert) -> None:
    (tmp_path / "bad.caffemodel").write_bytes(GOOD[:cut])
    run = convert("bad.caffemodel")
    assert (run.code, run.err.count("\n")) == (1, 1), run.err
    assert "unexpected" not in run.err
    assert names(tmp_path) == {"bad.caffemodel"}


def test_allow_missing_leaves_parameters_at_caffes_filler(tmp_path: Path, convert: Convert) -> None:
    (tmp_path / "a.caffemodel").write_bytes(model(conv(WEIGHT, FULL[1])))
    for name in ("1.safetensors", "2.safetensors"):
        torch.rand(3)
        assert convert("a.caffemodel", "--allow-missing", "-o", name).code == 0
    assert Path("1.safetensors").read_bytes() == Path("2.safetensors").read_bytes()
    found = load_file("1.safetensors")
    assert 0.5 < found["conv.weight"].std() < 2, "the filler is gaussian, its std is 1"
    assert found["conv.bias"].tolist() == [0.5] * 5


def test_unknown_fields_can_be_left_out(tmp_path: Path, convert: Convert) -> None:
    (tmp_path / "a.caffemodel").write_bytes(model(conv(*FULL, more=w.integer(777, 1))))
    run = convert("a.caffemodel", "--ignore-unknown-fields")
    assert run.code == 0
    assert "#777; they were ignored" in run.out


def test_names_from_files_cannot_drive_the_terminal(tmp_path: Path, convert: Convert) -> None:
    evil = "a\x1b[2Jb\nfcn-convert: all is well"
    (tmp_path / "a.caffemodel").write_bytes(model(conv(*FULL), after_conv(evil, "Peculiar")))
    run = convert("a.caffemodel")
    assert run.code == 1
    assert "\x1b" not in run.err
    assert run.err.count("\n") == 1
    shown = convert("a.caffemodel", "--inspect")
    assert shown.code == 0
    assert "\x1b" not in shown.out


def test_debug_shows_where(tmp_path: Path, convert: Convert) -> None:
    (tmp_path / "a.caffemodel").write_bytes(b"")
    run = convert("a.caffemodel", "--debug")
    assert run.code == 1
    assert "Traceback" in run.err
    assert run.err.splitlines()[-1].startswith("fcn-convert: a.caffemodel: ")


def test_a_bug_is_one_line_too(voc: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffe2torch.cli.convert.write", lambda *_: 1 / 0)
    run = convert(voc)
    assert (run.code, run.err.count("\n")) == (1, 1)
    assert "unexpected ZeroDivisionError: division by zero; --debug shows where" in run.err


# --- the process: signals, pipes, disks, terminals


def test_interrupted(voc: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Any, done: int, expected: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "__call__", interrupt)
    run = convert(voc)
    assert (run.code, run.err) == (130, "fcn-convert: interrupted\n")
    assert names(voc.parent) == {voc.name}


@pytest.mark.parametrize(
    ("transform", "shown", "written"),
    [
        (
            "mean_value: [1, 2, 3] scale: 0.5 crop_size: 7",
            {
                "mean": "1, 2, 3, to subtract from data",
                "scale": "0.5, to multiply data by",
                "crop": "7 pixels square, from the middle of data",
            },
            "data: BGR, minus (1, 2, 3), times 0.5, cut to 7 x 7",
        ),
        (
            "mean_file: 'm.binaryproto'",
            {"mean": "the image m.binaryproto, to subtract from data"},
            "data: BGR, minus the mean image m.binaryproto",
        ),
    ],
)
def test_how_images_were_prepared_is_shown_and_written(
    transform: str, shown: dict[str, str], written: str, tmp_path: Path, convert: Convert
) -> None:
    (tmp_path / "good.caffemodel").write_bytes(GOOD)
    data = f'layer {{ name: "data" type: "Data" top: "data" transform_param {{ {transform} }} }}'
    (tmp_path / "net.prototxt").write_text(data + CONV)
    run = convert("good.caffemodel", "--prototxt", "net.prototxt", "-o", "net.py")
    assert run.code == 0, run.err
    assert dict(re.findall(r"^ *(mean|scale|crop) +(.*)$", run.out, re.MULTILINE)) == shown
    assert written in (tmp_path / "net.py").read_text()


def test_a_terminal_that_cannot_show_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.caffemodel").write_bytes(GOOD.replace(b"\x0a\x03net", b"\x0a\x04n\xc3\xa9t"))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(
        [sys.executable, "-c", MAIN, "a.caffemodel"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert "n\\xe9t" in run.stdout


def test_progress_of_a_long_write_is_shown_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal, shown in ((True, True), (False, False)):
        clock = iter([0.0, 0.5, 2.0, 2.1, 4.0])
        monkeypatch.setattr("caffe2torch.command_line.time", SimpleNamespace(perf_counter=clock.__next__))
        progress = ProgressLine("MB", 1e6)
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        for done in (10, 200, 300, 400):
            progress(done * 10**6, 400 * 10**6)
        err = capsys.readouterr().err
        assert ("200 of 400 MB, 100 MB/s, 2 s left" in err) == shown
        assert "300" not in err
        assert "10 of" not in err
        assert err.endswith(f"\r{'':70}\r") == shown


def test_progress_of_slow_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = []
    for quiet in (False, True):
        seconds = iter([0.0, 5.0, 10.0, 20.0])
        monkeypatch.setattr("caffe2torch.command_line.time", SimpleNamespace(perf_counter=seconds.__next__))
        progress = ProgressLine("images", quiet=quiet)
        for done in (0, 2, 4):
            progress(done, 1000)
        shown.append(capsys.readouterr().err)
    lines = ["2 of 1000 images, 0.2 images/s, 1:23:10 left", "4 of 1000 images, 0.2 images/s, 1:23:00 left"]
    assert shown == ["".join(f"\r{line:70}" for line in lines), ""]


def test_what_else_there_is_to_do_is_shown_before_and_behind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        progress = ProgressLine("MB", 1e6, "running it")
        progress(4, 4)
        progress.wipe()
        running, nothing = f"\r{'running it':70}", f"\r{'':70}\r"
        assert capsys.readouterr().err == (running + running + nothing if is_terminal else "")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("m_c3d", r"\(1, 3, 20, 20\) asks for 1200 values, 19200 are there"),
        ("m_nonum", r"\(0, 3, 20, 20\) asks for 0 values, 1200 are there; its num is missing or 0"),
    ],
)
def test_a_mean_whose_shape_is_wrong(name, problem, capsys):
    path = GOLDEN / "reports" / "mean_without_num" / f"{name}.binaryproto"
    assert main(["--inspect", str(path)]) == 1
    assert re.search(problem, capsys.readouterr().err)


def test_the_options_are_listed_without_numpy() -> None:
    """Which takes longer to import than all else that --help needs."""
    program = """
import sys
from caffe2torch.cli.options import parser
text = parser().format_help()
assert "safetensors" in text and "caffe-rgb" in text, text
sys.exit("numpy" in sys.modules)"""
    subprocess.run([sys.executable, "-c", program], check=True)
