"""`python -m in_engines.timed ENGINE HOW MODEL OUT.npy N,C,H,W THREADS`: runs a model when it is told to.

Writes the scores to OUT.npy and prints `ready`; then for each line `go` the seconds of a run, and at the end
the most memory that the process had, in MB.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np


def main(engine: str, how: str, model: str, out: str, shape: str, threads: str) -> None:
    """Runs it."""
    run = _LOADERS[engine](model, how, int(threads))
    draw = np.random.default_rng(0)
    image = (draw.random([int(n) for n in shape.split(",")], np.float32) - 0.5) * 200
    np.save(out, run(image))
    run(image)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        start = time.perf_counter()
        run(image)
        print(time.perf_counter() - start, flush=True)
    # Not getrusage's: that begins with what the parent had.
    most = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(most[1]) / 1000 if most else 0, flush=True)


def _ours(model, how, threads):
    import torch
    from in_engines.ours import load

    torch.set_num_threads(threads)
    return load(model, how)


def _compiled(model, how, threads):
    import torch
    from in_engines.ours import load  # noqa: F401

    import caffe2torch as c2t

    torch.set_num_threads(threads)
    net = torch.compile(c2t.load(model).to(memory_format=torch.channels_last))

    def run(array):
        with torch.inference_mode():
            image = torch.from_numpy(array).contiguous(memory_format=torch.channels_last)
            return net(image).numpy()

    return run


def _onnxruntime(model, how, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})[0]


def _openvino(model, how, threads):
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": how, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    return lambda array: compiled([array])[0]


def _opencv(model, how, threads):
    import cv2

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNet(model)

    def run(array):
        net.setInput(array)
        return net.forward()

    return run


_LOADERS = {
    "ours": _ours,
    "compiled": _compiled,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "opencv": _opencv,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
