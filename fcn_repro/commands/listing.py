"""--list: tables, models, recipes and data sets, and which of them are here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from caffe2torch.command_line import Verb, show, show_json
from fcn_repro import recipes
from fcn_repro.commands.asked import workspace
from fcn_repro.data.datasets import dataset, names
from fcn_repro.fetching.zoo import zoo
from fcn_repro.tables.papers import papers


def list_all(args: argparse.Namespace) -> int:
    """Lists the tables, weights, recipes and data sets, and which of them are here."""
    place = workspace(args)
    here = dict(place.found_data_sets())
    found = {name: place.model(name) for name in zoo().models}
    results = [str(path) for path in sorted(place.results.glob("*.json"))]
    if args.json:
        show_json(
            {
                "papers": {key: _tables(key) for key in papers()},
                "models": {name: None if path is None else str(path) for name, path in found.items()},
                "recipes": {name: recipes.recipe(name).title for name in recipes.names()},
                "data": {name: here.get(name) for name in names()},
                "results": results,
            }
        )
        return 0
    parts = [*_paper_lines(), *_model_lines(found), *_recipe_lines(), "", *_data_lines(here)]
    show("\n".join([*parts, *(f"stored run: {path}" for path in results)]))
    return 0


def _paper_lines() -> list[str]:
    lines = []
    for key, paper in papers().items():
        lines.append(f"{key}: {paper.title} ({paper.venue})")
        for number, table in _tables(key).items():
            doubt = f", {table['unverified']} unverified" if table["unverified"] else ""
            lines.append(f"  --table {number}  {table['title']} ({table['cells']} cells{doubt})")
        lines.append("")
    return lines


def _model_lines(found: Mapping[str, Path | None]) -> list[str]:
    lines = []
    for family, meaning in zoo().families.items():
        of_family = [name for name, model in zoo().models.items() if model.family == family]
        lines += [f"{meaning}:", *(_listed(name, found[name]) for name in of_family), ""]
    return lines


def _recipe_lines() -> list[str]:
    width = max(map(len, recipes.names()))
    titles = {name: recipes.recipe(name).title for name in recipes.names()}
    return ["Recipes, for --train:", *(f"  {name:{width}}  {title}" for name, title in titles.items())]


def _data_lines(here: Mapping[str, str]) -> list[str]:
    splits = {name: ", ".join(dataset(name).splits) for name in names()}
    sets = [_listed(f"{name}: {of_set}", here.get(name)) for name, of_set in splits.items()]
    return ["Data sets, with their splits:", *sets]


def _tables(key: str) -> dict[str, dict[str, str | int]]:
    """For each table of a paper: its title, how many cells it has, and how many of those are unverified."""
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


VERB = Verb("--list", list_all, ("--data",), "tables, models, data sets, and which of them are here")
