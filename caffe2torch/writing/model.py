"""What is written, whatever it came from: a Net read from files, a Plan, or a module with trained values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from caffe2torch.blob import FLOAT32, Blob, blob_of, dense
from caffe2torch.errors import WeightsError
from caffe2torch.net import Layer, Net
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import Preprocessing, preprocessing
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.parameters import Parameter
from caffe2torch.plan.phase import without_losses
from caffe2torch.untrusted.kinds import File
from caffe2torch.writing.digest import Digest
from caffe2torch.zoo.inputs import known_shapes, sized

if TYPE_CHECKING:
    from torch import Tensor, nn

    from caffe2torch.modules.caffe_net import CaffeNet
    from caffe2torch.writing.trial import Trials
    from caffe2torch.zoo.fcn import Architecture


@dataclass(frozen=True)
class Origin:
    """The file that a model was read from."""

    file: File
    format: str
    """Its format in words: "caffemodel, V1 format (2014)"."""
    code: tuple[str, ...]
    """Lines of Python that read it into `net`, given `c2t`."""


@dataclass(frozen=True)
class Engine:
    """What the engine that is to run a graph asks of it."""

    opset: int | None = None
    """ONNX's; None for the one that most engines take."""
    size: tuple[int, ...] = ()
    """Height and width, for an engine that takes no other; () leaves them free."""
    batch: int = 1
    """With `size`: how many images."""
    upsampling: str = "grouped"
    """How ONNX has bilinear upsampling: "grouped", or "dense" with one weight for all channels."""
    elide: bool = False
    """With `size`: leave out what no image can change, and put in what it is."""
    check_in: tuple[str, ...] = ()
    """Engines in which the file must give what the model gives, by their names (Format.check_in)."""


@dataclass(frozen=True)
class Model:
    """A net with its blobs, where it came from, and the plan that has each parameter under its key."""

    net: Net
    planned: Plan | None = None
    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    """For each input, by blob, how an image was prepared, as far as it is known."""
    labellings: Mapping[str, Labelling] = field(default_factory=dict)
    """For each output, by blob, its classes, as far as they are known."""
    origin: Origin | None = None
    digest: Digest | None = None
    """Of the file that holds the values; None for a module."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Those of inputs, where someone insists on them, for running the net."""
    engine: Engine = Engine()

    @cached_property
    def plan(self) -> Plan:
        """The net, ready to run."""
        return self.planned or plan(self.net)

    @property
    def knowledge(self) -> Knowledge:
        """What it knows, also about blobs that only training uses."""
        return Knowledge(self.preprocessing, self.labellings)

    @property
    def deployed_knowledge(self) -> Knowledge:
        """What it knows about the inputs and outputs of its deploy net."""
        return self.knowledge.of(self.plan.inputs, self.plan.outputs)

    @property
    def source(self) -> str:
        """The name of the file that holds the values; empty for those of a module."""
        return self.digest.name if self.digest else ""

    @cached_property
    def architecture(self) -> Architecture | None:
        """The architecture from the FCN papers that the net has, if any."""
        from caffe2torch.zoo.recognition import recognize  # --inspect does not need it

        return recognize(self.plan)

    @cached_property
    def caffe_net(self) -> Net:
        """The net for Caffe's own files: every input of a net to deploy has a size, which Caffe requires."""
        return self.net if self.planned is None else sized(self.planned)

    @cached_property
    def deployed(self) -> Net:
        """The deploy net, with the blobs that it uses in the shapes that its layers need."""
        owners = {parameter.key: parameter for parameter in self.plan.parameters()}
        return with_blobs(self.plan, lambda p: _needed(owners[p.owner]))

    @cached_property
    def module(self) -> CaffeNet:
        """The net as a torch module in eval mode; needs torch."""
        from caffe2torch.modules.caffe_net import CaffeNet

        return CaffeNet(self.plan).eval()

    @cached_property
    def trials(self) -> Trials:
        """The module's outputs for random inputs; needs torch."""
        from caffe2torch.writing.trial import Subject, try_at, try_out

        subject = Subject(self.module, self.preprocessing)
        if self.engine.size:
            return try_at(subject, known_shapes(self.plan), self.engine)
        return try_out(subject, known_shapes(self.plan), self.shapes)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The files that it was read from."""
        return tuple(name for name in (self.net.read_from, self.net.weights) if name)


def model_of(model: nn.Module | Plan | Net) -> Model:
    """The Model of anything that `export` takes.

    A module is a CaffeNet, or has a method `net()` that returns a Net with its values.
    """
    if isinstance(model, Net):
        return Model(model, preprocessing=preprocessing(model), digest=_digest(model.weights))
    if isinstance(model, Plan):
        return Model(model.net, model, digest=_digest(model.net.weights))
    planned = _planned(model)
    return Model(planned.net, planned, _told(model, "preprocessing"), _told(model, "labellings"))


def _told(model: nn.Module, what: str) -> Mapping[str, Any]:
    """What a module's attribute says; a layer may have its name, so it is not asked for by `getattr`."""
    return dict(vars(model).get(what, {}))


class _HasNet(Protocol):
    def net(self) -> Net: ...


def _has_net(model: nn.Module) -> TypeGuard[_HasNet]:
    # Asked of the class: a CaffeNet may have a layer called `net`.
    return callable(getattr(type(model), "net", None))


def _has_plan(model: nn.Module) -> TypeGuard[CaffeNet]:
    return isinstance(getattr(model, "plan", None), Plan)


def _planned(model: nn.Module) -> Plan:
    """The plan of the deploy net of a module, with its values."""
    if _has_net(model):
        return plan(model.net())
    if _has_plan(model):
        net = net_of(model)
        return plan(without_losses(net) if model.plan.phase == "TRAIN" else net)
    raise TypeError(
        f"export takes a CaffeNet, an FCN of this package, a Plan or a Net; not {type(model)}; "
        f"from_torch makes a Net from other modules"
    )


def net_of(model: CaffeNet) -> Net:
    """The net of a CaffeNet; its blobs read the module's parameters when asked."""
    # By their keys: a layer may be called like an attribute of the module, which would be found in its place.
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    return with_blobs(model.plan, lambda parameter: _blob_of(tensors[parameter.owner], parameter))


def with_blobs(planned: Plan, blob: Callable[[Parameter], Blob]) -> Net:
    """The net of a plan, with the blob that the function `blob` returns for each Parameter."""

    def layers() -> Iterator[Layer]:
        for step in planned.steps:
            yield replace(step.layer, blobs=tuple(blob(parameter) for parameter in step.parameters))

    return replace(planned.net, layers=tuple(layers()))


def with_state(model: Model, state: Mapping[str, Blob], path: Path) -> Net:
    """The model's net with the values that a file holds by key: those of `Parameter.read`, or dense ones.

    Raises WeightsError for keys that are not those of the net.
    """
    keys = {parameter.key for step in model.plan.steps for parameter in step.parameters}
    if odd := sorted(keys ^ state.keys()):
        problem = "has no" if odd[0] in keys else "has a"
        raise WeightsError(f"{path}: {problem} {odd[0]!r}; is it the state dict of this net?")

    def blob(parameter: Parameter) -> Blob:
        found = state[parameter.key]
        if parameter.diagonal and found.shape != parameter.shape:
            return dense(found.shape, lambda: found.read().reshape(-1))
        return found

    return replace(with_blobs(model.plan, blob), read_from=str(path), weights=str(path))


def valued(parameter: Parameter) -> Blob:
    """The blob of a parameter. Raises WeightsError if it has no values."""
    if parameter.blob is None or None in parameter.shape:
        raise WeightsError(f"'{parameter.key}' has no values; give weights, or build the model and export it")
    return parameter.blob


def _needed(parameter: Parameter) -> Blob:
    """The values of a parameter in the shape that its layer needs."""
    shape = tuple(size or 0 for size in parameter.shape)
    blob = parameter.blob
    return Blob(shape, FLOAT32, None) if blob is None else replace(blob, shape=shape)


def _blob_of(tensor: Tensor, parameter: Parameter) -> Blob:
    blob = blob_of(tensor, diagonal=parameter.diagonal)
    return replace(blob, shape=_needed(parameter).shape) if parameter.reshaped else blob


def _digest(path: str) -> Digest | None:
    return Digest(path) if path and Path(path).is_file() else None
