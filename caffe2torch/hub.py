"""Models on Hugging Face's hub, or in folders of its form. Needs the extra `hub`.

>>> from caffe2torch.hub import HubNet
>>> model = HubNet.from_pretrained("voc-fcn8s")  # the folder that `fcn-convert … -o voc-fcn8s/` writes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from caffe2torch.blob import shape_problem
from caffe2torch.errors import MissingData, ReadError
from caffe2torch.formats.hub import planned
from caffe2torch.formats.safetensors import FORMAT_VERSION
from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.plan import Plan
from caffe2torch.plan.parameters import Parameter

try:
    from huggingface_hub import PyTorchModelHubMixin
except ImportError as error:
    raise MissingData(f"needs huggingface_hub: pip install huggingface_hub ({error})") from None


class HubNet(CaffeNet, PyTorchModelHubMixin, library_name="caffe2torch"):
    """The CaffeNet that a config defines, in eval mode.

    `net` is its definition as prototxt; `shapes` are those of its parameters by key; `diagonal` lists the
    keys of dense deconvolutions that are kept as their channel diagonal; `preprocessing` says for each input
    how an image was prepared (net/preprocessing.py), `labellings` for each output which classes there are
    (net/labelling.py). `from_pretrained` refuses tensors other than the net's. Raises ReadError for an
    impossible definition.
    """

    def __init__(
        self,
        net: str,
        shapes: Mapping[str, Sequence[int]],
        diagonal: Sequence[str] = (),
        preprocessing: dict[str, Any] | None = None,
        labellings: dict[str, Any] | None = None,
        format_version: str = FORMAT_VERSION,
    ) -> None:
        super().__init__(_shaped(planned(net, format_version), shapes, diagonal))
        known = Knowledge.from_data(preprocessing or {}, labellings or {})
        vars(self).update(vars(known))  # also beside a layer of that name

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **options: Any) -> HubNet:
        # The mixin's default leaves what a file lacks at its filler.
        model: HubNet = super()._from_pretrained(strict=strict, **options)
        return model


def _shaped(plan: Plan, shapes: Mapping[str, Sequence[int]], diagonal: Collection[str]) -> Plan:
    """The plan with its parameters in their stored shapes."""

    def shaped(parameter: Parameter) -> Parameter:
        shape = tuple(shapes.get(parameter.owner, ()))
        if problem := shape_problem(shape) or ("" if shape else "has no shape"):
            raise ReadError(f"parameter {parameter.owner!r}: {problem}")
        return replace(parameter, shape=shape, diagonal=parameter.owner in diagonal)

    steps = (replace(step, parameters=tuple(map(shaped, step.parameters))) for step in plan.steps)
    return replace(plan, steps=tuple(steps))
