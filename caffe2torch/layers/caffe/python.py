"""Python layers: a registry where users plug in what a `module.layer` does.

>>> @python_layer("my_layers.Double")
... class Double(torch.nn.Module):
...     def __init__(self, param_str: str) -> None:
...         super().__init__()
...
...     def forward(self, x):
...         return 2 * x
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converter_type, converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn

Factory = Callable[[str], "nn.Module"]
_F = TypeVar("_F", bound=Factory)
_PYTHON_LAYERS: dict[str, Factory] = {}


def python_layer(name: str) -> Callable[[_F], _F]:
    """Registers what builds the torch.nn.Module of a Python layer; `name` is its `module.layer`.

    The decorated class or function is called with the layer's `param_str`, once per layer when a net is
    built. Its module takes the bottoms and returns the top, or a tuple of tops; its parameters are among the
    net's, under `<layer name>.module`. Registering a name again replaces it.
    """

    def register(factory: _F) -> _F:
        _PYTHON_LAYERS[name] = factory
        return factory

    return register


def _name(layer: Layer) -> str:
    return f"{layer.fields.python_param.module}.{layer.fields.python_param.layer}"


@converts("Python")
class Python(Converter):
    """Runs the module registered by `python_layer` for its `module.layer`; without bottoms, a data source.

    A few `module.layer` have converters of their own; others are refused until a module is plugged in.
    """

    bottom_count = (0, None)
    top_count = (0, None)
    held_against = ""
    is_data = True

    @classmethod
    def of(cls, layer: Layer) -> type[Converter]:
        """A plugged-in module takes precedence over a converter of the same `module.layer`."""
        name = _name(layer)
        return cls if name in _PYTHON_LAYERS else converter_type(name) or cls

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.python_param
        self.name = _name(layer)
        if self.name not in _PYTHON_LAYERS:
            raise self.refuse(
                f"its code, '{self.name}', is not converted; write it as a torch.nn.Module and plug that in "
                f"with @caffe2torch.layers.caffe.python.python_layer('{self.name}')"
            )

    def module(self) -> nn.Module:
        return _PYTHON_LAYERS[self.name](self.p.param_str)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return (None,) * len(self.layer.tops)

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **modules: nn.Module) -> Tensor | tuple[Tensor, ...]:
        tops: Tensor | tuple[Tensor, ...] = modules["module"](*bottoms)
        return tops
