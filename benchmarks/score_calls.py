"""The calls of other libraries that score a segmentation, for scores.py.

Each takes images, as pairs of a label and a prediction (H, W), uint8, void as 255, and returns one number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

VOID = 255
PIXELS, ACCURACY, MEAN, LABELLED, WEIGHTED = (
    *("pixel acc.", "mean acc.", "mean IU", "mean IU, labelled", "f.w. IU"),
)
Images = Sequence[tuple[Any, Any]]


class Call(NamedTuple):
    """A call as one writes it, the one of our scores that it is compared with, and the call itself."""

    code: str
    meant: str
    score: Callable[[Images], float]


class Library(NamedTuple):
    """A library as pip names it, in the version that was tried; its calls for a number of classes."""

    pinned: str
    calls: Callable[[int], list[Call]]


def tensors(images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and predictions as int64 (N, H, W)."""
    label, prediction = (torch.from_numpy(np.stack(x).astype(np.int64)) for x in zip(*images, strict=True))
    return label, prediction


def one_hot(values: torch.Tensor, classes: int) -> torch.Tensor:
    """(N, H, W) as (N, classes, H, W), float32. Raises RuntimeError for a value that is no class."""
    return torch.nn.functional.one_hot(values, classes).permute(0, 3, 1, 2).float()


def without_void(images: Images) -> tuple[Any, Any]:
    """The labels and predictions of the pixels that are not void, as vectors."""
    label, prediction = (np.concatenate([x.ravel() for x in xs]) for xs in zip(*images, strict=True))
    return label[label != VOID], prediction[label != VOID]


def torchmetrics(classes: int) -> list[Call]:
    """Metrics with a state, updated image by image."""
    from torchmetrics import Accuracy, JaccardIndex
    from torchmetrics.segmentation import MeanIoU

    def of(kind: Any, options: dict[str, Any], images: Images) -> float:
        metric = kind(num_classes=classes, **options)
        for image in images:
            label, prediction = tensors([image])
            metric.update(prediction, label)
        return float(metric.compute().mean())

    def call(code: str, meant: str, kind: Any, **options: Any) -> Call:
        return Call(code, meant, partial(of, kind, options))

    jaccard, accuracy = (partial(kind, task="multiclass") for kind in (JaccardIndex, Accuracy))
    void: dict[str, Any] = {"ignore_index": VOID}
    return [
        call("JaccardIndex(ignore_index=255)", MEAN, jaccard, **void),
        call("JaccardIndex()", MEAN, jaccard),
        call("JaccardIndex(ignore_index=0)", MEAN, jaccard, ignore_index=0),
        call('JaccardIndex(ignore_index=255, average="none").mean()', MEAN, jaccard, **void, average="none"),
        call('JaccardIndex(ignore_index=255, average="micro")', MEAN, jaccard, **void, average="micro"),
        call(
            'JaccardIndex(ignore_index=255, average="weighted")',
            WEIGHTED,
            jaccard,
            **void,
            average="weighted",
        ),
        call('segmentation.MeanIoU(input_format="index")', MEAN, MeanIoU, input_format="index"),
        call('Accuracy(ignore_index=255, average="micro")', PIXELS, accuracy, **void, average="micro"),
        call('Accuracy(ignore_index=255, average="macro")', ACCURACY, accuracy, **void, average="macro"),
    ]


def scikit_learn(classes: int) -> list[Call]:
    """Functions of two vectors, here of the pixels that are not void."""
    from sklearn import metrics

    def call(code: str, meant: str, **options: Any) -> Call:
        function = getattr(metrics, code.partition("(")[0])
        return Call(code, meant, lambda images: function(*without_void(images), **options))

    labels = range(classes)
    return [
        call('jaccard_score(average="macro")', MEAN, average="macro"),
        call('jaccard_score(average="macro", labels=range(K))', MEAN, average="macro", labels=labels),
        call('jaccard_score(average="weighted")', WEIGHTED, average="weighted"),
        call("accuracy_score()", PIXELS),
        call("balanced_accuracy_score()", ACCURACY),
        call('recall_score(average="macro")', ACCURACY, average="macro"),
    ]


def keras(classes: int) -> list[Call]:
    """A metric with a state."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras.metrics import MeanIoU

    def of(options: dict[str, Any], images: Images) -> float:
        metric = MeanIoU(num_classes=classes, **options)
        for label, prediction in images:
            metric.update_state(label.astype(np.int64), prediction.astype(np.int64))
        return float(metric.result())

    return [
        Call("MeanIoU(ignore_class=255)", MEAN, partial(of, {"ignore_class": VOID})),
        Call("MeanIoU()", MEAN, partial(of, {})),
        Call("MeanIoU(ignore_class=0)", MEAN, partial(of, {"ignore_class": 0})),
    ]


def ignite(classes: int) -> list[Call]:
    """Functions of its confusion matrix, which takes scores and labels."""
    from ignite.metrics import ConfusionMatrix, IoU, mIoU
    from ignite.metrics.confusion_matrix import cmAccuracy, cmRecall

    def of(kind: Any, images: Images) -> float:
        metric = kind(ConfusionMatrix(classes))
        for image in images:
            label, prediction = tensors([image])
            metric.update((one_hot(prediction, classes), label))
        return float(metric.compute().mean())

    calls = {
        "mIoU(ConfusionMatrix(K))": (MEAN, mIoU),
        "IoU(ConfusionMatrix(K)).mean()": (MEAN, IoU),
        "cmAccuracy(ConfusionMatrix(K))": (PIXELS, cmAccuracy),
        "cmRecall(ConfusionMatrix(K), average=False).mean()": (ACCURACY, partial(cmRecall, average=False)),
    }
    return [Call(code, meant, partial(of, kind)) for code, (meant, kind) in calls.items()]


def segmentation_models_pytorch(classes: int) -> list[Call]:
    """Functions of the counts that get_stats makes of the whole test set."""
    from segmentation_models_pytorch import metrics

    def call(code: str, meant: str, ignore: int | None = VOID, **options: Any) -> Call:
        function = getattr(metrics, code.partition("(")[0])

        def of(images: Images) -> float:
            label, prediction = tensors(images)
            counts = metrics.get_stats(
                prediction, label, mode="multiclass", num_classes=classes, ignore_index=ignore
            )
            return float(function(*counts, **options))

        return Call(code, meant, of)

    macro = {"reduction": "macro"}
    return [
        call('iou_score(reduction="macro")', MEAN, **macro),
        call('iou_score(reduction="macro", zero_division=0)', MEAN, **macro, zero_division=0),
        call('iou_score(reduction="macro"), no ignore_index', MEAN, None, **macro),
        call('iou_score(reduction="macro-imagewise")', MEAN, reduction="macro-imagewise"),
        call('iou_score(reduction="micro")', MEAN, reduction="micro"),
        call('recall(reduction="micro")', PIXELS, reduction="micro"),
        call('recall(reduction="macro")', ACCURACY, **macro),
        call('accuracy(reduction="micro")', PIXELS, reduction="micro"),
        call('accuracy(reduction="macro")', ACCURACY, **macro),
    ]


def monai(classes: int) -> list[Call]:
    """Metrics of one-hot tensors (N, K, H, W); void cannot be written so."""
    from monai.metrics import ConfusionMatrixMetric, MeanIoU

    def of(kind: Any, options: dict[str, Any], images: Images) -> float:
        metric = kind(**options)
        label, prediction = tensors(images)
        metric(one_hot(prediction, classes), one_hot(label, classes))
        found = metric.aggregate()
        return float(found[0] if isinstance(found, list) else found)

    def call(code: str, meant: str, kind: Any, **options: Any) -> Call:
        return Call(code, meant, partial(of, kind, options))

    return [
        call("MeanIoU()", LABELLED, MeanIoU),
        call("MeanIoU(ignore_empty=False)", MEAN, MeanIoU, ignore_empty=False),
        *(
            call(f'ConfusionMatrixMetric("{name}")', PIXELS, ConfusionMatrixMetric, metric_name=name)
            for name in ("sensitivity", "accuracy")
        ),
    ]


def kornia(classes: int) -> list[Call]:
    """A function of label maps, with a row for each image."""
    from kornia.metrics import mean_iou

    def of(images: Images) -> float:
        label, prediction = tensors(images)
        return float(mean_iou(prediction, label, classes).mean())

    return [Call("mean_iou(...).mean()", MEAN, of)]


def mmsegmentation(classes: int) -> list[Call]:
    """IoUMetric: areas by image, summed."""
    from mmseg.evaluation import IoUMetric

    def of(score: str, options: dict[str, Any], images: Images) -> float:
        areas = [
            IoUMetric.intersect_and_union(prediction[0], label[0], classes, VOID)
            for label, prediction in (tensors([image]) for image in images)
        ]
        sums = [sum(area) for area in zip(*areas, strict=True)]
        return float(np.nanmean(IoUMetric.total_area_to_metrics(*sums, ["mIoU"], **options)[score]))

    return [
        Call("IoUMetric(), mIoU", MEAN, partial(of, "IoU", {})),
        Call("IoUMetric(nan_to_num=0), mIoU", MEAN, partial(of, "IoU", {"nan_to_num": 0})),
        Call("IoUMetric(), aAcc", PIXELS, partial(of, "aAcc", {})),
        Call("IoUMetric(), mAcc", ACCURACY, partial(of, "Acc", {})),
    ]


LIBRARIES = {
    "torchmetrics": Library("torchmetrics==1.9.0", torchmetrics),
    "mmsegmentation": Library("mmsegmentation==1.2.2", mmsegmentation),
    "scikit-learn": Library("scikit-learn==1.9.1", scikit_learn),
    "keras": Library("keras==3.15.1", keras),
    "ignite": Library("pytorch-ignite==0.5.5", ignite),
    "smp": Library("segmentation-models-pytorch==0.6.0", segmentation_models_pytorch),
    "monai": Library("monai==1.6.1", monai),
    "kornia": Library("kornia==0.9.0", kornia),
}
