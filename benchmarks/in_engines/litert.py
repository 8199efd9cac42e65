"""LiteRT, of a .pt2 through litert-torch."""

import litert_torch
import torch


def load(path, sets):
    program = torch.export.load(path)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    example = {name: torch.from_numpy(x) for name, x in zip(names, sets[0], strict=True)}
    net = litert_torch.convert(program.module(), sample_kwargs=example)
    outputs = program.call_spec.out_spec.context  # the converter has them by the alphabet

    def run(arrays):
        tops = net(**{name: torch.from_numpy(x) for name, x in zip(names, arrays, strict=True)})
        return [tops[name] for name in outputs] if isinstance(tops, dict) else [tops]

    return run
