"""`caffe.draw`: nets as graphs, by pydot and Graphviz."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from caffe2torch.errors import MissingData, WriteError
from caffe2torch.schema import Message
from caffe2torch.writing.output import create

_LAYER = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
_NEURON = {**_LAYER, "fillcolor": "#90EE90"}
_BLOB = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
_WINDOWS = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "Pooling": "pooling_param",
}
"""The parameters of the types that slide a window."""
_COLORS = {
    **dict.fromkeys(("Convolution", "Deconvolution"), "#FF5050"),
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}


def get_pydot_graph(
    caffe_net: Message,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """The graph of a NetParameter: a box for each layer, an octagon for each blob.

    `rankdir` is the direction, "LR", "TB", "BT" or "RL"; `phase` leaves out layers of the other one;
    `display_lrm` shows learning rate multipliers. Raises MissingData without pydot.
    """
    pydot = _pydot()
    graph = pydot.Dot(caffe_net.name or "Net", graph_type="digraph", rankdir=rankdir)
    blobs: set[str] = set()
    for number, layer in enumerate(caffe_net.layer):
        if phase is not None and not _is_in(layer, phase):
            continue
        node = f"layer_{number}"
        in_place = list(layer.bottom) == list(layer.top)
        style = _NEURON if in_place else {**_LAYER, "fillcolor": choose_color_by_layertype(layer.type)}
        graph.add_node(pydot.Node(node, label=_quoted(get_layer_label(layer, rankdir, display_lrm)), **style))
        label = {"label": _quoted(get_edge_label(layer))} if label_edges else {}
        for name in layer.bottom:
            graph.add_edge(pydot.Edge(_blob(name), node))
        for name in layer.top:
            graph.add_edge(pydot.Edge(node, _blob(name), **label))
        blobs.update(layer.bottom, layer.top)
    for name in sorted(blobs):
        graph.add_node(pydot.Node(_blob(name), label=_quoted(name), **_BLOB))
    return graph


def draw_net(
    caffe_net: Message, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """The picture of a NetParameter, in Graphviz' format `ext`. Raises MissingData without Graphviz."""
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    if ext == "raw":
        return graph.to_string().encode()  # type: ignore[no-any-return]
    try:
        return graph.create(format=ext)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise MissingData("drawing needs Graphviz, whose program dot is not there") from None


def draw_net_to_file(
    caffe_net: Message,
    filename: str,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Writes the picture; the file's suffix says its format, `.raw` the graph as text."""
    ext = Path(filename).suffix.removeprefix(".")
    if not ext:
        raise WriteError(f"{filename}: its suffix says the format; give it one, such as .png")
    picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    with create(filename) as output:
        output.write(picture)


def get_layer_label(layer: Message, rankdir: str, display_lrm: bool = False) -> str:
    """Name and type of a layer, and what its windows are."""
    parts = [layer.name, f"({layer.type})"]
    if layer.type in _WINDOWS:
        window = getattr(layer, _WINDOWS[layer.type])
        if layer.type == "Pooling":
            parts[1] = f"({get_pooling_types_dict()[window.pool]} {layer.type})"
        sizes = (
            f"{what}: {_size(window, *names)}"
            for what, names in (
                ("kernel size", ("kernel_size", "kernel", 1)),
                ("stride", ("stride", "stride", 1)),
                ("pad", ("pad", "pad", 0)),
            )
        )
        parts += sizes
    if display_lrm and layer.param:
        parts.append("lr_mult: " + ", ".join(f"{param.lr_mult:g}" for param in layer.param))
    return (" " if rankdir in ("TB", "BT") else r"\n").join(parts)


def get_edge_label(layer: Message) -> str:
    """What a layer's top is named by: its channels, or the batch size of a Data layer."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else ""


def get_pooling_types_dict() -> dict[int, str]:
    """The names of the pooling methods."""
    from caffe2torch import schema

    methods = schema.descriptor("PoolingParameter").enum_types_by_name["PoolMethod"]
    return {value.number: value.name for value in methods.values}


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer's box."""
    return _COLORS.get(layertype, _LAYER["fillcolor"])


def _size(window: Message, name: str, prefix: str, default: int) -> str:
    """A size of each axis, from `name`, or `prefix`_h and `prefix`_w."""
    if window.HasField(f"{prefix}_h") or window.HasField(f"{prefix}_w"):
        return f"{getattr(window, f'{prefix}_h')}x{getattr(window, f'{prefix}_w')}"
    value = getattr(window, name)
    sizes = [value] if isinstance(value, int) else list(value)
    return "x".join(map(str, sizes if len(sizes) > 1 else (sizes or [default]) * 2))


def _is_in(layer: Message, phase: int) -> bool:
    """Whether a layer's rules let it into a phase; other conditions are not looked at."""
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def _blob(name: str) -> str:
    return _quoted(f"{name}_blob")


def _quoted(text: str) -> str:
    """Text as a Graphviz string, which nothing in it ends; a backslash and n stay a line break."""
    return '"' + re.sub(r"\\(?!n)", r"\\\\", text).replace('"', r"\"") + '"'


def _pydot() -> Any:
    try:
        import pydot
    except ImportError:
        raise MissingData(
            "drawing needs the package pydot, and Graphviz: pip install 'caffe2torch[caffe]'"
        ) from None
    return pydot
