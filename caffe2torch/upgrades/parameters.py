"""Parameters that come in through bottoms, of a branch for several GPUs, become the layer's own.

    layer { name: "w" type: "Parameter" top: "w" }
    layer { name: "ip" type: "InnerProduct" bottom: "x" bottom: "w" top: "y" param_bottoms: 1 }

becomes

    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" param { name: "w" } }
"""

from __future__ import annotations

from caffe2torch import schema
from caffe2torch.schema import Message


def needs_own_parameters(net: Message) -> bool:
    """Whether param_bottoms names only tops of Parameter layers, which nothing else reads."""
    taken = {name for layer in net.layer for name in _taken(layer)}
    plain = {name for layer in net.layer for name in layer.bottom[: len(layer.bottom) - len(_taken(layer))]}
    return bool(taken) and taken <= _made(net).keys() - plain


def own_parameters(net: Message, source: str) -> tuple[str, ...]:
    """Moves them, blobs and all, to the layers that read them; several readers share them by name."""
    made, taken = _made(net), set[str]()
    for layer in net.layer:
        names = _taken(layer)
        taken.update(names)
        del layer.bottom[len(layer.bottom) - len(names) :]
        layer.ClearField("param_bottoms")
        for name in names:
            layer.blobs.extend(made[name].blobs)
            spec = layer.param.add(name=name)
            spec.MergeFrom(made[name].param[0] if made[name].param else spec)
    kept = [layer for layer in net.layer if layer.type != "Parameter" or not taken & set(layer.top)]
    shorter = schema.message("NetParameter")(layer=kept)
    net.ClearField("layer")
    net.layer.extend(shorter.layer)
    return (f"parameters that came in as bottoms became their readers' own: {', '.join(sorted(taken))}",)


def _made(net: Message) -> dict[str, Message]:
    """The Parameter layers by their top."""
    return {layer.top[0]: layer for layer in net.layer if layer.type == "Parameter" and len(layer.top) == 1}


def _taken(layer: Message) -> list[str]:
    """The layer's last bottoms, as many as its param_bottoms says."""
    return list(layer.bottom[max(0, len(layer.bottom) - layer.param_bottoms) :])
