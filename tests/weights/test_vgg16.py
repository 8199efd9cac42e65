"""VGG-16 of torchvision and Keras, written here as they write it, against their own way to compute it."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.errors import Caffe2TorchError, NetError, ReadError, WeightsError
from caffe2torch.modules.fcn import FCN8s
from caffe2torch.net import Net
from caffe2torch.net.preprocessing import Preprocessing, preprocessing
from caffe2torch.weights.surgery import transplant

STAGES, FULL, CLASSES = (4, 5, 6, 7, 8), (9, 10), 11
DEPTHS = (2, 2, 3, 3, 3)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, as torchvision documents them
CAFFES = (104.00699, 116.66877, 122.67892)  # BGR
KERAS = (103.939, 116.779, 123.68)  # BGR
SIZE = 224


class Torchvision(nn.Module):
    """The modules of torchvision's vgg*, narrow, by its names; random weights that keep signals alive."""

    def __init__(self, depths: tuple[int, ...] = DEPTHS, normalized: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for depth, width in zip(depths, STAGES, strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1)]
                layers += [nn.BatchNorm2d(width)] if normalized else []
                layers += [nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        first, second = FULL
        self.classifier = nn.Sequential(
            *(nn.Linear(STAGES[-1] * 49, first), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(first, second), nn.ReLU(), nn.Dropout()),
            nn.Linear(second, CLASSES),
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter)
            else:
                nn.init.normal_(parameter, std=0.1)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return scores


def image(height: int, width: int) -> np.ndarray:
    """RGB, 0 to 255, (H, W, 3)."""
    return np.random.default_rng(7).integers(0, 256, (height, width, 3)).astype(np.float64)


def normalized(rgb: np.ndarray) -> Tensor:
    """An image as torchvision's nets see it, (1, 3, H, W)."""
    return torch.from_numpy(((rgb / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)[None])


def as_caffe(rgb: np.ndarray, mean: tuple[float, ...]) -> Tensor:
    """An image as Caffe's nets see it, (1, 3, H, W): BGR minus the mean."""
    return torch.from_numpy((rgb[:, :, ::-1] - mean).transpose(2, 0, 1)[None].copy())


def relative(found: Any, wanted: Any) -> float:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def blobs(net: Net, x: Tensor) -> dict[str, Tensor]:
    """Every blob of the net, in float64."""
    with torch.no_grad():
        return c2t.build(net).double().every_blob(data=x)


@pytest.fixture
def vgg() -> Torchvision:
    return Torchvision()


# --- torchvision


def test_torchvisions_net_gives_the_same_scores_on_bgr(vgg: Torchvision) -> None:
    rgb = image(SIZE, SIZE)
    net = c2t.vgg16_from(vgg.state_dict())
    found = blobs(net, as_caffe(rgb, tuple(255 * m for m in reversed(MEAN))))
    with torch.no_grad():
        wanted = vgg.double()(normalized(rgb))
    assert relative(found["fc8"], wanted) < 1e-6
    assert relative(found["prob"], wanted.softmax(1)) < 1e-6
    assert wanted.std() > 0.1, "the scores say nothing of the image"


def test_borders_are_exact_with_their_mean_and_with_another_only_inside(vgg: Torchvision) -> None:
    rgb = image(33, 41)
    with torch.no_grad():
        wanted = vgg.double().features[:1](normalized(rgb))
    own = blobs(c2t.vgg16_from(features(vgg)), as_caffe(rgb, (103.53, 116.28, 123.675)))
    relu = torch.relu(wanted)
    assert relative(own["conv1_1"], relu) < 1e-6

    net = c2t.vgg16_from(features(vgg), mean=CAFFES)
    found = blobs(net, as_caffe(rgb, CAFFES))["conv1_1"]
    inside = (..., slice(1, -1), slice(1, -1))
    assert relative(found[inside], relu[inside]) < 1e-6

    # The padding that the kernel reaches is Caffe's mean there, which is M - 255 m from theirs.
    shift = torch.tensor([m - 255 * n for m, n in zip(CAFFES, reversed(MEAN), strict=True)])
    outside = F.pad(torch.zeros(1, 3, 33, 41), (1, 1, 1, 1), value=1) * shift[:, None, None]
    weight: Tensor = vgg.state_dict()["features.0.weight"]
    kernel = weight.float().flip(1) / (255 * torch.tensor(DEVIATION[::-1]))[:, None, None]
    missing = F.conv2d(outside, kernel).double()
    assert relative(found, torch.relu(wanted + missing)) < 1e-6
    border = float((found - relu).abs().max())
    assert 1e-3 < border < 0.05 * float(relu.std()), (border, relu.std())  # at most one grey level of 255


def features(vgg: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in vgg.state_dict().items() if key.startswith("features")}


def test_the_file_tells_the_mean_that_was_chosen(vgg: Torchvision, tmp_path: Path) -> None:
    for mean, told in ((None, (103.53, 116.28, 123.675)), (CAFFES, CAFFES)):
        net = c2t.vgg16_from(vgg.state_dict(), mean)
        assert preprocessing(net) == {"data": Preprocessing(told, channels="BGR")}
        for suffix in ("caffemodel", "prototxt"):
            c2t.export(net, tmp_path / f"a.{suffix}")
        assert preprocessing(c2t.read(weights=tmp_path / "a.caffemodel")) == {
            "data": Preprocessing(told, channels="BGR")
        }
        assert preprocessing(c2t.read(tmp_path / "a.prototxt")) == {
            "data": Preprocessing(told, channels="BGR")
        }
    with pytest.raises(NetError, match="three numbers"):
        c2t.vgg16_from(vgg.state_dict(), (1.0, float("nan"), 3.0))


def test_an_fcn_is_filled_and_sees_what_vgg_saw(vgg: Torchvision) -> None:
    fcn = FCN8s(classes=5, widths=(*STAGES, *FULL)).double().eval()
    done = transplant(fcn, c2t.vgg16_from(vgg.state_dict()))
    assert done.missing == ("fc8",)
    assert done.untouched == tuple(
        f"{layer}"
        for layer in ("score_fr", "upscore2", "score_pool4", "upscore_pool4", "score_pool3", "upscore8")
    )
    rgb = image(26, 58)  # 198 more on each axis: 224 x 256, so that pool5 is 7 x 8
    with torch.no_grad():
        found = fcn.every_blob(data=as_caffe(rgb, tuple(255 * m for m in reversed(MEAN))))
        pool5 = vgg.double().features(F.pad(normalized(rgb), [99] * 4))
        places = [vgg.classifier[:5](pool5[..., x : x + 7].flatten(1)) for x in range(2)]
    assert relative(found["pool5"], pool5) < 1e-6
    assert relative(found["fc7"][:, :, 0], torch.stack(places, -1)) < 1e-6


Write = Callable[[dict[str, Tensor], Path], None]
WRITTEN: dict[str, Write] = {
    "now.pth": torch.save,
    "2017.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "half.pth": lambda state, path: torch.save({key: x.half() for key, x in state.items()}, path),
    "strided.pth": lambda state, path: torch.save(
        {
            key: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
            for key, x in state.items()
        },
        path,
    ),
    "parameters.pth": lambda state, path: torch.save(
        {key: nn.Parameter(x) for key, x in state.items()}, path
    ),
    "a.safetensors": lambda state, path: save_file(state, path),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_way_to_write_a_state_dict(name: str, vgg: Torchvision, tmp_path: Path) -> None:
    WRITTEN[name](vgg.state_dict(), tmp_path / name)
    state = (
        {key: x.half().float() for key, x in vgg.state_dict().items()} if "half" in name else vgg.state_dict()
    )
    wanted, found = c2t.vgg16_from(state), c2t.vgg16_from(tmp_path / name)
    for one, other in zip(wanted.layers, found.layers, strict=True):
        assert [b.read().tobytes() for b in one.blobs] == [b.read().tobytes() for b in other.blobs], one.name
    assert found.weights == str(tmp_path / name)


def save(value: object, path: Path, **more: Any) -> None:
    torch.save(value, path, **more)


def changed(**changes: Tensor | None) -> OrderedDict[str, Any]:
    """The state dict with some keys (`__` for a dot) changed, None for taken away."""
    state = Torchvision().state_dict()
    state.update({key.replace("__", "."): value for key, value in changes.items()})
    return OrderedDict((key, value) for key, value in state.items() if value is not None)


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('run', 'w')",))


class Memory:
    """What takes a terabyte when it is unpickled, and is in PyTorch's own list of what is safe."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (bytearray, (1 << 40,))


def shadowed() -> OrderedDict[str, Any]:
    """A state dict one of whose methods is a tensor."""
    state = changed()
    state.values = torch.zeros(3)  # type: ignore[assignment]
    return state


REFUSED: dict[str, tuple[object, str]] = {
    "code": (changed(code=Code()), "asks for __builtin__.exec, which is not a tensor; nothing in it was run"),  # type: ignore[arg-type]
    "memory": (changed(code=Memory()), "asks for __builtin__.bytearray, which is not a tensor"),  # type: ignore[arg-type]
    "a whole model": (Torchvision(), "asks for .*Torchvision, which is not a tensor"),
    "a checkpoint": ({"state_dict": changed(), "epoch": 3}, "is not a state dict; save model.state_dict"),
    "a list": ([torch.zeros(3)], "is not a state dict"),
    "a shadow": (shadowed(), "'Tensor' object is not callable"),
    "repeated": (changed(features__0__weight=torch.zeros(1).expand(4, 3, 3, 3)), "are not all there"),
    "no array": (changed(features__0__weight=torch.zeros(4, 0, 1 << 61)), "other axes that no array has"),
    "no values": (changed(features__0__weight=torch.zeros(4, 3, 3, 3, device="meta")), "is not a tensor"),
    "sparse": (changed(features__0__weight=torch.zeros(4, 3, 3, 3).to_sparse()), "is not a tensor"),
    "empty": ({}, "has no weight of features.0, which is VGG-16's conv1_1"),
    "vgg11": (Torchvision((1, 1, 2, 2, 2)).state_dict(), "is VGG-11, with 8 convolutions; give VGG-16"),
    "vgg19": (Torchvision((2, 2, 4, 4, 4)).state_dict(), "is VGG-19, with 16 convolutions"),
    "vgg16_bn": (
        Torchvision(normalized=True).state_dict(),
        r"is VGG-16 with batch normalization \(vgg16_bn\); Caffe's VGG-16 and the FCNs have none",
    ),
    "one missing": (changed(features__5__bias=None), "has no bias of features.5, which is VGG-16's conv2_1"),
    "one too many": (changed(features__30__weight=torch.zeros(3)), "has 'features.30.weight', which"),
    "a name": (changed(scale=torch.zeros(3)), "has 'scale', which torchvision's VGG-16 does not have"),
    "half a classifier": (changed(classifier__6__bias=None), "has no bias of classifier.6"),
    "integers": (changed(features__2__bias=torch.zeros(4, dtype=torch.long)), "has no bias of features.2"),
    "grey": (changed(features__0__weight=torch.zeros(4, 1, 3, 3)), r"conv1_1 is \(4, 1, 3, 3\) and \(4,\)"),
    "wrong shape": (changed(features__7__weight=torch.zeros(5, 4, 3, 3)), r"conv2_2. blob 0 is \(5, 4, 3, 3"),
    "wrong bias": (changed(features__7__bias=torch.zeros(6)), r"'conv2_2' blob 1 is \(6,\)"),
    "small images": (changed(classifier__0__weight=torch.zeros(9, 8 * 36)), r"'fc6' blob 0 is \(9, 288\)"),
    "scalar": (changed(features__0__bias=torch.tensor(3.0)), r"conv1_1 is \(4, 3, 3, 3\) and \(\), not"),
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickles"])
@pytest.mark.parametrize("case", REFUSED)
def test_all_else_is_refused_in_one_line_and_nothing_runs(
    case: str,
    legacy: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    value, message = REFUSED[case]
    torch.save(value, "x.pth", _use_new_zipfile_serialization=not legacy)
    assert main(["x.pth"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("fcn-convert: x.pth: "), err
    with pytest.raises(Caffe2TorchError, match=message):
        c2t.vgg16_from("x.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def rewritten(
    path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED
) -> None:
    """The zip with what `change` makes of each of its files."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, change(name, content))


def larger(name: str, content: bytes) -> bytes:
    """A pickle whose first tensor, (4, 3, 3, 3), is (2 ** 30, 3, 3, 3)."""
    if name.endswith("data.pkl"):
        assert content.count(b"(K\x04K\x03K\x03K\x03t") == 1
        return content.replace(b"(K\x04K\x03K\x03K\x03t", b"(J\x00\x00\x00\x40K\x03K\x03K\x03t")
    return content


def long(name: str, content: bytes) -> bytes:
    return content + bytes(1 << 20) if name.endswith("data.pkl") else content


def nested(name: str, content: bytes) -> bytes:
    """A pickle whose key is a tuple of tuples, each twice in the next one: 2 ** 11 values."""
    twice = b"".join(b"q%ch%ch%c\x86" % (depth, depth, depth) for depth in range(10))
    return b"\x80\x02}K\x01K\x01\x86" + twice + b"K\x01s." if name.endswith("data.pkl") else content


@pytest.mark.parametrize(
    ("change", "compression", "message"),
    [
        (nested, zipfile.ZIP_STORED, "a pickle in it has a tuple of over 1000 values"),
        (larger, zipfile.ZIP_STORED, "PyTorch cannot read it: "),
        (long, zipfile.ZIP_STORED, "its data.pkl has 10[0-9]+ bytes; 524288 are allowed"),
        (lambda name, content: content, zipfile.ZIP_DEFLATED, "is a compressed zip"),
        (
            lambda name, content: b"" if name.endswith("pkl") else content,
            zipfile.ZIP_STORED,
            "PyTorch cannot read",
        ),
    ],
    ids=["nested keys", "huge shape", "long pickle", "compressed", "no pickle"],
)
def test_zips_that_torch_save_does_not_write(
    change: Callable[[str, bytes], bytes], compression: int, message: str, vgg: Torchvision, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    torch.save(vgg.state_dict(), path)
    rewritten(path, lambda name, content: content)
    c2t.vgg16_from(path)
    rewritten(path, change, compression)
    with pytest.raises(Caffe2TorchError, match=f"^{path}: {message}"):
        c2t.vgg16_from(path)


def test_a_huge_shape_among_pickles(vgg: Torchvision, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(vgg.state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(larger("data.pkl", path.read_bytes()))
    with pytest.raises(ReadError, match=f"^{path}: PyTorch cannot read it: "):
        c2t.vgg16_from(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickles"])
def test_every_cut_is_refused_in_one_line(
    legacy: bool, vgg: Torchvision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(vgg.state_dict(), tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    whole = (tmp_path / "x.pth").read_bytes()
    for size in (3, 20, 100, 1000, 3000, 9000, len(whole) - 50):
        (tmp_path / "x.pth").write_bytes(whole[:size])
        assert main([str(tmp_path / "x.pth")]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"fcn-convert: {tmp_path / 'x.pth'}: "), err
        assert err.count("\n") == 1
        assert "--debug" not in err, err


def test_other_zips_and_pickles_keep_their_refusal(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/data.txt", "")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Code(), 2))
    for name, message in (("x.zip", "is a zip archive"), ("x.pkl", "is a Python pickle")):
        with pytest.raises(Caffe2TorchError, match=message):
            c2t.read(weights=tmp_path / name)
        with pytest.raises(WeightsError, match="is neither a state dict of torchvision's vgg16 nor"):
            c2t.vgg16_from(tmp_path / name)


# --- Keras


Weights = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def keras() -> Weights:
    """Kernels (h, w, in, out) or (in, out) and biases of Keras' VGG16, by its names of the layers."""
    draw = np.random.default_rng(3)
    layers: Weights = {}

    def add(name: str, *shape: int) -> None:
        kernel = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        layers[name] = (kernel.astype(np.float32), (draw.standard_normal(shape[-1]) / 10).astype(np.float32))

    channels = 3
    for stage, (depth, width) in enumerate(zip(DEPTHS, STAGES, strict=True), start=1):
        for i in range(1, depth + 1):
            add(f"block{stage}_conv{i}", 3, 3, channels, width)
            channels = width
    for name, inputs, width in (("fc1", 49 * channels, 9), ("fc2", 9, 10), ("predictions", 10, CLASSES)):
        add(name, inputs, width)
    return layers


def write_keras(path: Path, layers: Weights, names: str = "{0}/kernel:0 {0}/bias:0", top: str = "/") -> Path:
    """As Keras' save_weights does: a group for each layer, with or without weights, and attributes."""
    with h5py.File(path, "w") as file:
        root = file.require_group(top)
        every = ["input_1", *layers, *(f"block{i}_pool" for i in range(1, 6)), "flatten"]
        root.attrs["layer_names"] = np.array([name.encode() for name in every])
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", b"2.0.2"
        for name in every:
            group, own = root.create_group(name), names.format(name).split() if name in layers else []
            group.attrs["weight_names"] = np.array([x.encode() for x in own])
            for dataset, value in zip(own, layers.get(name, ()), strict=False):
                group.create_dataset(dataset, value.shape, value.dtype)[...] = value
        if top != "/":
            file.create_group("optimizer_weights").create_dataset("iterations:0", data=np.int64(3))
    return path


def run_keras(layers: Weights, rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Keras' VGG16 on one image, (H, W, C) and float64 throughout."""
    x = rgb[:, :, ::-1] - KERAS  # preprocess_input, mode "caffe"
    for stage, depth in enumerate(DEPTHS, start=1):
        for i in range(1, depth + 1):
            kernel, bias = layers[f"block{stage}_conv{i}"]
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))  # (H, W, C, 3, 3)
            x = np.maximum(np.tensordot(windows, kernel.astype(float), ([3, 4, 2], [0, 1, 2])) + bias, 0)
        height, width, channels = x.shape
        x = x.reshape(height // 2, 2, width // 2, 2, channels).max((1, 3))
    blobs = {"pool5": x}
    if "fc1" in layers:
        x = x.reshape(-1)  # Flatten
        for name in ("fc1", "fc2"):
            x = np.maximum(x @ layers[name][0].astype(float) + layers[name][1], 0)
        x = x @ layers["predictions"][0].astype(float) + layers["predictions"][1]
        blobs |= {"fc8": x, "prob": np.exp(x - x.max()) / np.exp(x - x.max()).sum()}
    return blobs


LAYOUTS = {
    "Keras 1": ("{0}_W_1:0 {0}_b_1:0", "/"),
    "Keras 2": ("{0}/kernel:0 {0}/bias:0", "/"),
    "a second net of one session": ("{0}_1/kernel:0 {0}_1/bias:0", "/"),
    "a whole model": ("{0}/kernel:0 {0}/bias:0", "model_weights"),
    "Keras 3, in the old form": ("{0}/kernel {0}/bias", "model_weights"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keras_net_gives_the_same_scores(layout: str, keras: Weights, tmp_path: Path) -> None:
    rgb = image(SIZE, SIZE)
    net = c2t.vgg16_from(write_keras(tmp_path / "k.h5", keras, *LAYOUTS[layout]))
    assert preprocessing(net) == {"data": Preprocessing(KERAS, channels="BGR")}
    found, wanted = blobs(net, as_caffe(rgb, KERAS)), run_keras(keras, rgb)
    assert relative(found["pool5"][0].permute(1, 2, 0), wanted["pool5"]) < 1e-6
    for name in ("fc8", "prob"):
        assert relative(found[name][0], wanted[name]) < 1e-6, name
    assert wanted["fc8"].std() > 0.1


def test_keras_net_without_its_top(keras: Weights, tmp_path: Path) -> None:
    rgb = image(64, 96)
    layers = {name: pair for name, pair in keras.items() if name.startswith("block")}
    net = c2t.vgg16_from(write_keras(tmp_path / "notop.h5", layers))
    assert net.layers[-1].name == "pool5"
    found = blobs(net, as_caffe(rgb, KERAS))["pool5"]
    assert relative(found[0].permute(1, 2, 0), run_keras(layers, rgb)["pool5"]) < 1e-6
    moved = blobs(c2t.vgg16_from(tmp_path / "notop.h5", CAFFES), as_caffe(rgb, CAFFES))["conv1_1"]
    same = blobs(net, as_caffe(rgb, KERAS))["conv1_1"]
    assert relative(moved[..., 1:-1, 1:-1], same[..., 1:-1, 1:-1]) < 1e-6
    assert 1e-6 < relative(moved, same) < 1e-2


def theano(layers: Weights) -> Weights:
    return {n: (k.transpose(3, 2, 0, 1) if k.ndim == 4 else k, b) for n, (k, b) in layers.items()}


def without(*names: str) -> Callable[[Weights], Weights]:
    return lambda layers: {name: pair for name, pair in layers.items() if name not in names}


KERAS_REFUSED: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "Theano's axes": (
        theano,
        r"the kernel of conv1_1 is \(4, 3, 3, 3\), not \(3, 3, in, out\) as in TensorFlow",
    ),
    "no fc2": (without("fc2"), "has no weight of fc2, which is VGG-16's fc7"),
    "no predictions": (without("predictions"), "has no weight of predictions, which is VGG-16's fc8"),
    "no convolution": (without("block4_conv2"), "has no weight of block4_conv2, which is VGG-16's conv4_2"),
    "VGG-13": (without(*(f"block{i}_conv3" for i in (3, 4, 5))), "is VGG-13, with 10 convolutions"),
    "VGG-19": (
        lambda layers: layers | {f"block{i}_conv4": layers["block5_conv3"] for i in (3, 4, 5)},
        "is VGG-19, with 16 convolutions",
    ),
    "another top": (
        lambda layers: without("predictions")(layers) | {"dense_1": layers["predictions"]},
        "has 'dense_1/dense_1/(kernel|bias):0', which Keras's VGG-16 does not have",
    ),
    "small images": (
        lambda layers: layers | {"fc1": (layers["fc1"][0][:72], layers["fc1"][1])},
        r"the kernel of fc6 is \(72, 9\), not \(49 \* in, out\)",
    ),
    "fewer images": (
        lambda layers: layers | {"fc1": (layers["fc1"][0][:49], layers["fc1"][1])},
        r"'fc6' blob 0 is \(9, 49\), its InnerProduct needs \(9, 392\)",
    ),
    "integers": (
        lambda layers: layers | {"fc2": (np.zeros((9, 10), int), layers["fc2"][1])},
        "/fc2/fc2/kernel:0: not a dataset of the type",
    ),
    "no arrays": (lambda layers: {}, "has no weight of block1_conv1"),
}


def test_what_keras_net_was_trained_on_is_known(keras: Weights, tmp_path: Path) -> None:
    path = write_keras(tmp_path / "k.h5", keras)
    with pytest.raises(NetError, match="Keras' VGG-16 is trained on BGR from 0 to 255; leave out trained_on"):
        c2t.vgg16_from(path, trained_on="caffe")


@pytest.mark.parametrize("case", KERAS_REFUSED)
def test_a_keras_file_of_anything_else_is_refused(
    case: str, keras: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = KERAS_REFUSED[case]
    path = write_keras(tmp_path / "k.h5", change(keras))
    with pytest.raises(Caffe2TorchError, match=f"^{path}: (layer )?{message}"):
        c2t.vgg16_from(path)
    assert main([str(path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def outside(file: h5py.File) -> None:
    del file["fc2/fc2/bias:0"]
    file["fc2/fc2/bias:0"] = h5py.ExternalLink("/etc/passwd", "/")


def stored_outside(file: h5py.File) -> None:
    del file["fc2/fc2/bias:0"]
    file.create_dataset("fc2/fc2/bias:0", (10,), np.float32, external=[("/etc/passwd", 0, 40)])


def huge(file: h5py.File) -> None:
    del file["fc2/fc2/bias:0"]
    space = h5py.h5s.create_simple((1 << 40,))
    h5py.h5d.create(file["fc2/fc2"].id, b"bias:0", h5py.h5t.IEEE_F32LE, space)


def unwritten(file: h5py.File) -> None:
    del file["fc2/fc2/bias:0"]
    file["fc2/fc2"].create_dataset("bias:0", (10,), np.float32)


def twice(file: h5py.File) -> None:
    file["fc2/again/kernel:0"] = np.zeros((9, 10), np.float32)


def by_theano(file: h5py.File) -> None:
    file.attrs["backend"] = b"theano"


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (outside, "/fc2/fc2: 'bias:0' is a link to somewhere else"),
        (stored_outside, "/fc2/fc2/bias:0: not stored contiguously"),
        (huge, "asks for 1099511627776 values"),
        (unwritten, "has no bias of fc2"),
        (twice, "which Keras's VGG-16 does not have"),
        (lambda file: file["fc2"].__setitem__("again", file["fc2"]), "its groups never end"),
        (by_theano, "Keras wrote it with Theano, which rotates kernels"),
    ],
)
def test_attacks_on_a_keras_file(
    attack: Callable[[h5py.File], None], message: str, keras: Weights, tmp_path: Path
) -> None:
    path = write_keras(tmp_path / "k.h5", keras)
    with h5py.File(path, "r+") as file:
        attack(file)
    with pytest.raises(Caffe2TorchError, match=message):
        c2t.vgg16_from(path)


# --- the command


def test_the_command_knows_them_by_their_content(
    vgg: Torchvision,
    keras: Weights,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(vgg.state_dict(), "a.pth")
    write_keras(Path("b"), keras)
    for name, whose, mean in (("a.pth", "torchvision", "103.53, 116.28, 123.675"), ("b", "Keras", "103.939")):
        assert main([name, "-o", "out.caffemodel", "--force"]) == 0
        out = capsys.readouterr().out
        for expected in (f"{name}: VGG-16 of {whose}, ", f"mean          {mean}", "Caffe's"):
            assert expected in out, out
        assert max(map(len, out.splitlines())) < 170
        back = c2t.read(weights="out.caffemodel")
        assert [layer.name for layer in back.layers if layer.blobs][-3:] == ["fc6", "fc7", "fc8"]
        assert main([name, "--inspect"]) == 0
        assert "VGG_ILSVRC_16_layers" in capsys.readouterr().out
    assert main(["a.pth", "--convolutionalize", "--mean", "104.00699,116.66877,122.67892"]) == 0
    assert "their mean was 103.53, 116.28, 123.675" in capsys.readouterr().out
    fcn = c2t.from_safetensors("a.safetensors")
    assert fcn.state_dict()["fc6.weight"].shape == (9, 8, 7, 7)


def test_two_of_them_are_compared(
    vgg: Torchvision, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(vgg.state_dict(), "a.pth")
    torch.save(vgg.state_dict(), "b.pth", _use_new_zipfile_serialization=False)
    c2t.export(c2t.vgg16_from("a.pth"), "c.caffemodel", check=False)
    for other in ("b.pth", "c.caffemodel"):
        assert main(["a.pth", "--diff", other, "--run"]) == 0
        assert "the same within 1e-05: 40 layers, 32 of 32 blobs equal" in capsys.readouterr().out
    mean = ["--mean", "104.00699,116.66877,122.67892"]
    assert main(["a.pth", "--diff", "c.caffemodel", *mean]) == 1
    assert "B differs from A; parameters: 1; blobs: 1 of 32, most in conv1_1" in capsys.readouterr().out


def test_what_the_command_refuses_of_them(
    vgg: Torchvision, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pth"
    torch.save(vgg.state_dict(), path)
    caffemodel = golden / "legacy" / "v1.caffemodel"
    for options, code, message in (
        ([path, "--prototxt", golden / "legacy" / "v1.prototxt"], 1, "leave out --prototxt"),
        ([path, "--mean", "1,2"], 1, "takes three numbers"),
        ([path, "--mean", "grey"], 2, "argument --mean: invalid"),
        ([caffemodel, "--mean", "1,2,3", "--inspect"], 2, "--mean is for converting, or for weights of"),
        ([caffemodel, "--mean", "1,2"], 1, "2 values are no mean of one of the inputs data"),
    ):
        assert main([str(option) for option in options]) == code
        assert message in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"a.pth"}
