"""Our caffe.proto says what tests/golden/caffe-fields.tsv says, row by row, and nothing else."""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from caffe2torch import schema

FieldProto = descriptor_pb2.FieldDescriptorProto
Facts = dict[tuple[str, str, str], tuple[str, ...]]


def compiled(name: str) -> Any:
    """caffe.proto or forks.proto, as protoc reads it."""
    from caffe2torch.schema import compile as compiling

    return compiling.compiled(name)


def walk(scope: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every field and enum value: ("field" or "enum", the name of its message or enum, the descriptor)."""
    messages = scope.message_type if hasattr(scope, "message_type") else scope.nested_type
    for message in messages:
        for field in message.field:
            yield "field", prefix + message.name, field
        yield from walk(message, f"{prefix}{message.name}.")
    for enum in scope.enum_type:
        for value in enum.value:
            yield "enum", prefix + enum.name, value


def facts(field: Any) -> tuple[str, ...]:
    """number, label, type, default and packed, spelled as in the table."""
    kind = FieldProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    label = FieldProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    if field.type_name:
        kind = field.type_name.removeprefix(".caffe.")
    return str(field.number), label, kind, default(field), "packed" if field.options.packed else ""


def default(field: Any) -> str:
    if not field.HasField("default_value"):
        return ""
    text = field.default_value
    if field.type == FieldProto.TYPE_STRING:
        return repr(text)
    if field.type == FieldProto.TYPE_FLOAT:
        return repr(struct.unpack("f", struct.pack("f", float(text)))[0])
    return {"true": "True", "false": "False"}.get(text, text)


def table(golden: Path) -> Facts:
    """The rows of the golden table, floats as their float32 value."""
    rows: Facts = {}
    with (golden / "caffe-fields.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            assert row["kind"] in ("field", "enum"), row
            if row["type"] == "float" and row["default"]:
                row["default"] = repr(struct.unpack("f", struct.pack("f", float(row["default"])))[0])
            values = ("number", "label", "type", "default", "packed")
            rows[row["kind"], row["scope"], row["name"]] = tuple(row[name] for name in values)
    return rows


def ours(file: Any) -> Facts:
    found: Facts = {}
    for kind, scope, item in walk(file):
        found[kind, scope, item.name] = facts(item) if kind == "field" else (str(item.number), "", "", "", "")
    return found


def test_every_row_of_the_table_is_in_caffe_proto_and_nothing_else(golden: Path) -> None:
    expected, found = table(golden), ours(compiled("caffe.proto"))
    assert len(expected) > 500
    assert {key: found.get(key) for key in expected} == expected
    assert sorted(found.keys() - expected.keys()) == []


def test_forks_have_private_numbers_and_leave_caffes_fields_alone() -> None:
    caffe, forks = compiled("caffe.proto"), compiled("forks.proto")
    caffes = ours(caffe)
    for kind, scope, item in walk(forks):
        assert (kind, scope, item.name) not in caffes
        assert kind == "enum" or item.number >= schema.PRIVATE, f"{scope}.{item.name} = {item.number}"
    assert max(field.number for kind, _, field in walk(caffe) if kind == "field") < schema.PRIVATE


def test_the_stored_schema_is_both_files_merged() -> None:
    stored = descriptor_pb2.FileDescriptorProto.FromString(schema.DESCRIPTORS.read_bytes())
    both = ours(compiled("caffe.proto")) | ours(compiled("forks.proto"))
    assert ours(stored) == both, "run python caffe2torch/schema/compile.py"


def test_the_pool_is_private() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")
    assert schema.message("NetParameter")().DESCRIPTOR.full_name == "caffe.NetParameter"


def test_the_stored_schema_is_what_compiling_writes() -> None:
    from caffe2torch.schema.compile import compile_schema

    written, stored = (
        descriptor_pb2.FileDescriptorProto.FromString(content)
        for content in (compile_schema(), schema.DESCRIPTORS.read_bytes())
    )
    assert written == stored, "run python caffe2torch/schema/compile.py"


def test_a_schema_that_is_none_is_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from caffe2torch.schema import compile as compiling

    (tmp_path / "caffe.proto").write_text("message {")
    monkeypatch.setattr(compiling, "DESCRIPTORS", tmp_path / "caffe.binpb")
    with pytest.raises(SystemExit, match=r"protoc refused caffe\.proto"):
        compiling.compile_schema()
