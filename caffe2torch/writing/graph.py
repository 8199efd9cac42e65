"""CaffeNet -> torch.export's ExportedProgram, with every axis free that the net leaves free (trial.py)."""

from __future__ import annotations

import importlib
import inspect
import keyword
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from io import StringIO
from types import ModuleType
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.errors import MissingData, NetError, UnsupportedLayer
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from torch.fx import Node

    from caffe2torch.modules.caffe_net import CaffeLayer, CaffeNet
    from caffe2torch.writing.model import Model

_MODULES = {
    "aten.conv2d.default": "torch.nn.modules.conv.Conv2d",
    "aten.conv_transpose2d.input": "torch.nn.modules.conv.ConvTranspose2d",
    "aten.linear.default": "torch.nn.modules.linear.Linear",
    "aten.relu.default": "torch.nn.modules.activation.ReLU",
}
"""The module of torch for an operator; torchao's quantizers find by it what they quantize."""
_LOWEST = (2, 9)
"""The torch whose graphs take any size."""


def graph(model: Model, own: bool = False) -> ExportedProgram:
    """The model as a graph: inputs and outputs by blob name.

    With `own` it may hold operators of this package, for a format that has others in their place. Raises
    UnsupportedLayer for a layer that no graph can hold: one whose sizes depend on values, or that loops over
    an axis of any size; NetError if torch does not say which layer it is; MissingData for a torch too old.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < _LOWEST:
        lowest = ".".join(map(str, _LOWEST))
        raise MissingData(f"a graph needs torch {lowest}, found {torch.__version__}; pip install -U torch")
    _ = model.trials  # first, for it may have a problem of its own
    try:
        program = _graph(model)
    except Exception as error:  # torch raises as many kinds as there are causes
        raise _refusal(model, error) from error
    for node in program.graph.nodes:
        if not own and getattr(node.target, "namespace", "") == "caffe2torch":
            problem = "torch has no operator that chooses boxes; onnx holds it"
            raise refused(model, node, problem) or NetError(problem)
    return program


def refused(model: Model, node: Node, problem: str) -> UnsupportedLayer | None:
    """The refusal of the layer that a node belongs to; None if there is none."""
    scopes = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    steps = (step for step in model.plan.steps if member(step.key) in scopes)
    return next((step.converter.refuse(problem) for step in steps), None)


def _graph(model: Model, defer: bool = True) -> ExportedProgram:
    """The graph; its conditions on sizes are checked when it runs (`defer`), or settled now."""
    trials = model.trials
    arrays = trials.trials[-1].inputs
    free = {argument(blob): dict.fromkeys(trials.free(blob), torch.export.Dim.DYNAMIC) for blob in arrays}
    with quiet(), torch.no_grad(), _every_size():
        program = torch.export.export(
            _named(model),
            (),
            {argument(blob): torch.from_numpy(array) for blob, array in arrays.items()},
            dynamic_shapes=free,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=defer,
        )
    _tidy(program)
    return program


def _tidy(program: ExportedProgram) -> None:
    """Leaves out what only torch understands, and calls operators what torch's users call them."""
    for node in list(program.graph.nodes):
        # Checks on sizes, true at every size that the net takes; ExecuTorch and TVM stop at them.
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op == "call_function" and not isinstance(node.meta.get("val"), torch.Tensor):
            node.meta.pop("nn_module_stack", None)  # a size, which belongs to all layers that need it
        elif str(node.target) in _MODULES and stack:
            key, (path, _) = next(reversed(stack.items()))
            node.meta["nn_module_stack"] = {**stack, key: (path, _MODULES[str(node.target)])}


def _refusal(model: Model, error: Exception) -> Exception:
    """The error with the layer that it comes from; torch does not say which layer fixes a size."""
    if isinstance(error, UnsupportedLayer):
        return error
    problem = str(error).strip().split("\n", 1)[0]
    layer = _layer_of(error)
    if layer is not None:
        return UnsupportedLayer(layer.name, layer.type, f"no graph can hold it: {problem}")
    try:
        _graph(model, defer=False)
    except UnsupportedLayer as refusal:
        return refusal
    except Exception:  # noqa: S110 (it says no more than the first)
        pass
    return NetError(f"no graph can hold its free batch, height and width: {problem}")


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what torch's exporters print for their developers, such as unfinished graphs on stderr."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _every_size() -> AbstractContextManager[None]:
    """Makes a graph that also takes sizes of 0 and 1, and sets no conditions that exclude them."""
    patched: AbstractContextManager[None] = _experimental("_config").patch(backed_size_oblivious=True)
    return patched


def _experimental(name: str) -> ModuleType:
    return importlib.import_module(f"torch.fx.experimental.{name}")


def _named(model: Model) -> nn.Module:
    """The model with its inputs as parameters of `forward`, and the same names in its state dict."""
    module, layers = model.module, dict(model.module._modules)

    run: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = lambda images: module(**images)  # noqa: E731
    if model.engine.elide:
        from caffe2torch.eliding.exporting import elided

        parts, run = elided(module, (model.engine.size[0], model.engine.size[1]))
        layers |= parts

    def forward(**inputs: Tensor) -> dict[str, Tensor]:
        with _watched(module, inputs.values()):
            return run(dict(zip(module.inputs, inputs.values(), strict=True)))

    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(argument(blob), inspect.Parameter.KEYWORD_ONLY) for blob in module.inputs]
    )
    named = torch.nn.Module().eval()
    named.forward = forward
    named._modules = {member(key): layer for key, layer in layers.items()}
    return named


def member(layer: str) -> str:
    """A layer's name in a graph: torch looks it up as an attribute, which `eval` and others already are."""
    return f"{layer}_" if hasattr(torch.nn.Module(), layer) else layer


@contextmanager
def _watched(model: CaffeNet, images: Collection[Tensor]) -> Iterator[None]:
    """Refuses a layer that makes a free axis a fixed one by looping over it."""
    is_concrete_int = _experimental("symbolic_shapes").is_concrete_int
    free = [size for image in images for size in image.shape if not is_concrete_int(size)]

    def look(layer: CaffeLayer, *_: object) -> None:
        if any(map(is_concrete_int, free)):
            problem = "it loops over an axis whose size is free; --size HxW fixes it"
            raise layer.converter.refuse(f"no graph can hold it: {problem}")

    hooks = [layer.register_forward_hook(look) for layer in model.modules() if hasattr(layer, "converter")]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def argument(blob: str) -> str:
    """A blob's name, turned into one that Python allows for an argument."""
    name = re.sub(r"\W", "_", blob)
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"_{name}"


def _layer_of(error: BaseException) -> Layer | None:
    """The layer that was running when an error was raised."""
    from caffe2torch.modules.caffe_net import CaffeLayer

    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((owner.converter.layer for owner in owners if isinstance(owner, CaffeLayer)), None)
