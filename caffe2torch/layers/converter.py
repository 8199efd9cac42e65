"""The base class of converters: a layer type's parameters, shapes, arithmetic and Python form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from caffe2torch.blob import Array
from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple["int | None", ...]
"""The sizes of a blob's axes; None where only running the net can tell."""

Count = tuple[int, "int | None"]


@dataclass(frozen=True)
class BlobSpec:
    """One blob that a layer owns: its name in a state dict, its shape, and how Caffe fills it.

    `filler` is None for the statistics of BatchNorm, which start at zero.
    """

    name: str
    shape: Shape
    filler: Fields | None = None
    statistic: bool = False
    """A statistic, not a learned blob, in a layer that has both."""


class Converter:
    """One layer at its place in a net: its parameters read and checked, its shapes, its arithmetic.

    Subclasses are decorated with `converts`; `--list-layers` prints their docstrings.
    `__init__` reads `layer.fields` and raises `UnsupportedLayer` for what `forward` does not do.

    `bottoms` are the shapes of the bottoms, None where unknown (an input that the file does not describe).
    They give the channels and the number of axes, never a height: a net runs at any size.
    """

    bottom_count: ClassVar[Count] = (1, 1)
    top_count: ClassVar[Count] = (1, 1)
    """The least and the most; None for any number."""
    no_gradient: ClassVar[frozenset[int]] = frozenset()
    """Bottoms to which Caffe computes no gradient, such as labels: it aborts where one is asked for."""
    has_statistics: ClassVar[bool] = False
    """The blobs are statistics (buffers), not learned parameters."""
    depends_on_phase: ClassVar[bool] = False
    """`forward` takes `training`, a bool."""
    is_data: ClassVar[bool] = False
    """A source of data, which becomes an input of the net."""
    is_loss: ClassVar[bool] = False
    """Compares predictions with labels; a deploy net has none."""
    auto_top: ClassVar[bool] = False
    """Gets a top even if the net names none, as Caffe's losses do (net.cpp, AutoTopBlobs)."""
    is_sampler: ClassVar[bool] = False
    """Samples its first bottom, by labels, for training; a deploy net uses all of it."""
    held_against: ClassVar[str] = "Caffe 1.0"
    """What the tests compare its numbers with; empty if it computes none."""
    shape_only: ClassVar[frozenset[int]] = frozenset()
    """Bottoms used only for their shape."""
    fork_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that only forks of Caffe have and that this converter honours, such as `convolution_param.hole`.

    A message stands for all its fields. A layer with any other is refused, as its numbers might differ.
    """

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        self.layer = layer
        self.bottoms = bottoms

    @property
    def is_affine(self) -> bool:
        """Whether, in phase TEST, it multiplies each channel by a stored number and adds one, no more."""
        return False

    def refuse(self, reason: str) -> UnsupportedLayer:
        """The error to raise for what this converter does not do."""
        return UnsupportedLayer(self.layer.name, self.layer.type, reason)

    def no_python_form(self, reason: str = "") -> UnsupportedLayer:
        """The error to raise for what `python` cannot write."""
        why = f": {reason}" if reason else ""
        return self.refuse(f"has no readable Python form yet{why}; use --format safetensors or pt2")

    @classmethod
    def of(cls, layer: Layer) -> type[Converter]:
        """The converter for a layer of this type; Python layers have one for each class that they name."""
        return cls

    @classmethod
    def data_shapes(cls, layer: Layer) -> tuple[Shape | None, ...]:
        """A data layer's top shapes, as far as the file gives them, for the inputs that replace it."""
        return (None,) * len(layer.tops)

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        """The blobs that the layer owns, in Caffe's order."""
        return ()

    def shape_by_weights(self) -> Shape | None:
        """The first bottom's shape, as far as the layer's blobs determine it, or None.

        For the input of a net whose file does not describe it: a trained FCN begins with a data layer.
        """
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        """The shapes of the tops, None where unknown; by default the first bottom's."""
        return (self.bottoms[0],) * len(self.layer.tops)

    def shares_memory(self) -> bool:
        """Whether the tops are the first bottom's memory in Caffe: a layer in place on one changes all."""
        return False

    def look(self, view: View) -> View | None:
        """How the tops see an input that the bottoms see by `view`; None if pixels lose their positions."""
        return view

    def module(self) -> Callable[..., Tensor | tuple[Tensor, ...]] | None:
        """A new torch module, for a layer whose `forward` needs one; it is passed as `module`."""
        return None

    def forward(self, *bottoms: Tensor, **blobs: Any) -> Tensor | tuple[Tensor, ...]:
        """The tops; blobs come by their names in `blob_specs`, and `training` if the phase matters."""
        raise NotImplementedError

    def python(self, place: Place) -> PythonForm:
        """The layer as a person would write it, for the `py` format; UnsupportedLayer if it has no such form.

        The code gives the same numbers as `forward` in phase TEST.
        """
        raise self.no_python_form()

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The values of the attributes that `python` defines, by the suffix of their state dict keys."""
        return {f".{name}": values for name, values in blobs.items()}

    def absorbs(self, reader: Converter) -> bool:
        """Whether `python` writes `reader`, the only layer that reads the top, as part of this one."""
        return False
