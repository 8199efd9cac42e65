"""What Caffe needs to train a deploy net further: a TRAIN definition and a solver.

    deploy Net --training_net--> TRAIN Net --export--> train.prototxt
    SolverParameter's fields --solver_prototxt--> the text of solver.prototxt

Losses and layer names are those of the FCN zoo (fcn.berkeleyvision.org).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from caffe2torch import schema
from caffe2torch.errors import NetError
from caffe2torch.formats.prototxt import text
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields, freeze
from caffe2torch.plan import Plan, plan
from caffe2torch.writing.model import model_of
from caffe2torch.zoo.inputs import sized

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.schema import Message


def training_net(
    model: nn.Module | Plan | Net,
    labels: Mapping[str, str] | None = None,
    *,
    normalize: bool = False,
    ignore_label: int | None = 255,
    python_param: Mapping[str, str] | None = None,
) -> Net:
    """The net that Caffe trains, from whatever `export` takes: a train.prototxt as in the FCN zoo.

    Each output, a score (N, classes, ...), gets a SoftmaxWithLoss right after it. `labels` names the blob of
    its labels, (N, 1, ...): by default `label` for the only output, and for several what follows
    `score_` (`sem` in `score_sem`). With `normalize` the loss is the mean over all labels but `ignore_label`,
    else their sum. Inputs and labels are Input layers, for one 500x500 image if the net gives no size; or,
    with `python_param` (`module`, `layer`, `param_str`), the tops, in this order, of that Python layer.

    Blobs are kept. Raises NetError for an output that has no labels or is already a softmax, and what
    `plan` raises.
    """
    planned = plan(sized(model_of(model).plan))
    labels = _labels(planned, labels)
    loss_param = _fields("LossParameter", {"ignore_label": ignore_label, "normalize": normalize})
    layers = list(planned.net.layers)
    for score, label in labels.items():
        maker = max(i for i, layer in enumerate(layers) if score in layer.tops)
        name = "loss" if len(labels) == 1 else f"loss{score.removeprefix('score')}"
        fields = Fields("LayerParameter", {"loss_param": loss_param})
        layers.insert(maker + 1, Layer(name, "SoftmaxWithLoss", (score, label), (name,), fields))
    fed = tuple(_fed(planned, labels) if python_param is None else [_python(planned, labels, python_param)])
    rest = tuple(layer for layer in layers if layer.type != "Input")
    return replace(planned.net, layers=(*fed, *rest))


def solver_prototxt(fields: Mapping[str, object]) -> str:
    """The text of a solver.prototxt: `fields` are SolverParameter's, enum values by name.

    >>> solver_prototxt({"net": "train.prototxt", "base_lr": 1e-10, "momentum": 0.99, "lr_policy": "fixed"})

    Raises NetError for a field that SolverParameter does not have, or a value of the wrong type.
    """
    return text(_message("SolverParameter", fields))


def _labels(planned: Plan, given: Mapping[str, str] | None) -> dict[str, str]:
    """The label blob of each output."""
    outputs = planned.outputs
    if given is None:
        named = ["label"] if len(outputs) == 1 else [output.removeprefix("score_") for output in outputs]
        given = dict(zip(outputs, named, strict=True))
    softmaxes = {top for layer in planned.net.layers if layer.type == "Softmax" for top in layer.tops}
    for output in outputs:
        if output in softmaxes:
            raise NetError(
                f"output '{output}' is a softmax, and the loss takes scores; leave its Softmax out"
            )
        if given.get(output, output) == output:
            raise NetError(
                f"output '{output}' has no labels; name them, as in labels={{'{output}': 'label'}}"
            )
    if unknown := sorted(set(given) - set(outputs)):
        raise NetError(f"labels are given for '{unknown[0]}', but the outputs are {', '.join(outputs)}")
    return {output: given[output] for output in outputs}


def _fed(planned: Plan, labels: Mapping[str, str]) -> Iterator[Layer]:
    """The Input layers of the net, and one for each label blob."""
    yield from (layer for layer in planned.net.layers if layer.type == "Input")
    shapes = {
        top: shape for step in planned.steps for top, shape in zip(step.layer.tops, step.tops, strict=True)
    }
    for label, score in {label: score for score, label in labels.items()}.items():
        shape = shapes[score]
        if shape is None or None in shape:
            raise NetError(
                f"'{label}': the size of '{score}' is not known; give python_param, or give Input a shape"
            )
        dim = Fields("BlobShape", {"dim": (shape[0], 1, *shape[2:])})
        fields = {"input_param": Fields("InputParameter", {"shape": (dim,)})}
        yield Layer(label, "Input", (), (label,), Fields("LayerParameter", fields))


def _python(planned: Plan, labels: Mapping[str, str], python_param: Mapping[str, str]) -> Layer:
    """The layer that makes inputs and labels, under the name of its first top, as pycaffe names it."""
    tops = tuple(dict.fromkeys((*planned.inputs, *labels.values())))
    fields = {"python_param": _fields("PythonParameter", python_param)}
    return Layer(tops[0], "Python", (), tops, Fields("LayerParameter", fields))


def _fields(kind: str, given: Mapping[str, object]) -> Fields:
    return freeze(_message(kind, given))


def _message(kind: str, given: Mapping[str, object]) -> Message:
    """A message of Caffe's schema; a value of None leaves its field out."""
    known = [field.name for field in schema.descriptor(kind).fields if field.number < schema.PRIVATE]
    message: Message = schema.message(kind)()
    for name, value in given.items():
        if name not in known:
            raise NetError(f"{kind} has no field '{name}'{_meant(name, known)}")
        try:
            message.MergeFrom(schema.message(kind)(**{name: value}))
        except (TypeError, ValueError) as error:
            raise NetError(f"{kind}: {name} cannot be {value!r}: {error}") from None
    return message


def _meant(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; is it '{close[0]}'?" if close else ""
