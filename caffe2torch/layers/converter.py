"""What is known of one layer type: its parameters, its shapes, its arithmetic, and how a person writes it."""

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
"""The axes of a blob; None where only running the net can tell."""


@dataclass(frozen=True)
class BlobSpec:
    """One blob that a layer owns: its name in a state dict, its shape, and how Caffe fills it.

    `filler` is None for the statistics of BatchNorm, which start at zero.
    """

    name: str
    shape: Shape
    filler: Fields | None = None
    statistic: bool = False
    """Is a statistic, not learned, in a layer that has both."""


class Converter:
    """One layer at its place in a net: its parameters read and checked, its shapes, its arithmetic.

    Subclasses are decorated with `converts`; their docstring says what they support, for `--list-layers`.
    `__init__` reads `layer.fields` and raises `UnsupportedLayer` for what `forward` does not do.

    `bottoms` are the bottoms' shapes, None for one whose axes are not known (an input that the file does not
    describe). They tell channels and the number of axes, never a height: a net runs at any size.
    """

    has_statistics: ClassVar[bool] = False
    """The blobs are statistics (buffers), not learned parameters."""
    depends_on_phase: ClassVar[bool] = False
    """`forward` takes `training`, a bool."""
    is_data: ClassVar[bool] = False
    """A source of data, which becomes an input of the net."""
    is_loss: ClassVar[bool] = False
    """Measures predictions against labels; a deploy net has none."""
    auto_top: ClassVar[bool] = False
    """Has a top even where the net names none, as Caffe's losses do (net.cpp, AutoTopBlobs)."""
    is_sampler: ClassVar[bool] = False
    """Draws from its first bottom, by labels, what training sees as its first top; a deploy net takes all."""
    held_against: ClassVar[str] = "Caffe 1.0"
    """Where the numbers come from that the tests compare with; empty for what computes none."""
    shape_only: ClassVar[frozenset[int]] = frozenset()
    """Bottoms of which only the shape is used."""
    fork_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that only forks of Caffe have and this converter honours, such as `convolution_param.hole`.

    A message stands for all of its fields. A layer that gives any other is refused: its numbers might differ.
    """

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        self.layer = layer
        self.bottoms = bottoms

    def refuse(self, reason: str) -> UnsupportedLayer:
        """The error to raise for what this converter does not do."""
        return UnsupportedLayer(self.layer.name, self.layer.type, reason)

    def no_python_form(self, reason: str = "") -> UnsupportedLayer:
        """The error to raise for what `python` does not write, and why."""
        why = f": {reason}" if reason else ""
        return self.refuse(f"has no readable Python form yet{why}; use --format safetensors or pt2")

    @classmethod
    def of(cls, layer: Layer) -> type[Converter]:
        """The converter of one layer of this type; Python layers have one for each class that they name."""
        return cls

    @classmethod
    def data_shapes(cls, layer: Layer) -> tuple[Shape | None, ...]:
        """What a data layer tells of its tops' shapes, for the inputs that take its place."""
        return (None,) * len(layer.tops)

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        """The blobs that the layer owns, in Caffe's order."""
        return ()

    def shape_by_weights(self) -> Shape | None:
        """What the layer's blobs tell of its first bottom's shape, None when nothing.

        It describes the input of a net whose file does not: a trained FCN begins with a data layer.
        """
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        """The shapes of the tops, None for one that is not known; by default as the first bottom's."""
        return (self.bottoms[0],) * len(self.layer.tops)

    def look(self, view: View) -> View | None:
        """How the tops see an input that the bottoms see by `view`; None where pixels lose their places."""
        return view

    def module(self) -> Callable[..., Tensor | tuple[Tensor, ...]] | None:
        """A new torch module that `forward` gets as `module`, for a layer that a user plugs in."""
        return None

    def forward(self, *bottoms: Tensor, **blobs: Any) -> Tensor | tuple[Tensor, ...]:
        """The tops; blobs come by the names of `blob_specs`, and `training` if the phase matters."""
        raise NotImplementedError

    def python(self, place: Place) -> PythonForm:
        """The layer as a person writes it, for the `py` format; UnsupportedLayer where there is no such form.

        What it writes gives the numbers of `forward` in phase TEST.
        """
        raise self.no_python_form()

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The values that the attributes of `python` hold, by what a state dict adds to the layer's name."""
        return {f".{name}": values for name, values in blobs.items()}

    def absorbs(self, reader: Converter) -> bool:
        """Whether `python` writes the layer that alone reads the top as a part of this one."""
        return False
