"""HDF5Output (hdf5_output_layer.cpp): writes its two bottoms as the datasets `data` and `label`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.blob import Array
from caffe2torch.errors import NetError, WriteError
from caffe2torch.feeding.source import Sink, feeds
from caffe2torch.net import Layer
from caffe2torch.writing.output import patiently

if TYPE_CHECKING:
    import h5py

NAMES = ("data", "label")


@feeds("HDF5Output")
class HDF5Output(Sink):
    """Makes the file when the net is built. Later batches are appended, where Caffe's second would abort.

    Between batches the file is whole. One that a batch does not fit into is removed: WriteError.
    """

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        self._path = Path(layer.fields.hdf5_output_param.file_name)
        if len(layer.bottoms) != 2:
            raise self._error(f"has {len(layer.bottoms)} bottoms, it needs 2")
        with self._file(new=True):
            pass

    def take(self, *bottoms: Array) -> None:
        """Appends a batch: arrays of the same number of rows, at most 4 axes, of which they get 4."""
        data, label = bottoms
        if len(data) != len(label):
            raise self._error(f"has {len(data)} rows of data and {len(label)} of labels")
        with self._file() as file:
            for name, rows in zip(NAMES, bottoms, strict=True):
                self._append(file, name, rows)

    @contextmanager
    def _file(self, new: bool = False) -> Iterator[h5py.File]:
        """The file, open for a batch."""
        import h5py

        try:
            with self._path.open("w+b" if new else "r+b") as opened:
                try:
                    with patiently(opened) as target, h5py.File(target, "w" if new else "r+") as file:
                        yield file
                except OSError:
                    self._path.unlink(missing_ok=True)  # HDF5 leaves it damaged
                    raise
        except OSError as error:
            raise WriteError(f"{self._path}: cannot be written: {error.strerror or error}") from None

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
