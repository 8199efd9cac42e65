"""Whole nets as cases: forward and backward here and in Caffe, apart, and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from apart import Apart
from cases import Arrays, Case, differences, found, loss_of
from drawn_layers import Draw
from drawn_parts import drawn_net

import caffe2torch as c2t

Tensors = dict[str, torch.Tensor]


class NetCase(Case):
    """A net: its outputs and its blobs afterwards, and in phase TRAIN its loss and gradients."""

    def __init__(self, folder: Path, seed: int) -> None:
        draw = Draw(seed)
        super().__init__(folder, drawn_net(draw.getrandbits(32), draw.choice(("TRAIN", "TRAIN", "TEST"))))
        self.weights = draw.choice(("net.caffemodel", "net.caffemodel", "net.caffemodel.h5"))
        self.goes_back = draw.random() < 0.3
        unshared = draw.random() < 0.3
        self.differentiated = [
            blob for blob in self.net.inputs if self.net.force_backward and blob not in self.net.labels
        ]
        filled = "unshared.prototxt" if unshared else "net.prototxt"
        self.write(folder, self.net.inputs, **self._case(), filled=filled, weights=self.weights)
        (folder / "net.prototxt").write_text(str(self.net))
        if unshared:
            (folder / "unshared.prototxt").write_text(str(self.net.unshared()))

    def _case(self, **others: Any) -> dict[str, Any]:
        own = {
            "net": "net.prototxt",
            "phase": self.net.phase,
            "backward": self.net.phase == "TRAIN",
            "seed": 1,
        }
        return {**own, "differentiated": self.differentiated, **others}

    def _net(self) -> c2t.Net:
        weights = self.folder / self.weights
        return c2t.read(self.folder / "net.prototxt", weights if weights.exists() else None)

    def _model(self) -> c2t.CaffeNet:
        return c2t.build(self._net(), self.net.phase)

    def run(self, dtype: torch.dtype) -> Arrays:
        """As in_caffe/cases.py does."""
        model = self._model().to(dtype)
        inputs = {blob: torch.from_numpy(x.copy()).to(dtype) for blob, x in self.net.inputs.items()}
        for blob in self.differentiated:
            inputs[blob].requires_grad_()
        tops = model(**{blob: x for blob, x in inputs.items() if blob in model.inputs})
        blobs = {f"{i}.{j}": x for i, own in enumerate(model.blobs().values()) for j, x in enumerate(own)}
        here = {f"out.{blob}": top for blob, top in tops.items()}
        here |= {f"after.{key}": blob for key, blob in blobs.items()}
        if self.net.phase == "TRAIN":
            here |= self._learned(model, tops, inputs, blobs)
        return {key: tensor.detach().numpy().copy() for key, tensor in here.items()}

    def _learned(
        self, model: c2t.CaffeNet, tops: Tensors, inputs: Tensors, blobs: Tensors
    ) -> dict[str, torch.Tensor]:
        """The loss and the gradients."""
        loss = loss_of(model, tops)
        if loss.requires_grad:
            loss.backward()
        here = {"loss": loss}
        here |= {f"gin.{blob}": _gradient(inputs[blob]) for blob in self.differentiated}
        here |= {f"gparam.{key}": _gradient(blob) for key, blob in blobs.items()}
        return here

    def follow_up(self) -> None:
        """The net apart where something differs, and where nothing does, now and then what we write."""
        if differences(self.here, found(self.folder)):
            self._write_apart("apart", "")
            if any(x.kind == "Eltwise" and x.tops[0] in x.bottoms for x in self.net.layers):
                self._write_apart("eltwise", "Eltwise")
        elif self.goes_back:
            self._write_back()

    def _write_apart(self, name: str, kind: str) -> None:
        folder = self.folder / name
        self.write(folder, self.net.inputs, **self._case(filled="", weights=f"../{self.weights}"))
        (folder / "net.prototxt").write_text(str(Apart(self.net, kind).rewritten()))

    def _write_back(self) -> None:
        """What we write of the net: all of it, or in TEST what one deploys."""
        model, folder = self._model(), self.folder / "back"
        written = (
            model
            if self.net.phase == "TEST"
            else c2t.read(self.folder / "net.prototxt", self.folder / self.weights)
        )
        case = self._case(filled="", weights=self.weights, differentiated=[])
        self.write(folder, {blob: x for blob, x in self.net.inputs.items() if blob in model.inputs}, **case)
        for name in ("net.prototxt", self.weights):
            c2t.export(written, folder / name)


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
