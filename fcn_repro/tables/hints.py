"""The options to type to get what is missing: data, published weights, trained nets."""

from __future__ import annotations

from collections.abc import Iterator

from caffe2torch.errors import MissingData
from fcn_repro import recipes
from fcn_repro.data.datasets import Split, dataset
from fcn_repro.fetching.datasets import sources
from fcn_repro.fetching.zoo import UNKNOWN, zoo
from fcn_repro.workspace import Workspace


def fetch_data(images: str) -> str:
    """For the data NAME/SPLIT; "" if no way is known."""
    name, _, split = images.partition("/")
    if split == "test" and f"{name}-test" in sources():
        return f"--fetch {name}-test --from FILE"
    secret = not dataset(name).splits.get(split, Split()).labelled
    return "" if secret else f"--fetch {dataset(name).source} --yes"


def fetch_model(name: str) -> str:
    """For published weights."""
    return f"--fetch {name} " + ("--from FILE" if zoo().models[name].address == UNKNOWN else "--yes")


def train(name: str, workspace: Workspace) -> Iterator[str]:
    """For a recipe's net: first what it starts from, and the images."""
    recipe = recipes.recipe(name)
    for source in recipe.init.sources:
        if workspace.model(source.weights) is None:
            is_recipe = source.weights in recipes.names()
            yield from train(source.weights, workspace) if is_recipe else [fetch_model(source.weights)]
    for images in (recipe.data.train, recipe.data.val):
        if not _is_here(images, workspace):
            yield fetch_data(images)
    yield f"--train {name}"


def _is_here(images: str, workspace: Workspace) -> bool:
    try:
        workspace.open(images)
    except MissingData:
        return False
    return True
