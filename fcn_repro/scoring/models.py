"""Models by name or file, with what they know, or what their name tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

import caffe2torch as c2t
from caffe2torch.command_line import say
from caffe2torch.errors import NetError
from fcn_repro import recipes
from fcn_repro.data.datasets import Labelling, dataset
from fcn_repro.data.knowledge import know
from fcn_repro.data.transforms import COLOUR, Preparation, prepared
from fcn_repro.fetching.zoo import folder, zoo
from fcn_repro.workspace import Workspace, weights_file

Facts = tuple[Sequence[float], Mapping[str, Labelling]]
"""A mean, blue, green, red, and labellings by head."""


def load(workspace: Workspace, model: str, trained_on: str = "") -> c2t.FCN | c2t.CaffeNet:
    """A model by its name in the zoo or that of its recipe, or from a file. Raises what `c2t.load` raises.

    What its file does not say, its name does: the recipe's mean, or that of the zoo model's data set. For a
    name that is in neither, `trained_on` is the data set.
    """
    file = weights_file(model, workspace)
    module = cast("c2t.FCN | c2t.CaffeNet", c2t.load(file))
    if (facts := _told(file, workspace, model, trained_on)) is not None:
        know(module, *facts)
    return module


def load_fast(workspace: Workspace, model: str, device: torch.device) -> c2t.Optimized:
    """The same for inference alone, in fp32; on a CPU it never has the file's values beside its own."""
    file = weights_file(model, workspace)
    found = c2t.optimize(file if device.type == "cpu" else c2t.load(file).to(device))
    if (facts := _told(file, workspace, model)) is not None:
        know(found, *facts)
    return found


def _told(file: Path, workspace: Workspace, model: str, trained_on: str = "") -> Facts | None:
    """What the name of a model tells."""
    named = not Path(model).is_file() or file.resolve().parent == folder().resolve()
    facts = facts_of(file.stem, workspace) if named else None
    if facts is None and trained_on:
        facts = dataset(trained_on).mean_bgr, dataset(trained_on).labellings
    return facts


def facts_of(name: str, workspace: Workspace) -> Facts | None:
    """What is known of a model by its name: trained by a recipe, or published."""
    published = zoo().models.get(name)
    if name in recipes.names() and (published is None or workspace.is_trained(name)):
        data = recipes.recipe(name).data
        return data.mean_bgr, dataset(data.train.partition("/")[0]).labellings
    if published is not None and published.dataset:
        kind = dataset(published.dataset)
        return kind.mean_bgr, kind.labellings
    return None


def preparation(model: c2t.FCN | c2t.CaffeNet, name: str, mean_bgr: Sequence[float] | None) -> Preparation:
    """How images are prepared for a model: as it knows, or with the mean that the user gives.

    Raises NetError if neither tells it, and for a mean image or channels of an unknown order.
    """
    known = dict(model.preprocessing)
    for blob in model.inputs:
        own = known.get(blob)
        if blob not in COLOUR:  # depth is encoded in one way only
            known = {**prepared([blob], ()), **known}
        elif mean_bgr is not None:
            known[blob] = _with_mean(own, mean_bgr)
            for line in contradicted(name, own, known[blob]):
                say("fcn-repro", line)
        elif own is None or own.mean_file or not own.channels:
            problem = "mean" if own is None or own.mean_file else "order of channels"
            raise NetError(f"{name}: the {problem} of its images is unknown; give it with --mean B,G,R")
    return known


def contradicted(name: str, own: c2t.Preprocessing | None, used: c2t.Preprocessing) -> tuple[str, ...]:
    """A line where a model's own mean is another than the one that is used; the user gave it."""
    if own is None or own.mean == used.mean:
        return ()
    return (f"{name}: its own mean is {_text(own)}; --mean is {_text(used)}",)


def _with_mean(own: c2t.Preprocessing | None, mean_bgr: Sequence[float]) -> c2t.Preprocessing:
    """What is known of an image, with another mean."""
    known = own or c2t.Preprocessing()
    is_rgb = known.channels == "RGB"
    mean = mean_bgr[::-1] if is_rgb else mean_bgr
    return replace(known, mean=tuple(mean), mean_file="", channels="RGB" if is_rgb else "BGR")


def _text(known: c2t.Preprocessing) -> str:
    return known.mean_file or ", ".join(f"{value:.8g}" for value in known.mean) or "none"
