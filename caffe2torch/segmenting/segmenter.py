"""Photo -> labels: what a net makes of each pixel, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from caffe2torch._torch import torch
from caffe2torch.errors import NetError
from caffe2torch.inference import optimize
from caffe2torch.inference.optimized import Optimized
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.plan import Plan
from caffe2torch.segmenting.tiles import Strip, tiles
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.untrusted.photos import read_image, read_photo

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

MEMORY = 2e9
"""Bytes that the blobs of a net may take; larger photos are segmented in tiles."""
MAX_CLASSES = 255
"""Labels are bytes, and 255 is void."""
_NO_PHOTO = ("depth", "hha")
"""Inputs of the papers' nets that are depth maps."""

Labels = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of each pixel, `labels` (H, W), and its softmax in percent, `certainty` (H, W)."""

    labels: Labels
    certainty: Labels

    def shares(self) -> dict[int, float]:
        """The labels that occur, each with its share of the pixels, the largest first."""
        return shares(self.labels)


class Segmenter:
    """A model, or a file of one, that labels photos of any size, by what it knows of its input and outputs.

    `mean` (blue, green, red) is for a model that does not know its own. The net's blobs take about `memory`
    bytes: a photo that needs more is segmented in overlapping tiles. Their labels are those of the whole
    photo, but for rounding where two classes score the same. `labellings` has the classes of each head, and
    `named` says whether the model knows their names. Raises NetError for a model that does not score the
    pixels of a photo, or has no mean, and for a file what `load` raises.
    """

    def __init__(
        self,
        model: nn.Module | AnyPath | Optimized,
        mean: Sequence[float] | None = None,
        memory: float = MEMORY,
    ) -> None:
        if not memory > 0:
            raise NetError(f"memory={memory}: give bytes, more than 0")
        self.memory = memory
        known = model if isinstance(model, Optimized) else optimize(model)
        self.plan: Plan = known.plan
        self.blob = _photo_input(self.plan)
        self.prepared = _prepared(self.plan, self.blob, known.preprocessing.get(self.blob), mean)
        counts = {name: _classes(self.plan, name) for name in self.plan.outputs}
        found = {name: _known(known.labellings, name, count) for name, count in counts.items()}
        self.named = all(found.values())
        self.labellings = {name: found[name] or Labelling.numbered(count) for name, count in counts.items()}
        self.run = known.run

    def __call__(self, image_hwc: Labels, progress: Progress | None = None) -> dict[str, Segmentation]:
        """A photo (H, W, 3), RGB, by head. Raises NetError for one that is too large for the net."""
        height, width = image_hwc.shape[:2]
        found = {head: Segmentation(*np.zeros((2, height, width), np.uint8)) for head in self.labellings}
        parts = tiles((height, width), self.plan, self.blob, self.memory)
        for done, (row, column) in enumerate(parts):
            if progress is not None:
                progress(done, len(parts))
            self._segment(image_hwc, row, column, found)
        return found

    def _segment(
        self, image_hwc: Labels, row: Strip, column: Strip, found: Mapping[str, Segmentation]
    ) -> None:
        """Labels one tile."""
        part = image_hwc[row.start : row.end, column.start : column.end]
        part = part[:, :, ::-1] if self.prepared.channels == "BGR" else part
        image = torch.from_numpy(self.prepared(part))[None]  # (1, 3, h, w)
        rows = slice(row.keep_start - row.start, row.keep_end - row.start)
        columns = slice(column.keep_start - column.start, column.keep_end - column.start)
        kept = slice(row.keep_start, row.keep_end), slice(column.keep_start, column.keep_end)
        for head, score in self._scores(image).items():
            labels, certainty = _winners(score[0, :, rows, columns])
            found[head].labels[kept] = labels.cpu().numpy()
            found[head].certainty[kept] = certainty.cpu().numpy()

    def _scores(self, image: Tensor) -> dict[str, Tensor]:
        """The score (1, classes, h, w) of each head. Raises NetError for others, and if it is not finite."""
        scores = self.run({self.blob: image})
        for head, score in scores.items():
            expected = (1, len(self.labellings[head].classes), *image.shape[2:])
            if tuple(score.shape) != expected:
                raise NetError(
                    f"the output {head!r} is {tuple(score.shape)}; a score for each "
                    f"pixel of this photo is {expected}"
                )
            if not torch.isfinite(score).all():
                raise NetError(f"the scores of {head!r} are not finite; is the mean right?")
        return scores


def segment(
    model: nn.Module | AnyPath | Optimized,
    image: str | PathLike[str] | Image | npt.NDArray[np.uint8],
    mean: Sequence[float] | None = None,
) -> Labels | dict[str, Labels]:
    """The class of each pixel of a photo, uint8 (H, W); of a model with several heads, by head.

    `model` is a module of this package or a file that `load` takes; `image` a file, a PIL image, or uint8
    RGB (H, W, 3). `mean` (blue, green, red) is for a model that does not know its own. Raises NetError for
    a model that does not score the pixels of one photo, and what `load` and reading a photo raise.
    """
    found = Segmenter(model, mean)(as_pixels(image))
    labels = {head: segmentation.labels for head, segmentation in found.items()}
    return labels if len(labels) > 1 else next(iter(labels.values()))


def as_pixels(image: str | PathLike[str] | Image | npt.NDArray[np.uint8]) -> Labels:
    """An image in any of the forms that `segment` takes, as RGB (H, W, 3)."""
    if isinstance(image, str | PathLike):
        return read_photo(image).image_hwc
    if not isinstance(image, np.ndarray):
        from PIL import Image

        if not isinstance(image, Image.Image):
            raise TypeError(f"the image is {type(image)}; give a file, a PIL image, or uint8 RGB (H, W, 3)")
        return as_pixels(read_image(image).image_hwc)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise NetError(f"the image is {image.dtype} {image.shape}; give uint8 (H, W, 3), RGB")
    return image


def shares(labels: Labels) -> dict[int, float]:
    """The labels that occur in a map (H, W), each with its share of the pixels, the largest first."""
    counts = np.bincount(labels.reshape(-1), minlength=256)
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda label: (-counts[label], label))
    return {label: int(counts[label]) / labels.size for label in order}


def _photo_input(plan: Plan) -> str:
    """The one input of a net, which takes colour images."""
    if len(plan.inputs) != 1 or next(iter(plan.inputs)) in _NO_PHOTO:
        raise NetError(f"the model takes {', '.join(plan.inputs)}; a photo is only one colour image")
    ((blob, shape),) = plan.inputs.items()
    if shape is not None and (len(shape) != 4 or shape[1] not in (3, None)):
        raise NetError(f"the input {blob!r} is {shape}; a photo is (N, 3, H, W)")
    return blob


def _prepared(
    plan: Plan, blob: str, known: Preprocessing | None, mean: Sequence[float] | None
) -> Preprocessing:
    """How photos are prepared for a net: whole, with the mean given or its own."""
    if mean is not None:
        if len(mean) != 3:
            raise NetError(f"the mean has {len(mean)} values; give three: blue, green, red")
        if not np.isfinite([*mean]).all():
            raise NetError(f"the mean is {', '.join(map(str, mean))}; give finite numbers")
        known = known or Preprocessing()
        order = known.channels or "BGR"
        own = tuple(mean) if order == "BGR" else tuple(reversed(tuple(mean)))
        return replace(known, mean=own, mean_file="", crop_size=0, channels=order)
    lacks = ""
    if known is None:
        lacks = "the model does not know how its photos were prepared"
    elif known.mean_file:
        lacks = f"the model subtracts the mean image {known.mean_file!r}, which it does not hold"
    elif not known.channels:
        lacks = "the model does not know the order of its channels"
    if known is None or lacks:
        raise NetError(f"{lacks}; give the mean that it subtracts: --mean B,G,R (mean=)")
    return replace(known, crop_size=0)


def _classes(plan: Plan, output: str) -> int:
    """How many classes an output scores."""
    shape = plan.output_shapes[output]
    if shape is None or len(shape) != 4 or shape[1] is None or shape[2:] == (1, 1):
        raise _no_scores(plan, output, shape)
    if not 2 <= shape[1] <= MAX_CLASSES:
        raise NetError(
            f"the output {output!r} has {shape[1]} channel{'s' * (shape[1] != 1)}, "
            f"one for each class; 2 to {MAX_CLASSES} can be told apart"
        )
    return shape[1]


def _no_scores(plan: Plan, output: str, shape: object) -> NetError:
    return NetError(
        f"the output {output!r} is {shape}, no score for each pixel (N, classes, H, W): a "
        f"classifier of whole images cannot segment"
    )


def _known(labellings: Mapping[str, Labelling], output: str, count: int) -> Labelling | None:
    """The labelling of an output, if it is known."""
    known = labellings.get(output)
    if known is not None and len(known.classes) != count:
        raise NetError(f"the output {output!r} scores {count} classes, the model names {len(known.classes)}")
    return known


def _winners(score: Tensor) -> tuple[Tensor, Tensor]:
    """The best class of each pixel of a score (classes, h, w), and its softmax in percent, both (h, w).

    Of equal classes the lowest. What sums to 1 is a softmax already.
    """
    best, labels = score.max(0)
    if score.min() < 0 or (score.sum(0) - 1).abs().max() > 1e-3:
        best = 1 / (score - best).exp().sum(0)
    return labels.to(torch.uint8), (100 * best).round().to(torch.uint8)
