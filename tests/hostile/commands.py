"""Which commands read which files: all that a person could give such a file to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import caffe2torch as c2t
from tests.hostile import data, models
from tests.nets import net_of
from tests.places import GOLDEN

FEEDING = GOLDEN / "pycaffe" / "feeding"
SOLVER = GOLDEN / "solver" / "sgd_step"
Command = tuple[str, ...]
"""A program, or `read` for a function of ours that no command needs a network for, and its arguments."""
NET = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: 'score' type: 'Convolution' bottom: 'data' top: 'score'
        convolution_param { num_output: 3 kernel_size: 1 } }
"""


@dataclass(frozen=True)
class Family:
    """Files of one kind, and what is done with one: put where it is read, and named to these commands."""

    files: Callable[[], models.Files]
    commands: Sequence[Command]
    """FILE stands for the file, HERE for the folder of `furnish`, OUT for what may be written."""
    place: Callable[[Path, Path], Path] = lambda path, here: path
    """Puts a file where commands look for it; returns what FILE stands for."""


def furnish(here: Path) -> None:
    """The whole things that commands also need: a model, a photo, a data set, a solver."""
    model = c2t.build(net_of(NET, score=[np.eye(3)[:, :, None, None], np.zeros(3)]))
    model.preprocessing = {"data": c2t.Preprocessing((0.0, 0.0, 0.0), channels="BGR")}
    model.labellings = {"score": c2t.Labelling(("a", "b", "c"), ((0, 0, 255), (0, 200, 0), (255, 0, 0)))}
    c2t.export(model, here / "good.safetensors")
    c2t.export(model, here / "good.caffemodel")
    Image.new("RGB", (9, 7), (3, 5, 7)).save(here / "photo.png")
    (here / "good.prototxt").write_text(NET)
    for part in ("images", "labels"):
        (here / "mine" / part).mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(here / "mine" / "images" / "a.png")
    Image.new("L", (4, 3)).save(here / "mine" / "labels" / "a.png")
    (here / "mine" / "classes.txt").write_text("ground\nsky\ntree\n")


def _in_data_set(part: str) -> Callable[[Path, Path], Path]:
    """A copy of the good data set with the file as its `part`."""

    def place(path: Path, here: Path) -> Path:
        folder = here / "spoiled"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(here / "mine", folder)
        shutil.copyfile(path, folder / part)
        return folder

    return place


def _named_by(text: str) -> Callable[[Path, Path], Path]:
    """A prototxt, `text`, in which FILE is the file."""

    def place(path: Path, here: Path) -> Path:
        net = here / "feeding.prototxt"
        (here / "list.txt").write_text(f"{path} 1\n")
        net.write_text(text.replace("FILE", str(path)).replace("LIST", str(here / "list.txt")))
        return net

    return place


def _database(kind: str) -> Callable[[Path, Path], Path]:
    def place(path: Path, here: Path) -> Path:
        folder = here / "database"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(FEEDING / f"raw_{kind}", folder)
        shutil.copyfile(path, folder / ("data.mdb" if kind == "lmdb" else "000005.ldb"))
        return folder

    return place


def _result(path: Path, here: Path) -> Path:
    folder = here / "home" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / "stored.json")
    return folder.parent


TIME = ("c2t-caffe", "time", "-model", "FILE", "-iterations", "1")
MODEL: tuple[Command, ...] = (
    ("fcn-convert", "FILE", "--inspect"),
    ("fcn-convert", "FILE", "-o", "OUT/new.safetensors", "--allow-missing"),
    ("fcn-convert", "HERE/good.caffemodel", "--diff", "FILE"),
    ("fcn-segment", "HERE/photo.png", "--model", "FILE", "-o", "OUT/seen", "--mean", "1,2,3"),
    ("fcn-repro", "--evaluate", "FILE", "--on", "folder/all", "--data", "HERE/mine", "--home", "OUT/home"),
)
EVALUATE = (
    *("fcn-repro", "--evaluate", "HERE/good.safetensors", "--on", "folder/all", "--data", "FILE"),
    *("--home", "OUT/home", "--name", "x"),
)
AT_HOME = ("--home", "OUT/home")
LISTED = (*EVALUATE[:4], "folder/few", *EVALUATE[5:])
DATA = "layer { name: 'd' type: '%s' top: 'data' top: 'label' %s }"
FAMILIES = {
    "caffemodel": Family(
        models.caffemodels,
        (
            *MODEL,
            ("c2t-caffe", "test", "-model", "HERE/good.prototxt", "-weights", "FILE", "-iterations", "1"),
            ("c2t-caffe", "upgrade_net_proto_binary", "FILE", "OUT/new.caffemodel"),
        ),
    ),
    "prototxt": Family(
        models.prototxts,
        (
            ("fcn-convert", "FILE", "--inspect"),
            *MODEL[1:3],
            ("c2t-caffe", "upgrade_net_proto_text", "FILE", "OUT/new.prototxt"),
            ("c2t-caffe", "upgrade_solver_proto_text", "FILE", "OUT/new.prototxt"),
        ),
    ),
    "greedy nets": Family(models.greedy_nets, (TIME,)),
    "hdf5": Family(models.hdf5s, MODEL),
    "pth": Family(models.state_dicts, MODEL),
    "safetensors": Family(models.safetensors, MODEL),
    "pt2": Family(models.pt2s, MODEL[:3]),
    "onnx": Family(models.onnxs, MODEL[:3]),
    "photo": Family(
        data.photos,
        (("fcn-segment", "FILE", "--model", "HERE/good.safetensors", "-o", "OUT/seen"),),
    ),
    "listed image": Family(
        data.photos,
        (TIME,),
        _named_by(DATA % ("ImageData", "image_data_param { source: 'LIST' batch_size: 1 }")),
    ),
    "data set's image": Family(data.photos, (EVALUATE,), _in_data_set("images/a.png")),
    "labels": Family(data.labels, (EVALUATE,), _in_data_set("labels/a.png")),
    "classes": Family(data.class_lists, (EVALUATE,), _in_data_set("classes.txt")),
    "ids": Family(data.id_lists, (LISTED,), _in_data_set("few.txt")),
    "image list": Family(
        data.image_lists,
        (TIME,),
        _named_by(DATA % ("ImageData", "image_data_param { source: 'FILE' batch_size: 1 }")),
    ),
    "image list to convert": Family(
        data.image_lists, (("c2t-caffe", "convert_imageset", "HERE/", "FILE", "OUT/database"),)
    ),
    "windows": Family(
        data.window_lists,
        (TIME,),
        _named_by(DATA % ("WindowData", "window_data_param { source: 'FILE' batch_size: 1 crop_size: 5 } ")),
    ),
    "rows": Family(
        data.row_files,
        (TIME,),
        _named_by(
            "layer { name: 'd' type: 'HDF5Data' top: 'data' "
            "hdf5_data_param { source: 'LIST' batch_size: 1 } }"
        ),
    ),
    "references": Family(
        data.references,
        (
            ("fcn-convert", "HERE/good.caffemodel", "-o", "OUT/new.safetensors", "--verify", "FILE"),
            ("fcn-convert", "HERE/good.caffemodel", "--diff", "HERE/good.safetensors", "--on", "FILE"),
        ),
    ),
    "means": Family(data.means, (("fcn-convert", "FILE", "--inspect"),)),
    "means of images": Family(
        data.means,
        (TIME,),
        _named_by(
            DATA
            % (
                "ImageData",
                f"image_data_param {{ source: '{FEEDING}/same.txt' "
                f"root_folder: '{FEEDING}/images/' batch_size: 1 }} "
                "transform_param { mean_file: 'FILE' }",
            )
        ),
    ),
    "solver states": Family(
        data.solver_states,
        (
            ("c2t-caffe", "train", "-solver", str(SOLVER / "solver.prototxt"), "-snapshot", "FILE"),
            ("fcn-convert", "FILE", "--inspect"),
        ),
    ),
    "solvers": Family(
        data.solvers,
        (
            ("c2t-caffe", "train", "-solver", "FILE"),
            ("c2t-caffe", "upgrade_solver_proto_text", "FILE", "OUT/new.prototxt"),
        ),
    ),
    "recipes": Family(
        data.recipes,
        (
            ("fcn-repro", "--train", "FILE", "--data", "HERE/mine", "--home", "OUT/home"),
            ("fcn-repro", "--caffe", "FILE", "-o", "OUT/caffe", "--home", "OUT/home"),
        ),
    ),
    "results": Family(
        data.results,
        (
            ("fcn-repro", "--table", "3", "--stored", "--home", "FILE"),
            ("fcn-repro", "--list", "--home", "FILE"),
        ),
        _result,
    ),
    "answers": Family(
        data.answers,
        (
            (
                "fcn-repro",
                "--server-result",
                "FILE",
                "--name",
                "x",
                "--on",
                "voc2012/test",
                "--home",
                "OUT/home",
            ),
        ),
    ),
    "archives": Family(data.archives, (("read", "archive", "FILE", "OUT/unpacked"),)),
    "matrices": Family(data.matrices, (("read", "matrix", "FILE"),)),
    "lmdb": Family(
        data.lmdbs, (("c2t-caffe", "compute_image_mean", "FILE", "OUT/mean.binaryproto"),), _database("lmdb")
    ),
    "leveldb": Family(
        data.level_dbs,
        (("c2t-caffe", "compute_image_mean", "--backend=leveldb", "FILE", "OUT/mean.binaryproto"),),
        _database("leveldb"),
    ),
}


def all_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Writes every file; its family and its path."""
    for name, family in FAMILIES.items():
        (folder / name.replace(" ", "-")).mkdir()
        for file, content in family.files():
            path = folder / name.replace(" ", "-") / file
            path.write_bytes(content)
            yield name, path


def filled_in(command: Command, file: Path, here: Path, out: Path) -> list[str]:
    """A command with its places filled in."""
    places = {"FILE": str(file), "HERE": str(here), "OUT": str(out)}
    words = []
    for word in command:
        for place, path in places.items():
            word = path + word[len(place) :] if word == place or word.startswith(f"{place}/") else word
        words.append(word)
    return words


def program(name: str) -> Callable[[Sequence[str]], int]:
    """What runs a command in this process."""
    from caffe2torch.cli.main import main as convert
    from caffe2torch.pycaffe.tool.main import main as caffe
    from fcn_repro.cli import main as repro
    from fcn_repro.segmenting.cli import main as segment

    programs = {"fcn-convert": convert, "c2t-caffe": caffe, "fcn-repro": repro, "fcn-segment": segment}
    return {**programs, "read": read}[name]


def read(arguments: Sequence[str]) -> int:
    """`archive FILE FOLDER` and `matrix FILE`: what reads data sets, which is known by its hash otherwise."""
    from caffe2torch import command_line
    from fcn_repro.data.datasets.matlab import read_matrix
    from fcn_repro.fetching.archives import extract

    def act(words: Sequence[str]) -> int:
        if words[0] == "archive":
            extract(words[1], words[2])
        else:
            read_matrix(Path(words[1]), "LabelMap")
        return 0

    return command_line.run("read", arguments, act)
