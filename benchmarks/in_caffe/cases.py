"""`PYTHON cases.py FOLDER`, with a Python that imports Caffe: runs every case below the folder.

A case is a folder with case.json, which names its files; what Caffe computes goes to found.npz. Each runs
in a process of its own, as Caffe ends it where it refuses: what it says then is in `said`, the signal in
`ended`.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import caffe
import numpy as np

SECONDS = 60


def run_net(case):
    """A forward pass, and a backward one with the net's own losses."""
    phase = caffe.TRAIN if case["phase"] == "TRAIN" else caffe.TEST
    net = caffe.Net(case["net"], phase)
    if case["filled"]:
        written(caffe.Net(case["filled"], phase), case["weights"])
    net.copy_from(case["weights"])
    feed(net, np.load("given.npz"))
    found = {"loss": np.float32(net._forward(0, len(net.layers) - 1))}
    tops = [top for top in net.outputs if "_split_" not in top]  # of a loss weight on a blob that is read
    found.update({f"out.{top}": np.array(net.blobs[top].data) for top in tops})
    if case["backward"]:
        net.backward()
        found.update({f"gin.{blob}": np.array(net.blobs[blob].diff) for blob in case["differentiated"]})
        found.update({f"gparam.{key}": np.array(blob.diff) for key, blob in parameters(net)})
    found.update({f"after.{key}": np.array(blob.data) for key, blob in parameters(net)})
    return found


def run_solver(case):
    """Steps from weights of its own with a snapshot on the way, or from somebody's snapshot."""
    solver = caffe.get_solver("solver.prototxt")
    found, given = {}, np.load("given.npz")
    if case["restored"]:
        solver.restore(case["restored"])
    else:
        if case["filled"]:
            written(caffe.Net(case["filled"], caffe.TRAIN), case["weights"])
        solver.net.copy_from(case["weights"])
    while solver.iter < case["steps"]:
        feed(solver.net, given, f"{solver.iter}.")
        solver.step(1)
        if solver.iter == case["stop"] and not case["restored"]:
            solver.snapshot()
            found.update({f"stop.{key}": np.array(blob.data) for key, blob in parameters(solver.net)})
    found.update({f"after.{key}": np.array(blob.data) for key, blob in parameters(solver.net)})
    return found


def parameters(net):
    """Each blob, under the position of its layer among those that have some, and its own."""
    layers = [layer for layer in net.layers if len(layer.blobs)]
    return [(f"{i}.{j}", blob) for i, layer in enumerate(layers) for j, blob in enumerate(layer.blobs)]


def written(net, path):
    """Writes a net that has its fillers' values, and for BatchNorm random statistics."""
    draw = np.random.RandomState(1)
    for layer in net.layers:
        if layer.type == "BatchNorm":
            mean, variance, factor = (blob.data for blob in layer.blobs)
            mean[...], variance[...] = draw.randn(*mean.shape) / 3, draw.uniform(0.5, 2, variance.shape)
            factor[...] = draw.choice((1, 1, 0.5))
    (net.save_hdf5 if path.endswith(".h5") else net.save)(path)


def feed(net, given, step=""):
    """Gives a net its inputs."""
    for key in given:
        if key.startswith(f"in.{step}"):
            net.blobs[key[len(f"in.{step}") :]].data[...] = given[key]


def alone(folder):
    """Runs a case, in its folder, and ends the process."""
    os.dup2(os.open(str(folder / "said"), os.O_WRONLY | os.O_CREAT), 2)
    os.chdir(str(folder))
    signal.alarm(SECONDS)
    case = json.loads(Path("case.json").read_text())
    caffe.set_random_seed(case["seed"])
    try:
        np.savez("part.npz", **(run_solver if Path("solver.prototxt").exists() else run_net)(case))
        Path("part.npz").rename("found.npz")
    except Exception:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(root):
    """Runs every case below a folder that has not been run."""
    for folder in sorted(path.parent for path in Path(root).rglob("case.json")):
        if (folder / "said").exists():
            continue
        if os.fork() == 0:
            alone(folder)
        _, status = os.wait()
        if status:
            (folder / "ended").write_text(str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))


main(sys.argv[1])
