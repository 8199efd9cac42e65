"""`caffe.proto.caffe_pb2`: Caffe's message classes and enums under their usual names.

They are those of this package's own schema, in its private pool, and so know the fields of forks, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from caffe2torch import schema

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


DESCRIPTOR = schema.descriptor("NetParameter").file
for _name in DESCRIPTOR.message_types_by_name:
    globals()[_name] = schema.message(_name)
for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_enum)
    globals().update({_value.name: _value.number for _value in _enum.values})
