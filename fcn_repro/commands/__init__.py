"""What fcn-repro does: each function takes what the command line says, prints, and returns the exit code."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from caffe2torch.errors import MissingData
from fcn_repro import recipes
from fcn_repro.data.datasets import dataset, names
from fcn_repro.data.datasets.folder import save_folder
from fcn_repro.fetching import weights
from fcn_repro.fetching.datasets import obtain, plan_fetch, sources
from fcn_repro.fetching.zoo import zoo
from fcn_repro.files import write
from fcn_repro.progress import eta
from fcn_repro.report import text
from fcn_repro.tables import compare
from fcn_repro.tables.measure import Measurements
from fcn_repro.tables.on_rendered import carried_over
from fcn_repro.tables.papers import STRUCTURE, Table, papers
from fcn_repro.tables.structure import COUNTED
from fcn_repro.workspace import Disk, named

USAGE = 2
"""argparse's exit code for what cannot be asked for."""


class Usage(Exception):
    """What was asked for cannot be: argparse says it, and leaves with 2."""


def list_all(args: argparse.Namespace) -> int:
    """The tables, the weights, the recipes and the data sets, and what of them is here."""
    disk = _disk(args)
    here = dict(disk.found_data_sets())
    found = {name: disk.model(name) for name in zoo().models}
    if args.json:
        _print_json(
            {
                "papers": {key: _tables(key) for key in papers()},
                "models": {name: _text(path) for name, path in found.items()},
                "recipes": {name: recipes.recipe(name).title for name in recipes.names()},
                "data": {name: here.get(name) for name in names()},
                "results": [str(path) for path in sorted(disk.results.glob("*.json"))],
            }
        )
        return 0
    _print_known(found, here)
    for path in sorted(disk.results.glob("*.json")):
        print(f"stored run: {path}")
    return 0


def table(args: argparse.Namespace) -> int:
    """One table: ours, published, difference."""
    known = papers()
    if args.paper not in known:
        raise Usage(f"no paper {args.paper!r}; known are {', '.join(known)}")
    paper, number = known[args.paper], args.table.upper()
    if number not in paper.tables:
        raise Usage(f"{args.paper} has no table {args.table!r}; its tables are {', '.join(paper.tables)}")
    if (images := _rendered(args)) is not None:
        paper = carried_over(paper, number, images)
    folder = _report_folder(args)
    found = Measurements(
        _disk(args),
        _program(args),
        _again(args, number),
        run=not args.stored,
        time=args.time,
        device=args.device,
        precision=args.precision or "fp32",
        protocol=args.protocol,
    )
    compared = compare.compare(paper.tables[number], found.measures)
    if args.json:
        _print_json(compare.as_data(paper, number, compared))
    else:
        print(text.as_text(paper, number, compared, _notes(paper.tables[number])))
    _say(compare.summary(compared))
    if folder:
        from fcn_repro.report.report import Report, results_of

        shown = [result for run in found.used for result in results_of(run, found.images_of(run))]
        report = Report(paper, number, compared, _notes(paper.tables[number]), shown)
        _publish(report, folder, f"{args.paper}-table-{number}")
    return compare.exit_code(compared)


def evaluate(args: argparse.Namespace) -> int:
    """A model's scores on a data set."""
    from fcn_repro.scoring.run import first_process
    from fcn_repro.tables.zoo_scores import stated

    run, folder = _run(args, args.evaluate), _report_folder(args)
    evaluation = run.evaluate()
    if not first_process():
        return 0
    paper, number, compared = stated(evaluation)
    if args.json:
        _print_json(evaluation.as_data())
    else:
        print(scores_text(evaluation))
        print(f"\n{text.as_text(paper, number, compared)}" if compared else "", end="")
    if folder:
        from fcn_repro.report.report import Report, results_of

        report = Report(paper, number, compared, evaluation.notes, results_of(evaluation, run.opened))
        _publish(report, folder, run.stem)
    return int(any(cell.within is False for cell in compared))


def train(args: argparse.Namespace) -> int:
    """A net by its recipe: trained, exported, scored, with its curves."""
    from fcn_repro.report.curves import training_page
    from fcn_repro.scoring.device import training_precision
    from fcn_repro.scoring.run import first_process
    from fcn_repro.training import run
    from fcn_repro.training.loop import Options

    given = {"max_iter": args.iterations, "snapshot": args.snapshot}
    solver = {field: value for field, value in given.items() if value is not None}
    recipe = run.adjusted(args.train, init=args.init, seed=args.seed, solver=solver)
    precision = args.precision or training_precision(args.device)
    options = Options(precision, args.compile, args.tensorboard, args.resume)
    training = run.train(args.train, recipe, _disk(args), device=args.device, options=options)
    if not first_process():
        return 0
    page = training.folder / f"{training.name}.html"
    write(page, training_page(training))
    evaluation = training.evaluation
    if args.json:
        _print_json(evaluation.as_data() if evaluation else {"model": training.name})
    elif evaluation:
        print(scores_text(evaluation))
    _say(f"wrote {_disk(args).models / training.name}.safetensors and {page}; snapshots are beside it")
    return 0


def for_caffe(args: argparse.Namespace) -> int:
    """A recipe as Caffe's own two files."""
    from fcn_repro.training.caffe_files import write_for_caffe
    from fcn_repro.training.run import adjusted, at_home

    if args.report is None:
        raise Usage("--caffe needs -o DIR: where shall the files go?")
    recipe = adjusted(args.caffe)
    disk = at_home(args.caffe, recipe, _disk(args))
    for path in write_for_caffe(Path(args.caffe).stem, recipe, disk, args.report):
        print(path)
    return 0


def predict(args: argparse.Namespace) -> int:
    """A VOC test set, predicted and packed for the evaluation server."""
    run = _run(args, args.predict)
    said = run.pack(args.report or run.disk.results / f"{run.stem}.tgz")
    print(said)
    print(f"Then: fcn-repro --server-result FILE --name {run.called} --on {run.images}")
    return 0


def server_result(args: argparse.Namespace) -> int:
    """What the evaluation server answered, kept for the tables."""
    from fcn_repro.scoring.run import keep_answer

    if not args.name:
        raise Usage("--server-result needs --name MODEL: whose predictions did the server score?")
    images = _images(args)
    shown = [
        c for p in papers().values() for t in p.tables.values() for c in t.columns.values() if c.on == images
    ]
    if not any(column.measure == "server" for column in shown):
        raise Usage(f"--on {images}: the server scores voc2011/test and voc2012/test")
    path = keep_answer(_disk(args), args.server_result, args.name, images, _typed())
    print(f"{path}: kept; fcn-repro --table 3 and --paper pami2017 --table 4 show it")
    return 0


def fetch(args: argparse.Namespace) -> int:
    """A data set or a model: what it is and takes, then, with --yes, itself."""
    disk, name = _disk(args), args.fetch
    if name not in sources() and name not in zoo().models:
        known = f"data: {', '.join(sources())}; models: {', '.join(zoo().models)}"
        raise MissingData(f"nobody says where {name!r} can be fetched; known are {known}")
    is_data = name in sources()
    place = disk.data_sets if is_data else disk.models
    print(str(plan_fetch(name)) if is_data else weights.describe(name, zoo().models[name]))
    print(f"  into      {place}, {_free(place) / 1e9:.1f} GB free there", flush=True)
    if not (args.yes or _agreed()):
        _say("nothing was fetched; add --yes")
        return USAGE
    progress = _bytes_so_far()
    if is_data:
        print(obtain(name, place, given=args.given, progress=progress))
        return 0
    if len(args.given) > 1:
        raise Usage("--from: a model is one file")
    given = args.given[0] if args.given else None
    print(weights.obtain(name, zoo().models[name], place, given=given, progress=progress))
    return 0


def render(args: argparse.Namespace) -> int:
    """A split of a rendered data set, written as a folder of the user's own would be."""
    if not args.report:
        raise Usage("--render needs -o DIR: a new folder for images, labels and classes.txt")
    images = named(args.render)
    if not dataset(images.partition("/")[0]).rendered:
        known = ", ".join(name for name in names() if dataset(name).rendered)
        raise Usage(f"--render {images}: only {known} is rendered, the others lie in files already")
    opened = _disk(args).open(images)
    save_folder(opened, args.report, eta("images written"))
    print(f"{args.report}: {len(opened)} images with their labels; --on folder/all --data DIR opens them")
    return 0


def scores_text(evaluation: Any) -> str:
    """An evaluation for the terminal: the scores, and IU by class."""
    lines = [
        f"{evaluation.model} on {evaluation.dataset} {evaluation.split}: {evaluation.images} images, "
        f"{evaluation.precision}, {evaluation.device}, {evaluation.seconds:.1f} s"
    ]
    for name, head in evaluation.heads.items():
        scores = ", ".join(
            f"{key.replace('_', ' ')} {value:.2f}" for key, value in head.scores.percent().items()
        )
        lines += ["", f"{name}: {scores}"]
        width = max(map(len, head.classes))
        shown = zip(head.classes, head.per_class_iu, strict=True)
        lines += [
            f"  {label:{width}}  {'-' if math.isnan(iu) else f'{100 * iu:6.2f}':>6}" for label, iu in shown
        ]
    return "\n".join([*lines, "", *evaluation.notes])


def _run(args: argparse.Namespace, model: str) -> Any:
    from fcn_repro.scoring.run import Run

    return Run(
        _disk(args),
        model,
        _images(args),
        name=args.name or "",
        device=args.device,
        precision=args.precision or "fp32",
        mean_bgr=args.mean,
        save_predictions=args.save_predictions,
        show=args.report is not None,
        command=_typed(),
    )


def _rendered(args: argparse.Namespace) -> str | None:
    """The data set that --data names, where that is one that is rendered: it needs no folder."""
    name = str(args.data)
    return name if name in names() and dataset(name).rendered else None


def _report_folder(args: argparse.Namespace) -> Path | None:
    folder: Path | None = args.report
    if folder is not None and folder.resolve() == _disk(args).results.resolve():
        raise Usage(f"-o {folder}: the stored runs are there; name another folder for reports")
    return folder


def _publish(report: Any, folder: Path, name: str) -> None:
    from fcn_repro.report.files import publish

    for path in publish(report, folder, name):
        _say(f"wrote {path}")


def _images(args: argparse.Namespace) -> str:
    if not args.on:
        raise Usage("--on is needed: the split, such as seg11valid or nyudv2/test")
    return named(args.on)


def _disk(args: argparse.Namespace) -> Disk:
    return Disk.at(args.home, args.data, args.partial)


def _again(args: argparse.Namespace, number: str) -> str:
    """The command for the same table, for what is to be typed next."""
    words = ["--table", number]
    words += ["--paper", args.paper] if args.paper != "cvpr2015" else []
    words += ["--data", str(args.data)] if args.data else []
    return f"{_program(args)} {shlex.join(words)}"


def _program(args: argparse.Namespace) -> str:
    return f"fcn-repro --home {shlex.quote(str(args.home))}" if args.home else "fcn-repro"


def _typed() -> str:
    return shlex.join(["fcn-repro", *sys.argv[1:]])


def _notes(shown: Table) -> list[str]:
    measures = {column.measure for column in shown.columns.values()}
    return [COUNTED] if measures & set(STRUCTURE) else []


def _print_known(found: Mapping[str, Path | None], here: Mapping[str, str]) -> None:
    """Tables, weights, recipes and data sets; of models and data, where they are."""
    for key, paper in papers().items():
        print(f"{key}: {paper.title} ({paper.venue})")
        for number, table in _tables(key).items():
            doubt = f", {table['unverified']} unverified" if table["unverified"] else ""
            print(f"  --table {number}  {table['title']} ({table['cells']} cells{doubt})")
        print()
    for family, meaning in zoo().families.items():
        of_family = [name for name, model in zoo().models.items() if model.family == family]
        print("\n".join([f"{meaning}:", *(_listed(name, found[name]) for name in of_family)]), end="\n\n")
    print("Recipes, for --train:")
    width = max(map(len, recipes.names()))
    for name in recipes.names():
        print(f"  {name:{width}}  {recipes.recipe(name).title}")
    print("\nData sets, with their splits:")
    for name in names():
        print(_listed(f"{name}: {', '.join(dataset(name).splits)}", here.get(name)))


def _tables(key: str) -> dict[str, dict[str, Any]]:
    """Of each table of a paper: its title, how many cells it has, and how many of them are unverified."""
    return {
        number: {
            "title": found.title,
            "cells": len(found.cells),
            "unverified": sum(not cell.verified for cell in found.cells),
        }
        for number, found in papers()[key].tables.items()
    }


def _listed(name: str, place: Path | str | None) -> str:
    return f"  {name}" + (f"  [{place}]" if place else "")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _free(folder: Path) -> int:
    """Bytes free where a folder will be."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    print("Fetch it? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _bytes_so_far() -> Callable[[int, int | None], None]:
    """A line on stderr, in a terminal."""

    def show(done: int, total: int | None) -> None:
        whole = f" of {total / 1e6:.1f}" if total else ""
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{done / 1e6:.1f}{whole} MB\x1b[K{end}")

    return show if sys.stderr.isatty() else lambda done, total: None


def _say(text: str) -> None:
    print(f"fcn-repro: {text}", file=sys.stderr)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))
