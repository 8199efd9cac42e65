"""torchao's pt2e quantization of a .pt2, by the quantizer for x86."""

import torch
from in_engines.quantizing import CALIBRATED_ON, in_float
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)


def load(path, sets, how="all"):
    program = torch.export.load(path)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    module = program.module()
    kept = in_float([name for name, _ in module.named_children()], how)
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    for name in kept:
        quantizer.set_module_name_qconfig(name, None)
    prepared = prepare_pt2e(module, quantizer)
    observers = {node for node in prepared.graph.nodes if "activation_post_process" in str(node.target)}
    for node in prepared.graph.nodes:
        layers = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        is_ours = str(node.target) == "aten.conv2d.default" and not any(x in kept for x in layers)
        if is_ours and not observers.issuperset(node.args[:2]):
            raise RuntimeError(f"{node} has no observers")

    def called(model, arrays):
        given = {name: torch.from_numpy(x) for name, x in zip(names, arrays, strict=True)}
        with torch.no_grad():
            return [top.numpy() for top in model(**given).values()]

    for arrays in sets[:CALIBRATED_ON]:
        called(prepared, arrays)
    converted = convert_pt2e(prepared)
    return lambda arrays: called(converted, arrays)
