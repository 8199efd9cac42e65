"""`python -m caffe2torch.schema.compile`: caffe.proto and forks.proto -> caffe.binpb (needs grpcio-tools)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

HERE = Path(__file__).parent


def compile_schema() -> bytes:
    """The serialized FileDescriptorSet of both files, caffe.proto first, the same bytes every time."""
    from grpc_tools import protoc

    files: list[descriptor_pb2.FileDescriptorProto] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("caffe.proto", "forks.proto"):
            out = Path(folder, name)
            if protoc.main(["protoc", f"--proto_path={HERE}", f"--descriptor_set_out={out}", name]):
                raise SystemExit(f"protoc refused {name}")
            files += descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString(deterministic=True)


if __name__ == "__main__":
    (HERE / "caffe.binpb").write_bytes(compile_schema())
