"""A recipe, carried out: its data opened, its net filled, trained, exported and scored.

models/NAME.safetensors          the trained net, where the papers' tables look for it
results/NAME-DATASET-SPLIT.json  its scores on the validation split
training/NAME/                   snapshots, train.csv, val.csv, pictures
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import caffe2torch as c2t
from caffe2torch.command_line import ProgressLine
from caffe2torch.errors import ReadError, WriteError
from fcn_repro.data.datasets import Dataset
from fcn_repro.data.knowledge import know
from fcn_repro.data.survey import surveyed
from fcn_repro.files import make_folder
from fcn_repro.recipes import DataSpec, Recipe, Weights, recipe
from fcn_repro.scoring.device import this_process
from fcn_repro.scoring.run import first_process
from fcn_repro.training.arrangement import arranged
from fcn_repro.training.first_weights import counted, initial, unfilled
from fcn_repro.training.known_mistakes import refuse_mistakes, refuse_other_data
from fcn_repro.training.lock import locked
from fcn_repro.training.loop import Options, Training
from fcn_repro.training.snapshots import is_begun
from fcn_repro.workspace import Workspace


def adjusted(
    name: str, *, init: str | None = None, seed: int | None = None, solver: Mapping[str, int] | None = None
) -> Recipe:
    """The recipe called `name`, or in that file, with other weights to start from, seed or solver fields.

    A file `init` is relative to the current folder; in the recipe it is named relative to the recipe's file.
    Raises what `recipe` raises, also for a number that the recipe cannot hold.
    """
    found = recipe(name)
    if init is not None:
        place = Path(name).parent
        if _is_file(init, place) and not Path(init).is_absolute():
            init = os.path.relpath(init, place)
        first, *others = found.init.sources or (Weights(init),)
        sources = (replace(first, weights=init), *others)
        found = replace(found, init=replace(found.init, sources=sources))
    seed = found.seed if seed is None else seed
    try:
        return replace(found, seed=seed, solver={**found.solver, **(solver or {})})
    except ValueError as error:
        raise ReadError(f"{name}: {error}") from error


def train(
    name: str,
    recipe: Recipe,
    workspace: Workspace,
    *,
    device: str = "cpu",
    options: Options,
    say: Callable[[str], None] = lambda text: None,
) -> Training:
    """Trains a net by the recipe `name`; the first process exports it and stores its scores.

    `say` is told what to know about the images, before the first step. Raises WriteError if it would replace
    published weights or another training works in its folder, and what opening the data, filling the net and
    `Training.run` raise.
    """
    file, name = name, Path(name).stem
    if workspace.model(name) and not workspace.is_trained(name):
        raise WriteError(
            f"{workspace.model(name)}: holds the published weights of that name; train in another --home"
        )
    folder = workspace.home / "training" / name
    with locked(folder) if first_process() else nullcontext():
        train, val = _looked_over(at_home(file, recipe, workspace), recipe.data, say)
        return _trained(file, recipe, workspace, device, options, train, val)


def _looked_over(
    data: Workspace, spec: DataSpec, say: Callable[[str], None]
) -> tuple[Dataset, Dataset | None]:
    """The images to learn from and to validate on."""
    opened = []
    for images in filter(None, (spec.train, spec.val)):
        split = surveyed(data.open(images), ProgressLine(f"labels of {images}", quiet=not first_process()))
        for note in split.notes:
            say(f"{images}: {note}")
        opened.append(split)
    return opened[0], opened[1] if spec.val else None


def _trained(
    file: str,
    recipe: Recipe,
    workspace: Workspace,
    device: str,
    options: Options,
    train: Dataset,
    val: Dataset | None,
) -> Training:
    """The training, done."""
    own, name = recipe.data, Path(file).stem
    recipe, folder = counted(recipe, train.heads), workspace.home / "training" / name
    if options.resume and is_begun(folder, name):
        # The snapshot has all values, so what the recipe started from need not be here any more.
        refuse_other_data(recipe, train, val)
        module = unfilled(recipe)
    else:
        placed = from_here(file, recipe)
        first = initial(placed, workspace, train)
        refuse_mistakes(placed, first.model, first.unfilled, train, val)
        module = first.model
    know(module, own.mean_bgr, train.heads)  # before the first snapshot, which says so, too
    with this_process(device) as process:
        model = module.to(process.device)
        training = Training(name, recipe, model, train, val, folder, process, options)
        if process.rank == 0:
            make_folder(workspace.models)  # now, not after days of training
        with arranged(model, compiled=options.compiled):
            training.run()
        if process.rank == 0:
            c2t.export(module, workspace.models / f"{name}.safetensors")
            if training.evaluation is not None:
                training.evaluation.save(workspace.results / f"{name}-{own.val.replace('/', '-')}.json")
    return training


def at_home(name: str, recipe: Recipe, workspace: Workspace) -> Workspace:
    """Where the data are: in the user's folder, relative to the recipe's file, or as usual."""
    if not recipe.data.folder or workspace.data:
        return workspace
    return replace(workspace, data=Path(name).parent / recipe.data.folder)


def from_here(name: str, recipe: Recipe) -> Recipe:
    """The recipe with the files it starts from named relative to here, not to the recipe's file.

    A snapshot records the recipe as written, which does not depend on the current folder.
    """
    place = Path(name).parent
    sources = tuple(
        replace(source, weights=str(place / source.weights)) if _is_file(source.weights, place) else source
        for source in recipe.init.sources
    )
    return replace(recipe, init=replace(recipe.init, sources=sources))


def _is_file(weights: str, place: Path) -> bool:
    """Whether weights name a file, in `place` or in the current folder, and not a model.

    One that is only in the wrong one of the two is a missing file, not a model.
    """
    return (place / weights).is_file() or Path(weights).is_file()
