"""CaffeNet: a Plan as a torch.nn.Module, one submodule per layer under its Caffe name."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from caffe2torch.errors import NetError
from caffe2torch.modules.fillers import fill
from caffe2torch.modules.inputs import by_name, check_image
from caffe2torch.net import Net
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import Preprocessing, preprocessing
from caffe2torch.plan import Plan, Step, plan
from caffe2torch.plan.backward import loss_notes, propagated, with_gradient
from caffe2torch.plan.flow import of_other_size
from caffe2torch.plan.in_place import gradient_notes, output_notes
from caffe2torch.plan.parameters import Parameter
from caffe2torch.untrusted.mapped import release


class CaffeLayer(nn.Module):
    """One layer: its blobs as parameters (statistics as buffers), and its converter's arithmetic.

    `flows` says which bottoms a gradient reaches, and `frozen` names the blobs that it does not.
    """

    def __init__(self, step: Step, flows: tuple[bool, ...] = (), frozen: Collection[str] = ()) -> None:
        super().__init__()
        self.converter = step.converter
        self.module = step.converter.module()
        self.flows, self.frozen = flows, frozen
        self.phase = step.layer.fields.phase if step.layer.fields.has("phase") else None
        self.reshaped = {p.name: [size or -1 for size in p.shape] for p in step.parameters if p.reshaped}

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The layer's tops."""
        if self.flows:
            bottoms = tuple(x if flows else x.detach() for x, flows in zip(bottoms, self.flows, strict=True))
        blobs = cast(dict[str, Tensor], {**self._parameters, **self._buffers})
        blobs |= {name: blobs[name].detach() for name in self.frozen}
        blobs |= {name: blobs[name].view(shape) for name, shape in self.reshaped.items()}
        training = self.training if self.phase is None else self.phase == "TRAIN"
        phase = {"training": training} if self.converter.depends_on_phase else {}
        plugged = {} if self.module is None else {"module": self.module}
        try:
            tops = self.converter.forward(*bottoms, **blobs, **phase, **plugged)
        except (RuntimeError, IndexError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError) or torch.compiler.is_compiling():
                raise
            shapes, (line, *_) = [tuple(bottom.shape) for bottom in bottoms], str(error).split("\n", 1)
            raise self.converter.refuse(f"cannot compute on {shapes}: {line}") from error
        return tops if isinstance(tops, tuple) else (tops,)

    def extra_repr(self) -> str:
        """The layer's type and its own parameter message."""
        own = next(
            (repr(value) for name, value in self.converter.layer.fields.given() if "_param" in name), ""
        )
        return f"{self.converter.layer.type}, {own}" if own else self.converter.layer.type


class CaffeNet(nn.Module):
    """A Caffe net that takes any input size.

    `model(data=image, label=labels)` takes inputs by blob name, float32 unless noted otherwise, and returns
    {output blob name: tensor}. State-dict keys are `<layer name>.weight`, `<layer name>.bias`, …
    `preprocessing` says by input how images were prepared, `labellings` by output which classes there are, as
    far as it is known. Raises NetError for inputs that are not the net's, and for images that its first
    convolution cannot take.
    """

    def __init__(self, plan: Plan, *, bilinear: str = "master") -> None:
        super().__init__()
        self.plan = plan
        self.preprocessing: Mapping[str, Preprocessing] = preprocessing(plan.net)
        self.labellings: Mapping[str, Labelling] = {}
        self._last_use = _last_use(plan)
        self._images = _images(plan)
        parameters: dict[str, nn.Parameter | Tensor] = {}
        learned = _learned(plan)
        owners = {p.owner for step in plan.steps for p in step.parameters if p.key in learned}
        for step in plan.steps:
            frozen = {p.name for p in step.parameters if p.owner in owners and p.key not in learned}
            layer = CaffeLayer(step, propagated(plan, step.layer), frozen)
            for parameter in step.parameters:
                value = parameters.get(parameter.owner)
                value = _initial(parameter, parameter.key in owners, bilinear) if value is None else value
                parameters[parameter.key] = value
                _register(layer, parameter.name, value)
            _place(self, step.key, layer)
        self.train(plan.phase == "TRAIN")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the input blobs, in the net's order."""
        return tuple(self.plan.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the output blobs, in the net's order."""
        return tuple(self.plan.outputs)

    def train(self, mode: bool = True) -> CaffeNet:
        """Sets the mode of the net and its layers, also of one called `training`."""
        self.__dict__["training"] = mode
        for layer in self.children():
            layer.train(mode)
        return self

    def forward(self, *images: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """The net's outputs by blob name; inputs by name, or in the net's order."""
        values = self._run(self._named(images, inputs), keep=self.plan.outputs)
        return {name: values[name] for name in self.plan.outputs}

    def every_blob(self, **inputs: Tensor) -> dict[str, Tensor]:
        """All blobs by name, each as last written (`fc7` is what its in-place ReLU left)."""
        return self._run(self._named((), inputs), keep=None)

    def loss(self, tops: dict[str, Tensor]) -> Tensor:
        """The sum of the outputs times `loss_weight`, by default 1 for the first top of a loss layer."""
        terms = [
            (tops[term.blob] if term.learns else tops[term.blob].detach()).sum() * term.weight
            for term in self.plan.losses
            if term.blob in tops
        ]
        if not terms:
            raise NetError(f"net {self.plan.net.name!r} has no loss in phase {self.plan.phase}")
        return torch.stack(terms).sum()

    def blobs(self) -> dict[str, list[Tensor]]:
        """The parameters and statistics of each layer that has any, in Caffe's order."""
        state: dict[str, Tensor] = dict(self.named_parameters(remove_duplicate=False))
        state |= self.named_buffers(remove_duplicate=False)
        return {
            step.key: [state[p.key] for p in step.parameters] for step in self.plan.steps if step.parameters
        }

    def _layer(self, key: str) -> CaffeLayer:
        module: nn.Module = self
        for name in key.split("."):
            module = cast(nn.Module, module._modules[name])
        return cast(CaffeLayer, module)

    def _named(self, images: tuple[Tensor, ...], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        name = f"net {self.plan.net.name!r}"
        named = by_name(name, self.inputs, images, inputs)
        for blob, channels in self._images.items():
            check_image(name, blob, named[blob], channels)
        return named

    def _run(self, inputs: dict[str, Tensor], keep: Iterable[str] | None) -> dict[str, Tensor]:
        values = dict(inputs)
        for index, step in enumerate(self.plan.steps):
            if step.layer.type == "Input":
                continue
            tops = self._layer(step.key)(*(values[bottom] for bottom in step.layer.bottoms))
            values.update(zip(step.layer.tops, tops, strict=True))
            for blob, top in step.overwrites.items():
                values[blob] = _reshaped(step, values, blob, top)
            if keep is not None:
                for blob in self._last_use.get(index, ()):
                    values.pop(blob, None)
        return values


def _reshaped(step: Step, values: Mapping[str, Tensor], blob: str, top: str) -> Tensor:
    """What `blob` holds now that a layer has computed in place on `top`, in the same memory."""
    try:
        return values[top].reshape(values[blob].shape)
    except RuntimeError:
        raise of_other_size(step.layer, top, blob) from None


def build(
    net: Net,
    phase: str = "TEST",
    *,
    stages: Sequence[str] = (),
    allow_missing: bool = False,
    bilinear: str = "master",
) -> CaffeNet:
    """The net as a torch module that takes any input size.

    Phase "TEST" gives the deploy net, in eval mode; "TRAIN" keeps losses and train-only layers, in train
    mode. `stages` choose layers of an all-in-one net. A net read without weights gets Caffe's fillers, with
    torch's random numbers; `bilinear="1.0"` asks for the bilinear filler of Caffe's release 1.0 and before
    (see fillers.fill). Warns where Caffe spoils its own numbers by computing in place (plan/in_place.py), and
    of losses that train nothing. Raises UnsupportedLayer, NetError, WeightsError (see plan).
    """
    planned = plan(net, phase, stages=stages, allow_missing=allow_missing)
    of_training = (*gradient_notes(planned), *loss_notes(planned)) if phase == "TRAIN" else ()
    for note in (*output_notes(planned), *of_training):
        warnings.warn(note, stacklevel=2)
    return CaffeNet(planned, bilinear=bilinear)


def _images(plan: Plan) -> dict[str, int]:
    """The inputs that a 2-D convolution reads first, and their channels."""
    first: dict[str, str] = {}
    for step in plan.steps:
        for bottom in step.layer.bottoms:
            first.setdefault(bottom, step.layer.type)
    return {
        blob: shape[1]
        for blob, shape in plan.inputs.items()
        if first.get(blob) == "Convolution" and shape is not None and len(shape) == 4 and shape[1]
    }


def _last_use(plan: Plan) -> dict[int, list[str]]:
    """The blobs that no later step reads, by step."""
    last = {bottom: index for index, step in enumerate(plan.steps) for bottom in step.layer.bottoms}
    freed: dict[int, list[str]] = {}
    for blob, index in last.items():
        if blob not in plan.outputs:
            freed.setdefault(index, []).append(blob)
    return freed


def _learned(plan: Plan) -> frozenset[str]:
    """The keys of the parameters that get a gradient: in phase TRAIN as in Caffe, else those trained."""
    trained = frozenset(p.key for step in plan.steps for p in step.parameters if p.trained)
    return with_gradient(plan) if plan.phase == "TRAIN" else trained


def _initial(parameter: Parameter, learned: bool, bilinear: str) -> nn.Parameter | Tensor:
    if parameter.blob is not None:
        stored = parameter.read()
        value = torch.from_numpy(np.array(stored, dtype=np.float32))
        release(stored)
    elif None in parameter.shape:
        raise NetError(
            f"{parameter.key!r} has shape {parameter.shape}; give weights, or an Input with its shape"
        )
    else:
        shape = [size for size in parameter.shape if size is not None]
        value = (
            torch.zeros(shape)
            if parameter.filler is None
            else fill(shape, parameter.filler, bilinear=bilinear)
        )
    return value if parameter.statistics else nn.Parameter(value, requires_grad=learned)


def _register(layer: CaffeLayer, name: str, value: nn.Parameter | Tensor) -> None:
    if isinstance(value, nn.Parameter):
        layer.register_parameter(name, value)
    else:
        layer.register_buffer(name, value)


def _place(root: nn.Module, key: str, layer: nn.Module) -> None:
    """Registers a layer under its name. torch allows neither dots nor the names of a Module's attributes.

    A dot makes a nested module; the last part goes straight into `_modules`, so that the state-dict keys are
    Caffe's names even for a layer called `data` or `type`.
    """
    *parents, name = key.split(".")
    for parent in parents:
        root = root._modules.setdefault(parent, nn.Module()) or root
    if (placed := root._modules.get(name)) is not None:  # made for an earlier layer, `<name>.…`
        layer._modules.update(placed._modules)
    root._modules[name] = layer
