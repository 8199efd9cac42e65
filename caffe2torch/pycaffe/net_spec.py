"""`caffe.NetSpec`, `caffe.layers` and `caffe.params`: nets written in Python.

    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 5, 7]))
    n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=4)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    net = n.to_proto()              # a NetParameter; str(net) is the prototxt

`L.TYPE(...)` makes a Function, a layer to be, and returns its Tops. Nothing is checked before `to_proto`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from caffe2torch import schema
from caffe2torch.schema import Message

_Names = dict["Top | Function", str]


class Top:
    """The n-th top of a Function; the bottom of others."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn, self.n = fn, n

    def to_proto(self) -> Message:
        """The NetParameter of the layers that this top needs."""
        return to_proto(self)


class Function:
    """One layer: its type, its bottoms and its parameters. Raises TypeError for a bottom that is no Top."""

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        for index, bottom in enumerate(inputs):
            if not isinstance(bottom, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(bottom)})")
        self.type_name, self.inputs, self.params = type_name, inputs, dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))


class _Writer:
    """Functions and what they need, each once, as LayerParameters in the order of need."""

    def __init__(self, names: _Names) -> None:
        self.names = dict(names)
        self.layers: OrderedDict[Function, Message] = OrderedDict()
        self._used: Counter[str] = Counter()

    def net(self) -> Message:
        net = schema.message("NetParameter")()
        net.layer.extend(self.layers.values())
        return net

    def add(self, asked: Function) -> None:
        """Adds `asked` after all that it needs; nets are deeper than Python's stack."""
        left = [asked]
        while left:
            function = left[-1]
            needed = [bottom.fn for bottom in function.inputs if bottom.fn not in self.layers]
            if function in self.layers or not needed:
                left.pop()
                if function not in self.layers:
                    self.layers[function] = self._layer(function)
            else:
                left.append(needed[0])

    def _layer(self, function: Function) -> Message:
        layer = schema.message("LayerParameter")(type=function.type_name)
        layer.bottom.extend(self.layers[bottom.fn].top[bottom.n] for bottom in function.inputs)
        layer.top.extend(layer.bottom if function.in_place else map(self._name, function.tops))
        layer.name = self._name(function.tops[0] if function.ntop else function)
        for name, value in function.params.items():
            _set(_owner(layer, name), name, value)
        return layer

    def _name(self, what: Top | Function) -> str:
        if what not in self.names:
            kind = (what.fn if isinstance(what, Top) else what).type_name
            self._used[kind] += 1
            self.names[what] = f"{kind}{self._used[kind]}"
        return self.names[what]


class NetSpec:
    """A net to be: its attributes are its tops, by name; also as `spec["name"]`."""

    tops: OrderedDict[str, Top | Function]

    def __init__(self) -> None:
        object.__setattr__(self, "tops", OrderedDict())

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Top:
        if name == "tops" or name.startswith("__"):  # copy asks, before there are tops
            raise AttributeError(name)
        return self.tops[name]  # type: ignore[return-value]  # a Function is nobody's bottom

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    __setitem__ = __setattr__
    __getitem__ = __getattr__
    __delitem__ = __delattr__

    def to_proto(self) -> Message:
        """The NetParameter, layers in the order of their first need.

        Raises AttributeError for a parameter that a layer does not have, TypeError or ValueError for a value
        that it does not take.
        """
        writer = _Writer({top: name for name, top in self.tops.items()})
        for top in self.tops.values():
            writer.add(top.fn if isinstance(top, Top) else top)
        return writer.net()


class Layers:
    """`L`: `L.TYPE(*bottoms, **parameters)`, for any TYPE, is a Top, or as many as `ntop` says.

    With `ntop=0` it is the Function. `in_place=True` writes into the bottom.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def layer(*bottoms: Any, **parameters: Any) -> Any:
            function = Function(name, bottoms, parameters)
            if function.ntop == 0:
                return function
            return function.tops[0] if function.ntop == 1 else function.tops

        return layer


class Parameters:
    """`P`: the values of Caffe's enums, such as `P.Pooling.MAX`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return schema.message(f"{name}Parameter")
        except KeyError:
            raise AttributeError(f"Caffe has no {name}Parameter") from None


layers = Layers()
params = Parameters()


def to_proto(*tops: Top) -> Message:
    """The NetParameter of the layers that the tops need, all of them unnamed. Raises as NetSpec.to_proto."""
    writer = _Writer({})
    for top in tops:
        writer.add(top.fn)
    return writer.net()


@cache
def _parameters() -> dict[str, str]:
    """The field of LayerParameter for each kind of parameter: `{"Convolution": "convolution_param", ...}`."""
    fields = schema.descriptor("LayerParameter").fields
    return {
        field.message_type.name.removesuffix("Parameter"): field.name
        for field in reversed(fields)  # the first of a kind is Caffe's; forks came later
        if field.name.endswith("_param") and field.message_type is not None
    }


def _owner(layer: Message, name: str) -> Message:
    """The message that the keyword `name` belongs to: the layer's own parameters, or the layer itself."""
    own = _parameters().get(layer.type)
    if own is not None and not name.endswith("param"):
        parameters: Message = getattr(layer, own)
        if name in parameters.DESCRIPTOR.fields_by_name:
            return parameters
    if name not in layer.DESCRIPTOR.fields_by_name:
        hint = (
            "" if own else "; a type without parameters of its own takes them as a dict, NAME_param=dict(...)"
        )
        raise AttributeError(f"layer {layer.name!r} ({layer.type}) has no parameter {name!r}{hint}")
    return layer


def _set(message: Message, name: str, value: Any) -> None:
    """Sets a field; dictionaries are messages, and one value stands for a list of one."""
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise AttributeError(f"{message.DESCRIPTOR.name} has no field {name!r}")
    if field.is_repeated:
        values = value if isinstance(value, list | tuple) else [value]
        if field.message_type is None:
            getattr(message, name).extend(values)
        else:
            for item in values:
                _fill(getattr(message, name).add(), item)
    elif field.message_type is not None:
        _fill(getattr(message, name), value)
    else:
        setattr(message, name, value)


def _fill(message: Message, value: Any) -> None:
    if isinstance(value, Mapping):
        message.SetInParent()
        for name, inner in value.items():
            _set(message, name, inner)
    elif isinstance(value, type(message)):
        message.CopyFrom(value)
    else:
        raise TypeError(f"{message.DESCRIPTOR.name} takes a dict, found {type(value).__name__}")
