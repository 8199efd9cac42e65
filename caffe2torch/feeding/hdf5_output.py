"""HDF5Output (hdf5_output_layer.cpp): writes its two bottoms as the datasets `data` and `label`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, WriteError
from caffe2torch.feeding.source import Sink, feeds
from caffe2torch.net import Layer

if TYPE_CHECKING:
    import h5py

NAMES = ("data", "label")


@feeds("HDF5Output")
class HDF5Output(Sink):
    """Makes the file when the net is built. Later batches are appended, where Caffe's second would abort."""

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        import h5py

        self._path = str(layer.fields.hdf5_output_param.file_name)
        if len(layer.bottoms) != 2:
            raise self._error(f"has {len(layer.bottoms)} bottoms, it needs 2")
        try:
            h5py.File(self._path, "w").close()
        except OSError as error:
            raise WriteError(f"{self._path}: cannot be written: {error}") from None

    def take(self, *bottoms: Array) -> None:
        """Appends a batch: arrays of the same number of rows, at most 4 axes, of which they get 4."""
        import h5py

        data, label = bottoms
        if len(data) != len(label):
            raise self._error(f"has {len(data)} rows of data and {len(label)} of labels")
        with h5py.File(self._path, "r+") as file:
            for name, rows in zip(NAMES, bottoms, strict=True):
                self._append(file, name, rows)

    def _append(self, file: h5py.File, name: str, rows: Array) -> None:
        if rows.ndim > 4:
            raise self._error(f"has a bottom of {rows.ndim} axes, at most 4")
        rows = rows.reshape(rows.shape + (1,) * (4 - rows.ndim))
        if name not in file:
            file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]))
            return
        dataset = file[name]
        if dataset.shape[1:] != rows.shape[1:]:
            raise self._error(f"{name} of {rows.shape[1:]} after {dataset.shape[1:]}")
        dataset.resize(len(dataset) + len(rows), axis=0)
        dataset[-len(rows) :] = rows

    def _error(self, problem: str) -> NetError:
        return NetError(f"layer {self.layer.name!r} (HDF5Output): {problem}")
