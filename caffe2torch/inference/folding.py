"""BatchNorm, Scale and Bias folded into the convolutions before them: one pass over the values, not four.

s (W x + b) + t is (s W) x + (s b + t), channel by channel; each product is rounded once, from float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, count

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import FLOAT32, Array, Blob
from caffe2torch.layers.caffe.convolution import Convolution
from caffe2torch.plan import Plan, Step
from caffe2torch.plan.parameters import Parameter


def folded(plan: Plan) -> Plan:
    """The plan, for inference, without the layers that convolutions can do with other weights."""
    if plan.phase != "TEST" or any(step.overwrites for step in plan.steps):
        return plan
    into = _into(plan)
    chains: dict[int, list[Step]] = {}
    for place, convolution in into.items():
        chains.setdefault(convolution, []).append(plan.steps[place])
    steps = (
        _with(step, chains[place]) if place in chains else step
        for place, step in enumerate(plan.steps)
        if place not in into
    )
    return replace(plan, steps=tuple(steps))


def _into(plan: Plan) -> dict[int, int]:
    """The places of the layers to fold, in the net's order, and those of their convolutions."""
    names, reads, makes = dict[str, int](), list[list[int]](), list[list[int]]()
    numbers = count()
    for step in plan.steps:
        reads.append([names[bottom] for bottom in step.layer.bottoms])
        makes.append([next(numbers) for _ in step.layer.tops])
        names |= zip(step.layer.tops, makes[-1], strict=True)
    readers = Counter(chain.from_iterable(reads))
    readers.update(names[name] for name in plan.outputs)
    shared = {p.owner for step in plan.steps for p in step.parameters if p.owner != p.key}
    made_by, found = dict[int, int](), dict[int, int]()
    for place, (step, bottoms) in enumerate(zip(plan.steps, reads, strict=True)):
        if any(p.blob is None or p.owner != p.key or p.key in shared for p in step.parameters):
            continue
        if step.converter.is_affine and bottoms[0] in made_by and readers[bottoms[0]] == 1:
            found[place] = made_by[makes[place][0]] = made_by[bottoms[0]]
        elif isinstance(step.converter, Convolution) and step.converter.is_linear and len(bottoms) == 1:
            made_by[makes[place][0]] = place
    return found


def _with(step: Step, after: Sequence[Step]) -> Step:
    """A convolution that does what the layers after it do."""
    weight, *biases = step.parameters
    channels, _, *kernel = weight.read().shape
    factor, shift = _affine((channels, *(1 for _ in kernel)), after)
    bias = factor * biases[0].read() + shift if biases else shift
    own = step.layer.fields.convolution_param.replace(bias_term=True)
    layer = replace(
        step.layer, fields=step.layer.fields.replace(convolution_param=own), tops=after[-1].layer.tops
    )
    return replace(
        step,
        layer=layer,
        converter=type(step.converter)(layer, step.converter.bottoms),
        parameters=(_scaled(weight, factor), _bias(step, bias)),
    )


def _affine(top: tuple[int, ...], steps: Sequence[Step]) -> tuple[Array, Array]:
    """The factor and the shift of each channel in float64, by what the layers make of 0 and of 1."""
    x = torch.stack([torch.zeros(top, dtype=torch.float64), torch.ones(top, dtype=torch.float64)])
    for step in steps:
        blobs = {p.name: torch.from_numpy(np.array(p.read(), np.float64)) for p in step.parameters}
        x = torch.as_tensor(step.converter.forward(x, **blobs))
    shift, whole = x.flatten(1).numpy()
    return whole - shift, shift


def _scaled(weight: Parameter, factor: Array) -> Parameter:
    shape = weight.read().shape

    def values() -> Array:
        return (weight.read().reshape(len(factor), -1) * factor[:, None]).astype(np.float32).reshape(-1)

    return replace(weight, blob=Blob(shape, FLOAT32, values))


def _bias(step: Step, values: Array) -> Parameter:
    key = f"{step.key}.bias"
    blob = Blob.of(values.astype(np.float32))
    return Parameter(key, blob.shape, blob, None, key, diagonal=False, trained=False, statistics=False)
