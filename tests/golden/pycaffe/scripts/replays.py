"""What Caffe's eight example notebooks do, in miniature and in our own words, for both pycaffes.

`CAFFE replays.py` runs them in a temporary folder and writes replays.npz. Each function takes the folder of
feeding/ and returns arrays; weights come from RandomState, whose numbers never change.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import caffe
import h5py
import numpy as np
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2

HERE = Path(__file__).resolve().parent


def fill(net, seed):
    """Random parameters: those of a pretrained model, as far as a miniature has one."""
    rng = np.random.RandomState(seed)
    for name in net.params:
        for blob in net.params[name]:
            shape = tuple(blob.data.shape)
            blob.data[...] = rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))


def write(path, text):
    with open(path, "w") as file:
        file.write(str(text))
    return path


def solver_file(path, **settings):
    """A SolverParameter, made as a message and written."""
    s = caffe_pb2.SolverParameter(lr_policy="fixed", solver_mode=caffe_pb2.SolverParameter.CPU)
    for name, value in settings.items():
        if isinstance(value, list):
            getattr(s, name).extend(value)
        else:
            setattr(s, name, value)
    return write(path, s)


CLASSIFIER = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 10 dim: 3 dim: 13 dim: 13 } } }
layer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'conv1'
  convolution_param { num_output: 8 kernel_size: 3 stride: 2 } }
layer { name: 'relu1' type: 'ReLU' bottom: 'conv1' top: 'conv1' }
layer { name: 'pool1' type: 'Pooling' bottom: 'conv1' top: 'pool1'
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: 'norm1' type: 'LRN' bottom: 'pool1' top: 'norm1' lrn_param { local_size: 5 alpha: 0.01 } }
layer { name: 'fc6' type: 'InnerProduct' bottom: 'norm1' top: 'fc6' inner_product_param { num_output: 12 } }
layer { name: 'relu6' type: 'ReLU' bottom: 'fc6' top: 'fc6' }
layer { name: 'drop6' type: 'Dropout' bottom: 'fc6' top: 'fc6' }
layer { name: 'fc7' type: 'InnerProduct' bottom: 'fc6' top: 'fc7' inner_product_param { num_output: 7 } }
layer { name: 'prob' type: 'Softmax' bottom: 'fc7' top: 'prob' }
"""
FULLY_CONVOLUTIONAL = (
    CLASSIFIER.replace("dim: 10 dim: 3 dim: 13 dim: 13", "dim: 1 dim: 3 dim: 29 dim: 21")
    .replace("'fc6' type: 'InnerProduct'", "'fc6-conv' type: 'Convolution'")
    .replace("inner_product_param { num_output: 12", "convolution_param { kernel_size: 3 num_output: 12")
    .replace("'fc7' type: 'InnerProduct'", "'fc7-conv' type: 'Convolution'")
    .replace("inner_product_param { num_output: 7", "convolution_param { kernel_size: 1 num_output: 7")
)


def transformer_for(net):
    t = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
    t.set_transpose("data", (2, 0, 1))
    t.set_mean("data", np.array([104.0, 117.0, 123.0]))
    t.set_raw_scale("data", 255)
    t.set_channel_swap("data", (2, 1, 0))
    return t


def pretrained():
    net = caffe.Net(write("deploy.prototxt", CLASSIFIER), caffe.TEST)
    fill(net, 1)
    net.save("pretrained.caffemodel")
    return caffe.Net("deploy.prototxt", "pretrained.caffemodel", caffe.TEST)


def classification(feeding):
    """Classify an image, look at every blob and filter, and run on another batch size."""
    net = pretrained()
    t = transformer_for(net)
    image = np.random.RandomState(2).rand(20, 17, 3).astype(np.float32)
    net.blobs["data"].reshape(5, 3, 13, 13)
    net.blobs["data"].data[...] = t.preprocess("data", image.copy())
    output = net.forward()
    found = {"prob": output["prob"][0].copy(), "best": output["prob"][0].argsort()[::-1][:5]}
    found["sizes"] = np.array([blob.data.size for blob in net.blobs.values()])
    found["filters"] = net.params["conv1"][0].data.transpose(0, 2, 3, 1).copy()
    found["features"] = net.blobs["conv1"].data[0, :4].copy()
    found["fc6"] = net.blobs["fc6"].data[0].copy()
    found["shown"] = t.deprocess("data", net.blobs["data"].data[0])
    net.blobs["data"].data[1] = 0
    found["until norm1"] = net.forward(end="norm1")["norm1"][1].copy()
    found["from fc7"] = net.forward(start="fc7")["prob"].copy()
    return found


def learning_lenet(feeding):
    """Write a net and a solver in Python, and train it step by step with a loop of one's own."""

    def lenet(batch_size, kind):
        n = caffe.NetSpec()
        n.data, n.label = L.Data(
            batch_size=batch_size,
            backend=kind,
            source=f"{feeding}/raw_{('leveldb', 'lmdb')[kind]}",
            transform_param=dict(scale=1.0 / 255),
            ntop=2,
        )
        n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=4)
        n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
        n.fc1 = L.InnerProduct(n.pool1, num_output=9)
        n.relu1 = L.ReLU(n.fc1, in_place=True)
        n.score = L.InnerProduct(n.relu1, num_output=10)
        n.loss = L.SoftmaxWithLoss(n.score, n.label)
        return n.to_proto()

    write("train.prototxt", lenet(2, P.Data.LMDB))
    write("test.prototxt", lenet(5, P.Data.LEVELDB))
    solver = caffe.SGDSolver(
        solver_file(
            "solver.prototxt",
            train_net="train.prototxt",
            test_net=["test.prototxt"],
            test_iter=[1],
            test_interval=500,
            base_lr=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            max_iter=12,
            snapshot_prefix="lenet",
            snapshot=6,
            display=100,
        )
    )
    fill(solver.net, 3)
    found = {"first": np.array(solver.net.forward()["loss"])}
    found["first test"] = np.array(solver.test_nets[0].forward()["loss"])
    solver.step(1)
    found["update"] = solver.net.params["conv1"][0].diff[:, 0].reshape(4, 3, 3).copy()
    losses, output, correct = [], [], []
    for it in range(11):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
        solver.test_nets[0].forward(start="conv1")
        output.append(solver.test_nets[0].blobs["score"].data[:3].copy())
        if it % 5 == 0:
            solver.test_nets[0].forward()
            test = solver.test_nets[0].blobs
            correct.append(sum(test["score"].data.argmax(1) == test["label"].data))
    assert Path("lenet_iter_6.caffemodel").exists()
    return {**found, "losses": np.array(losses), "output": np.array(output), "correct": np.array(correct)}


def fine_tuning(feeding):
    """Train a new classifier on pretrained features, beside one from scratch; score what was saved."""
    frozen, learned = [dict(lr_mult=0)] * 2, [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]

    def styled(source, root, param=learned, train=True):
        n = caffe.NetSpec()
        n.data, n.label = L.ImageData(
            transform_param=dict(mirror=False, crop_size=13, mean_value=[104, 117, 123]),
            source=source,
            batch_size=3,
            new_height=13,
            new_width=13,
            root_folder=root,
            ntop=2,
        )
        n.conv1 = L.Convolution(n.data, kernel_size=3, stride=2, num_output=8, param=param)
        n.relu1 = L.ReLU(n.conv1, in_place=True)
        n.pool1 = L.Pooling(n.conv1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
        n.norm1 = L.LRN(n.pool1, local_size=5, alpha=0.01)
        n.fc6 = L.InnerProduct(n.norm1, num_output=12, param=param)
        n.relu6 = L.ReLU(n.fc6, in_place=True)
        n.fc8_style = L.InnerProduct(n.relu6, num_output=10, param=learned)
        n.prob = L.Softmax(n.fc8_style)
        n.loss = L.SoftmaxWithLoss(n.fc8_style, n.label)
        n.acc = L.Accuracy(n.fc8_style, n.label)
        return write("style.prototxt" if train else "style_test.prototxt", n.to_proto())

    pretrained().save("weights.caffemodel")
    root, found = f"{feeding}/images/", {}
    nets = {"pretrained": styled(f"{feeding}/same.txt", root, frozen)}
    solvers = {}
    for name in ("pretrained", "scratch"):
        styled(f"{feeding}/same.txt", root, frozen if name == "pretrained" else learned)
        made = solver_file(
            f"{name}.prototxt",
            train_net="style.prototxt",
            base_lr=0.001,
            momentum=0.9,
            weight_decay=5e-4,
            iter_size=2,
            gamma=0.1,
            stepsize=4,
            max_iter=100,
            snapshot_prefix=name,
        )
        write(made, Path(made).read_text().replace('"fixed"', '"step"'))
        solvers[name] = caffe.get_solver(made)
        fill(solvers[name].net, 4)
    solvers["pretrained"].net.copy_from("weights.caffemodel")
    losses = {name: [] for name in solvers}
    for _ in range(6):
        for name, solver in solvers.items():
            solver.step(1)
            losses[name].append([solver.net.blobs[blob].data.copy() for blob in ("loss", "acc")])
    for name, solver in solvers.items():
        solver.net.save(f"{name}.caffemodel")
        test = caffe.Net(styled(f"{feeding}/same.txt", root, train=False), f"{name}.caffemodel", caffe.TEST)
        found[f"{name} tested"] = np.array([test.forward()["acc"] for _ in range(3)])
        found[f"{name} prob"] = test.blobs["prob"].data.copy()
        found[f"{name} losses"] = np.array(losses[name])
        found[f"{name} conv1"] = solver.net.params["conv1"][0].data.copy()
    assert nets
    return found


def brewing_logreg(feeding):
    """Logistic regression on HDF5 data, and a net that is not linear, by solve()."""
    rng = np.random.RandomState(5)
    x = rng.standard_normal((30, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.float32)
    for name, rows in (("train", slice(20)), ("test", slice(20, 30))):
        with h5py.File(f"{name}.h5", "w") as file:
            more = {"compression": "gzip", "compression_opts": 1}
            file.create_dataset("data", data=x[rows], **more)
            file.create_dataset("label", data=y[rows], **more)
        write(f"{name}.txt", f"{name}.h5\n")

    def net(source, hidden):
        n = caffe.NetSpec()
        n.data, n.label = L.HDF5Data(batch_size=10, source=source, ntop=2)
        features = n.data
        if hidden:
            n.ip1 = L.InnerProduct(n.data, num_output=hidden)
            n.relu1 = features = L.ReLU(n.ip1, in_place=True)
        n.ip2 = L.InnerProduct(features, num_output=2)
        n.accuracy = L.Accuracy(n.ip2, n.label)
        n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
        return n.to_proto()

    found = {}
    for hidden in (0, 6):
        write("logreg_train.prototxt", net("train.txt", hidden))
        write("logreg_test.prototxt", net("test.txt", hidden))
        solver = caffe.get_solver(
            solver_file(
                "logreg_solver.prototxt",
                train_net="logreg_train.prototxt",
                test_net=["logreg_test.prototxt"],
                test_iter=[1],
                test_interval=10,
                base_lr=0.05,
                momentum=0.9,
                max_iter=20,
                display=10,
                snapshot_prefix="logreg",
            )
        )
        fill(solver.net, 6)
        solver.solve()
        found[f"{hidden} weights"] = solver.net.params["ip2"][0].data.copy()
        accuracies = []
        for _ in range(2):
            solver.test_nets[0].forward()
            accuracies.append(float(solver.test_nets[0].blobs["accuracy"].data))
        found[f"{hidden} accuracy"] = np.array(accuracies)
    return found


def net_surgery(feeding):
    """Edit filters, and cast inner products to convolutions for a map of scores."""
    conv = CLASSIFIER[: CLASSIFIER.index("layer { name: 'relu1'")].replace("dim: 10 dim: 3", "dim: 1 dim: 1")
    net = caffe.Net(write("conv.prototxt", conv), caffe.TEST)
    fill(net, 7)
    image = np.random.RandomState(8).rand(17, 21).astype(np.float32)
    given = image[np.newaxis, np.newaxis, :, :]
    net.blobs["data"].reshape(*given.shape)
    net.blobs["data"].data[...] = given
    net.forward()
    found = {"before": net.blobs["conv1"].data.copy()}
    net.params["conv1"][1].data[0] = 1.0
    weights = net.params["conv1"][0].data
    weights[1] = 0
    weights[2, 0] = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    net.forward()
    found["after"] = net.blobs["conv1"].data.copy()

    old = pretrained()
    new = caffe.Net(write("full_conv.prototxt", FULLY_CONVOLUTIONAL), "pretrained.caffemodel", caffe.TEST)
    for fc in ("fc6", "fc7"):
        new.params[f"{fc}-conv"][0].data.flat = old.params[fc][0].data.flat
        new.params[f"{fc}-conv"][1].data[...] = old.params[fc][1].data
    new.save("full_conv.caffemodel")
    t = transformer_for(new)
    photo = np.random.RandomState(9).rand(29, 21, 3).astype(np.float32)
    out = new.forward_all(data=np.asarray([t.preprocess("data", photo)]))
    found["map"] = out["prob"][0]
    found["classes"] = out["prob"][0].argmax(axis=0)
    return found


class MultilabelData(caffe.Layer):
    """Images with a 0 or a 1 for each of four labels, batch by batch."""

    def setup(self, bottom, top):
        params = eval(self.param_str)  # noqa: S307 (as Python layers do)
        rng = np.random.RandomState(params["seed"])
        self.images = rng.standard_normal((7, 3, 13, 13))
        self.labels = rng.randint(0, 2, (7, 4))
        self.size, self.at = params["batch_size"], 0
        top[0].reshape(self.size, 3, 13, 13)
        top[1].reshape(self.size, 4)

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        for i in range(self.size):
            top[0].data[i, ...] = self.images[self.at]
            top[1].data[i, ...] = self.labels[self.at]
            self.at = (self.at + 1) % 7

    def backward(self, top, propagate_down, bottom):
        pass


def multilabel(feeding):
    """Several labels of an image, fed by a Python layer, and how many of them come out right."""

    def net(split, batch_size):
        n = caffe.NetSpec()
        settings = dict(batch_size=batch_size, seed=10 + (split == "val"))
        n.data, n.label = L.Python(module="replays", layer="MultilabelData", ntop=2, param_str=str(settings))
        n.conv1 = L.Convolution(n.data, kernel_size=3, stride=2, num_output=5)
        n.relu1 = L.ReLU(n.conv1, in_place=True)
        n.score = L.InnerProduct(n.relu1, num_output=4)
        n.loss = L.SigmoidCrossEntropyLoss(n.score, n.label)
        return write(f"multilabel_{split}.prototxt", n.to_proto())

    solver = caffe.SGDSolver(
        solver_file(
            "multilabel.prototxt",
            train_net=net("train", 3),
            test_net=[net("val", 2)],
            test_iter=[1],
            test_interval=250,
            test_initialization=False,
            base_lr=0.01,
            momentum=0.9,
            display=250,
            snapshot_prefix="multilabel",
        )
    )
    fill(solver.net, 11)
    solver.test_nets[0].share_with(solver.net)
    losses, right = [], []
    for _ in range(4):
        solver.step(2)
        losses.append(float(solver.net.blobs["loss"].data))
        test = solver.test_nets[0]
        test.forward()
        for label, score in zip(test.blobs["label"].data, test.blobs["score"].data > 0):
            right.append(np.mean(label == score))
    return {
        "losses": np.array(losses),
        "right": np.array(right),
        "score": solver.net.blobs["score"].data.copy(),
    }


def detection(feeding):
    """Score windows of an image, and keep the best that do not overlap better ones."""
    pretrained()
    detector = caffe.Detector(
        "deploy.prototxt",
        "pretrained.caffemodel",
        mean=np.array([104.0, 117.0, 123.0]),
        raw_scale=255,
        channel_swap=(2, 1, 0),
    )
    rng = np.random.RandomState(12)
    corners = rng.randint(0, 5, (12, 2))
    windows = np.hstack([corners, corners + rng.randint(2, 5, (12, 2))])
    found = detector.detect_windows([(f"{feeding}/images/wide.png", windows)])
    scores = np.array([one["prediction"] for one in found])
    areas = (windows[:, 2:] - windows[:, :2]).prod(1)
    order, kept = list(np.argsort(scores[:, 3])[::-1]), []
    while order:
        best = order.pop(0)
        kept.append(best)
        low = np.maximum(windows[best, :2], windows[order][:, :2]) if order else np.zeros((0, 2))
        high = np.minimum(windows[best, 2:], windows[order][:, 2:]) if order else np.zeros((0, 2))
        both = np.maximum(0, high - low).prod(1)
        order = [i for i, part in zip(order, both) if part / (areas[best] + areas[i] - part) < 0.3]
    return {"scores": scores, "kept": np.array(kept)}


def siamese(feeding):
    """Two towers with one set of weights, and the contrast of what they say; the features of one."""

    def tower(n, bottom, suffix):
        shared = lambda name: [dict(name=f"{name}_w", lr_mult=1), dict(name=f"{name}_b", lr_mult=2)]  # noqa: E731
        first = L.InnerProduct(bottom, num_output=6, param=shared("ip1"))
        n[f"ip1{suffix}"] = first
        n[f"relu1{suffix}"] = hidden = L.ReLU(first, in_place=True)
        n[f"feat{suffix}"] = feat = L.InnerProduct(hidden, num_output=2, param=shared("feat"))
        return feat

    rng = np.random.RandomState(13)
    pairs, similar = rng.standard_normal((8, 2, 3, 3)), rng.randint(0, 2, 8)
    with h5py.File("pairs.h5", "w") as file:
        file["pair_data"], file["sim"] = pairs, similar
    write("pairs.txt", "pairs.h5")
    n = caffe.NetSpec()
    n.pair_data, n.sim = L.HDF5Data(batch_size=4, source="pairs.txt", ntop=2)
    n.data, n.data_p = L.Slice(n.pair_data, axis=1, slice_point=1, ntop=2)
    n.loss = L.ContrastiveLoss(tower(n, n.data, ""), tower(n, n.data_p, "_p"), n.sim, margin=1)
    write("siamese.prototxt", n.to_proto())
    made = solver_file(
        "siamese_solver.prototxt",
        train_net="siamese.prototxt",
        base_lr=0.02,
        momentum=0.9,
        weight_decay=0.001,
        snapshot_prefix="siamese",
    )
    solver = caffe.SGDSolver(made)
    fill(solver.net, 14)
    losses = []
    for _ in range(8):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    solver.net.save("siamese.caffemodel")
    deploy = caffe.NetSpec()
    deploy.data = L.Input(shape=dict(dim=[3, 1, 3, 3]))
    tower(deploy, deploy.data, "")
    net = caffe.Net(write("deploy_siamese.prototxt", deploy.to_proto()), "siamese.caffemodel", caffe.TEST)
    feat = net.forward_all(data=pairs[:, :1].astype(np.float32))["feat"]
    same = np.array_equal(solver.net.params["ip1"][0].data, solver.net.params["ip1_p"][0].data)
    return {"losses": np.array(losses), "feat": feat, "same": np.array(same)}


REPLAYS = (
    classification,
    learning_lenet,
    fine_tuning,
    brewing_logreg,
    net_surgery,
    multilabel,
    detection,
    siamese,
)

if __name__ == "__main__":
    from old_scikit_image import restore

    restore()
    sys.path.insert(0, str(HERE))
    caffe.set_mode_cpu()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        feeding = shutil.copytree(HERE.parent / "feeding", "feeding")
        for replay in REPLAYS:
            arrays = replay(Path(feeding).resolve())
            found.update({f"{replay.__name__}/{name}": array for name, array in arrays.items()})
        os.chdir(HERE)
    np.savez_compressed("replays.npz", **found)
