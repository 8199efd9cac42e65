"""Net -> the net of a phase: Caffe's include and exclude rules, inputs for data layers, no Split, no loss.

A caffemodel holds the TRAIN net that Caffe trained. In phase TRAIN it keeps its losses; in phase TEST it
becomes the net to deploy. A net that already begins with Input layers is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from caffe2torch.errors import NetError
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.registry import converter_of
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields


def for_phase(net: Net, phase: str, level: int = 0, stages: Sequence[str] = ()) -> Net:
    """The net that Caffe would run in a phase ("TRAIN" or "TEST"), a level and stages, fed by inputs.

    `stages` are added to those that the net names itself (net.cpp). Data layers become Input layers. In phase
    TEST a net that had data layers also loses its losses and what only its labels need. `notes` says what was
    dropped or rewritten.
    """
    net, stages = _free_of_phase(net), (*net.stages, *stages)
    sources = _sources(net.layers)
    others = [layer for layer in net.layers if not any(layer is source for source in sources)]
    layers = tuple(_free_of_rules(x) for x in others if _included(x, phase, level, stages))
    filtered = replace(net, layers=layers, stages=(), notes=net.notes + of_other_stages(net, stages))
    fed = _feed(filtered, sources)
    if phase == "TEST" and sources:
        fed = without_losses(_without_samplers(fed))
    return _with_unknown_noted(without_splits(fed), net)


def _with_unknown_noted(planned: Net, net: Net) -> Net:
    """The net with a note about each layer that it lost and whose file gave it unknown fields."""
    kept = {layer.name for layer in planned.layers if layer.unknown}
    lost = {layer.name: layer for layer in net.layers if layer.unknown and layer.name not in kept}
    notes = tuple(
        f"{layer.name!r} ({layer.type}) is not run, so its unknown fields do not matter: {layer.unknown[0]}"
        for layer in lost.values()
    )
    return replace(planned, notes=planned.notes + notes)


def _free_of_phase(net: Net) -> Net:
    """The net of a caffemodel without the phase in which Caffe saved it, which each of its layers names.

    A layer of another phase, such as a BatchNorm with `phase: TEST`, was given it, and keeps it (net.cpp).
    Where most layers name none, Caffe has not saved the net, and all that name one keep it.
    """
    phases = Counter(layer.fields.phase for layer in net.layers if layer.fields.has("phase"))
    if not net.weights_format or net.read_from != net.weights or 2 * phases.total() <= len(net.layers):
        return net
    saved = phases.most_common(1)[0][0]
    layers = tuple(
        replace(layer, fields=layer.fields.replace(phase=None)) if layer.fields.phase == saved else layer
        for layer in net.layers
    )
    return replace(net, layers=layers)


def _included(layer: Layer, phase: str, level: int, stages: Sequence[str]) -> bool:
    include, exclude = layer.fields.include, layer.fields.exclude
    if include and exclude:
        raise NetError(f"layer {layer.name!r}: has include and exclude rules; Caffe allows only one kind")
    if include:
        return any(_meets(rule, phase, level, stages) for rule in include)
    return not any(_meets(rule, phase, level, stages) for rule in exclude)


def check_stages(net: Net, stages: Sequence[str]) -> None:
    """Raises NetError for a stage that no rule names: it chooses nothing, and is probably misspelt."""
    rules = [rule for layer in net.layers for rule in (*layer.fields.include, *layer.fields.exclude)]
    known = {name for rule in rules for name in (*rule.stage, *rule.not_stage)}
    for stage in stages:
        if stage not in known:
            names = ", ".join(sorted(known)) or "no stages at all"
            raise NetError(f"no layer has a rule for stage {stage!r}; the net's rules name {names}")


def of_other_stages(net: Net, stages: Sequence[str] = ()) -> tuple[str, ...]:
    """A note for an all-in-one net whose layers ask for stages, when none is chosen."""
    stages = (*net.stages, *stages)
    asked = {name for layer in net.layers for rule in layer.fields.include for name in rule.stage}
    if stages or not asked:
        return ()
    names = ", ".join(sorted(asked))
    return (f"layers for stages ({names}) left out; choose with --stage, or build(net, stages=[...])",)


def _free_of_rules(layer: Layer) -> Layer:
    """A layer that was chosen, without the rules by which it was: the net can be planned again."""
    if not (layer.fields.include or layer.fields.exclude):
        return layer
    return replace(layer, fields=layer.fields.replace(include=None, exclude=None))


def _meets(rule: Fields, phase: str, level: int, stages: Sequence[str]) -> bool:
    return (
        (not rule.has("phase") or rule.phase == phase)
        and (not rule.has("min_level") or level >= rule.min_level)
        and (not rule.has("max_level") or level <= rule.max_level)
        and all(stage in stages for stage in rule.stage)
        and not any(stage in stages for stage in rule.not_stage)
    )


def _is(layer: Layer, trait: str) -> bool:
    return bool(getattr(converter_of(layer), trait, False))


def _sources(layers: Sequence[Layer]) -> list[Layer]:
    """Where data comes from: data layers, and layers of unknown types that only make what is read."""
    read = _used(layers)
    return [x for x in layers if not x.bottoms and (_is(x, "is_data") or _is_unknown_source(x, read))]


def _is_unknown_source(layer: Layer, read: set[str]) -> bool:
    return converter_of(layer) is None and not layer.blobs and bool(read & set(layer.tops))


def _feed(net: Net, data_layers: Sequence[Layer]) -> Net:
    """The net, which has lost its data layers, with an Input for each of their tops that it uses.

    A caffemodel holds one phase's data layer, so the other phase takes the names of its inputs from it.
    """
    wanted = _used(net.layers) - {top for layer in net.layers for top in layer.tops}
    fed: dict[str, Layer] = {}
    came_from = []
    for data in data_layers:
        for top, shape in zip(data.tops, _shapes(data), strict=True):
            if top in wanted and top not in fed:
                fed[top] = _input(top, shape)
                came_from.append(f"{top!r} (from a {data.type} layer)")
    notes = (f"inputs in place of data: {', '.join(came_from)}",) if fed else ()
    return replace(net, layers=(*fed.values(), *net.layers), notes=net.notes + notes)


def _shapes(data: Layer) -> tuple[Shape | None, ...]:
    known = (converter_of(data) or Converter).data_shapes(data)
    return known + (None,) * (len(data.tops) - len(known))


def _input(top: str, shape: Shape | None) -> Layer:
    """An Input; -1 stands for a size that the data layer does not give."""
    fields = Fields("LayerParameter", {})
    if shape is not None:
        dim = Fields("BlobShape", {"dim": tuple(-1 if size is None else size for size in shape)})
        fields = fields.replace(input_param=Fields("InputParameter", {"shape": (dim,)}))
    return Layer(top, "Input", (), (top,), fields)


def _without_samplers(net: Net) -> Net:
    """The net reading everything that its samplers draw from, in place of what they draw."""
    samplers = [x for x in net.layers if x.bottoms and x.tops and _is(x, "is_sampler")]
    all_of = {layer.tops[0]: layer.bottoms[0] for layer in samplers}
    layers = tuple(
        replace(layer, bottoms=tuple(all_of.get(bottom, bottom) for bottom in layer.bottoms))
        for layer in _others(net.layers, samplers)
    )
    notes = tuple(
        f"{layer.name!r} draws samples by their labels; a deploy net takes all of '{layer.bottoms[0]}'"
        for layer in samplers
    )
    labels = _used(samplers) - _used(layers)
    idle = [layer for layer in layers if layer.type == "Input" and set(layer.tops) <= labels]
    shorter = replace(net, layers=layers, notes=net.notes + notes)
    return _without(shorter, idle, "dropped, needed only for labels")


def without_losses(net: Net) -> Net:
    """The net without losses and measures, and without the layers that only their labels need."""
    losses, kept, read = list[Layer](), list(net.layers), _read(net.layers)
    of_losses = _of_losses(net.layers)
    # What only a loss reads, such as targets made from labels, goes with it.
    while unread := [x for x in _unread(kept, _read(kept)) if _is_measure(x, of_losses, read)]:
        losses += unread
        kept = _others(kept, unread)
    learned, labels, used = _learned(kept), list[Layer](), _used(net.layers)
    while idle := [x for x in _unread(kept, _used(kept)) if _is_idle(x, learned, used)]:
        labels += idle
        kept = _others(kept, idle)
    shorter = _without(net, losses, "dropped, as a deploy net has no loss")
    return _with_silences(_without(shorter, labels, "dropped, needed only for labels"))


def _of_losses(layers: Sequence[Layer]) -> set[str]:
    """The tops of losses, and what is made only from them."""
    tops: set[str] = set()
    for layer in layers:
        if _is(layer, "is_loss") or (layer.bottoms and set(layer.bottoms) <= tops):
            tops |= set(layer.tops)
    return tops


def _is_measure(layer: Layer, of_losses: set[str], read: set[str]) -> bool:
    """Whether a layer is a loss, or is made from losses for a later one, not as an output of the net."""
    return _is(layer, "is_loss") or (bool(layer.tops) and set(layer.tops) <= of_losses & read)


def _with_silences(net: Net) -> Net:
    """The net with Silence layers that hide only what is still there."""
    made, layers = {top for layer in net.layers for top in layer.tops}, []
    for layer in net.layers:
        still = tuple(bottom for bottom in layer.bottoms if layer.type != "Silence" or bottom in made)
        if still or layer.type != "Silence":
            layers.append(replace(layer, bottoms=still))
    return replace(net, layers=tuple(layers))


def _has_weights(layer: Layer) -> bool:
    converter = converter_of(layer) or Converter
    return converter.blob_specs is not Converter.blob_specs


def _used(layers: Sequence[Layer]) -> set[str]:
    return {bottom for layer in layers for bottom in layer.bottoms}


def _read(layers: Sequence[Layer]) -> set[str]:
    """The blobs that layers use; a Silence only hides its own."""
    return _used([layer for layer in layers if layer.type != "Silence"])


def _unread(layers: Sequence[Layer], read: set[str]) -> Iterator[Layer]:
    """The layers of which no top is read."""
    return (layer for layer in layers if read.isdisjoint(layer.tops))


def _is_idle(layer: Layer, learned: set[str], used: set[str]) -> bool:
    """Whether a layer that nothing reads any more learns nothing, and something read it in the whole net."""
    return learned.isdisjoint((layer.name, *layer.tops)) and used.issuperset(layer.tops)


def _others(layers: Sequence[Layer], dropped: Sequence[Layer]) -> list[Layer]:
    gone = set(map(id, dropped))
    return [layer for layer in layers if id(layer) not in gone]


def _learned(layers: Sequence[Layer]) -> set[str]:
    """The tops, and the names of the layers, that depend on a layer with weights."""
    learned: set[str] = set()
    for layer in layers:
        if layer.blobs or _has_weights(layer) or learned & set(layer.bottoms):
            learned |= {layer.name, *layer.tops}
    return learned


def _without(net: Net, dropped: Sequence[Layer], why: str) -> Net:
    if not dropped:
        return net
    names = ", ".join(f"{layer.name!r} ({layer.type})" for layer in dropped)
    kept = _others(net.layers, dropped)
    return replace(net, layers=tuple(kept), notes=(*net.notes, f"{names} {why}"))


def without_splits(net: Net) -> Net:
    """The net without Split layers, but for losses: their tops are their bottom under other names."""
    if not any(layer.type == "Split" for layer in net.layers):
        return net
    source: dict[str, str] = {}
    layers, splits = [], 0
    read = {bottom: place for place, layer in enumerate(net.layers) for bottom in layer.bottoms}
    written = {top: place for place, layer in enumerate(net.layers) for top in layer.tops}
    for place, layer in enumerate(net.layers):
        bottoms = tuple(source.get(bottom, bottom) for bottom in layer.bottoms)
        if layer.type == "Split" and layer.bottoms and _can_go(layer, place, read, written):
            source |= dict.fromkeys(layer.tops, bottoms[0])
            splits += 1
        else:
            layers.append(replace(layer, bottoms=bottoms))
    note = (f"{splits} Split layers removed, a tensor can be read twice",) if splits else ()
    return replace(net, layers=tuple(layers), notes=net.notes + note)


def _can_go(split: Layer, place: int, read: Mapping[str, int], written: Mapping[str, int]) -> bool:
    """Whether no later layer overwrites a blob of the Split, and no top of it is an output or a loss.

    `read` and `written` are the places of the last layers that do so to a blob.
    """
    if any(split.fields.loss_weight):
        return False
    overwritten = any(written.get(blob, place) > place for blob in (*split.bottoms, *split.tops))
    return not overwritten and all(read.get(top, place) > place for top in split.tops)
