"""The survey of a folder: how far each file gets, what matches, what is refused and why."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from caffe2torch.cli.main import main
from caffe2torch.cli.survey import Case, find, summary, survey
from caffe2torch.formats import export
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.plan.sizes import fitting
from tests.nets import net_of


@pytest.fixture
def folder(golden, tmp_path):
    layers = golden / "layers"
    for name in ("conv_hw.prototxt", "conv_hw.caffemodel", "conv_hw.npz", "relu.prototxt", "relu.npz"):
        shutil.copy(layers / name, tmp_path)
    (tmp_path / "zoo").mkdir()
    fcn = golden / "fcn" / "voc-fcn16s"
    for name in ("deploy.prototxt", "weights.caffemodel", "io.npz"):
        shutil.copy(fcn / name, tmp_path / "zoo")
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 solver_type: ADAM')
    (tmp_path / "broken.prototxt").write_text('name: "x" layer {')
    (tmp_path / "quantum.prototxt").write_text('layer { name: "q" type: "Quantum" top: "q" }')
    (tmp_path / "alone.caffemodel").write_bytes(b"\xff" * 100)
    return tmp_path


def rows_by_name(folder, **options):
    rows = survey(list(find(folder)), **options)
    return {(row.case.prototxt or row.case.weights).name: row for row in rows}


def test_files_that_belong_together_are_one_case(folder):
    cases = set(find(folder))
    assert Case(folder / "conv_hw.prototxt", folder / "conv_hw.caffemodel", folder / "conv_hw.npz") in cases
    zoo = folder / "zoo"
    assert Case(zoo / "deploy.prototxt", zoo / "weights.caffemodel", zoo / "io.npz") in cases
    assert Case(None, folder / "alone.caffemodel", None) in cases
    assert len(cases) == 7


def test_snapshots_of_old_have_no_suffix(golden, tmp_path):
    legacy, weights = golden / "legacy", tmp_path / "caffe_train_iter_310000"
    shutil.copy(legacy / "v0.caffemodel", weights)
    weights.with_suffix(".solverstate").write_bytes(b"\xff" * 100)
    assert list(find(tmp_path)) == [Case(None, weights, None)]
    shutil.copy(legacy / "v0.prototxt", tmp_path / "deploy.prototxt")
    assert list(find(tmp_path)) == [Case(tmp_path / "deploy.prototxt", weights, None)]


def test_of_several_weights_those_of_exactly_its_name_are_a_nets(golden, tmp_path):
    for name in ("v1.prototxt", "v1.caffemodel", "v1.caffemodel.h5", "v1.npz"):
        shutil.copy(golden / "legacy" / name, tmp_path)
    rows = rows_by_name(tmp_path)
    assert rows["v1.prototxt"].case.weights == tmp_path / "v1.caffemodel"
    assert "matched" in rows["v1.prototxt"].passed, rows["v1.prototxt"].refusal
    (tmp_path / "v1.caffemodel").rename(tmp_path / "v1.final.caffemodel")
    refusal = "has no weights to compare with v1.npz; they would be in v1.caffemodel"
    assert rows_by_name(tmp_path)["v1.prototxt"].refusal == refusal


def test_a_broken_solver_is_a_solver(golden, tmp_path):
    broken = golden / "wild" / "solver_read_as_net" / "solver.prototxt"
    (tmp_path / "a.prototxt").write_text(f"# a comment\n\ndebug_info: true\n{broken.read_text()}")
    (row,) = survey(list(find(tmp_path)))
    assert row.kind == "solver"
    assert row.refusal.startswith("18:14: SolverParameter has no field '1'")
    assert summary([row], tmp_path).startswith("0 nets, and 0 of 1 solvers upgraded\n\n1 refused")


@pytest.mark.parametrize("ignore_unknown", [False, True])
def test_unknown_fields_can_be_ignored(tmp_path, ignore_unknown):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "Input" top: "d" } '
        'layer { name: "r" type: "ReLU" bottom: "d" top: "r" x: 1 }'
    )
    (row,) = survey(list(find(tmp_path)), ignore_unknown=ignore_unknown)
    assert ("built" in row.passed) == ignore_unknown
    assert ("--ignore-unknown-fields" in row.refusal) != ignore_unknown


def test_each_case_goes_as_far_as_it_can(folder):
    rows = rows_by_name(folder, run=True)
    everything = ("parsed", "upgraded", "built", "ran", "matched")
    assert {name: row.passed for name, row in rows.items()} == {
        "conv_hw.prototxt": everything,
        "relu.prototxt": everything,
        "deploy.prototxt": everything,
        "solver.prototxt": ("parsed", "upgraded"),
        "broken.prototxt": (),
        "quantum.prototxt": ("parsed", "upgraded"),
        "alone.caffemodel": (),
    }
    assert rows["deploy.prototxt"].error < 1e-5
    assert not any(row.crashed for row in rows.values())
    assert "Quantum" in rows["quantum.prototxt"].refusal


def test_sizes_that_a_file_leaves_open_are_those_of_an_image(tmp_path):
    data = 'layer { name: "d" type: "Data" top: "data" transform_param { crop_size: 31 } }'
    conv = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { %s } }'
    (tmp_path / "fits.prototxt").write_text(data + conv % "num_output: 4 kernel_size: 31")
    (tmp_path / "large.prototxt").write_text(data + conv % "num_output: 4 kernel_size: 32")
    rows = rows_by_name(tmp_path, run=True)
    assert rows["fits.prototxt"].passed == ("parsed", "upgraded", "built", "ran")
    assert rows["large.prototxt"].passed == ("parsed", "upgraded")
    assert "(None, None, 31, 31) is too small" in rows["large.prototxt"].refusal


def test_a_wrong_reference_does_not_match(folder):
    arrays = dict(np.load(folder / "relu.npz"))
    np.savez(folder / "relu.npz", **(arrays | {"out.y": arrays["out.y"] + 0.01}))
    row = rows_by_name(folder)["relu.prototxt"]
    assert row.passed == ("parsed", "upgraded", "built")
    assert "does not match relu.npz: blob 'y'" in row.refusal


def test_a_crash_is_counted_and_hides_no_other_file(folder, monkeypatch):
    monkeypatch.setattr("caffe2torch.cli.survey.upgrade_solver", lambda message: 1 // 0)
    rows = rows_by_name(folder)
    assert rows["solver.prototxt"].crashed
    assert rows["solver.prototxt"].refusal.startswith("crash: ZeroDivisionError")
    assert len(rows) == 7


def test_the_summary_counts(folder):
    text = summary(survey(list(find(folder)), run=True), folder)
    for line in (
        "6 nets, and 1 of 1 solvers upgraded",
        "  parsed       4",
        "  built        3",
        "  matched      3 of 3 that have Caffe's outputs",
        "3 refused, 0 of them crashes",
        "  quantum.prototxt: layer 'q' (Quantum): no converter for this layer type; "
        "--list-layers shows the known ones",
    ):
        assert line in text.splitlines(), text
    assert any(line.split() == ["Quantum", "1", "0"] for line in text.splitlines())
    assert any(line.split() == ["ReLU", "2", "2"] for line in text.splitlines())


def test_through_the_command(folder, capsys):
    assert main([str(folder), "--survey"]) == 0
    assert "6 nets, and 1 of 1 solvers upgraded" in capsys.readouterr().out
    assert main([str(folder), "--survey", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["case"]["prototxt"] for row in rows if row["error"] is not None} == {
        str(folder / name) for name in ("conv_hw.prototxt", "relu.prototxt", "zoo/deploy.prototxt")
    }
    assert main([str(folder / "relu.npz"), "--survey"]) == 3
    assert "is not a folder" in capsys.readouterr().err


CLASSIFIER = """
layer { name: "data" type: "Data" top: "data" }
layer { name: "conv" type: "Convolution" bottom: "data" top: "c"
    convolution_param { num_output: 4 kernel_size: 5 } }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "ip" inner_product_param { num_output: 2 } }
"""
"""A net whose file states no size; its blobs say that it takes two channels and 20 x 20 pixels."""


@pytest.fixture
def classifier(tmp_path):
    draw = np.random.default_rng(3)
    blobs = {
        "conv": [draw.random((4, 2, 5, 5)), draw.random(4)],
        "ip": [draw.random((2, 4 * 16 * 16)), draw.random(2)],
    }
    net = net_of(CLASSIFIER, **blobs)
    (tmp_path / "net.prototxt").write_text(CLASSIFIER)
    export(net, tmp_path / "net.caffemodel", check=False)
    return tmp_path / "net.caffemodel"


def test_blobs_tell_the_channels_and_the_size(classifier):
    (row,) = survey(list(find(classifier.parent)), run=True)
    assert row.passed == ("parsed", "upgraded", "built", "ran"), row.refusal
    assert main([str(classifier), "--check", "run"]) == 0


def test_a_checked_net_runs_at_the_size_that_its_blobs_need(classifier, capsys):
    assert main([str(classifier), "-o", str(classifier.with_suffix(".pt2"))]) == 0
    assert "data (1, 2, 20, 20)" in capsys.readouterr().out


def test_a_slice_tells_the_channels(tmp_path):
    text = 'layer { name: "d" type: "Data" top: "pairs" data_param { batch_size: 64 } }'
    text += (
        'layer { name: "s" type: "Slice" bottom: "pairs" top: "a" top: "b" slice_param { slice_point: 1 } }'
    )
    for half in "ab":
        text += (
            f'layer {{ name: "{half}" type: "Convolution" bottom: "{half}" top: "{half}c" '
            'param { name: "w" } convolution_param { num_output: 3 kernel_size: 2 bias_term: false } }'
        )
    (tmp_path / "siamese.prototxt").write_text(text)
    (row,) = survey(list(find(tmp_path)), run=True)
    assert row.passed == ("parsed", "upgraded", "built", "ran"), row.refusal


@pytest.mark.parametrize("layer", ["Upsample", "Unpooling"])
def test_an_unpooling_tells_height_and_width(tmp_path, layer):
    """Its second size, 46 x 60, is that of the first pooling's top: the image has 92 x 120 pixels."""
    pool = "pool: MAX kernel_size: 2 stride: 2"
    names = {"Upsample": ("upsample_param", "upsample_h: 46 upsample_w: 60")}
    param, size = names.get(layer, ("unpooling_param", "unpool: MAX unpool_h: 46 unpool_w: 60"))
    text = f"""
        layer {{ name: "d" type: "Data" top: "data" }}
        layer {{ name: "p1" type: "Pooling" bottom: "data" top: "p1" top: "m1" pooling_param {{ {pool} }} }}
        layer {{ name: "p2" type: "Pooling" bottom: "p1" top: "p2" top: "m2" pooling_param {{ {pool} }} }}
        layer {{ name: "u2" type: "{layer}" bottom: "p2" bottom: "m2" top: "u2" {param} {{ {size} }} }}
        layer {{ name: "u1" type: "{layer}" bottom: "u2" bottom: "m1" top: "u1"
            {param} {{ {size.replace("46", "92").replace("60", "120")} }} }}
    """
    (tmp_path / "net.prototxt").write_text(text)
    (row,) = survey(list(find(tmp_path)), run=True)
    assert row.passed == ("parsed", "upgraded", "built", "ran"), row.refusal


@pytest.mark.parametrize("more", [1, 2])
def test_inputs_that_are_no_images_are_found_beside_them(tmp_path, more):
    """Inputs without shapes: what is put beside an image's numbers has two axes."""
    tops = [f"d{i}" for i in range(more + 1)]
    text = "".join(f'layer {{ name: "{top}" type: "Input" top: "{top}" }}\n' for top in tops)
    flat = " ".join(f'bottom: "{blob}"' for blob in ("f", *tops[1:]))
    text += f"""layer {{ name: "f" type: "Flatten" bottom: "d0" top: "f" }}
                layer {{ name: "y" type: "Concat" {flat} top: "y" }}"""
    (tmp_path / "net.prototxt").write_text(text)
    (row,) = survey(list(find(tmp_path)), run=True)
    assert row.passed == ("parsed", "upgraded", "built", "ran"), row.refusal


def test_a_shape_insists(tmp_path, capsys):
    text = (
        'layer { name: "d" type: "Data" top: "data" } layer { name: "c" type: "Convolution" bottom: "data" '
    )
    (tmp_path / "net.prototxt").write_text(
        text + 'top: "c" convolution_param { num_output: 2 kernel_size: 50 } }'
    )
    assert main([str(tmp_path), "--survey", "--run", "--json", "--shape", "data=1,3,48,48"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert "(1, 3, 48, 48)" in row["refusal"]
    assert "ran" not in row["passed"]


def test_a_conversion_runs_on_the_shape_that_it_is_given(golden, tmp_path, capsys):
    zoo, target = golden / "fcn" / "voc-fcn32s", str(tmp_path / "net.safetensors")
    given = [str(zoo / "weights.caffemodel"), "-o", target, "--check", "run"]
    assert main([*given, "--shape", "data=1,3,40,52"]) == 0
    assert "run on data (1, 3, 40, 52) and data (" in capsys.readouterr().out
    assert main([*given, "--shape", "image=1,3,40,52"]) == 1
    assert "has no input 'image' to give a shape; its inputs are data" in capsys.readouterr().err
    assert main([*given, "--shape", "data=1,4,40,52"]) == 1
    assert "data (1, 4, 40, 52)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shape", "data=1,3,48,48"], "--shape is the shape to run a net on; it needs --run"),
        (["--run", "--shape", "data"], "'data' is not a blob and its sizes, such as data=1,3,48,48"),
        (["--run", "--shape", "data=1,0"], "'data=1,0' is not a blob and its sizes"),
        (
            ["--run", "--shape", "d=1", "--shape", "d=2"],
            "--shape gives an input two shapes; which one is meant?",
        ),
    ],
)
def test_shapes_that_make_no_sense(tmp_path, capsys, words, message):
    assert main([str(tmp_path), "--survey", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case", "side"),
    [
        ("01-joint", 224),
        ("03-joint", 48),
        ("15-vanilla", 40),
        ("18-caffe-lenet", 28),
        ("21-caffe-cifar10", 32),
    ],
)
def test_models_alone_tell_their_size(reference, case, side):
    """A caffemodel without a prototxt begins with a data layer, which has no size."""
    (folder,) = (reference / "models").glob(f"{case}*")
    (weights,) = (path for path in folder.iterdir() if re.search(r"\.caffemodel$|_iter_\d+$", path.name))
    planned = plan(read(weights=weights))
    opened = {blob: (*(shape or (1, 3))[:2], None, None) for blob, shape in planned.inputs.items()}
    sizes = fitting(planned, opened)
    assert sizes is not None
    assert {shape[2:] for shape in sizes.values()} == {(side, side)}
