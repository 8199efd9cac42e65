"""`python benchmarks/shapes.py [--picture docs/shapes.jpg]`: what the rendered data set holds, and how fast.

Prints the numbers of docs/shapes.md: each class's share of the pixels of shapes/test, how many of its
images contain it, and how much of it is thin, that is, lost when the labels are opened with a square of 13
pixels; the best scores that the nets' strides allow; milliseconds to render a sample, in one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from fcn_repro.data.datasets import IGNORE_LABEL, Dataset, Sample, open_dataset
from fcn_repro.data.png import VOID_COLOUR
from fcn_repro.tables.bounds import upper_bounds

THIN = 13
STRIDES = (32, 16, 8)
SCENES = (3, 4, 6, 8)


def main() -> None:
    """Prints the numbers, and writes the picture if asked to."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--picture", metavar="FILE", type=Path)
    picture: Path | None = asked.parse_args().picture
    test = open_dataset("shapes", ".", "test")
    print_classes(test)
    for stride, scores in upper_bounds(test, STRIDES).scores.items():
        print(f"stride {stride:2}: mean IU at most {scores.percent()['mean_iu']:.1f}")
    for split in ("test", "objects-val"):
        print(f"{split}: {milliseconds(open_dataset('shapes', '.', split)):.1f} ms a sample")
    if picture:
        Image.fromarray(sheet(test)).save(picture, quality=85)


def print_classes(test: Dataset) -> None:
    """A line for each class."""
    labels = [test.labels(index)["sem"] for index in range(len(test))]
    total = sum(int((label != IGNORE_LABEL).sum()) for label in labels)
    for number, name in enumerate(test.classes):
        masks = [label == number for label in labels]
        count, images = sum(int(mask.sum()) for mask in masks), sum(bool(mask.any()) for mask in masks)
        thin = 100 * sum(map(thin_pixels, masks)) / count
        print(f"{name:10}  {100 * count / total:5.2f} % of pixels, in {images:3} images, {thin:3.0f} % thin")


def thin_pixels(mask: npt.NDArray[np.bool_]) -> int:
    """How many pixels of a class lie in no THIN x THIN square of it; it continues beyond the edges."""
    padded = np.pad(mask, THIN, "edge")
    thick = ndimage.binary_opening(padded, np.ones((THIN, THIN)))
    return int((padded & ~thick)[THIN:-THIN, THIN:-THIN].sum())


def milliseconds(split: Dataset, samples: int = 100, repeats: int = 5) -> float:
    """Processor time to render a sample, in milliseconds; the best of several rounds."""
    rounds = []
    for _ in range(repeats):
        begin = time.process_time()
        for index in range(samples):
            split[index]
        rounds.append(time.process_time() - begin)
    return 1000 * min(rounds) / samples


def sheet(test: Dataset) -> npt.NDArray[np.uint8]:
    """Some scenes above their labels, then a picture of each class; enlarged twice."""
    scenes = [test[index] for index in SCENES]
    objects = open_dataset("shapes", ".", "objects-val")
    upper = np.hstack([np.vstack([framed(s.image_hwc, 108, 140), painted(s, test)]) for s in scenes])
    each = [framed(objects[number].image_hwc, 68, 80) for number in range(1, 8)]
    return np.vstack([upper, np.hstack(each)]).repeat(2, axis=0).repeat(2, axis=1)


def painted(sample: Sample, test: Dataset) -> npt.NDArray[np.uint8]:
    """A label in the colours of its classes."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(test.palette)], colours[IGNORE_LABEL] = test.palette, VOID_COLOUR
    return framed(colours[sample.label], 108, 140)


def framed(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """An image on a white page of that size."""
    page = np.full((height, width, 3), 255, np.uint8)
    page[: image.shape[0], : image.shape[1]] = image
    return page


if __name__ == "__main__":
    main()
