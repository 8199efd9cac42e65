"""IREE, compiled for a CPU."""

import subprocess
import sys

import iree.runtime
import numpy as np
import onnx


def load(path, sets):
    text, compiled = path + ".mlir", path + ".vmfb"
    tool = "iree.compiler.tools."
    subprocess.run([sys.executable, "-m", tool + "import_onnx", path, "-o", text, "--opset-version", "17"],
                   check=True, capture_output=True)  # fmt: skip
    subprocess.run([sys.executable, "-m", tool + "scripts.iree_compile", "--iree-hal-target-device=local",
                    "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host", text, "-o", compiled],
                   check=True)  # fmt: skip
    name = onnx.load(path).graph.name
    config = iree.runtime.Config("local-sync")
    module = iree.runtime.VmModule.mmap(config.vm_instance, compiled)
    function = iree.runtime.load_vm_module(module, config)[name.replace("-", "_")]

    def run(arrays):
        tops = function(*arrays)
        return [np.asarray(top) for top in (tops if isinstance(tops, list | tuple) else [tops])]

    return run
