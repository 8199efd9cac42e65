#!/usr/bin/env bash
# Python's protobuf and protoc read one text message as two messages.
#
# Expected: both parsers of one project take the same text format, whose specification is published: the escape \? is a
# question mark, and white space may stand between a sign and its number.
# Seen with protobuf 7.36.2 and the protoc in grpcio-tools 1.85.1: the string "why\?" keeps its backslash in Python,
# without an error; protoc reads "why?". "- 1" is -1 for protoc and a ParseError in Python. The other way round, Python
# takes 1_0 as 10 and +1 as 1, which protoc refuses. So a text file that serves a C++ program may not serve in Python.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q protobuf==7.36.2 grpcio-tools==1.85.1 setuptools==80.9.0
cd "$dir"
"$dir/venv/bin/python" - <<'PY'
import subprocess
import sys
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

Path("note.proto").write_text('syntax = "proto2"; message Note { optional string text = 1; optional float value = 2; }')
file = FileDescriptorProto(name="note.proto", syntax="proto2")
message = file.message_type.add(name="Note")
for number, name, type_ in (1, "text", FieldDescriptorProto.TYPE_STRING), (2, "value", FieldDescriptorProto.TYPE_FLOAT):
    message.field.add(name=name, number=number, type=type_, label=FieldDescriptorProto.LABEL_OPTIONAL)
pool = DescriptorPool()
pool.Add(file)
Note = GetMessageClass(pool.FindMessageTypeByName("Note"))


def in_python(text):
    try:
        return text_format.Parse(text, Note())
    except text_format.ParseError:
        return None


def in_protoc(text):
    command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", "--encode=Note", "note.proto"]
    done = subprocess.run(command, input=text.encode(), capture_output=True)
    return Note.FromString(done.stdout) if done.returncode == 0 else None


for text, python, protoc in (
    (r'text: "why\?"', Note(text=r"why\?"), Note(text="why?")),
    ("value: - 1", None, Note(value=-1)),
    ("value: 1_0", Note(value=10), None),
    ("value: +1", Note(value=1), None),
    (r'text: "a\tb" value: -1.f', Note(text="a\tb", value=-1), Note(text="a\tb", value=-1)),
):
    print(f"{text:28} Python: {str(in_python(text)).strip():22} protoc: {str(in_protoc(text)).strip()}")
    assert in_python(text) == python and in_protoc(text) == protoc
PY
