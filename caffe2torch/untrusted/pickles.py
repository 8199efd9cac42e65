"""The state dict in a PyTorch file; nothing in it is run.

    before PyTorch 1.6   five pickles, then the values       torchvision's vgg16-397923af.pth
    since                an uncompressed zip                 NAME/data.pkl, NAME/data/0, ...

torch.load(weights_only=True) opens both. It still builds whatever a pickle asks for, of any size, so the
names in the pickles are checked first, without running them: a dictionary of tensors needs only a few.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.blob import Blob, blob_of, shape_problem
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.mapped import AnyPath, located, mapped

if TYPE_CHECKING:
    from torch import Tensor

MAX_PICKLE = 1 << 19
"""Bytes of the pickles that describe the tensors; VGG-16's take 4 kB."""

MAX_TUPLE = 1000
"""Values in a tuple, those of the tuples in it included; a tensor's has a dozen."""

_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first of the five pickles."""
_ZIP = b"PK\x03\x04"
_DAMAGE = (zipfile.BadZipFile, struct.error, EOFError, OSError, RuntimeError, ValueError)
_KNOWN = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long")),
}


def is_pth(path: AnyPath) -> bool:
    """Whether torch.save wrote the file."""
    start = mapped(path, {})[: len(_MAGIC)]
    if not start.startswith(_ZIP):
        return start == _MAGIC
    try:
        with zipfile.ZipFile(path) as archive:
            return any(map(_is_pickle, archive.namelist()))
    except _DAMAGE:
        return False


def _is_pickle(name: str) -> bool:
    """Whether a file in a zip is the one that describes the tensors."""
    return name.count("/") == 1 and name.endswith("/data.pkl")


def strings(path: AnyPath) -> frozenset[str]:
    """The strings in a file that torch.save wrote, tensor keys among them; none for a damaged file."""
    try:
        return frozenset(text for _, text in _opcodes(*_pickles(path)) if isinstance(text, str))
    except (*_DAMAGE, ReadError):
        return frozenset()


def read_state_dict(path: AnyPath) -> dict[str, Blob]:
    """The floating-point tensors in a file that torch.save wrote, as views of it if it is a zip.

    Raises ReadError for anything but a state dict, and for tensors larger than the file.
    """
    with located(path):
        try:
            _check(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about future changes in PyTorch
                loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=_is_zip(path))
            if not isinstance(loaded, dict) or not all(isinstance(x, torch.Tensor) for x in loaded.values()):
                raise ReadError("is not a state dict; save model.state_dict() and nothing else")
            return tensor_blobs(loaded)
        except ReadError:
            raise
        except Exception as error:  # a pickle can raise any error there is
            raise ReadError(f"PyTorch cannot read it: {error}".splitlines()[0]) from None


def _pickles(path: AnyPath) -> tuple[bytes, int]:
    """The pickles that describe the tensors, one after the other, and how many there are."""
    if not _is_zip(path):
        return mapped(path, {})[:MAX_PICKLE], 5
    with zipfile.ZipFile(path) as archive:
        files = archive.infolist()
        # A small compressed file can expand to a huge one.
        if any(file.compress_type != zipfile.ZIP_STORED for file in files):
            raise ReadError("is a compressed zip; torch.save does not compress")
        pickle = next(file for file in files if _is_pickle(file.filename))
        if pickle.file_size > MAX_PICKLE:
            raise ReadError(f"its data.pkl has {pickle.file_size} bytes; {MAX_PICKLE} are allowed")
        return archive.read(pickle), 1


def _is_zip(path: AnyPath) -> bool:
    return mapped(path, {})[: len(_ZIP)] == _ZIP


def _opcodes(pickles: bytes, count: int) -> Iterator[tuple[pickletools.OpcodeInfo, object]]:
    """The operations of the pickles with their arguments; none of them is run."""
    stream = io.BytesIO(pickles)
    for _ in range(count):
        yield from ((opcode, argument) for opcode, argument, _ in pickletools.genops(stream))


def _check(path: AnyPath) -> None:
    """Refuses pickles that name anything but _KNOWN, or whose tuples are no tensor's."""
    sizes = _TupleSizes()
    for opcode, argument in _opcodes(*_pickles(path)):
        if opcode.name == "GLOBAL" and argument not in _KNOWN:
            asked = str(argument).replace(" ", ".")
            raise ReadError(
                f"a pickle in it asks for {asked}, which is not a tensor; nothing in it was run; "
                f"save model.state_dict(), not the whole model"
            )
        sizes.follow(opcode, argument)


class _TupleSizes:
    """How many values the tuples of a pickle hold, followed operation by operation without running any.

    A tuple that is a key is hashed value by value, and the same tuple can stand in another one twice, so that
    a hundred bytes hold 2**40 values.
    """

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[object, int] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Raises ReadError for a tuple of over MAX_TUPLE values."""
        name, stack = opcode.name, self._stack
        if name == "MARK":
            self._marks.append(len(stack))
        elif name.endswith("PUT"):
            self._memo[argument] = stack[-1] if stack else 1
        elif name.endswith("GET"):
            stack.append(self._memo.get(argument, 1))
        else:
            taken = self._take(opcode)
            size = sum(taken) if "TUPLE" in name else 1
            if size > MAX_TUPLE:
                raise ReadError(
                    f"a pickle in it has a tuple of over {MAX_TUPLE} values, which is no tensor's"
                )
            stack.extend(max(size, 1) for _ in opcode.stack_after)

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """What an operation takes from the stack."""
        before = opcode.stack_before
        count = len(before)
        if pickletools.markobject in before:
            start = self._marks.pop() if self._marks else 0
            count = len(self._stack) - start + before.index(pickletools.markobject)
        taken = self._stack[len(self._stack) - count :] if count else []
        del self._stack[len(self._stack) - len(taken) :]
        return taken


def check_no_net(path: AnyPath) -> None:
    """Raises ReadError, always: why a file that torch.save wrote defines no net, and what to give instead."""
    with located(path):
        try:
            _check(path)
        except _DAMAGE as error:
            raise ReadError(f"its pickles are damaged: {error}") from None
        wrapped = any(text.startswith("module.") for text in strings(path))
        whose = ", of a model in nn.DataParallel: save model.module's" if wrapped else ""
        raise ReadError(f"a state dict holds values but no net{whose}; export the module that loads it")


def tensor_blobs(state: Mapping[str, Tensor]) -> dict[str, Blob]:
    """The floating-point tensors of a state dict. Raises ReadError for one whose values are not all there."""
    blobs = {}
    for key, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        shape = tuple(tensor.shape)
        if problem := shape_problem(shape):
            raise ReadError(f"tensor {key!r}: {problem}")
        # A stride of zero repeats one value as often as the shape asks.
        if tensor.layout != torch.strided or tensor.is_meta or _stored(tensor) < math.prod(shape):
            raise ReadError(f"tensor {key!r}: the values that its shape {shape} asks for are not all there")
        blobs[str(key)] = blob_of(tensor, exact=True)
    return blobs


def _stored(tensor: Tensor) -> int:
    """How many values the memory behind a tensor holds."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()
