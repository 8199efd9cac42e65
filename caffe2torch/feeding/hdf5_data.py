"""HDF5Data (hdf5_data_layer.cpp): rows of datasets, which are named like the tops."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import MissingData, NetError, ReadError
from caffe2torch.feeding.source import Batch, Shape, Source, feeds
from caffe2torch.net import Layer
from caffe2torch.untrusted import hdf5
from caffe2torch.untrusted.mapped import located

MAX_LIST, MAX_WORDS = 1 << 26, 1 << 22
"""Bytes and words of a list of files; ImageNet's takes 42 MB and 2.6 million."""
_SPACE = b" \t\n\v\f\r"


@feeds("HDF5Data")
class HDF5Data(Source):
    """Rows of one file after another, round and round, also in the middle of a batch; any number of axes.

    `shuffle` draws the order of the files, and of the rows in each, anew for each round; here from the seed.
    """

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        p = layer.fields.hdf5_data_param
        self._size, self._shuffle = int(p.batch_size), bool(p.shuffle)
        if self._size < 1:
            raise NetError(f"layer {layer.name!r} (HDF5Data): batch_size must be given, and at least 1")
        if layer.fields.has("transform_param"):
            raise NetError(f"layer {layer.name!r} (HDF5Data): takes no transform_param; remove it")
        self._files = words_of(str(p.source))
        if not self._files:
            raise ReadError(f"{p.source}: names no HDF5 file")
        self._generator = np.random.default_rng(seed)
        if self._shuffle:
            self._generator.shuffle(self._files)
        self._file, self._row, self._loaded = 0, 0, ""
        self._tops: list[Array] = []
        self._row_shapes: list[Shape] = []
        self._load()
        self._row_shapes = [top.shape[1:] for top in self._tops]

    def shapes(self) -> tuple[Shape, ...]:
        """As the first file's rows."""
        return tuple((self._size, *shape) for shape in self._row_shapes)

    def next(self) -> Batch:
        """The next rows."""
        batch = [np.empty(shape, np.float32) for shape in self.shapes()]
        done = 0
        while done < self._size:
            count = min(self._size - done, len(self._order) - self._row)
            picked = self._order[self._row : self._row + count]
            for out, top in zip(batch, self._tops, strict=True):
                np.take(top, picked, axis=0, out=out[done : done + count])
            done, self._row = done + count, self._row + count
            if self._row == len(self._order):
                self._advance()
        return tuple(batch)

    def _advance(self) -> None:
        """Goes to the next file, or anew to the first."""
        self._file, self._row = (self._file + 1) % len(self._files), 0
        if self._file == 0 and self._shuffle:
            self._generator.shuffle(self._files)
        self._load()

    def _load(self) -> None:
        """Reads the file of now, unless it is the one before, and draws the order of its rows."""
        path = self._files[self._file]
        if path != self._loaded:
            with located(path):
                self._tops, self._loaded = hdf5.rows(path, self.layer.tops), path
            self._check(path)
        self._order = np.arange(len(self._tops[0]))
        if self._shuffle:
            self._generator.shuffle(self._order)

    def _check(self, path: str) -> None:
        if not len(self._tops[0]):
            raise ReadError(f"{path}: has no rows")
        shapes = [top.shape[1:] for top in self._tops]
        for name, shape, known in zip(self.layer.tops, shapes, self._row_shapes or shapes, strict=True):
            if shape != known:
                raise ReadError(f"{path}: {name!r} has rows of {shape}, the file before of {known}")


def file_list(path: str) -> str:
    """The text of a list of files. Raises MissingData if it is not there, ReadError for one too long."""
    return _list(path).decode("utf-8", "surrogateescape")


def words_of(path: str) -> list[str]:
    """Its words, between which is ASCII white space, as for C's streams. Raises what `file_list` raises."""
    return [word.decode("utf-8", "surrogateescape") for word in _list(path).split()]


def _list(path: str) -> bytes:
    place = Path(path)
    if not place.is_file():
        raise MissingData(f"{path}: no such list of files; a relative path counts from the current folder")
    with place.open("rb") as file:
        raw = file.read(MAX_LIST + 1)
    if len(raw) > MAX_LIST or len(raw) - len(raw.translate(None, _SPACE)) > MAX_WORDS:
        raise ReadError(f"{path}: is over {MAX_LIST} bytes, or over {MAX_WORDS} words; split the list")
    return raw
