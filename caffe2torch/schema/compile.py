"""`python caffe2torch/schema/compile.py`: caffe.proto + forks.proto -> caffe.binpb (needs grpcio-tools).

It imports nothing from the package, which cannot be imported while caffe.binpb is broken.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

DESCRIPTORS = Path(__file__).with_name("caffe.binpb")
_Declaration: TypeAlias = FileDescriptorProto | DescriptorProto | EnumDescriptorProto


def compile_schema() -> bytes:
    """The serialized FileDescriptorProto of both files merged, the same bytes every time."""
    caffe, forks = compiled("caffe.proto"), compiled("forks.proto")
    _merge(caffe, forks)
    return caffe.SerializeToString(deterministic=True)


def compiled(name: str) -> FileDescriptorProto:
    """A .proto file in this folder, as protoc reads it."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, name)
        if protoc.main(["protoc", f"--proto_path={DESCRIPTORS.parent}", f"--descriptor_set_out={out}", name]):
            raise SystemExit(f"protoc refused {name}")
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]


def _merge(base: _Declaration, fork: _Declaration) -> None:
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


if __name__ == "__main__":
    DESCRIPTORS.write_bytes(compile_schema())
