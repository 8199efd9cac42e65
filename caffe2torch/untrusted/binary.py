"""Caffe's binary files -> messages and blobs: caffemodel, binaryproto, solverstate, each also as HDF5."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from caffe2torch import schema
from caffe2torch.blob import Array, Blob
from caffe2torch.errors import ReadError
from caffe2torch.schema import Message
from caffe2torch.untrusted import hdf5
from caffe2torch.untrusted.forks import resolved
from caffe2torch.untrusted.mapped import HDF5, AnyPath, is_text, located, mapped
from caffe2torch.untrusted.wire import scan


@dataclass(frozen=True)
class Caffemodel:
    """A caffemodel of any format, not yet upgraded."""

    message: Message
    """A NetParameter whose BlobProtos are positions in `blobs`."""
    blobs: tuple[Blob, ...]
    unknown: tuple[str, ...] = ()
    """Fields that the schema lacks, such as `layer 'conv1'.#149`; a fork of Caffe wrote the file."""
    has_net: bool = True
    """Whether the layers have types and bottoms; an HDF5 file holds only their names and blobs."""


@dataclass(frozen=True)
class SolverState:
    """Where a solver stopped: Caffe's SolverState."""

    iter: int
    learned_net: str
    """The caffemodel that belongs to it, as the solver named it."""
    history: tuple[Blob, ...]
    """One blob per parameter, in the net's order; Adam and AdaDelta append a second one for each."""
    current_step: int


def read_caffemodel(path: AnyPath) -> Caffemodel:
    """A caffemodel, binary or HDF5, of any age; its blobs' values stay in the memory-mapped file.

    Raises ReadError for a file that is truncated, damaged or something else.
    """
    buffer = mapped(path)
    with located(path):
        if buffer[: len(HDF5)] == HDF5:
            return _from_hdf5(str(path), buffer)
        message, blobs, skeleton = _parsed(buffer, "NetParameter")
        if not message.layer and not message.layers:
            raise ReadError("holds no layers; is it a caffemodel?")
        message, unknown = resolved(message, skeleton, tuple(_unknown(message)))
        return Caffemodel(message, blobs, unknown)


def read_binaryproto(path: AnyPath) -> Array:
    """The blob in a `.binaryproto`, usually a mean image (1, C, H, W), in its shape, float32 or float64."""
    buffer = mapped(path)
    with located(path):
        message, (blob,), _ = _parsed(buffer, "BlobProto")
        if not blob.has_data or any(_unknown(message)):
            raise ReadError("has no values, or unknown fields; is it a .binaryproto?")
        return blob.read()


def read_solverstate(path: AnyPath) -> SolverState:
    """The state in a `.solverstate` or `.solverstate.h5`.

    Raises ReadError for a file that is truncated, damaged or something else.
    """
    buffer = mapped(path)
    with located(path):
        if buffer[: len(HDF5)] == HDF5:
            return SolverState(*hdf5.solver_state(str(path), buffer))
        state, history, _ = _parsed(buffer, "SolverState")
        if not state.HasField("iter") or any(_unknown(state)):
            raise ReadError("has no iteration, or unknown fields; is it a .solverstate?")
        return SolverState(state.iter, state.learned_net, history, state.current_step)


def _from_hdf5(path: str, buffer: mmap.mmap) -> Caffemodel:
    message = schema.message("NetParameter")()
    blobs: list[Blob] = []
    for name, own in hdf5.layer_blobs(path, buffer).items():
        layer = message.layer.add(name=name)
        for blob in own:
            layer.blobs.add(index=len(blobs))
            blobs.append(blob)
    return Caffemodel(message, tuple(blobs), has_net=False)


def _parsed(buffer: mmap.mmap, kind: str) -> tuple[Message, tuple[Blob, ...], bytes]:
    """The message of type `kind` that fills `buffer`, its blobs, and the message as it was serialized."""
    name = {"NetParameter": "caffemodel", "SolverState": ".solverstate", "BlobProto": ".binaryproto"}[kind]
    if is_text(buffer):
        raise ReadError(f"is text, not a {name}; give a net's definition as --prototxt")
    try:
        skeleton, blobs = scan(buffer, kind)
        return schema.message(kind).FromString(skeleton), tuple(blobs), skeleton
    except DecodeError:
        raise ReadError(f"its definition does not parse; is it a {name}, whole and undamaged?") from None
    except ReadError as error:
        raise ReadError(f"{error}; is it a {name}, whole and undamaged?") from None


def _unknown(message: Message, place: str = "") -> Iterator[str]:
    """The fields of a binary message that the schema lacks, as paths; our private ones are cleared."""
    unknown = UnknownFieldSet(message)
    for field in map(unknown.__getitem__, range(len(unknown))):
        known = message.DESCRIPTOR.fields_by_number.get(field.field_number)
        # A value that an enum lacks makes its field unknown, too.
        yield place + (known.name if known and known.number < schema.PRIVATE else f"#{field.field_number}")
    for field, value in message.ListFields():
        if field.number >= schema.PRIVATE and field.full_name != "caffe.BlobProto.index":
            message.ClearField(field.name)
            yield f"{place}#{field.number}"
        elif isinstance(value, Message):
            yield from _unknown(value, f"{place}{field.name}.")
        elif field.message_type is not None:
            for i, inner in enumerate(value):
                name = getattr(inner, "name", "")
                yield from _unknown(inner, f"{place}{field.name}{f' {name!r}' if name else f'[{i}]'}.")
        elif field.type == field.TYPE_STRING and not _is_unicode(value):
            raise ReadError(f"{place}{field.name} is not UTF-8 text; the file is damaged")


def _is_unicode(value: str | bytes | Sequence[str | bytes]) -> bool:
    """Whether protobuf decoded a string, or all of several; what it cannot decode stays bytes."""
    return isinstance(value, str) or (not isinstance(value, bytes) and all(isinstance(v, str) for v in value))
