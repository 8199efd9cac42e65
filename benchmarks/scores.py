"""`python benchmarks/scores.py [--library NAME ...] [--nearest]`: the papers' scores, here and elsewhere.

Prints the tables of docs/scores.md, on cases of 4 classes that a reader can count by hand. A library must be
installed with pip, best in an environment made for it; score_calls.py names the version that was tried.
`--nearest` prints what two conventions of nearest leave of the labels of shapes/val.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import numpy.typing as npt
from score_calls import LIBRARIES, VOID, Call, Images, Library

from fcn_repro.data.datasets import open_dataset
from fcn_repro.scoring.metrics import Confusion, Over
from fcn_repro.tables.bounds import upper_bounds

K = 4
CASES = {
    "two": ("0000|1123 0001|1120", "0000|0001 0000|0010"),
    "absent": ("0000|1122 0001|1120",),
    "predonly": ("0000|1122 0003|1120",),
    "void": ("000V|112V 0003|1110",),
    "allvoid": ("0000|1123 0001|1123", "VVVV|VVVV 0123|3210"),
    "onlyvoid": ("VVVV|VVVV 0123|3210",),
    "predvoid": ("0000|1123 000V|1123",),
}
"""By name, the images of a test set: the label and the prediction, rows apart by |; V is 255."""
COMPARED = ("two", "absent", "predonly", "void", "allvoid")
"""The cases that have scores."""
TOLERANCE = 1e-5
"""Some libraries compute in float32."""
FACTORS = (2, 4, 8, 16, 32)

Scored = dict[str, float | str]
"""By case: a score, or the kind of error."""

OURS: dict[str, Callable[[Confusion], float]] = {
    "pixel acc.": lambda confusion: confusion.scores().pixel_accuracy,
    "mean acc.": lambda confusion: confusion.scores().mean_accuracy,
    "mean IU": lambda confusion: confusion.scores().mean_iu,
    "mean IU, labelled": lambda confusion: confusion.scores(Over.LABELLED).mean_iu,
    "f.w. IU": lambda confusion: confusion.scores().fw_iu,
}
"""By name; "labelled" leaves classes out that are only predicted, as the papers do for SIFT Flow."""


def main() -> None:
    """Prints our scores, or what is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--library", action="append", default=[], choices=(*LIBRARIES, "all"))
    asked.add_argument("--nearest", action="store_true")
    args = asked.parse_args()
    ours = {name: scored(counted(score)) for name, score in OURS.items()}
    chosen = [*LIBRARIES] if "all" in args.library else args.library
    if args.nearest:
        print_nearest()
    elif not chosen:
        print_table(["", *CASES], ([name, *map(cell, scores.values())] for name, scores in ours.items()))
    for name in chosen:
        print_library(LIBRARIES[name], ours)


def print_library(library: Library, ours: Mapping[str, Scored]) -> None:
    """The calls of a library that is installed, and a note where its version is another one."""
    name, _, tried = library.pinned.partition("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        raise SystemExit(f"{name} is not installed; pip install {library.pinned}") from None
    print(f"\n{name} {found}{'' if found == tried else f' (the page has {tried})'}\n")
    print_table(["call", *CASES, "is our"], (row(call, ours) for call in library.calls(K)))


def images(case: str) -> Images:
    """The labels and predictions of a case, each (2, 4)."""

    def pixels(rows: str) -> npt.NDArray[np.uint8]:
        return np.array([[VOID if x == "V" else int(x) for x in line] for line in rows.split("|")], np.uint8)

    return [(pixels(label), pixels(prediction)) for label, prediction in map(str.split, CASES[case])]


def scored(score: Callable[[Images], float]) -> Scored:
    """What a call gives for each case."""
    found: Scored = {}
    for case in CASES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[case] = float(score(images(case)))
        except Exception as error:  # each library has its own
            found[case] = type(error).__name__
    return found


def counted(score: Callable[[Confusion], float]) -> Callable[[Images], float]:
    """One of our scores, of images."""

    def of(pairs: Images) -> float:
        confusion = Confusion(K)
        for label, prediction in pairs:
            confusion.add(label, prediction)
        return score(confusion)

    return of


def row(call: Call, ours: Mapping[str, Scored]) -> list[str]:
    """A call, its scores, and which of ours it is."""
    found = scored(call.score)
    apart = [case for case in COMPARED if not same(found[case], ours[call.meant][case])]
    said = f"{call.meant}, but not in {', '.join(apart)}" if apart else call.meant
    return [f"`{call.code}`", *map(cell, found.values()), said if len(apart) < len(COMPARED) else "none"]


def same(found: float | str, ours: float | str) -> bool:
    """Whether both are the same number."""
    return not isinstance(found, str) and not isinstance(ours, str) and abs(found - ours) < TOLERANCE


def cell(value: float | str) -> str:
    """A score with three digits, or that there was an error."""
    if isinstance(value, str):
        return "error"
    return "nan" if math.isnan(value) else f"{value:.3f}"


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """As Markdown, in columns."""
    lines = [list(titles), [""] * len(titles), *map(list, rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines[1] = ["-" * width for width in widths]
    for line in lines:
        print("|", " | ".join(map(str.ljust, line, widths)), "|")


def print_nearest() -> None:
    """The mean IU, in percent, of labels that went down and up again, by factor."""
    val = open_dataset("shapes", ".", "val")
    found = {name: upper_bounds(val, FACTORS, name) for name in ("nearest", "nearest-top-left")}
    rows = [
        [name, *(f"{100 * bounds.scores[factor].mean_iu:.1f}" for factor in FACTORS)]
        for name, bounds in found.items()
    ]
    print_table(["protocol", *map(str, FACTORS)], rows)


if __name__ == "__main__":
    main()
