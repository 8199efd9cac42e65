"""The papers' four scores in words: what each of them is, and over which classes its mean goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fcn_repro.scoring.metrics import Over
from fcn_repro.scoring.result import HeadScores

NAMED = 10
"""The most classes that a sentence names."""


class Score(NamedTuple):
    """One of the four, as the papers call it, and what it says."""

    key: str
    name: str
    meaning: str


SCORES = (
    Score("pixel_accuracy", "pixel acc.", "the share of the labelled pixels that are predicted right"),
    Score("mean_accuracy", "mean acc.", "the same share for each class on its own, averaged over classes"),
    Score(
        "mean_iu",
        "mean IU",
        "for each class, of the pixels that its labels or its predictions cover, the share that both cover; "
        "averaged over classes",
    ),
    Score("fw_iu", "f.w. IU", "the same share, each class weighted by how many pixels its labels cover"),
)
"""In the papers' order. Pixels labelled void count nowhere."""


def averaged_over(head: HeadScores) -> str:
    """Which classes the two means go over; where that is a choice, also mean IU by the other choice."""
    counts, names = head.confusion.counts, np.array(head.classes)
    labelled, predicted = counts.sum(axis=1) > 0, counts.sum(axis=0) > 0
    if labelled.all():
        return f"The means are over all {len(names)} classes."
    shown = f"the {labelled.sum()} of {len(names)} classes that the labels show"
    false, absent = names[predicted & ~labelled].tolist(), names[~predicted & ~labelled].tolist()
    without = f" Neither labelled nor predicted, and left out: {_listed(absent)}." if absent else ""
    if not false:
        return f"The means are over {shown}.{without}"
    if head.over is Over.LABELLED:
        other = 100 * head.confusion.scores(Over.SEEN).mean_iu
        return (
            f"The means are over {shown}. If mean IU also counted those that are only predicted, each as 0 "
            f"({_listed(false)}), it would be {other:.2f}.{without}"
        )
    other = 100 * head.confusion.scores(Over.LABELLED).mean_iu
    return (
        f"Mean accuracy is over {shown}. Mean IU also counts those that are only predicted, each as 0: "
        f"{_listed(false)}. Without them it would be {other:.2f}.{without}"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
