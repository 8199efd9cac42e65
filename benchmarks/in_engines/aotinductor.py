"""AOTInductor: torch's own compiler, ahead of time, of a .pt2."""

import torch
from torch._inductor import aoti_compile_and_package, aoti_load_package


def load(path, sets):
    program = torch.export.load(path)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    compiled = aoti_load_package(aoti_compile_and_package(program, package_path=path + ".aoti.pt2"))

    def run(arrays):
        with torch.no_grad():
            tops = compiled(**{name: torch.from_numpy(x) for name, x in zip(names, arrays, strict=True)})
        return [top.numpy() for top in tops.values()]

    return run
