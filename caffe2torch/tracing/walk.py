"""A module's torch.fx graph, walked call by call to draw its net, which is compared with the module."""

from __future__ import annotations

import inspect
import operator
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from caffe2torch.errors import NetError, UnsupportedModule, VerificationFailed
from caffe2torch.modules.caffe_net import build
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.tracing.calls import sayings
from caffe2torch.tracing.drawing import Call, Drawing, Side, Size, Top
from caffe2torch.tracing.tidying import called, in_place, silenced, without_flattens

TOLERANCE = 1e-5
"""‖net - module‖ / ‖module‖ that is allowed for each output."""


def net_of_module(module: nn.Module, inputs: Mapping[str, Size], floor_pooling: bool) -> Net:
    """The net of a module; see `from_torch`."""
    if isinstance(module, torch.nn.DataParallel):
        raise UnsupportedModule("nn.DataParallel only spreads batches over devices; give its .module")
    name = type(module).__name__
    generator = torch.Generator().manual_seed(0)
    device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), None)
    images = [torch.randn(shape, generator=generator).to(device) for shape in inputs.values()]
    with _evaluating(module), torch.no_grad():
        walk = _Walk(_graph(module, len(inputs)), inputs, floor_pooling)
        try:
            wanted = module(*(image.clone() for image in images))  # a module may write over its input
        except Exception as error:  # whatever the module's own code raises
            shapes = ", ".join(f"{blob} {shape}" for blob, shape in inputs.items())
            raise NetError(f"{name}: does not run on {shapes}: {_first_line(error)}") from error
        walk.run(*(image.clone() for image in images))
        net, outputs = _finished(walk, name)
        theirs = [x for _, x in _named(wanted) if isinstance(x, Tensor)]
        _compare(net, dict(zip(inputs, images, strict=True)), outputs, theirs)
    return net


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Puts the module in eval mode, and each part back in its own mode afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the module is a single call, not traced into."""
        return type(m) in sayings() or super().is_leaf_module(m, module_qualified_name)


def _graph(module: nn.Module, inputs: int) -> fx.GraphModule:
    """The traced module; arguments of forward beyond the inputs keep their defaults."""
    tracer = _Tracer()
    if tracer.is_leaf_module(module, ""):
        module = nn.Sequential(module)
    arguments = list(inspect.signature(module.forward).parameters.values())
    defaults = {x.name: x.default for x in arguments[inputs:] if x.default is not x.empty}
    try:
        graph = tracer.trace(module, concrete_args=defaults or None)
    except Exception as error:  # whatever the module's own code does with a proxy
        problem = f"torch.fx cannot trace it: {type(error).__name__}: {_first_line(error)}"
        raise NetError(f"{type(module).__name__}: {problem}") from error
    places = [node for node in graph.nodes if node.op == "placeholder"]
    if len(places) < inputs or any(not node.args for node in places[inputs:]):
        raise NetError(
            f"{type(module).__name__}: forward takes ({', '.join(map(str, arguments))}); "
            f"{inputs} inputs are given"
        )
    whole = fx.GraphModule(tracer.root, graph)
    whole.graph.eliminate_dead_code()
    return whole


class _Walk(fx.Interpreter):
    """Runs the graph and draws each call in Caffe layers; `seen` is what each node stands for.

    That is a Top for a tensor of the net, several Tops, or a constant as it is.
    """

    def __init__(self, graph: fx.GraphModule, inputs: Mapping[str, Size], floor_pooling: bool) -> None:
        super().__init__(graph)
        self.extra_traceback = False
        self.drawing = Drawing(floor_pooling)
        self.inputs = [self.drawing.input(blob, shape) for blob, shape in inputs.items()]
        self.seen: dict[fx.Node, Any] = {}
        self.result: object = None
        self._given = iter(self.inputs)

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, as the Interpreter computes it; draws the node."""
        real = super().run_node(n)
        args: Any
        args, kwargs = fx.node.map_arg((n.args, n.kwargs), lambda x: self.seen[x])
        if n.op == "placeholder":
            self.seen[n] = next(self._given, real)
        elif n.op == "output":
            self.result = args[0]
        elif not any(_is_tensor(self.seen[x]) for x in n.all_input_nodes):
            # Run again on Sides, so that a height remembers its tensor.
            self.seen[n] = n.target(*args, **kwargs) if callable(n.target) else real
        elif n.target is operator.getitem and isinstance(args[0], (tuple, list)):
            self.seen[n] = operator.getitem(*args)
        elif (args[1] if n.target is getattr else n.target) in _FACTS:
            self.seen[n] = _fact(n, args[0], real)
        else:
            self.seen[n] = self._drawn(n, real, args, kwargs)
        return real

    def _drawn(
        self, node: fx.Node, real: object, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Top | Sequence[Top]:
        """The Top or Tops of a call, drawn by the function registered for it."""
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        target = node.target if module is None else type(module)
        shape = tuple(real.shape) if isinstance(real, Tensor) else None
        call = Call(self.drawing, _name(node), getattr(target, "__name__", str(target)), shape)
        saying = sayings().get(target)
        if saying is None:
            call.refuse("Caffe has no layer for it")
        if "input" in kwargs:  # PyTorch's name of the first argument
            args = (kwargs["input"], *args)
            kwargs = {name: value for name, value in kwargs.items() if name != "input"}
        if module is not None:
            if len(args) != 1 or kwargs:
                call.refuse("called with more than its input")
            names = list(inspect.signature(saying).parameters)[2:]
            kwargs = {name: getattr(module, name) for name in names if hasattr(module, name)}
        try:
            bound = inspect.signature(saying).bind(call, *args, **kwargs)
        except TypeError as error:
            call.refuse(f"called in a way that is not supported: {error}")
        if any(isinstance(bound.arguments.get(name), Top) for name in _PARAMETERS):
            call.refuse("its parameters are computed by the net; Caffe's are blobs")
        top = saying(*bound.args, **bound.kwargs)
        if isinstance(top, Top) and top.shape != shape:
            call.refuse(f"gives {shape}, but as Caffe layers {top.shape}")
        return top


_PARAMETERS = ("weight", "bias", "running_mean", "running_var")
_FACTS = frozenset({"shape", "size", "ndim", "dim", "numel", "dtype", "device", "is_cuda"})
"""Attributes and methods of a tensor that do not depend on its values."""


def _fact(node: fx.Node, x: Top, real: object) -> object:
    """One of _FACTS; the lengths of axes remember the tensor."""
    if isinstance(real, torch.Size):
        return tuple(Side(length, x) for length in real)
    return Side(real, x) if isinstance(real, int) and node.target == "size" else real


def _is_tensor(value: object) -> bool:
    return isinstance(value, Top) or (isinstance(value, (tuple, list)) and any(map(_is_tensor, value)))


def _name(node: fx.Node) -> str:
    """A module's own name; for a function, those of the calling module and of the function."""
    if node.op == "call_module":
        return str(node.target)
    own = re.sub(r"_\d+$", "", node.name)
    path = next(reversed(node.meta.get("nn_module_stack", {})), "")
    path = re.sub(r"@\d+$", "", path)  # torch.fx counts the calls of one module
    return f"{path}.{own}" if path else own


def _named(result: object) -> list[tuple[str, object]]:
    """The values that a module returns, with their keys if it returns a dictionary."""
    if isinstance(result, Mapping):
        return [(str(key), value) for key, value in result.items()]
    return [("", value) for value in result] if isinstance(result, (tuple, list)) else [("", result)]


def _finished(walk: _Walk, name: str) -> tuple[Net, list[str]]:
    """The net, and its outputs in the module's order."""
    returned = _named(walk.result)
    tops = [x for _, x in returned if isinstance(x, Top)]
    if not tops or len(tops) != len(returned):
        raise NetError(f"{name}: returns something other than tensors: one, several, or a dictionary of them")
    outputs = [x.written().blob for x in tops]
    layers = without_flattens(tuple(walk.drawing.layers), outputs)
    layers, outputs = _with_splits(layers, outputs, walk.drawing)
    layers, names = in_place(layers, outputs)
    outputs = [names.get(blob, blob) for blob in outputs]
    keys = {blob: key or blob for blob, (key, _) in zip(outputs, returned, strict=True)}
    blobs = {top for layer in layers for top in layer.tops}
    if clash := next((key for blob, key in keys.items() if key != blob and key in blobs), None):
        raise NetError(f"{name}: returns '{clash}', and another blob of the net has that name; rename it")
    outputs = list(keys.values())
    layers = _specified(silenced(called(layers, keys), outputs), walk)
    return Net(name, layers, weights=f"the values of {name}"), outputs


def _with_splits(
    layers: tuple[Layer, ...], outputs: list[str], drawing: Drawing
) -> tuple[tuple[Layer, ...], list[str]]:
    """Adds a Split for each output that is also read: Caffe's outputs are the blobs that nothing reads."""
    read = {bottom for layer in layers for bottom in layer.bottoms}
    read |= {top for layer in layers for top in layer.tops if layer.type == "Input"}
    splits, names = [], []
    for blob in outputs:
        if blob in read or blob in names:
            top = drawing.unused(f"{blob}/output")
            splits.append(Layer(top, "Split", (blob,), (top,), Fields("LayerParameter", {})))
            blob = top
        names.append(blob)
    return (*layers, *splits), names


def _specified(layers: tuple[Layer, ...], walk: _Walk) -> tuple[Layer, ...]:
    """The layers, with `param` for each parameter that is frozen or shared with another layer."""
    held = walk.drawing.held
    uses = Counter(id(tensor) for tensors in held.values() for tensor in tensors)
    names = {id(parameter): name for name, parameter in walk.module.named_parameters()}

    def spec(tensor: Tensor) -> Fields:
        shared = {"name": names[id(tensor)]} if uses[id(tensor)] > 1 and id(tensor) in names else {}
        return Fields("ParamSpec", shared | ({} if tensor.requires_grad else {"lr_mult": 0.0}))

    def specified(layer: Layer) -> Layer:
        specs = tuple(map(spec, held.get(layer.name, ())))
        # Caffe's BatchNorm freezes its statistics by itself.
        if layer.type == "BatchNorm" or all(x == Fields("ParamSpec", {}) for x in specs):
            return layer
        return replace(layer, fields=layer.fields.replace(param=specs))

    return tuple(map(specified, layers))


def _compare(net: Net, images: Mapping[str, Tensor], outputs: list[str], wanted: list[Tensor]) -> None:
    """Raises VerificationFailed if the net's outputs are not the module's."""
    found = build(net)(**{blob: image.cpu() for blob, image in images.items()})
    for blob, tensor in zip(outputs, wanted, strict=True):
        theirs = tensor.cpu().double()
        delta = (found[blob].double() - theirs).norm()
        if not delta <= TOLERANCE * theirs.norm():
            error = float(delta / theirs.norm())
            raise VerificationFailed(
                f"{net.name}: as Caffe layers, '{blob}' has a relative error of {error:.1e}, allowed "
                f"{TOLERANCE:g}; does forward change a tensor in place that it reads again?"
            )


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
