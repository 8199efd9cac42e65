"""The outputs of a net as log lines, element by element, and their means over several batches."""

from __future__ import annotations

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.pycaffe.logs import is_on, log
from caffe2torch.pycaffe.net import Net


def weighted(net: Net, name: str, value: float) -> str:
    """What a log line says of an output that counts in the loss."""
    weight = net.blob_loss_weights[name]
    return f" (* {weight:g} = {weight * value:g} loss)" if weight else ""


def log_outputs(net: Net, kind: str) -> None:
    """A line for each element of each output, numbered through."""
    if not is_on():
        return
    place = 0
    for name in net.outputs:
        for value in values_of(net, name):
            head = f"    {kind} net output #{place}: {name} = {value:g}"
            log("solver.cpp:258", head + weighted(net, name, value))
            place += 1


def log_batch(net: Net, batch: int) -> None:
    """A line for each element of each output, as `c2t-caffe test` has it."""
    if is_on():
        for name in net.outputs:
            for value in values_of(net, name):
                log("caffe.cpp:304", f"Batch {batch}, {name} = {value:g}")


def values_of(net: Net, name: str) -> Array:
    """The values of a blob in 1-D, on the CPU."""
    return net.blobs[name].data_memory.tensor.detach().cpu().numpy().reshape(-1)


class Averages:
    """Sums of all outputs, element by element, in float32 as Caffe adds."""

    def __init__(self, net: Net) -> None:
        self.net, self.count = net, 0
        self.sums: dict[str, Array] = {}

    def take(self) -> None:
        """Adds what the outputs hold now."""
        self.count += 1
        for name in self.net.outputs:
            values = values_of(self.net, name)
            self.sums[name] = values.copy() if self.count == 1 else self.sums[name] + values

    def log(self, source: str, form: str) -> None:
        """A line for each mean; `form` may name {place}, {name}, {value} and {weighted}."""
        place = 0
        for name, sums in self.sums.items():
            for value in sums / np.float32(self.count):
                said = weighted(self.net, name, value)
                log(source, form.format(place=place, name=name, value=value, weighted=said))
                place += 1
