"""IREE, compiled for a CPU."""

import subprocess
import sys

import iree.runtime
import numpy as np
import onnx


def load(path, sets):
    text, compiled = path + ".mlir", path + ".vmfb"
    python = (sys.executable, "-m")
    subprocess.run([*python, "iree.compiler.tools.import_onnx", path, "-o", text], check=True)
    cpu = ("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu")
    host = "--iree-llvmcpu-target-cpu=host"
    tool = "iree.compiler.tools.scripts.iree_compile"
    subprocess.run([*python, tool, *cpu, host, text, "-o", compiled], check=True)
    name = onnx.load(path).graph.name
    config = iree.runtime.Config("local-sync")
    module = iree.runtime.VmModule.mmap(config.vm_instance, compiled)
    function = iree.runtime.load_vm_module(module, config)[name]

    def run(arrays):
        tops = function(*arrays)
        return [np.asarray(top) for top in (tops if isinstance(tops, list | tuple) else [tops])]

    return run
