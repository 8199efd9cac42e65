"""What caffe_nets.py's cases share: a folder that Caffe and we run, what each found, and the verdict."""

from __future__ import annotations

import json
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from apart import Apart
from drawn_nets import DrawnNet
from exports import error

import caffe2torch as c2t
from caffe2torch.errors import Caffe2TorchError, NetError

Arrays = dict[str, np.ndarray]
SAME, REFUSED = "the same", "refused by both"
ROUNDING = "rounding alone"
IN_PLACE = "gradients in place: ours are those of the net without"
SHARED = "gradients in shared memory: ours are those of the net without"
ELTWISE = "Eltwise in place: Caffe overwrites what it is to add"
SCALE = "Scale with a batch of one: Caffe keeps the last gradient"
CAFFE_ENDS = "Caffe crashes or hangs"
REFUSALS = {
    "a solver with nothing to train: refused": "has no parameters to train",
    "a loss computed on in place: refused": "is computed on in place",
}
"""What we refuse, by its name in docs/caffe.md: a pattern of the refusal."""
EXPLAINED = (SAME, REFUSED, ROUNDING, IN_PLACE, SHARED, ELTWISE, SCALE, CAFFE_ENDS, *REFUSALS)
TRAINED = ("gin", "gparam", "after")
"""The kinds of keys that say what a net learns."""
ABORTED = ("0", "6")
"""How Caffe ends where it refuses: an exception of Python, or SIGABRT."""
SHAKES = 4
CORRUPT = "double free|corruption|invalid (pointer|size)"
"""What the C library says before it ends a process that has written where it must not, also by SIGABRT."""


class Case:
    """One folder. `run` is what a subclass does with it here, in float32 or float64."""

    def __init__(self, folder: Path, net: DrawnNet) -> None:
        self.folder, self.net = folder, net
        self.here: Arrays = {}
        self.refusal = self.crash = ""
        self.warned: list[str] = []

    def run(self, dtype: torch.dtype) -> Arrays:
        """What we find, under Caffe's keys. Raises what this package raises."""
        raise NotImplementedError

    def follow_up(self) -> None:
        """Writes what Caffe is to run next: the net apart, or what we wrote."""

    def guarded(self, act: Callable[[], Any]) -> Any:
        """What an act of ours gives; a refusal or a crash is kept."""
        try:
            return act()
        except Caffe2TorchError as problem:
            self.refusal = f"{type(problem).__name__}: {problem}"
        except Exception as problem:
            self.crash = f"{type(problem).__name__}: {problem}"
            (self.folder / "traceback.txt").write_text(traceback.format_exc())
        return None

    def run_here(self) -> None:
        """Runs it, and writes what follows from that."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.here = self.guarded(lambda: self.run(torch.float32)) or {}
        self.warned = [str(warning.message) for warning in caught]
        if self.here and (self.folder / "found.npz").exists():
            self.guarded(self.follow_up)

    def verdict(self) -> str:
        """One of EXPLAINED, or what differs."""
        if self.crash:
            return f"we crash: {self.crash}"
        if self.ended and (self.ended not in ABORTED or re.search(CORRUPT, said(self.folder))):
            return CAFFE_ENDS
        if self.ended:
            return REFUSED if self.refusal else f"Caffe refuses it: {said(self.folder)}"
        if self.refusal:
            known = (name for name, pattern in REFUSALS.items() if re.search(pattern, self.refusal))
            return next(known, f"we refuse it: {self.refusal}")
        return self.compared()

    def compared(self) -> str:
        """The verdict where both answer."""
        if not differences(self.here, self.wanted()):
            return self.back() or SAME
        off = self.different(self.here, self.wanted())
        if not off:
            return ROUNDING
        if self.is_in_place(off):
            return SHARED if any("in the same memory" in warning for warning in self.warned) else IN_PLACE
        if self.is_eltwise(off):
            return ELTWISE
        return "; ".join(f"{key} is off by {by:.1e}" for key, by in off.items())

    def wanted(self) -> Arrays:
        """What we are to find."""
        return found(self.folder)

    def back(self) -> str:
        """What differs when Caffe runs what we wrote; empty where nothing does, or nothing was written."""
        folder = self.folder / "back"
        if not (folder / "case.json").exists():
            return ""
        if (folder / "ended").exists():
            return f"Caffe refuses what we wrote: {said(folder)}"
        off = self.different(found(folder), found(self.folder))
        if not off:
            return ""
        return "what we wrote gives " + "; ".join(f"{key} off by {by:.1e}" for key, by in off.items())

    def different(self, ours: Arrays, caffes: Arrays, kinds: tuple[str, ...] = ()) -> dict[str, float]:
        """What differs by more than rounding: than 50 times as far as our float32 is from our float64.

        Caffe adds float32 one after the other, where torch adds them in pairs. Of a layer's blobs, the one
        that suffers most from rounding counts.
        """
        off = differences(ours, caffes, kinds)
        precise = self.guarded(lambda: self.run(torch.float64)) if off else None
        if precise is None:
            return off
        noise: dict[str, float] = {}
        for key, x in self.here.items():
            noise[_layer(key)] = max(noise.get(_layer(key), 0), error(x, precise[key]))

        def is_rounding(key: str) -> bool:
            if key not in ours or key not in self.here or ours[key].size != caffes[key].size:
                return False
            by = _distance(ours[key], caffes[key])
            # Caffe takes the logarithm of 1 and a little in float32, for a loss of next to 0.
            is_nothing = _kind(key) in ("out", "loss") and not caffes[key].shape and by < 1e-6
            # A 0, such as the gradient of a constant before batch normalization: both round.
            is_zero = np.abs(precise[key]).max(initial=0) <= 1e-12
            if is_nothing or (is_zero and by < 1e-3):
                return True
            if by <= 50 * noise[_layer(key)] * _distance(precise[key], 0 * precise[key]):
                return True
            return any(by <= 2 * _distance(moved[key], self.here[key]) for moved in self.shaken)

        return {key: by for key, by in off.items() if not is_rounding(key)}

    @cached_property
    def shaken(self) -> list[Arrays]:
        """What we find for inputs off by a rounding: something else where that decides, as in a ReLU of 0."""
        own, draw = self.net, np.random.default_rng(0)
        found = []
        for _ in range(SHAKES):
            moved = {
                blob: x if blob in own.labels else (x + 1e-6 * abs(x).mean() * draw.standard_normal(x.shape))
                for blob, x in own.inputs.items()
            }
            self.net = replace(own, inputs={blob: x.astype(np.float32) for blob, x in moved.items()})
            found.append(self.guarded(lambda: self.run(torch.float32)) or {})
        self.net = own
        return [arrays for arrays in found if arrays.keys() == self.here.keys()]

    def is_in_place(self, off: dict[str, float]) -> bool:
        """Whether only what is learned differs, and is what Caffe learns with nothing in place or shared."""
        apart = self.folder / "apart" / "found.npz"
        return _is_learned(off) and apart.exists() and self.learns(apart.parent)

    def learns(self, folder: Path) -> bool:
        """Whether what is learned here is what a follow-up learns in Caffe, rounding aside."""
        return not self.different(self.here, found(folder), TRAINED)

    def is_eltwise(self, off: dict[str, float]) -> bool:
        """Whether all is that of the net without Eltwise in place, gradients perhaps of that without any."""
        own, apart = self.folder / "eltwise", self.folder / "apart"
        if not all((folder / "found.npz").exists() for folder in (own, apart)):
            return False
        rewriting = Apart(self.net, "Eltwise")
        rewriting.rewritten()
        here = {_renamed(key, rewriting.names): x for key, x in self.here.items()}
        both = {key: x for key, x in found(own).items() if key in here}  # what is made anew may read one
        if not any(_renamed(key, rewriting.names) in both for key in off):
            return False
        off = differences(here, both)
        learned = all(_kind(key) not in ("out", "loss") for key in off)
        return not off or (learned and self.learns(apart))

    @property
    def ended(self) -> str:
        """The signal that ended Caffe, "0" for an exception, empty where it ran through."""
        file = self.folder / "ended"
        return file.read_text() if file.exists() else ""

    def write(self, folder: Path, inputs: Arrays, **case: Any) -> None:
        """Writes a case for Caffe."""
        folder.mkdir()
        (folder / "case.json").write_text(json.dumps(case))
        np.savez(folder / "given.npz", **{f"in.{blob}": x for blob, x in inputs.items()})


def found(folder: Path) -> Arrays:
    """What Caffe computed."""
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


def differences(ours: Arrays, caffes: Arrays, kinds: tuple[str, ...] = ()) -> dict[str, float]:
    """The relative errors that are too large, by key; of these kinds of keys only, where some are given."""
    off = {}
    for key, wanted in caffes.items():
        kind = _kind(key)
        if (kinds and kind not in kinds) or kind not in set(map(_kind, ours)):
            continue
        by = float("inf") if key not in ours else error(_shaped(ours[key], wanted, kind), wanted)
        # Caffe sums a loss up in float32, one number after the other.
        if by > (1e-5 if kind == "out" and wanted.shape else 1e-4):
            off[key] = by
    return off


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays of one size; infinities and NaN that agree do not count."""
    a, b = (x.ravel().astype(np.float64) for x in (a, b))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.linalg.norm(np.where(same, 0, a - np.where(same, 0, b))))


def _is_learned(off: dict[str, float]) -> bool:
    return all(_kind(key) not in ("out", "loss") for key in off)


def _kind(key: str) -> str:
    return key.partition(".")[0]


def _layer(key: str) -> str:
    """The kind and the layer of a parameter's key; any other key as it is."""
    return key.rpartition(".")[0] if key.count(".") == 2 else key


def _renamed(key: str, names: dict[str, str]) -> str:
    """The key of an output under the name that its blob has now."""
    kind, _, blob = key.partition(".")
    return f"out.{names.get(blob, blob)}" if kind == "out" else key


def _shaped(ours: np.ndarray, wanted: np.ndarray, kind: str) -> np.ndarray:
    """Ours, but a shared blob in its layer's shape, and zeros for one that we keep as its diagonal."""
    if kind in ("out", "loss") or ours.shape == wanted.shape:
        return ours
    if ours.size == wanted.size:
        return ours.reshape(wanted.shape)
    return ours if ours.any() or wanted.any() else np.zeros_like(wanted)


def said(folder: Path) -> str:
    """Why Caffe refuses."""
    text = (folder / "said").read_text(errors="replace")
    lines = [line for line in text.splitlines() if re.search("^F|Check failed|Error", line)]
    return re.sub(r"^F\d.*?\] ", "", lines[0]) if lines else text[-300:]


def loss_of(model: c2t.CaffeNet, tops: dict[str, torch.Tensor]) -> torch.Tensor:
    """The net's loss, which Caffe says is 0 where there is none."""
    try:
        return model.loss(tops)
    except NetError as problem:
        if "has no loss" in str(problem):
            return torch.zeros(())
        raise
