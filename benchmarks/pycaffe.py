"""`python benchmarks/pycaffe.py [PYTHON]`: how fast pycaffe's interface is, beside a real Caffe's.

PYTHON is an interpreter that imports BVLC Caffe's `caffe`; without it only ours is timed. Each row runs in a
process of its own, on one thread, in turns with the other's. It shows the shortest of its times, in seconds
of the processor, which what else runs on a machine disturbs least:

- FCN-8s forward: the paper's net on one image of 500 x 500, through `net.forward()`; and the peak of memory
  of the process, with the net built and run twice
- LeNet: `solver.step`, batch 64, from an LMDB of 28 x 28 if `lmdb` imports, else from DummyData
- MLP: `solver.step` and `net.forward()` of six InnerProducts, one item, 16 and 100 wide
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WIDTHS = (16, 100)
SOLVER = "base_lr: 0.001 momentum: 0.9 weight_decay: 0.0005 lr_policy: 'fixed' max_iter: 1000000 display: 0"
LENET = """
layer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'conv1'
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: 'xavier' } } }
layer { name: 'pool1' type: 'Pooling' bottom: 'conv1' top: 'pool1'
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: 'conv2' type: 'Convolution' bottom: 'pool1' top: 'conv2'
  convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: 'xavier' } } }
layer { name: 'pool2' type: 'Pooling' bottom: 'conv2' top: 'pool2'
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: 'ip1' type: 'InnerProduct' bottom: 'pool2' top: 'ip1'
  inner_product_param { num_output: 500 weight_filler { type: 'xavier' } } }
layer { name: 'relu1' type: 'ReLU' bottom: 'ip1' top: 'ip1' }
layer { name: 'ip2' type: 'InnerProduct' bottom: 'ip1' top: 'ip2'
  inner_product_param { num_output: 10 weight_filler { type: 'xavier' } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip2' bottom: 'label' top: 'loss' }
"""
DUMMY = """
layer { name: 'd' type: 'DummyData' top: 'data' top: 'label' dummy_data_param {
  shape { dim: 64 dim: 1 dim: 28 dim: 28 } shape { dim: 64 }
  data_filler { type: 'gaussian' std: 1 } data_filler { type: 'constant' value: 3 } } }
"""
LMDB = """
layer { name: 'd' type: 'Data' top: 'data' top: 'label' transform_param { scale: 0.00390625 }
  data_param { source: 'digits' backend: LMDB batch_size: 64 } }
"""


def mlp(width: int) -> str:
    """Six InnerProducts with ReLUs between them, and a loss."""
    net = f"""layer {{ name: 'in' type: 'Input' top: 'a0' top: 'label'
      input_param {{ shape {{ dim: 1 dim: {width} }} shape {{ dim: 1 }} }} }}"""
    for i in range(1, 7):
        count = 10 if i == 6 else width
        param = f"inner_product_param {{ num_output: {count} weight_filler {{ type: 'xavier' }} }}"
        net += f"layer {{ name: 'ip{i}' type: 'InnerProduct' bottom: 'a{i - 1}' top: 'a{i}' {param} }}"
        if i < 6:
            net += f"layer {{ name: 'relu{i}' type: 'ReLU' bottom: 'a{i}' top: 'a{i}' }}"
    return net + "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'a6' bottom: 'label' top: 'loss' }"


def shortest(run: Callable[[], object], seconds: float) -> float:
    """The shortest time of a call, in seconds, among those that `seconds` have room for; two at least."""
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def measure(what: str) -> None:
    """Prints the numbers of a row, under whichever `caffe` this interpreter imports."""
    here = Path(__file__).resolve().parent  # which has a caffe.py
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]
    import caffe
    import numpy as np

    def solver(net: str) -> caffe.SGDSolver:
        Path("net.prototxt").write_text(net)
        Path("solver.prototxt").write_text(f"net: 'net.prototxt' {SOLVER}")
        return caffe.SGDSolver("solver.prototxt")

    if what == "fcn":
        import resource

        net = caffe.Net("fcn8s.prototxt", caffe.TEST)
        net.blobs["data"].data[...] = np.random.default_rng(0).normal(0, 50, (1, 3, 500, 500))
        print(shortest(net.forward, 0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    elif what == "lenet":
        lenet = solver((LMDB if Path("digits").is_dir() else DUMMY) + LENET)
        print(shortest(lambda: lenet.step(1), 10))
    else:
        small = solver(mlp(int(what)))
        print(shortest(lambda: small.step(10), 2) / 10, shortest(small.net.forward, 1))


def write_digits() -> bool:
    """Writes an LMDB of 640 random images and labels; False where lmdb is not there."""
    try:
        import lmdb
    except ImportError:
        return False
    import numpy as np

    from caffe2torch.pycaffe.proto import caffe_pb2

    rng = np.random.default_rng(0)
    with lmdb.open("digits", map_size=1 << 26) as database, database.begin(write=True) as records:
        for i in range(640):
            pixels = rng.integers(0, 256, 784, dtype=np.uint8).tobytes()
            datum = caffe_pb2.Datum(channels=1, height=28, width=28, data=pixels, label=i % 10)
            records.put(f"{i:08}".encode(), datum.SerializeToString())
    return True


def timed(command: list[str], what: str) -> list[float]:
    """What a process of `measure` prints."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "GLOG_minloglevel": "2"}
    done = subprocess.run(
        [*command, __file__, "--measure", what], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {what}: {done.stderr[-2000:]}")
    return [float(number) for number in done.stdout.split()]


def main() -> None:
    """Times all rows and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", nargs="?")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--only", help="fcn, lenet or the width of an MLP")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        os.chdir(folder)
        import caffe2torch as c2t

        c2t.export(c2t.define("FCN8s"), "fcn8s.prototxt")
        data = "LMDB" if write_digits() else "DummyData"
        rows = {"fcn": ("FCN-8s forward, s", "FCN-8s peak memory, MB"), "lenet": (f"LeNet from {data}, s",)}
        rows |= {str(width): (f"MLP {width} step, s", f"MLP {width} forward, s") for width in WIDTHS}
        print(f"{'':24}{'ours':>12}{'Caffe':>12}{'Caffe / ours':>14}")
        for what, names in rows.items():
            if options.only in (None, what):
                ours = timed([sys.executable, "-m", "caffe2torch.pycaffe.tool.main", "python"], what)
                theirs = timed([options.python], what) if options.python else [float("nan")] * len(ours)
                for name, mine, other in zip(names, ours, theirs, strict=True):
                    print(f"{name:24}{mine:12.4g}{other:12.4g}{other / mine:14.2f}", flush=True)


if __name__ == "__main__":
    main()
