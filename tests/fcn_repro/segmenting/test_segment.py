"""fcn-segment from the outside, with a model of one kernel of one pixel: what it writes, says and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import caffe2torch as c2t
from fcn_repro.data.datasets import open_dataset
from fcn_repro.scoring import models
from fcn_repro.scoring.predict import Predictor
from fcn_repro.segmenting import cli, page, run
from fcn_repro.workspace import Workspace
from tests.nets import net_of
from tests.places import ROOT

NET = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: 'score' type: 'Convolution' bottom: 'data' top: 'score'
        convolution_param { num_output: 3 kernel_size: 1 } }
"""
BRIGHTEST = c2t.Labelling(("blue", "green", "red"), ((0, 0, 255), (0, 200, 0), (255, 0, 0)))
"""The class of a pixel is its brightest channel: the kernel is the identity, of blue, green and red."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a model that knows everything, and one that knows nothing."""
    monkeypatch.setenv("FCN_REPRO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = c2t.build(net_of(NET, score=[np.eye(3)[:, :, None, None], np.zeros(3)]))
    c2t.export(model, "unknown.safetensors")
    model.preprocessing = {"data": c2t.Preprocessing((0.0, 0.0, 0.0), channels="BGR")}
    model.labellings = {"score": BRIGHTEST}
    c2t.export(model, "known.safetensors")
    c2t.export(model, "hub", format="hub")
    return tmp_path


def photo(path: Path, seed: int = 0, **options: object) -> np.ndarray:
    """A photo of 7x6 pixels (width x height), none of which has two equal channels, at `path`."""
    random = np.random.default_rng(seed)
    pixels = np.array([random.permutation(256)[:3] for _ in range(42)], np.uint8).reshape(6, 7, 3)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG", **options)
    return pixels


def brightest(pixels: np.ndarray) -> np.ndarray:
    return np.argmax(pixels[:, :, ::-1], axis=2)


def segment(*arguments: object) -> int:
    return cli.main([*map(str, arguments)])


def labels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        assert tuple(image.getpalette()[:9]) == sum(BRIGHTEST.colours, ())
        return np.asarray(image)


@pytest.mark.parametrize("model", ["known.safetensors", "hub"])
def test_a_photo(place: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = photo(place / "A photo.PNG")
    assert segment("A photo.PNG", "--model", model, "-o", "out") == 0
    np.testing.assert_array_equal(labels(place / "out/A photo-labels.png"), brightest(pixels))
    printed = capsys.readouterr()
    counts = np.bincount(brightest(pixels).ravel())
    order = np.argsort(-counts, kind="stable")
    shares = [f"  {BRIGHTEST.classes[k]:5}  {100 * counts[k] / 42:5.1f} %" for k in order]
    assert printed.out.splitlines() == [
        "A photo.PNG: 7x6 pixels",
        *shares,
        "",
        "wrote out/A photo-labels.png and out/A photo-overlay.jpg",
    ]
    assert printed.err == ""
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        "A photo-labels.png",
        "A photo-overlay.jpg",
    ]


def test_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = np.bincount(brightest(photo(place / "a.png")).ravel())
    assert segment("a.png", "--model", "known.safetensors", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    (pictured,) = said["photos"]
    assert pictured["heads"]["score"]["shares"] == {
        name: pytest.approx(count / 42) for name, count in zip(BRIGHTEST.classes, counts, strict=True)
    }
    assert pictured["heads"]["score"]["labels"] == "segmented/a-labels.png"
    assert (pictured["width"], pictured["height"], pictured["notes"]) == (7, 6, [])
    assert (said["classes_known"], said["failed"], said["left_out"], said["page"]) == (True, [], [], None)


def test_a_folder_of_all_sorts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is left out in silence: a broken photo, what is no photo, a photo that is not called so."""
    folder = place / "photos"
    pixels = {"one": photo(folder / "one.png", 1), "two": photo(folder / "two.JPG", 2)}
    pixels["scan"] = photo(folder / "scan.dat", 3)
    pixels["one-2"] = photo(folder / "one.tif", 4)
    (folder / "broken.JPEG").write_bytes((folder / "one.png").read_bytes()[:90])
    (folder / "notes.txt").write_text("hello")
    (folder / "more").mkdir()
    assert segment("photos", "--model", "known.safetensors", "-o", "out") == 1
    for name, expected in pixels.items():
        np.testing.assert_array_equal(labels(place / f"out/{name}-labels.png"), brightest(expected))
    printed = capsys.readouterr()
    assert "\n4 photos\n" in printed.out
    assert printed.out.endswith("out/index.html shows them; labels and pictures are beside it\n")
    said = printed.err.splitlines()
    assert said[0] == "fcn-segment: left out 2, no photos: photos/more/, photos/notes.txt"
    assert said[1].startswith("fcn-segment: photos/broken.JPEG: a broken image: ")
    assert said[2:] == ["fcn-segment: 1 of 5 photos could not be segmented"]
    assert segment("photos", "--model", "known.safetensors", "-o", "out", "--json") == 1
    again = capsys.readouterr()
    data = json.loads(again.out)
    assert [entry["photo"] for entry in data["failed"]] == ["photos/broken.JPEG"]
    assert data["left_out"] == ["photos/more/", "photos/notes.txt"]
    assert "fcn-segment: replaced 8 files of an earlier run" in again.err


def test_what_is_not_ours_is_not_replaced(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(place / "photos/a.png")
    (place / "out").mkdir()
    (place / "out/index.html").write_text("my own page")
    assert segment("photos", "--model", "known.safetensors", "-o", "out") == 1
    assert "out/index.html: exists; name another place with -o, or" in capsys.readouterr().err
    assert segment("photos", "--model", "known.safetensors", "-o", "out", "--force") == 0
    assert "<canvas" in (place / "out/index.html").read_text()
    assert segment("photos", "--model", "known.safetensors", "-o", "out") == 0  # it is ours now
    before = photo(place / "a-labels.png").tobytes()
    assert segment("photos/a.png", "a-labels.png", "--model", "known.safetensors", "-o", ".") == 1
    assert "a-labels.png: is one of the photos; name another folder with -o" in capsys.readouterr().err
    assert np.asarray(Image.open(place / "a-labels.png")).tobytes() == before


def test_what_was_done_to_a_photo_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(place / "a.png", save_all=True, append_images=[Image.new("RGB", (7, 6))])
    assert segment("a.png", "--model", "known.safetensors") == 0
    assert capsys.readouterr().err == "fcn-segment: a.png: the first of 2 pictures in the file\n"


def test_a_model_that_knows_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = photo(place / "a.png")
    assert segment("a.png", "--model", "unknown.safetensors") == 1
    asked = capsys.readouterr().err
    assert asked.startswith("fcn-segment: unknown.safetensors: the model does not know how its photos were")
    assert "--mean B,G,R" in asked
    assert not (place / "segmented").exists()
    assert segment("a.png", "--model", "unknown.safetensors", "--mean", "0,0,0") == 0
    printed = capsys.readouterr()
    assert "  class 2 " in printed.out
    assert "unknown.safetensors does not name its classes: they have numbers" in printed.err
    with Image.open(place / "segmented/a-labels.png") as image:
        np.testing.assert_array_equal(np.asarray(image), brightest(pixels))
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_a_model_by_its_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded models are of recipes, which tell their mean and their classes."""
    photo(place / "a.png")
    assert segment("a.png", "--model", "shapes-fcn8s") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "a.png: 7x6 pixels\n" in printed.out


def test_labels_are_those_that_are_scored(place: Path) -> None:
    """What --evaluate scores, on rendered streets."""
    streets, workspace = open_dataset("shapes", ".", "val"), Workspace.at(place)
    model = models.load(workspace, "shapes-fcn8s")
    prepared = models.preparation(model, "shapes-fcn8s", None)
    with torch.inference_mode():
        scored = list(Predictor(model, streets, prepared, torch.device("cpu")).predictions([3, 8]))
    for sample, _ in scored:
        Image.fromarray(sample.image_hwc).save(place / f"{sample.id}.png")
    assert segment(*(f"{sample.id}.png" for sample, _ in scored), "--model", "shapes-fcn8s") == 0
    for sample, predictions in scored:
        with Image.open(place / "segmented" / f"{sample.id}-labels.png") as found:
            np.testing.assert_array_equal(np.asarray(found), predictions["sem"].numpy())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "known.safetensors"], 2, "give a PHOTO, or a folder of photos"),
        (["a.png"], 2, "--model is needed"),
        (["a.png", "--model", "known.safetensors", "--mean", "1,2"], 2, "'1,2' is not three numbers"),
        (["a.png", "--model", "known.safetensors", "--mean", "nan,1,2"], 2, "'nan,1,2' is no mean"),
        (["a.png", "--model", "known.safetensors", "--memory", "-1"], 2, "'-1' is not a number of gigabytes"),
        (["a.png", "--model", "known.safetensors", "--jsn"], 2, "did you mean --json?"),
        (["photos", "--model", "known.safetensors", "-o", "photos"], 2, "-o photos: the photos are there"),
        (["absent.png", "--model", "known.safetensors"], 3, "absent.png: no such file"),
        (["empty", "--model", "known.safetensors"], 3, "empty: no file in this folder"),
        (["a.png", "--model", "absent"], 3, "nor a model of the zoo; fcn-repro --list names them"),
        (["a.png", "--model", "a.png"], 1, "a.png"),
        (["words.png", "--model", "known.safetensors"], 1, "words.png: is of no kind that is read"),
        (["a.png", "--model", "known.safetensors", "--device", "no"], 1, "device 'no' cannot be used"),
        (["n" * 300, "--model", "known.safetensors"], 1, "cannot be read: File name too long"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(
    place: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(place / "a.png")
    photo(place / "photos/a.png")
    (place / "empty").mkdir()
    (place / "words.png").write_text("no photo")
    assert segment(*arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_photo_that_is_too_large_for_the_memory(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One pixel sees only itself: a few bytes are enough for any photo, but not for a tile of no pixel."""
    photo(place / "a.png")
    assert segment("a.png", "--model", "known.safetensors", "--memory", "0.0000005") == 0
    capsys.readouterr()
    assert segment("a.png", "--model", "known.safetensors", "--memory", "0.00000001") == 1
    assert "fcn-segment: a.png: a photo of 7x6 pixels needs" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom fcn_repro.segmenting.cli import parser\n"
        "assert '--memory GB' in parser().format_help()\n"
        "sys.exit('torch was loaded' if 'torch._C' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mean_that_contradicts_the_models_own_is_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(place / "a.png")
    assert segment("a.png", "--model", "known.safetensors", "--mean", "0,0,0") == 0
    assert capsys.readouterr().err == ""
    assert segment("a.png", "--model", "known.safetensors", "--mean", "1,2,3", "-o", "out") == 0
    assert capsys.readouterr().err == (
        "fcn-segment: known.safetensors: its own mean is 0, 0, 0; --mean is 1, 2, 3\n"
    )


def test_no_photo_can_be_segmented(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        (place / name).write_text("no photo")
    assert segment("a.png", "b.png", "--model", "known.safetensors") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("fcn-segment: 2 of 2 photos could not be segmented\n")


def test_an_output_that_is_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        photo(place / name)
    (place / "file").write_text("mine")
    assert segment("a.png", "b.png", "--model", "known.safetensors", "-o", "file/deep") == 1
    assert capsys.readouterr().err == "fcn-segment: file: is a file; name a folder with -o\n"


def test_links_in_a_circle_are_no_photos(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(place / "photos/a.png")
    (place / "photos/circle.png").symlink_to("circle.png")
    assert segment("photos", "--model", "known.safetensors", "-o", "out") == 1
    assert (place / "out/a-labels.png").exists()
    assert "fcn-segment: 1 of 2 photos could not be segmented" in capsys.readouterr().err


def test_names_of_files_and_of_heads_stay_where_they_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head's name goes into a file's, and a photo's onto a line of its own, whatever they are."""
    names = ["../../up", "a/b", "a:b"]
    heads = "".join(
        f"""
        layer {{
          name: '{number}' type: 'Convolution' bottom: 'data' top: '{name}'
          convolution_param {{ num_output: 3 kernel_size: 1 bias_term: false }}
        }}
        """
        for number, name in enumerate(names)
    )
    kernels = {str(number): [np.eye(3)[:, :, None, None]] for number in range(3)}
    net = net_of(NET[: NET.index("layer", 2)] + heads, **kernels)
    c2t.export(c2t.build(net), "heads.safetensors")
    photo(place / "work/b\nc.png")
    output = place / "work/out"
    assert segment("work/b\nc.png", "--model", "heads.safetensors", "--mean", "0,0,0", "-o", output) == 0
    endings = ("-.._.._up", "-a_b", "-a_b-2")
    kinds = ("labels.png", "overlay.jpg")
    expected = {f"b\nc{ending}-{kind}" for ending in endings for kind in kinds}
    assert {path.name for path in output.iterdir()} == expected
    assert {path.name for path in (place / "work").iterdir()} == {"b\nc.png", "out"}
    assert "work/b c.png: 7x6 pixels, a/b\n" in capsys.readouterr().out


def test_a_page_shows_so_many_photos(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more are kept in memory for it; the title counts all."""
    made = []
    for module in (page, run):
        monkeypatch.setattr(module, "MAX_FIGURES", 2)
    monkeypatch.setattr(run, "figure_of", lambda *args: made.append(page.figure_of(*args)) or made[-1])
    for name in "abc":
        photo(place / f"photos/{name}.png")
    assert segment("photos", "--model", "known.safetensors", "-o", "out") == 0
    text = (place / "out/index.html").read_text()
    assert len(made) == 2
    assert "<h1>3 photos, segmented by known.safetensors</h1>" in text
    assert "The first 2 are shown; the others are files beside this page." in text
    assert [f"photos/{name}.png" in text for name in "abc"] == [True, True, False]
