"""A model's predictions for a data set: the class of each pixel, for whole images at their own size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import caffe2torch as c2t
from caffe2torch.errors import NetError
from fcn_repro.data.datasets import Dataset, Sample
from fcn_repro.data.png import label_png
from fcn_repro.data.read_ahead import read_ahead
from fcn_repro.data.transforms import Preparation, net_inputs
from fcn_repro.files import write
from fcn_repro.scoring.device import arithmetic

Predictions = Mapping[str, Tensor]
"""By head: the class of each pixel, uint8 (H, W), on the device."""

_Ready = tuple[Sample, dict[str, npt.NDArray[np.float32]]]


class Predictor:
    """A model, in eval mode on its device, and the data set whose images it sees.

    `model(blob=image)` takes float32 images (1, C, H, W), as `preparation` says, and returns scores
    (1, classes, H, W), or several of them by head; `model.inputs` names the blobs. Raises NetError for a
    classifier.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        preparation: Preparation,
        device: torch.device,
        precision: str = "fp32",
    ) -> None:
        self.model, self.dataset, self.device = model, dataset, device
        self.run = fast(model, precision)
        self.preparation = preparation
        if isinstance(model, c2t.CaffeNet):
            _refuse_classifier(model)

    def heads(self) -> tuple[str, ...]:
        """The labellings of the data set that the model predicts, found by running it on one image."""
        return tuple(self.predict(*self._read(0)))

    def predictions(self, indices: Sequence[int]) -> Iterator[tuple[Sample, Predictions]]:
        """Samples by index with what the model predicts; the next ones are read ahead."""
        for sample, inputs in read_ahead(self._read, indices):
            yield sample, self.predict(sample, inputs)

    def predict(self, sample: Sample, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Predictions:
        """The classes of one image's pixels; ties go to the lower class.

        Raises NetError for scores that do not fit the data set, or are not finite.
        """
        tensors = {blob: torch.from_numpy(image)[None].to(self.device) for blob, image in inputs.items()}
        scores = by_head(self.run(**tensors), tuple(self.dataset.heads))
        for head, score in scores.items():
            expected = (1, len(self.dataset.heads[head].classes), *sample.image_hwc.shape[:2])
            if tuple(score.shape) != expected:
                raise NetError(
                    f"{sample.id}: the model scores {head!r} as {tuple(score.shape)}, {self.dataset.name} "
                    f"needs {expected} (N, classes, H, W)"
                )
            if not torch.isfinite(score).all():
                raise NetError(f"{sample.id}: the model's scores of {head!r} are not finite")
        # max finds the first of equal scores, as argmax does, in a quarter of the time.
        return {head: score[0].max(0).indices.to(torch.uint8) for head, score in scores.items()}

    def _read(self, index: int) -> _Ready:
        sample = self.dataset[index]
        return sample, net_inputs(sample, self.model.inputs, self.preparation)  # type: ignore[arg-type]


def fast(model: nn.Module, precision: str) -> Callable[..., Tensor | Mapping[str, Tensor]]:
    """A model of the converter without what no image can change; another as it is."""
    if isinstance(model, c2t.FCN | c2t.CaffeNet):
        return c2t.optimize(model, precision="bf16" if precision == "bf16" else "fp32")
    return model


def _refuse_classifier(model: c2t.CaffeNet) -> None:
    """Raises NetError for a net that does not score pixels, whatever sizes of image it takes."""
    shapes = {
        top: shape for step in model.plan.steps for top, shape in zip(step.layer.tops, step.tops, strict=True)
    }
    for blob in model.plan.outputs:
        shape = shapes.get(blob)
        if shape is not None and len(shape) != 4:
            sizes = ", ".join(["N", *(str(size or "?") for size in shape[1:])][: len(shape)])
            raise NetError(
                f"net {model.plan.net.name!r}: output {blob!r} is ({sizes}), as a classifier's; only a net "
                f"that scores each pixel, (N, classes, H, W), predicts a segmentation"
            )


def by_head(output: Tensor | Mapping[str, Tensor], heads: Sequence[str]) -> dict[str, Tensor]:
    """A model's output by the labellings of a data set: "score_sem" is what it predicts for "sem".

    A single output is the first head's, whatever its name. Raises NetError if they do not match.
    """
    outputs = {"": output} if isinstance(output, Tensor) else dict(output)
    if len(outputs) == 1:
        return {heads[0]: next(iter(outputs.values()))}
    found = {head: [name for name in outputs if name == head or name.endswith(f"_{head}")] for head in heads}
    if len(outputs) != len(heads) or any(len(names) != 1 for names in found.values()):
        raise NetError(
            f"the model's outputs are {', '.join(outputs)}; the labellings to predict are {', '.join(heads)}"
        )
    return {head: outputs[name] for head, (name,) in found.items()}


class PredictionFolder:
    """Where predictions are kept as palette PNGs: ID.png, or HEAD/ID.png if there are several heads."""

    def __init__(self, folder: Path, dataset: Dataset, heads: Sequence[str]) -> None:
        self.folder, self._dataset, self._heads = folder, dataset, tuple(heads)

    def paths(self, identifier: str) -> Mapping[str, Path]:
        """The files of an image, by head."""
        several = len(self._heads) > 1
        folders = {head: self.folder / head if several else self.folder for head in self._heads}
        return {head: folder / f"{identifier}.png" for head, folder in folders.items()}

    def save(self, identifier: str, predictions: Predictions) -> None:
        """Writes an image's files. Raises WriteError."""
        for head, path in self.paths(identifier).items():
            label = predictions[head].cpu().numpy()
            write(path, label_png(label, self._dataset.heads[head].palette))


@contextmanager
def inference(model: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Inside, the model is on the device, in eval mode, at this precision, without gradients."""
    training, before = model.training, next(iter(model.parameters()), torch.empty(0)).device
    model.to(device).eval()
    try:
        with arithmetic(precision, device), torch.inference_mode():
            yield
    finally:
        model.to(before).train(training)


def model_sha256(model: nn.Module) -> str:
    """A hash of the model's class and state: names, types, shapes and values."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
