"""Our own protobuf schema for Caffe's files, in a private descriptor pool.

`caffe.proto` holds BVLC Caffe's fields, `forks.proto` what forks added; `message("NetParameter")` is the
message class of both merged (compile.py). The pool is private so that nothing clashes with a real `caffe`
imported in the same process.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message as _Message

if TYPE_CHECKING:

    class Message(_Message):
        """A message of the schema, whose fields only the descriptor knows."""

        DESCRIPTOR: Descriptor

        def __init__(self, **fields: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

else:
    Message = _Message

DESCRIPTORS = Path(__file__).with_name("caffe.binpb")
PRIVATE = 200_000
"""Field numbers from here up are ours (forks.proto): no binary file may use them."""


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(DESCRIPTORS.read_bytes())
    return pool


@cache
def descriptor(name: str) -> Descriptor:
    """The descriptor of `name`, for example `"ConvolutionParameter"`."""
    found: Descriptor = _pool().FindMessageTypeByName(f"caffe.{name}")
    return found


@cache
def message(name: str) -> type[Message]:
    """The message class of `name`, for example `message("NetParameter")()`."""
    found: type[Any] = message_factory.GetMessageClass(descriptor(name))
    return found
