"""The intermediate representation: frozen Net, Layer, Blob. This is where protobuf ends.

    message + blobs --from_message--> Net --for_phase--> Net --to_message--> message

Field values keep Caffe's names and the schema's defaults: `layer.fields.convolution_param.num_output`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2torch import schema
from caffe2torch.blob import Blob
from caffe2torch.errors import NetError
from caffe2torch.net.fields import Fields, freeze, thaw
from caffe2torch.net.text import aligned, shape_text
from caffe2torch.schema import Message


@dataclass(frozen=True)
class Layer:
    """One layer: Caffe's LayerParameter, with `fields` for everything not named here."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: Fields
    """The LayerParameter without name, type, bottom, top and blobs."""
    blobs: tuple[Blob, ...] = ()
    unknown: tuple[str, ...] = ()
    """Why it cannot be run or written: its file gives it fields that no schema has. A sentence each."""

    def lr_mult(self, blob: int) -> float:
        """The learning rate multiplier of the layer's i-th blob; Caffe's default is 1."""
        specs = self.fields.param
        return float(specs[blob].lr_mult) if blob < len(specs) else 1.0

    def share_name(self, blob: int) -> str:
        """The name under which `param { name }` shares the layer's i-th blob; empty if it is not shared."""
        specs = self.fields.param
        return str(specs[blob].name) if blob < len(specs) else ""


WITHOUT_UNKNOWN = "--ignore-unknown-fields leaves unknown fields out"
"""The way out for whoever knows that they do not matter."""
_OWN_FIELDS = ("name", "type", "bottom", "top", "blobs")


@dataclass(frozen=True)
class Net:
    """A net in the current format, layers in Caffe's order. `print(net)` is a table."""

    name: str
    layers: tuple[Layer, ...]
    read_from: str = ""
    """Where it was read from, for messages."""
    weights: str = ""
    """Where its blobs were read from; empty for a net without weights."""
    weights_format: str = ""
    """How Caffe wrote them: "V0", "V1", "current" or "HDF5"; empty for blobs from elsewhere."""
    notes: tuple[str, ...] = ()
    """What reading rewrote or dropped, and why; one sentence each."""
    stages: tuple[str, ...] = ()
    """Those named in its own `state`, which layers' include and exclude rules refer to."""
    force_backward: bool = False
    """Every layer gets gradients, whatever `propagate_down` and `lr_mult` say."""

    def __str__(self) -> str:
        rows = [("layer", "type", "bottoms -> tops", "blobs")]
        for layer in self.layers:
            blobs = " ".join(shape_text(blob.shape) for blob in layer.blobs)
            rows.append(
                (layer.name, layer.type, f"{' '.join(layer.bottoms)} -> {' '.join(layer.tops)}", blobs)
            )
        return "\n".join(aligned(rows))


def from_message(message: Message, blobs: Sequence[Blob] = (), read_from: str = "", weights: str = "") -> Net:
    """A current-format NetParameter as a Net.

    A BlobProto of the message is a position in `blobs` (its private field `index`). Raises NetError for a
    `state` whose level is not 0.
    """
    if message.state.level:
        raise NetError(
            f"{read_from}: its state has level: {message.state.level}, which Caffe's solvers obey and its "
            f"tools ignore; remove it, and the layers that are not for it"
        )

    def layer(proto: Message) -> Layer:
        fields = freeze(proto)
        return Layer(
            fields.name,
            fields.type,
            fields.bottom,
            fields.top,
            fields.replace(**dict.fromkeys(_OWN_FIELDS)),
            tuple(blobs[blob.index] for blob in fields.blobs),
        )

    layers = tuple(layer(proto) for proto in message.layer)
    state = {"stages": tuple(message.state.stage), "force_backward": message.force_backward}
    return Net(message.name, layers, read_from, weights, **state)


def to_message(net: Net) -> Message:
    """The NetParameter of a Net, without blobs. Raises NetError for a layer with unknown fields."""
    message = schema.message("NetParameter")(name=net.name)
    if net.stages:
        message.state.stage.extend(net.stages)
    if net.force_backward:
        message.force_backward = True
    for layer in net.layers:
        if layer.unknown:
            reasons = "; ".join((*layer.unknown, WITHOUT_UNKNOWN))
            raise NetError(f"layer {layer.name!r} ({layer.type}): {reasons}")
        own = {"name": layer.name, "type": layer.type, "bottom": layer.bottoms, "top": layer.tops}
        message.layer.append(thaw(layer.fields.replace(**{k: v or None for k, v in own.items()})))
    return message
