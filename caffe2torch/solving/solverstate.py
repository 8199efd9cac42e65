"""SolverState -> .solverstate, binary or HDF5, laid out as Caffe does (sgd_solver.cpp)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch import schema
from caffe2torch.formats.caffemodel import write_blob
from caffe2torch.untrusted.binary import SolverState
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.writing.output import Output, create, patiently

if TYPE_CHECKING:
    import h5py


def write_solverstate(state: SolverState, path: AnyPath) -> None:
    """Writes a solver's state with float32 history; as HDF5 if the name ends in .h5.

    The file appears complete or not at all. Raises WriteError.
    """
    write = _write_hdf5 if Path(path).suffix == ".h5" else _write_binary
    with create(path) as output:
        write(state, output)


def _write_binary(state: SolverState, output: Output) -> None:
    message = schema.message("SolverState")
    head = message(iter=state.iter, learned_net=state.learned_net)
    output.write(head.SerializeToString(deterministic=True))
    for i, blob in enumerate(state.history):
        write_blob("SolverState", "history", blob, f"history blob {i}", output)
    output.write(message(current_step=state.current_step).SerializeToString(deterministic=True))


def _write_hdf5(state: SolverState, output: Output) -> None:
    import h5py  # loads slowly, and few files need it

    with patiently(output.file) as target, h5py.File(target, "w") as file:
        for name in ("iter", "current_step"):
            file[name] = np.array([getattr(state, name)], np.int32)
        _write_string(file, "learned_net", state.learned_net.encode())
        history = file.create_group("history")
        for i, blob in enumerate(state.history):
            history[str(i)] = blob.read().astype("<f4", copy=False)


def _write_string(file: h5py.File, name: str, value: bytes) -> None:
    """A string that ends in a zero byte, as in C; h5py's own do not."""
    from h5py import h5d, h5s, h5t

    kind = h5t.C_S1.copy()
    kind.set_size(len(value) + 1)
    dataset = h5d.create(file.id, name.encode(), kind, h5s.create(h5s.SCALAR))
    dataset.write(h5s.ALL, h5s.ALL, np.array(value))
