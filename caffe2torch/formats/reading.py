"""Caffe's files -> nets: prototxt, caffemodel, .caffemodel.h5, .binaryproto, .solverstate(.h5).

    prototxt   --read_prototxt-->   message
    caffemodel --read_caffemodel--> message + blobs, views of the memory-mapped file
    both       --read-->            Net: upgraded, blobs matched to layers by name

A file's content tells what it is, never its name.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from caffe2torch import schema, upgrades
from caffe2torch.errors import MissingData, ReadError, SyntaxRefused, WeightsError
from caffe2torch.net import Array, Blob, Layer, Net, from_message
from caffe2torch.untrusted.wire import scan

AnyPath = str | PathLike[str]

HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE = "a Python pickle, perhaps of PyTorch, which is not opened; give the Caffe file"
MISTAKEN = {
    **{bytes((0x80, protocol)): _PICKLE for protocol in range(2, 6)},
    b"version https://git-lfs": "a git-LFS pointer, not the file itself; fetch that with `git lfs pull`",
    b"\x00\x05\x16\x07": "AppleDouble metadata, which macOS keeps beside a file; give the file itself",
    b"PK\x03\x04": "a zip archive, perhaps of PyTorch; unpack it or give the Caffe file",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"\x93NUMPY": "a NumPy array; give the Caffe file",
    b"<!": "a web page; did the download fail?",
    b"<html": "a web page; did the download fail?",
    b"<HTML": "a web page; did the download fail?",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
}
"""What files start with that are often taken for Caffe's, and what to do about it."""
MAX_TEXT = 16 << 20
"""Bytes of a prototxt; the largest nets have one megabyte."""

_TEXT = b"\t\n\f\r" + bytes(range(0x20, 0x100))
_CONFLICT = re.compile(r"(<{7}|={7}|>{7})(?!\S)")
_PLACEHOLDER = re.compile(r"\$\w+\$|\$\{\w+\}")
_COMMENT_OR_QUOTED = re.compile(r"""#.*|("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)""")
_LAYER = re.compile(r"layer[ \[]")
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(
    rf"""\\([abfnrtv'"\\]|[0-3][0-7]{{2}}|[0-7]{{1,2}}(?![0-7])|x{_HEX}|u{_HEX}{{4}}|U{_HEX}{{8}})?"""
)


@dataclass(frozen=True)
class Caffemodel:
    """A caffemodel of any format, not upgraded yet."""

    message: Any
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
    """One blob per parameter, in the net's order; Adam and AdaDelta put as many second ones behind them."""
    current_step: int


def read(
    prototxt: AnyPath | None = None, weights: AnyPath | None = None, *, ignore_unknown: bool = False
) -> Net:
    """The net that a prototxt defines, with the blobs of a caffemodel; either may be left out.

    `weights` alone is enough: a caffemodel holds the definition of its own net, though an HDF5 file does not.
    With both, a layer gets the blobs of the layer of the same name, as in Caffe's CopyTrainedLayersFrom;
    whether they fit is not checked here. `ignore_unknown` leaves out, with a note, fields that no schema has.

    Raises MissingData for a file that is not there, ReadError for one that is not what it should be
    (SyntaxRefused: with line and column), WeightsError for two source layers with blobs and one name.
    """
    stored = None if weights is None else read_caffemodel(weights)
    if prototxt is not None:
        net = _defined(prototxt, ignore_unknown)
        return net if stored is None else _trained(net, stored, str(weights))
    if stored is None:
        raise ReadError("no net to read: give a prototxt, a caffemodel or both")
    return _enclosed(stored, str(weights), ignore_unknown)


def with_weights(net: Net, weights: AnyPath) -> Net:
    """The net with the blobs of the caffemodel's layers of the same names, and no others; see `read`."""
    return _trained(net, read_caffemodel(weights), str(weights))


def read_prototxt(path: AnyPath, kind: str = "NetParameter", ignore_unknown: bool = False) -> Any:
    """The message that a prototxt spells: a NetParameter or a SolverParameter, not upgraded.

    Raises ReadError when it is not text, SyntaxRefused where it does not parse; `ignore_unknown` leaves out
    the fields that no schema has.
    """
    raw = mapped(path)[: MAX_TEXT + 1]
    if not is_text(raw):
        raise ReadError(f"{path}: looks like a binary file, not text; was a caffemodel given as --prototxt?")
    if len(raw) > MAX_TEXT:
        raise ReadError(f"{path}: is over {MAX_TEXT} bytes; no prototxt is")
    # Comments are in any encoding; Caffe never looks at them.
    return parse_prototxt(raw.decode("utf-8-sig", "surrogateescape"), str(path), kind, ignore_unknown)


def parse_prototxt(text: str, source: str, kind: str = "NetParameter", ignore_unknown: bool = False) -> Any:
    """The message that a text spells; `source` names it in errors, which are those of `read_prototxt`."""
    _check_escapes(source, text)
    try:
        return text_format.Parse(text, schema.message(kind)(), allow_unknown_field=ignore_unknown)
    except text_format.ParseError as error:
        raise _syntax_refused(source, text, kind, error) from None
    except RecursionError:
        raise ReadError(f"{source}: nests its messages too deeply") from None


def read_caffemodel(path: AnyPath) -> Caffemodel:
    """A caffemodel, binary or HDF5, of any age; its blobs' values stay in the memory-mapped file.

    Raises ReadError for a file that is cut short, damaged or something else.
    """
    buffer = mapped(path)
    with located(path):
        if buffer[: len(HDF5)] == HDF5:
            return _from_hdf5(str(path), buffer)
        message, blobs = _parsed(buffer, "NetParameter")
        if not message.layer and not message.layers:
            raise ReadError("holds no layers; is it a caffemodel?")
        return Caffemodel(message, blobs, tuple(_unknown(message)))


def read_binaryproto(path: AnyPath) -> Array:
    """The blob in a `.binaryproto`, mostly a mean image (1, C, H, W), in its shape, float32 or float64."""
    buffer = mapped(path)
    with located(path):
        message, (blob,) = _parsed(buffer, "BlobProto")
        if not blob.has_data or any(_unknown(message)):
            raise ReadError("holds no values, or other things; is it a .binaryproto?")
        return blob.read()


def read_solverstate(path: AnyPath) -> SolverState:
    """The state in a `.solverstate` or `.solverstate.h5`.

    Raises ReadError for a file that is cut short, damaged or something else.
    """
    buffer = mapped(path)
    with located(path):
        if buffer[: len(HDF5)] == HDF5:
            from caffe2torch.untrusted import hdf5  # h5py loads slowly, and few files need it

            return SolverState(*hdf5.solver_state(str(path), buffer))
        state, history = _parsed(buffer, "SolverState")
        if not state.HasField("iter") or any(_unknown(state)):
            raise ReadError("tells no iteration, or other things; is it a .solverstate?")
        return SolverState(state.iter, state.learned_net, history, state.current_step)


def _defined(prototxt: AnyPath, ignore_unknown: bool) -> Net:
    """The net that a prototxt defines."""
    notes: tuple[str, ...] = ()
    try:
        message = read_prototxt(prototxt)
    except SyntaxRefused as refusal:
        if not ignore_unknown:
            raise
        message = read_prototxt(prototxt, ignore_unknown=True)
        notes = (f"{refusal}; this and every other unknown field was ignored",)
    for layer in _layers(message):
        if layer.blobs:
            raise ReadError(f"{prototxt}: layer {layer.name!r} has blobs as text; give them in a caffemodel")
    net = _upgraded(message, (), str(prototxt))
    return replace(net, notes=notes + net.notes)


def _enclosed(stored: Caffemodel, weights: str, ignore_unknown: bool) -> Net:
    """The net that a caffemodel holds."""
    if not stored.has_net:
        raise ReadError(f"{weights}: an HDF5 file holds blobs and no net; give the net's --prototxt")
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    if stored.unknown:
        names = ", ".join(stored.unknown[:3]) + (", ..." if len(stored.unknown) > 3 else "")
        found = f"{weights}: has fields of a fork's schema, unknown to Caffe: {names}"
        if ignore_unknown:
            notes = (f"{found}; they were ignored",)
        elif upgrades.format_of(stored.message) == "current" and all(map(_LAYER.match, stored.unknown)):
            unknown = stored.unknown
        else:
            raise ReadError(f"{found}; give the net's --prototxt")
    net = _upgraded(stored.message, stored.blobs, weights)
    layers = tuple(_marked(layer, position, unknown) for position, layer in enumerate(net.layers))
    return replace(net, layers=layers, weights=weights, notes=notes + net.notes)


def _marked(layer: Layer, position: int, unknown: Sequence[str]) -> Layer:
    """The layer with its unknown fields; whether they matter shows when its net is planned."""
    place = f"layer {layer.name!r}." if layer.name else f"layer[{position}]."
    own = tuple(path.removeprefix(place) for path in unknown if path.startswith(place))
    return replace(layer, unknown=own) if own else layer


def _trained(net: Net, stored: Caffemodel, weights: str) -> Net:
    """The net with the blobs of the caffemodel's layers of the same names."""
    names = {layer.name for layer in net.layers}
    blobs: dict[str, tuple[Blob, ...]] = {}
    # No upgrade changes a layer's name or blobs, so that a fork's layers need not stand in the way.
    for layer in _layers(stored.message):
        # Caffe would pour both into the first of the two, and leave the other at its filler.
        if layer.blobs and layer.name in names & blobs.keys():
            raise WeightsError(
                f"{weights}: two layers named {layer.name!r} have blobs; Caffe matches by name"
            )
        if layer.blobs:
            blobs[layer.name] = tuple(stored.blobs[blob.index] for blob in layer.blobs)
    notes = tuple(
        f"layer {name!r} of {Path(weights).name} is not in the net; its blobs were left out"
        for name in blobs
        if name not in names
    )
    layers = tuple(replace(layer, blobs=blobs.get(layer.name, ())) for layer in net.layers)
    return replace(net, layers=layers, weights=weights, notes=net.notes + notes)


def _layers(message: Any) -> Iterator[Any]:
    """What has the name and the blobs of each layer of a NetParameter of any age."""
    for layer in message.layers:
        yield layer.layer if layer.HasField("layer") else layer
    yield from message.layer


def _upgraded(message: Any, blobs: Sequence[Blob], source: str) -> Net:
    if missing := message.FindInitializationErrors():
        raise ReadError(f"{source}: {missing[0]} is required and not there")
    current, notes = upgrades.upgrade_net(message, source)
    return replace(from_message(current, blobs, source), notes=notes)


def _from_hdf5(path: str, buffer: mmap.mmap) -> Caffemodel:
    from caffe2torch.untrusted import hdf5  # h5py loads slowly, and few files need it

    message = schema.message("NetParameter")()
    blobs: list[Blob] = []
    for name, own in hdf5.layer_blobs(path, buffer).items():
        layer = message.layer.add(name=name)
        for blob in own:
            layer.blobs.add(index=len(blobs))
            blobs.append(blob)
    return Caffemodel(message, tuple(blobs), has_net=False)


def _parsed(buffer: mmap.mmap, kind: str) -> tuple[Any, tuple[Blob, ...]]:
    """The message of type `kind` that fills `buffer`, and its blobs."""
    name = {"NetParameter": "caffemodel", "SolverState": ".solverstate", "BlobProto": ".binaryproto"}[kind]
    if is_text(buffer):
        raise ReadError(f"is text, not a {name}; give a net's definition as --prototxt")
    try:
        skeleton, blobs = scan(buffer, kind)
        return schema.message(kind).FromString(skeleton), tuple(blobs)
    except DecodeError:
        raise ReadError(f"its definition does not parse; is it a {name}, whole and undamaged?") from None
    except ReadError as error:
        raise ReadError(f"{error}; is it a {name}, whole and undamaged?") from None


def _unknown(message: Any, place: str = "") -> Iterator[str]:
    """The fields of a binary message that the schema lacks, as paths; our private ones are cleared."""
    unknown: Any = UnknownFieldSet(message)
    for field in unknown:
        known = message.DESCRIPTOR.fields_by_number.get(field.field_number)
        # A value that an enum lacks makes its field unknown, too.
        named = known is not None and known.number < schema.PRIVATE
        yield place + (known.name if named else f"#{field.field_number}")
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


def _is_unicode(value: Any) -> bool:
    """Whether protobuf could decode a string, or all of several; it leaves the others as bytes."""
    return isinstance(value, str) or (not isinstance(value, bytes) and all(isinstance(v, str) for v in value))


def _check_escapes(source: str, text: str) -> None:
    """Refuses the escapes that Caffe's parser refuses; Python's only warns of them."""
    for line, here in enumerate(text.split("\n"), 1):
        for quoted in _COMMENT_OR_QUOTED.finditer(here):
            for escape in _ESCAPE.finditer(quoted[1] or ""):
                if escape[1] is None:
                    column = quoted.start() + escape.start() + 1
                    raise _refused(source, line, column, "an escape that protobuf does not know", here)


def _syntax_refused(source: str, text: str, kind: str, error: text_format.ParseError) -> SyntaxRefused:
    """What keeps a prototxt from parsing; the usual causes by their names."""
    line, column, lines = error.GetLine() or 1, error.GetColumn() or 1, text.split("\n")
    conflict = next((i for i, here in enumerate(lines, 1) if _CONFLICT.match(here)), None)
    if conflict:
        line, column, problem = conflict, 1, "a git conflict marker; resolve the conflict first"
    elif _PLACEHOLDER.search(lines[line - 1]):
        problem = "a template's placeholder; fill it in first"
    else:
        problem = _problem(str(error), lines[line - 1], kind)
    return _refused(source, line, column, problem, lines[line - 1])


def _refused(source: str, line: int, column: int, problem: str, here: str) -> SyntaxRefused:
    there = here[max(0, column - 61) : column + 59]
    return SyntaxRefused(source, line, column, _printable(problem), _printable(there))


def _printable(text: str) -> str:
    """The text without what could garble a terminal, or could not be printed at all."""
    return "".join(c if c.isprintable() else " " for c in text)


def _problem(error: str, here: str, kind: str) -> str:
    """What protobuf says, without the position and the line that it repeats."""
    if "codec can't" in error:
        return "a string that is not UTF-8"
    unknown = re.search(r'Message type "caffe\.(\w+)" has no field named "(.*?)"', error)
    if not unknown:
        said = re.sub(r"^\d+:\d+ : ", "", error)
        return said.removeprefix(f"'{here}': ").removeprefix("'': ").removesuffix(".")
    message, field = unknown.groups()
    other = "SolverParameter" if kind == "NetParameter" else "NetParameter"
    if message == kind and field in schema.descriptor(other).fields_by_name:
        return f"{field!r} is a field of {other}, and this should be a {kind}"
    return f"{message} has no field {field!r}, neither Caffe's nor that of a fork we know"


@contextmanager
def located(path: AnyPath) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except ReadError as error:
        raise ReadError(f"{path}: {error}") from None


def mapped(path: AnyPath, mistaken: Mapping[bytes, str] = MISTAKEN) -> mmap.mmap:
    """The file's bytes, memory-mapped; arrays that view them keep the mapping alive.

    Raises MissingData without the file, ReadError for one that is none, or begins as one of `mistaken` does.
    """
    try:
        status = Path(path).stat()
        if S_ISDIR(status.st_mode):
            raise ReadError(f"{path}: is a folder; give a file in it")
        if not S_ISREG(status.st_mode):
            raise ReadError(f"{path}: is not a regular file")
        if status.st_size == 0:
            raise ReadError(f"{path}: is empty; did the download or the copy fail?")
        with Path(path).open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise MissingData(f"{path}: no such file") from None
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ReadError(f"{path}: cannot be read: {error}") from None
    for start, what in mistaken.items():
        if buffer[: len(start)] == start:
            raise ReadError(f"{path}: is {what}")
    return buffer


def is_text(buffer: bytes | mmap.mmap) -> bool:
    """Whether the start holds no control characters but those of white space."""
    return not buffer[:512].translate(None, _TEXT)
