"""The papers' four scores, from one confusion matrix over a whole data set.

With n_ij the pixels of class i predicted as class j, and t_i = sum_j n_ij the pixels of class i
(CVPR 2015, section 5, Metrics; the frequency weighted IU as arXiv v2 corrected it):

    pixel accuracy   sum_i n_ii / sum_i t_i
    mean accuracy    mean over i of n_ii / t_i
    mean IU          mean over i of n_ii / (t_i + sum_j n_ji - n_ii)
    f.w. IU          sum_i t_i n_ii / (t_i + sum_j n_ji - n_ii), divided by sum_k t_k
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed

from fcn_repro.data.labels import IGNORE_LABEL

Counts = npt.NDArray[np.int64]
Labels = npt.NDArray[Any] | torch.Tensor
_BYTES = (np.dtype(np.uint8), torch.uint8)


class Over(Enum):
    """Which classes a mean is taken over; a class in neither labels nor predictions never counts."""

    SEEN = "classes in labels or predictions"
    """As in the reference implementation: a class that is only predicted has IU 0 and lowers the mean."""

    LABELLED = "classes in labels"
    """As the papers score SIFT Flow, whose test set lacks three classes (arXiv v2, footnote 10)."""


@dataclass(frozen=True)
class Scores:
    """The four scores, each from 0 to 1; NaN if there is nothing to score."""

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    fw_iu: float

    def percent(self) -> Mapping[str, float]:
        """The scores by name, from 0 to 100, as the papers print them."""
        return {name: 100 * score for name, score in asdict(self).items()}


class Confusion:
    """`counts[i, j]`: how many pixels of class i were predicted as class j; exact, int64, (classes, classes).

    Pixels labelled `ignore_label` are left out, whatever was predicted there. Raises ValueError if that label
    is also a class.
    """

    def __init__(self, classes: int, ignore_label: int = IGNORE_LABEL) -> None:
        if classes < 1:
            raise ValueError(f"{classes} classes: at least one is needed")
        if 0 <= ignore_label < classes:
            raise ValueError(
                f"label {ignore_label} would be both void and one of {classes} classes: "
                "give another ignore_label"
            )
        self.ignore_label = ignore_label
        self.counts: Counts = np.zeros((classes, classes), np.int64)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.counts)

    def add(self, label: Labels, prediction: Labels) -> None:
        """Counts the pixels of an image, or of any batch: two integer arrays or tensors of one shape.

        Counting runs on the prediction's device. Raises ValueError for shapes that differ, values that are
        not integers, and a label or prediction that is not a class.
        """
        predicted = _integers(prediction, "predictions")
        labelled = _integers(label, "labels").to(predicted.device)
        if labelled.shape != predicted.shape:
            raise ValueError(f"labels are {tuple(labelled.shape)}, predictions {tuple(predicted.shape)}")
        if label.dtype in _BYTES and prediction.dtype in _BYTES and self._add_bytes(labelled, predicted):
            return
        counted = labelled != self.ignore_label
        labelled, predicted = labelled[counted], predicted[counted]
        self._check(labelled, "label")
        self._check(predicted, "prediction")
        pairs = torch.bincount(labelled * self.classes + predicted, minlength=self.classes**2)
        self.counts += pairs.reshape(self.counts.shape).cpu().numpy()

    def _add_bytes(self, labelled: torch.Tensor, predicted: torch.Tensor) -> bool:
        """Counts values below 256 without looking for void first; False, and nothing, if one is no class."""
        pairs = torch.bincount((labelled * 256 + predicted).view(-1), minlength=1 << 16).view(256, 256)
        if 0 <= self.ignore_label < 256:
            pairs[self.ignore_label] = 0
        counts = pairs[: self.classes, : self.classes]
        if bool(counts.sum() != pairs.sum()):
            return False
        self.counts += counts.cpu().numpy()
        return True

    def merge(self, other: Confusion) -> Confusion:
        """The pixels of both. Raises ValueError if the classes differ."""
        return self.with_counts(other.counts)

    def with_counts(self, counts: Counts) -> Confusion:
        """These pixels and `counts` more, integers in the shape of `counts`. Raises ValueError otherwise."""
        integers = np.issubdtype(counts.dtype, np.integer)
        if counts.shape != self.counts.shape or not integers or (counts.astype(np.int64) < 0).any():
            expected = f"{self.counts.shape} of integers from 0 to 2**63 - 1"
            raise ValueError(f"counts are {counts.shape} of {counts.dtype}, expected {expected}")
        merged = Confusion(self.classes, self.ignore_label)
        merged.counts = self.counts + counts.astype(np.int64)
        return merged

    def across_processes(self, device: torch.device | str = "cpu") -> Confusion:
        """The pixels of all processes of torch.distributed, in each of them; NCCL needs a CUDA `device`."""
        if not torch.distributed.is_initialized():
            return self
        counts = torch.from_numpy(self.counts.copy()).to(device)
        torch.distributed.all_reduce(counts)
        return Confusion(self.classes, self.ignore_label).with_counts(counts.cpu().numpy())

    def per_class_iu(self, over: Over = Over.SEEN) -> npt.NDArray[np.float64]:
        """IU of each class, from 0 to 1, (classes,); NaN for the classes left out."""
        hits, labelled, predicted = self._sums()
        iu = _ratio(hits, labelled + predicted - hits)
        return np.where(labelled > 0, iu, np.nan) if over is Over.LABELLED else iu

    def per_class_accuracy(self) -> npt.NDArray[np.float64]:
        """The share of each class's pixels predicted right, from 0 to 1; NaN for classes not labelled."""
        hits, labelled, _ = self._sums()
        return _ratio(hits, labelled)

    def scores(self, over: Over = Over.SEEN) -> Scores:
        """The four scores; `over` only concerns mean IU: the others only ever see labelled classes."""
        hits, labelled, _ = self._sums()
        return Scores(
            pixel_accuracy=float(_ratio(hits.sum(), labelled.sum())),
            mean_accuracy=_mean(self.per_class_accuracy()),
            mean_iu=_mean(self.per_class_iu(over)),
            fw_iu=float(_ratio(np.nansum(labelled * self.per_class_iu()), labelled.sum())),
        )

    def _sums(self) -> tuple[Counts, Counts, Counts]:
        """By class: pixels predicted right, pixels labelled, pixels predicted."""
        return np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0)

    def _check(self, values: torch.Tensor, what: str) -> None:
        if values.numel() and (wrong := values[(values < 0) | (values >= self.classes)]).numel():
            void = f" or {self.ignore_label} for void" if what == "label" else ""
            raise ValueError(f"{what} {int(wrong[0])} is not a class: expected 0 to {self.classes - 1}{void}")


def _integers(values: Labels, what: str) -> torch.Tensor:
    """As an int64 tensor, on the same device."""
    if isinstance(values, torch.Tensor):
        if values.is_floating_point() or values.is_complex():
            raise ValueError(f"{what} are {values.dtype}, expected integers")
        return values.to(torch.int64)
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{what} are {values.dtype}, expected integers")
    return torch.from_numpy(values.astype(np.int64, order="C"))


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The quotient; NaN, without a warning, where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    ratio: npt.NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio


def _mean(values: npt.NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
