"""What a solver with `debug_info` logs of the iterations that it shows: mean absolute values by layer."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe2torch.pycaffe.logs import log
from caffe2torch.pycaffe.net_layers import NetLayer
from caffe2torch.pycaffe.running import Running


def debugged(running: Running) -> float:
    """A forward and a backward pass with a line for each blob that is computed; returns the loss."""
    layers = running.made.layers
    for index, own in enumerate(layers):
        running.forward(index, index)
        _log_forward(own)
    loss = running.loss(0, len(layers) - 1)
    for index in reversed(range(len(layers))):
        if layers[index].needs.backward:
            running.backward(index, index)
            _log_backward(layers[index])
    _log_norms(
        [learnable.blob.data_memory.tensor for learnable in running.made.learnable],
        [learnable.blob.fit_diff().tensor for learnable in running.made.learnable],
    )
    return loss


def _mean(values: Tensor) -> float:
    return float(values.abs().sum() / max(1, values.numel()))


def _log_forward(own: NetLayer) -> None:
    head = f"    [Forward] Layer {own.layer.name}, "
    for name, top in zip(own.layer.tops, own.tops, strict=True):
        log("net.cpp:583", f"{head}top blob {name} data: {_mean(top.data_memory.tensor):g}")
    for place, blob in enumerate(own.blobs):
        shared = own.layer.share_name(place) or str(place)
        log("net.cpp:595", f"{head}param blob {shared} data: {_mean(blob.data_memory.tensor):g}")


def _log_backward(own: NetLayer) -> None:
    head = f"    [Backward] Layer {own.layer.name}, "
    for name, bottom, asked in zip(own.layer.bottoms, own.bottoms, own.needs.bottoms, strict=True):
        if asked:
            log("net.cpp:606", f"{head}bottom blob {name} diff: {_mean(bottom.fit_diff().tensor):g}")
    for place, (blob, asked) in enumerate(zip(own.blobs, own.needs.parameters, strict=True)):
        if asked:
            log("net.cpp:616", f"{head}param blob {place} diff: {_mean(blob.fit_diff().tensor):g}")


def _log_norms(data: list[Tensor], diff: list[Tensor]) -> None:
    if not data:
        return
    one = [float(sum(x.abs().sum() for x in values)) for values in (data, diff)]
    two = [float(torch.stack([x.square().sum() for x in values]).sum().sqrt()) for values in (data, diff)]
    said = f"L1 norm = ({one[0]:g}, {one[1]:g}); L2 norm = ({two[0]:g}, {two[1]:g})"
    log("net.cpp:629", f"    [Backward] All net params (data, diff): {said}")
