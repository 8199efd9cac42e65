"""TVM's relax, compiled by LLVM; of an .onnx of one size, or a .pt2."""

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx


def load(path, sets):
    module = from_onnx(onnx.load(path), keep_params_in_input=False)
    machine = relax.VirtualMachine(relax.build(module, tvm.target.Target("llvm")), tvm.cpu())

    def run(arrays):
        tops = machine["main"](*[tvm.runtime.tensor(x) for x in arrays])
        return [top.numpy() for top in (tops if not isinstance(tops, tvm.runtime.Tensor) else [tops])]

    return run
