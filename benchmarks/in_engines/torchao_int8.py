"""torchao's pt2e quantization of a .pt2, by the quantizer for x86."""

import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)


def load(path, sets):
    program = torch.export.load(path)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program.module(), quantizer)
    observers = {node for node in prepared.graph.nodes if "activation_post_process" in str(node.target)}
    for node in prepared.graph.nodes:
        if str(node.target) == "aten.conv2d.default" and not observers.issuperset(node.args[:2]):
            raise RuntimeError(f"{node} has no observers")

    def called(model, arrays):
        given = {name: torch.from_numpy(x) for name, x in zip(names, arrays, strict=True)}
        with torch.no_grad():
            return [top.numpy() for top in model(**given).values()]

    for arrays in sets:
        called(prepared, arrays)
    converted = convert_pt2e(prepared)
    return lambda arrays: called(converted, arrays)
