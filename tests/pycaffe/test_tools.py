"""`c2t-caffe`'s smaller tools against what Caffe's own wrote (feeding/make.py of the golden files)."""

import re
import shutil

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from caffe2torch.pycaffe import draw
from caffe2torch.pycaffe.proto import caffe_pb2
from caffe2torch.pycaffe.tool.main import main
from tests.feeding.layers import datum, write_lmdb
from tests.places import GOLDEN

FOLDER = GOLDEN / "pycaffe" / "feeding"
PACKAGES = {"lmdb": "lmdb", "leveldb": "plyvel"}
"""By backend; plyvel has no wheel for every Python."""


@pytest.fixture
def golden(tmp_path, monkeypatch):
    folder = shutil.copytree(FOLDER, tmp_path / "golden")
    monkeypatch.chdir(folder)
    return folder


def records(path, backend="lmdb"):
    if backend == "lmdb":
        with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
            return dict(transaction.cursor())
    database = pytest.importorskip("plyvel").DB(str(path))
    found = dict(database)
    database.close()
    return found


@pytest.mark.parametrize("backend", PACKAGES)
def test_convert_imageset(golden, capsys, backend):
    pytest.importorskip(PACKAGES[backend])
    assert main(["convert_imageset", f"--backend={backend}", "images/", "same.txt", "made"]) == 0
    assert records("made", backend) == records(f"raw_{backend}", backend)
    log = capsys.readouterr().err
    assert "] A total of 5 images." in log
    assert "] Processed 5 files." in log


def test_a_log_that_is_turned_down(golden, capsys):
    for tool in (["convert_imageset", "--minloglevel=1", "images/", "same.txt", "made"],
                 ["compute_image_mean", "-minloglevel", "1", "made"]):  # fmt: skip
        assert main(tool) == 0
        assert capsys.readouterr().err == ""


def test_convert_imageset_encoded(golden):
    assert main(["convert_imageset", "-encoded", "images/", "same.txt", "made"]) == 0
    made, stored = records("made"), records("encoded_lmdb")
    grey = b"00000004_grey.png"  # is encoded anew, in colour
    assert {key: value for key, value in made.items() if key != grey} == {
        key: value for key, value in stored.items() if key != grey
    }
    assert made.keys() == stored.keys()


def test_convert_imageset_in_another_way(golden, capsys):
    more = ["--gray", "--resize_height", "5", "--resize_width=4", "--encode_type=png", "--shuffle"]
    with open("same.txt", "a") as file:  # noqa: PTH123
        file.write("none.png 3\n")
    assert main(["convert_imageset", *more, "images/", "same.txt", "made"]) == 0
    assert "images/none.png: no such file" in capsys.readouterr().err
    found = [caffe_pb2.Datum.FromString(value) for value in records("made").values()]
    assert sorted(datum.label for datum in found) == [1, 2, 3, 4, 9]
    assert all(datum.encoded and datum.data.startswith(b"\x89PNG") for datum in found)
    names = sorted(key.decode().partition("_")[2] for key in records("made"))
    assert names == ["a.bmp", "a.png", "alpha.png", "grey.png", "palette.png"]


def test_a_large_database(tmp_path):
    """More than the map that an LMDB begins with."""
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (2048, 2048, 3), np.uint8)).save(
        tmp_path / "a.bmp"
    )
    (tmp_path / "list.txt").write_text("a.bmp 1\n" * 6)
    assert main(["convert_imageset", f"{tmp_path}/", f"{tmp_path}/list.txt", f"{tmp_path}/made"]) == 0
    assert {len(value) // 1000 for value in records(tmp_path / "made").values()} == {12582}


@pytest.mark.parametrize(
    ("argv", "match"),
    [
        (["convert_imageset", "images/", "same.txt"], "takes .FLAGS. ROOTFOLDER/ LISTFILE DB_NAME"),
        (["convert_imageset", "--backend=x", "images/", "same.txt", "made"], "can be lmdb or leveldb"),
        (["convert_imageset", "images/", "same.txt", "raw_lmdb"], "raw_lmdb: is there already"),
        (["convert_imageset", "images/", "none.txt", "made"], "none.txt: no such list"),
        (["convert_imageset", "--check_size", "images/", "sizes.txt", "made"], "the first image"),
        (
            ["convert_imageset", "--encode_type=gif", "images/", "same.txt", "made"],
            "--encode_type is 'gif'; it can be png, jpg",
        ),
        (["extract_features", *"wnxy1", "lmdb", "GPU", "DEVICE_ID=a"], "extract_features takes"),
        (["compute_image_mean"], "INPUT_DB"),
        (["compute_image_mean", "float"], "no such database"),
        (["extract_features", "a"], "extract_features takes"),
        (["extract_features", "tool/features.caffemodel", "x", "y", "z,w", "1", "lmdb"], "as many databases"),
        (["upgrade_net_proto_text", "a"], "FILE_IN FILE_OUT"),
        (["draw_net", "a"], "draw_net takes"),
        (["draw_net", "data_lmdb.prototxt", "picture"], "its suffix says the format"),
    ],
)
def test_refusals(golden, capsys, argv, match):
    assert main(argv) in (1, 2, 3)
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(match, last), last
    assert not (golden / "made").exists()


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ([(1, 2, 3), (1, 2, 4)], r"db: record 1 is \(1, 2, 4\), the first \(1, 2, 3\) \(C, H, W\)"),
        ([], "db: has no records"),
    ],
)
def test_records_that_have_no_mean(tmp_path, capsys, shapes, match):
    write_lmdb(tmp_path / "db", [datum(np.zeros(shape, np.uint8)) for shape in shapes])
    assert main(["compute_image_mean", str(tmp_path / "db"), str(tmp_path / "mean")]) == 1
    assert re.search(match, capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "mean").exists()


def test_compute_image_mean(golden, capsys):
    assert main(["compute_image_mean", "raw_lmdb", "made.binaryproto"]) == 0
    assert (golden / "made.binaryproto").read_bytes() == (golden / "mean.binaryproto").read_bytes()
    mean = np.array(caffe_pb2.BlobProto.FromString((golden / "mean.binaryproto").read_bytes()).data)
    log = capsys.readouterr().err
    for channel, value in enumerate(mean.reshape(3, -1).mean(1)):
        assert f"] mean_value channel [{channel}]: {value:g}\n" in log


def test_extract_features(golden, monkeypatch, capsys):
    monkeypatch.chdir(golden / "tool")
    given = ["features.caffemodel", "features.prototxt", "pool,label", "out_pool,out_label", "2", "lmdb"]
    assert main(["extract_features", *given]) == 0
    found = {
        f"{name}/{key.decode()}": value
        for name in ("pool", "label")
        for key, value in records(f"out_{name}").items()
    }
    stored = {key: value.tobytes() for key, value in np.load("features.npz").items()}
    assert found.keys() == stored.keys()
    for key, value in stored.items():
        ours, theirs = (caffe_pb2.Datum.FromString(one) for one in (found[key], value))
        np.testing.assert_allclose(ours.float_data, theirs.float_data, rtol=1e-6)
        ours.ClearField("float_data")
        theirs.ClearField("float_data")
        assert ours == theirs
    assert "] Extracted features of 4 query images for feature blob pool\n" in capsys.readouterr().err
    assert main(["extract_features", *given[:2], "none", "made", "1", "lmdb"]) == 2
    assert "unknown feature blob name none" in capsys.readouterr().err


def test_upgrades(tmp_path, capsys):
    legacy = GOLDEN / "legacy"
    assert main(["upgrade_net_proto_text", f"{legacy}/v1.prototxt", f"{tmp_path}/net.prototxt"]) == 0
    net = text_format.Parse((tmp_path / "net.prototxt").read_text(), caffe_pb2.NetParameter())
    assert {layer.type for layer in net.layer} >= {"Convolution", "ReLU"}
    assert not net.layers
    assert f"Wrote upgraded NetParameter text proto to {tmp_path}/net.prototxt" in capsys.readouterr().err
    assert main(["upgrade_net_proto_binary", f"{legacy}/v1.caffemodel", f"{tmp_path}/net.caffemodel"]) == 0
    net = caffe_pb2.NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    old = caffe_pb2.NetParameter.FromString((legacy / "v1.caffemodel").read_bytes())
    new_blobs, old_blobs = (
        [blob for layer in layers for blob in layer.blobs] for layers in (net.layer, old.layers)
    )
    assert len(new_blobs) == len(old_blobs) > 0
    assert all(list(a.data) == list(b.data) for a, b in zip(new_blobs, old_blobs, strict=True))
    (tmp_path / "old.prototxt").write_text("base_lr: 0.5 solver_type: ADAM")
    assert main(["upgrade_solver_proto_text", f"{tmp_path}/old.prototxt", f"{tmp_path}/new.prototxt"]) == 0
    solver = text_format.Parse((tmp_path / "new.prototxt").read_text(), caffe_pb2.SolverParameter())
    assert (solver.type, solver.base_lr) == ("Adam", 0.5)
    assert not solver.HasField("solver_type")


NET = """
layer { name: 'd' type: 'Data' top: 'x' data_param { batch_size: 5 } include { phase: TRAIN } }
layer { name: 'c "1"' type: 'Convolution' bottom: 'x' top: 'c' param { lr_mult: 2 } param { lr_mult: 0 }
  convolution_param { num_output: 7 kernel_h: 3 kernel_w: 2 stride: 2 pad: [1, 4] } }
layer { name: 'r' type: 'ReLU' bottom: 'c' top: 'c' }
layer { name: 'p' type: 'Pooling' bottom: 'c' top: 'p' pooling_param { pool: AVE kernel_size: 3 } }
"""


def test_draw_net(tmp_path, capsys):
    (tmp_path / "net.prototxt").write_text(NET)
    argv = ["draw_net", f"{tmp_path}/net.prototxt", f"{tmp_path}/net.raw"]
    assert main([*argv, "--rankdir=TB", "--display_lrm"]) == 0
    picture = (tmp_path / "net.raw").read_text()
    assert "rankdir=TB" in picture
    for part in (
        "(Convolution) kernel size: 3x2 stride: 2x2 pad: 1x4 lr_mult: 2, 0",
        "(AVE Pooling) kernel size: 3x3 stride: 1x1 pad: 0x0",
        'label="Batch 5"',
        'label="7"',
        '"x_blob"',
    ):
        assert part in picture
    assert main([*argv, "--phase=TEST"]) == 0
    assert "Batch 5" not in (tmp_path / "net.raw").read_text()
    assert f"Drawing net to {tmp_path}/net.raw" in capsys.readouterr().out


def test_draw_net_without_graphviz(monkeypatch):
    monkeypatch.setenv("PATH", "")
    net = text_format.Parse(NET, caffe_pb2.NetParameter())
    with pytest.raises(Exception, match="needs Graphviz"):
        draw.draw_net(net, "LR")
