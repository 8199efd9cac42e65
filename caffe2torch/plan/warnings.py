"""What may make a net useless though it can be converted: said, and no reason to refuse it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.plan import Plan

_PIECE = 1 << 20
"""Values looked at together, to bound the memory."""


def warnings_of(plan: Plan) -> tuple[str, ...]:
    """One line for each layer left at Caffe's filler, though the net has weights, and for each odd blob."""
    return (*_left_at_filler(plan), *_not_finite(plan))


def _left_at_filler(plan: Plan) -> Iterator[str]:
    if not plan.net.weights:
        return
    for step in plan.steps:
        missing = [str(i) for i, p in enumerate(step.parameters) if p.blob is None and p.owner == p.key]
        if missing:
            blobs = f"blob {missing[0]}" if len(missing) == 1 else f"blobs {', '.join(missing)}"
            yield f"layer {step.layer.name!r} ({step.layer.type}): {blobs} left at Caffe's filler"


def _not_finite(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        for position, parameter in enumerate(step.parameters):
            if parameter.blob is None or parameter.blob.values is None or parameter.owner != parameter.key:
                continue
            values = parameter.blob.values()
            pieces = (values[at : at + _PIECE] for at in range(0, values.size, _PIECE))
            odd = [(np.isnan(x).sum(), np.isinf(x).sum()) for x in pieces if _may_be_odd(x)]
            nans, infinite = (sum(counts) for counts in zip(*odd, strict=True)) if odd else (0, 0)
            found = [f"{n} {what}" for n, what in ((nans, "NaN"), (infinite, "infinite")) if n]
            if found:
                layer = f"layer {step.layer.name!r} ({step.layer.type})"
                yield f"{layer}: {' and '.join(found)} among the {values.size} values of blob {position}"


def _may_be_odd(values: Array) -> bool:
    """Whether values may hold NaN or infinity, which their sum then is; it is the fastest look at them."""
    with np.errstate(over="ignore", invalid="ignore"):
        return not np.isfinite(values.sum())
