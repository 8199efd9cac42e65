"""DetectionOutput's choice of boxes in ONNX's operators: TopK, NonMaxSuppression and again TopK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

FLOAT, INT64 = 1, 7
"""Of TensorProto."""


def detections(op: Any) -> Callable[..., Any]:
    """The translation of torch.ops.caffe2torch.detections for torch's exporter, by onnxscript's operators.

    The order is SSD's: image by image, label by label, the most confident first. Of equal scores TopK has the
    first one first, as ONNX says; OpenVINO's has not, so that nothing but scores is sorted with equal values.
    """

    # The exporter evaluates the annotations, so they must be names that exist at run time.
    def rows(
        boxes: Any,
        scores: Any,
        labels: Sequence[int],
        least: float | None,
        overlap: float,
        best: int,
        most: int,
    ) -> Any:
        priors = op.Shape(scores, start=1, end=2)
        count = priors if best < 0 else op.Min(priors, _ints(op, best))
        flat = op.Concat(_ints(op, -1), priors, axis=0)  # every label of every image for itself
        scores_of = op.Reshape(op.Transpose(scores, perm=[0, 2, 1]), flat)
        boxes_of = op.Transpose(boxes, perm=[0, 2, 1, 3])
        boxes_of = op.Reshape(boxes_of, op.Concat(flat, _ints(op, 4), axis=0))
        scores_of, places = op.TopK(scores_of, count, axis=1)
        boxes_of = op.GatherND(boxes_of, op.Unsqueeze(places, _ints(op, -1)), batch_dims=1)
        chosen = op.NonMaxSuppression(
            _without_swapped(op, boxes_of),
            op.Unsqueeze(scores_of, _ints(op, 1)),
            count,
            op.Constant(value_floats=[min(overlap, 1.0)]),
            *([] if least is None else [op.Constant(value_floats=[least])]),
        )
        own, place = (op.Gather(chosen, op.Constant(value_int=column), axis=1) for column in (0, 2))
        order = _rising(op, op.Add(op.Mul(own, count), place))
        own, place = op.Gather(own, order), op.Gather(place, order)
        where = op.Concat(*(op.Unsqueeze(x, _ints(op, 1)) for x in (own, place)), axis=1)
        image = op.Div(own, _ints(op, len(labels)))
        label = op.Gather(_ints(op, *labels), op.Mod(own, _ints(op, len(labels))))
        score = op.GatherND(scores_of, where)
        columns = [op.Cast(image, to=FLOAT), op.Cast(label, to=FLOAT), score]
        columns = [op.Unsqueeze(column, _ints(op, 1)) for column in columns]
        found = op.Concat(*columns, op.GatherND(boxes_of, where), axis=1)
        images = op.Shape(boxes, start=0, end=1)
        if most > -1:
            found = op.Gather(found, _most(op, image, score, images, most), axis=0)
        return op.Unsqueeze(_or_nothing(op, found, images), _ints(op, 0, 1))

    return rows


def _without_swapped(op: Any, boxes: Any) -> Any:
    """Boxes whose ends are swapped cover nothing, as in SSD; ONNX would swap the ends again."""
    start, end = op.Gather(boxes, _ints(op, 0, 1), axis=2), op.Gather(boxes, _ints(op, 2, 3), axis=2)
    return op.Concat(start, op.Max(start, end), axis=2)


def _most(op: Any, image: Any, score: Any, images: Any, most: int) -> Any:
    """The places of the `most` highest scores of each image."""
    zero, one, detections = op.Constant(value_int=0), op.Constant(value_int=1), op.Shape(score)
    best, rank = op.TopK(score, detections, axis=0)[1], op.Range(zero, op.Squeeze(detections), one)
    by_image = op.Add(op.Mul(op.Gather(image, best), detections), rank)  # and by score in it
    order = op.Gather(best, _rising(op, by_image))
    numbers = op.Range(zero, op.Squeeze(images), one)
    is_of = op.Cast(op.Equal(op.Unsqueeze(numbers, _ints(op, 1)), image), to=INT64)  # (N, detections)
    counts = op.ReduceSum(is_of, _ints(op, 1), keepdims=0)
    first = op.CumSum(counts, zero, exclusive=1)
    rank_in_image = op.Sub(rank, op.Gather(first, op.Gather(image, order)))
    kept = op.Compress(order, op.Less(rank_in_image, _ints(op, most)), axis=0)
    return op.Gather(kept, _rising(op, kept))


def _or_nothing(op: Any, rows: Any, images: Any) -> Any:
    """The rows, or where there are none, SSD's one of -1 for each image, after its number."""
    zero, one = (op.Constant(value_int=value) for value in (0, 1))
    numbers = op.Cast(op.Range(zero, op.Squeeze(images), one), to=FLOAT)
    rest = op.Expand(op.Constant(value_floats=[-1.0]), op.Concat(images, _ints(op, 6), axis=0))
    nothing = op.Concat(op.Unsqueeze(numbers, _ints(op, 1)), rest, axis=1)
    found = op.Shape(rows, start=0, end=1)
    wanted = op.Where(op.Equal(found, _ints(op, 0)), images, found)
    return op.Slice(op.Concat(rows, nothing, axis=0), _ints(op, 0), wanted, _ints(op, 0))


def _rising(op: Any, values: Any) -> Any:
    """The order that sorts integers, no two of which are equal."""
    return op.TopK(values, op.Shape(values), axis=0, largest=0)[1]


def _ints(op: Any, *values: int) -> Any:
    return op.Constant(value_ints=list(values))
