"""Net: Caffe's, as pycaffe gives it to scripts."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.feeding.memory import MemoryData
from caffe2torch.net import Net as Definition
from caffe2torch.pycaffe.arguments import net_arguments
from caffe2torch.pycaffe.blob import Blob, BlobVec
from caffe2torch.pycaffe.definition import State, filtered, read_definition
from caffe2torch.pycaffe.net_layers import SourceLayer
from caffe2torch.pycaffe.python_layer import PythonLayer
from caffe2torch.pycaffe.running import Hook, Running
from caffe2torch.pycaffe.storing import copy_blobs, save, save_hdf5, share_blobs


class Net:
    """A net of a phase: TRAIN (0) or TEST (1), `Net(file, phase)` or `Net(file, weights, phase)`.

    `blobs` and `params` are live: what is written to their arrays is what the net computes with next.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        """Takes network_file, phase, level, stages and weights, by place or by name.

        Raises TypeError for arguments that pycaffe does not take, RuntimeError for a file that is not there,
        and the errors of this package where Caffe would abort.
        """
        asked = net_arguments(given, named)
        for path in (asked.file, asked.weights):
            if path is not None and not os.access(path, os.R_OK):
                raise RuntimeError(f"Could not open file {path}")
        definition, own = read_definition(asked.file)
        self._start(definition, State(asked.phase, asked.level, (*own.stages, *asked.stages)))
        if asked.weights is not None:
            self.copy_from(asked.weights)

    @classmethod
    def of(cls, definition: Definition, state: State) -> Net:
        """The net of a state."""
        net = cls.__new__(cls)
        net._start(definition, state)
        return net

    def _start(self, definition: Definition, state: State) -> None:
        self._definition = filtered(definition, state)
        self._phase = state.phase or "TEST"
        self._running = Running(self._definition, state)
        made = self._running.made
        self._layers = [own.instance if isinstance(own, PythonLayer) else own for own in made.layers]
        self._blobs = OrderedDict(zip(made.blob_names, made.blobs, strict=True))
        names = self._layer_names
        with_blobs = [(name, own.blobs) for name, own in zip(names, made.layers, strict=True) if own.blobs]
        self._params: OrderedDict[str, BlobVec] = OrderedDict(with_blobs)
        self._layer_dict = OrderedDict(zip(names, self._layers, strict=True))
        self._loss_weights = OrderedDict(zip(made.blob_names, made.loss_weights, strict=True))
        self._bottom_names = OrderedDict((own.layer.name, list(own.layer.bottoms)) for own in made.layers)
        self._top_names = OrderedDict((own.layer.name, list(own.layer.tops)) for own in made.layers)

    @property
    def blobs(self) -> OrderedDict[str, Blob]:
        """The blobs by name, with the copies that Splits make, in the net's order."""
        return self._blobs

    @property
    def params(self) -> OrderedDict[str, BlobVec]:
        """The parameters of the layers that have any, by layer."""
        return self._params

    @property
    def layers(self) -> Sequence[Any]:
        """The layers: each has `type` and `blobs`; a Python layer is the user's own object."""
        return self._layers

    @property
    def layer_dict(self) -> OrderedDict[str, Any]:
        """The layers by name."""
        return self._layer_dict

    @property
    def inputs(self) -> list[str]:
        """The tops of Input layers, as declared."""
        return list(self._running.made.inputs)

    @property
    def outputs(self) -> list[str]:
        """The blobs that nothing reads, sorted by their bytes."""
        return list(self._running.made.outputs)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """The tops of each layer, by layer."""
        return self._top_names

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """The bottoms of each layer, by layer."""
        return self._bottom_names

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """How much each blob counts in the loss, by blob."""
        return self._loss_weights

    @property
    def _layer_names(self) -> list[str]:
        return [own.layer.name for own in self._running.made.layers]

    @property
    def _blob_names(self) -> list[str]:
        return list(self._running.made.blob_names)

    def _index(self, layer: str) -> int:
        return self._layer_names.index(layer)

    def _forward(self, start: int, end: int) -> float:
        """Runs layers by their indices, both included; returns the loss, weights included."""
        self._running.forward(start, end)
        return self._running.loss(start, end)

    def _backward(self, start: int, end: int) -> None:
        """Runs layers backward by their indices, from `start` down to `end`, both included."""
        self._running.backward(start, end)

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: Array,
    ) -> dict[str, Array]:
        """Runs the layers from `start` to `end`, both included; all by default.

        `inputs` are all of the net's inputs, by name. Returns views of the outputs, or of the tops of `end`,
        and of `blobs`, by name. Raises Exception for other inputs, ValueError for unknown layers and KeyError
        for unknown blobs.
        """
        first = 0 if start is None else self._index(start)
        last = len(self._layers) - 1 if end is None else self._index(end)
        names = self._running.made.outputs if end is None else self._top_names[end]
        if inputs:
            self._feed(inputs)
        self._running.forward(first, last)
        return {name: self._blobs[name].data for name in {*names, *(blobs or ())}}

    def _feed(self, inputs: Mapping[str, Array]) -> None:
        if set(inputs) != set(self._running.made.inputs):
            raise Exception(
                f"the net takes the inputs {', '.join(self.inputs) or 'none'}; given: {', '.join(inputs)}"
            )
        for name, values in inputs.items():
            blob = self._blobs[name]
            if values.shape[0] != blob.shape[0]:
                raise Exception(
                    f"input {name!r} has {values.shape[0]} items, its blob {blob.shape[0]}: reshape it first"
                )
            blob.data[...] = values

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **tops: Array,
    ) -> dict[str, Array]:
        """Runs the layers backward from `start` down to `end`, both included; all by default.

        `tops` are the diffs of all of the net's outputs, by name. Returns views of the diffs of the inputs,
        or of the bottoms of `end`, and of `diffs`, by name. Raises Exception for diffs of other blobs.
        """
        first = len(self._layers) - 1 if start is None else self._index(start)
        last = 0 if end is None else self._index(end)
        names = self._running.made.inputs if end is None else self._bottom_names[end]
        if tops and set(tops) != set(self._running.made.outputs):
            raise Exception(
                f"the net has the outputs {', '.join(self.outputs)}; given diffs of: {', '.join(tops)}"
            )
        for name, values in tops.items():
            blob = self._blobs[name]
            if values.shape[0] != blob.shape[0]:
                raise Exception(f"the diff of {name!r} has {values.shape[0]} items, {blob.shape[0]} are due")
            blob.diff[...] = values
        self._running.backward(first, last)
        return {name: self._blobs[name].diff for name in {*names, *(diffs or ())}}

    def forward_all(self, blobs: Sequence[str] | None = None, **inputs: Array) -> dict[str, Array]:
        """`forward` on any number of items, batch by batch; returns copies of all outputs and `blobs`.

        A last batch that is not full is filled up with zeros, whose results are cut off.
        """
        parts: dict[str, list[Array]] = {name: [] for name in {*self.outputs, *(blobs or ())}}
        for batch in self._batches(inputs):
            found = self.forward(blobs, None, None, **batch)
            for name, values in found.items():
                parts[name].append(values.copy())
        return _joined(parts, inputs)

    def forward_backward_all(
        self, blobs: Sequence[str] | None = None, diffs: Sequence[str] | None = None, **given: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """`forward` and `backward` on any number of items, batch by batch: all outputs, and all diffs.

        `given` are inputs, and diffs of outputs, by name.
        """
        outs: dict[str, list[Array]] = {name: [] for name in {*self.outputs, *(blobs or ())}}
        grads: dict[str, list[Array]] = {name: [] for name in {*self.inputs, *(diffs or ())}}
        nothing: dict[str, Array] = {}
        forward = self._batches({name: given[name] for name in self.inputs if name in given})
        backward = self._batches({name: given[name] for name in self.outputs if name in given})
        for inputs, tops in zip_longest(forward, backward, fillvalue=nothing):
            for name, values in self.forward(blobs, None, None, **inputs).items():
                outs[name].append(values.copy())
            for name, values in self.backward(diffs, None, None, **tops).items():
                grads[name].append(values.copy())
        return _joined(outs, given), _joined(grads, given)

    def _batches(self, given: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """What is given in pieces of the batch size, that of the net's first blob; the last with zeros."""
        if not given:
            return
        size = next(iter(self._blobs.values())).shape[0]
        for start in range(0, len(next(iter(given.values()))), size):
            batch = {}
            for name, values in given.items():
                piece = np.asarray(values[start : start + size])
                missing = np.zeros((size - len(piece), *piece.shape[1:]), piece.dtype)
                batch[name] = np.concatenate([piece, missing]) if len(missing) else piece
            yield batch

    def reshape(self) -> None:
        """Gives all blobs the shapes that follow from the inputs'; computes nothing, takes no batch."""
        self._running.reshape()

    def copy_from(self, path: str | os.PathLike[str]) -> None:
        """Copies the parameters of a caffemodel, or of an HDF5 file, by the names of layers.

        Layers that the file lacks keep theirs. Raises WeightsError for blobs that do not fit.
        """
        copy_blobs(self._running.made, path)

    def share_with(self, other: Net) -> None:
        """Takes the parameters of another net for its own, by the names of layers: one memory for both.

        Raises WeightsError for blobs that do not fit.
        """
        share_blobs(self._running.made, other._running.made)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the net with its parameters as a caffemodel."""
        save(self._definition, self._running.made, self._phase, path)

    def save_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Writes the parameters as HDF5."""
        save_hdf5(self._running.made, path)

    def load_hdf5(self, path: str | os.PathLike[str]) -> None:
        """Copies the parameters of an HDF5 file, as `copy_from` does."""
        copy_blobs(self._running.made, path)

    def clear_param_diffs(self) -> None:
        """Sets the diffs of all parameters to 0: backward passes add to them."""
        self._running.clear_param_diffs()

    def set_input_arrays(self, data: Array, labels: Array) -> None:
        """Gives a MemoryData, which must be the first layer, what to go round.

        Raises RuntimeError for other nets and other arrays than float32, contiguous, a multiple of the batch.
        """
        first = self._running.made.layers[0]
        if not (isinstance(first, SourceLayer) and isinstance(first.source, MemoryData)):
            raise RuntimeError("set_input_arrays may only be called if the first layer is a MemoryData")
        first.source.set(data, labels)

    def before_forward(self, hook: Hook) -> None:
        """Has `hook` called with the index of each layer before it runs."""
        self._running.hooks["before_forward"].append(hook)

    def after_forward(self, hook: Hook) -> None:
        """Has `hook` called with the index of each layer after it has run."""
        self._running.hooks["after_forward"].append(hook)

    def before_backward(self, hook: Hook) -> None:
        """Has `hook` called with the index of each layer before it runs backward."""
        self._running.hooks["before_backward"].append(hook)

    def after_backward(self, hook: Hook) -> None:
        """Has `hook` called with the index of each layer after it has run backward."""
        self._running.hooks["after_backward"].append(hook)

    def __reduce_ex__(self, protocol: object) -> str:
        raise RuntimeError("a Net cannot be copied or pickled; save it, and load it again")


def _joined(parts: Mapping[str, Sequence[Array]], given: Mapping[str, Array]) -> dict[str, Array]:
    """All batches in one, without what filled up the last."""
    if not given:
        raise RuntimeError("no arrays are given: name each input")
    count = len(next(iter(given.values())))
    return {name: np.concatenate([np.atleast_1d(x) for x in own])[:count] for name, own in parts.items()}
