"""What a net of ours knows, and takes with it into every file: how its images were prepared, its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import caffe2torch as c2t
from fcn_repro.data.datasets import Labelling
from fcn_repro.data.transforms import prepared


def know(
    model: c2t.FCN | c2t.CaffeNet | c2t.Optimized, mean_bgr: Sequence[float], heads: Mapping[str, Labelling]
) -> None:
    """Has a model know what it does not know yet of a mean and of the labellings of a data set.

    An FCN that has another number of classes than a labelling does not get it.
    """
    labelled = labellings_of(model.outputs, heads)
    if isinstance(model, c2t.FCN | c2t.Optimized) and model.architecture is not None:
        counts = dict(zip(model.outputs, (head.classes for head in model.architecture.heads), strict=True))
        labelled = {name: known for name, known in labelled.items() if len(known.classes) == counts[name]}
    vars(model).update(
        preprocessing={**prepared(model.inputs, mean_bgr), **model.preprocessing},
        labellings={**labelled, **model.labellings},
    )


def labellings_of(outputs: Sequence[str], heads: Mapping[str, Labelling]) -> dict[str, Labelling]:
    """Labellings by output: "score_sem" predicts the head "sem", and a single output the first head."""
    if len(outputs) == 1:
        return dict(zip(outputs, heads.values(), strict=False))
    return {
        output: known
        for output in outputs
        for head, known in heads.items()
        if output == head or output.endswith(f"_{head}")
    }
