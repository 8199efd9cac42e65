"""Caffe's protobuf schema, ours, in a private descriptor pool.

`caffe.proto` holds BVLC Caffe's fields, `forks.proto` what forks added; `message("NetParameter")` is the
message class of both merged. The pool is private, so that nothing clashes with a real `caffe` imported in
the same process.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor

PRIVATE = 200_000
"""Field numbers from here up are ours (forks.proto): no binary file may carry them."""


def _merge(base: Any, fork: Any) -> None:
    """Adds to the messages and enums of `base` what `fork` declares under the same names."""
    for attribute in ("message_type", "nested_type", "enum_type"):
        if not hasattr(base, attribute):
            continue
        known = {child.name: child for child in getattr(base, attribute)}
        for child in getattr(fork, attribute):
            if child.name in known:
                _merge(known[child.name], child)
            else:
                getattr(base, attribute).append(child)
    for attribute in ("field", "value"):
        if hasattr(base, attribute):
            getattr(base, attribute).extend(getattr(fork, attribute))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    files = descriptor_pb2.FileDescriptorSet.FromString(
        resources.files(__package__).joinpath("caffe.binpb").read_bytes()
    ).file
    caffe, forks = files
    _merge(caffe, forks)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(caffe)
    return pool


@cache
def descriptor(name: str) -> Descriptor:
    """The descriptor of `name`, for example `"ConvolutionParameter"`."""
    found: Descriptor = _pool().FindMessageTypeByName(f"caffe.{name}")
    return found


@cache
def message(name: str) -> type[Any]:
    """The message class of `name`, for example `message("NetParameter")()`."""
    found: type[Any] = message_factory.GetMessageClass(descriptor(name))
    return found
