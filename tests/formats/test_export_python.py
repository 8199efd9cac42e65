"""Generated Python files: they read as a person's, and give Caffe's numbers without this package.

The files of all models run in one process where caffe2torch cannot be imported; what they give is compared
with the arrays that real Caffe stored.
"""

from __future__ import annotations

import ast
import csv
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe2torch as c2t
from caffe2torch.cli.main import main
from caffe2torch.errors import UnsupportedLayer, VerificationFailed, WriteError
from caffe2torch.formats import formats, write
from caffe2torch.formats.py.lines import lines
from caffe2torch.formats.safetensors import read_safetensors
from caffe2torch.modules.caffe_net import build
from caffe2torch.net import Net
from caffe2torch.net.reading import read
from caffe2torch.writing.model import model_of
from tests.nets import INPUT, net_of
from tests.places import GOLDEN, ROOT
from tests.python_files import Job, assert_clean, errors, layer, module_of, ruff, written
from tests.single_layer import assert_close

FCNS = sorted((GOLDEN / "fcn").iterdir())
EXAMPLE = ROOT / "docs" / "examples" / "fcn8s.py"
ALLOWED = 1e-5


@pytest.fixture(scope="module")
def fcns(tmp_path_factory) -> list[Job]:
    """The generated files of the golden FCNs, at two sizes."""
    folder, jobs = tmp_path_factory.mktemp("fcns"), []
    for fcn in FCNS:
        path = folder / f"{fcn.name.replace('-', '_')}.py"
        jobs += written(read(weights=fcn / "weights.caffemodel"), path, fcn / "io.npz", "0.", "1.")
    return jobs


@pytest.fixture(scope="module")
def models(reference, tmp_path_factory) -> list[Job]:
    """The generated files of the published models that Caffe ran."""
    folder, jobs = tmp_path_factory.mktemp("models"), []
    with (reference / "models" / "index.tsv").open() as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["reference"]:
                model = reference / "models" / row["folder"]
                net = read(model / "net.prototxt", model / row["file"])
                jobs += written(net, folder / f"{row['folder']}.py", model / "ref.npz")
    return jobs


def test_every_fcn_gives_caffes_outputs(fcns):
    found = errors(fcns)
    assert len(found) == 24
    assert not {name: error for name, error in found.items() if error > ALLOWED}
    assert max(found.values()) > 0, "nothing was compared"


def test_every_published_model_gives_caffes_outputs(models):
    found = errors(models)
    assert len(models) == 35
    assert len(found) > 70
    assert not {name: error for name, error in found.items() if error > ALLOWED}


def test_files_are_what_ruff_would_make_of_them(fcns, models):
    assert_clean(Path(fcns[0].path).parent, "--extend-select", "E501,I")
    assert_clean(Path(models[0].path).parent, "--extend-select", "I")  # long names make long lines


CONV = "convolution_param { num_output: 3 kernel_size: 1 bias_term: false }"
KERNEL = [np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)]


def agrees(net: Net, path: Path) -> str:
    """The text of a net's file, which gives what the built net gives."""
    write(model_of(net), path, check=False)
    model = build(net)
    draw = np.random.default_rng(3)
    inputs = [
        torch.from_numpy(draw.normal(size=[size or 9 for size in shape]).astype(np.float32))
        for shape in model.plan.inputs.values()
    ]
    with torch.no_grad():
        wanted, found = model(*inputs), module_of(path).load()(*inputs)
    found = found if isinstance(found, dict) else dict(zip(wanted, [found], strict=True))
    assert list(found) == list(wanted)
    for blob, tensor in wanted.items():
        assert_close(found[blob].numpy(), tensor.numpy(), 1e-6, blob)
    return path.read_text()


def test_an_embedding_without_bias(tmp_path):
    embed = layer("words", "Embed", "x", "y", "embed_param { num_output: 4 input_dim: 9 bias_term: false }")
    net = net_of(INPUT + layer("x", "AbsVal", "data", "x") + embed, words=[np.arange(36).reshape(9, 4)])
    text = agrees(net, tmp_path / "words.py")
    assert "        self.words = nn.Embedding(9, 4)\n" in text
    assert "        return self.words(x.long())  # (N, 3, H, W, 4)\n" in text


def test_a_block_reads_as_a_person_writes_it(tmp_path):
    statistics = [np.full(3, 2.0), np.full(3, 8.0), np.array([2.0])]
    scale = [np.arange(1, 4), np.arange(3)]
    net = net_of(
        INPUT
        + layer("a/conv", "Convolution", "data", "a", CONV)
        + layer("a/bn", "BatchNorm", "a", "a")
        + layer("a/scale", "Scale", "a", "a", "scale_param { bias_term: true }")
        + layer("a/relu", "ReLU", "a", "a")
        + layer("b", "Convolution", "a", "b", CONV)
        + layer("sum", "Eltwise", "a b", "sum")
        + layer("relu", "ReLU", "sum", "sum")
        + layer("unused", "Pooling", "a", "unused", "pooling_param { global_pooling: true }")
        + layer("hush", "Silence", "unused", ""),
        **{"a/conv": KERNEL, "a/bn": statistics, "a/scale": scale, "b": KERNEL},
    )
    text = agrees(net, tmp_path / "block.py")
    body = text[text.index("class ") : text.index("def load")]
    assert (
        body
        == '''\
class Net(nn.Module):
    """Layers have their Caffe names, with _ for what an identifier cannot have; a
    BatchNorm holds its Scale.
    """

    def __init__(self) -> None:
        super().__init__()
        self.a_conv = nn.Conv2d(3, 3, 1, bias=False)
        self.a_bn = nn.BatchNorm2d(3)
        self.b = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, data: Tensor) -> Tensor:
        """From data (N, 3, H, W) to sum (N, 3, H, W)."""
        a = F.relu(self.a_bn(self.a_conv(data)))
        b = self.b(a)
        return F.relu(a + b)


'''
    )


def test_the_shapes_in_comments_are_true(tmp_path):
    """Every comment of the kind `# (N, 21, H, W)` of FCN-8s, held against the tensor in its line."""
    write(
        model_of(read(weights=GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel")),
        tmp_path / "a.py",
        check=False,
    )
    lines, comments = [], 0
    for line in (tmp_path / "a.py").read_text().split("\n"):
        found = re.fullmatch(r" {8}(?:(\w+) = |return )(.*)  # (\(.*\))(?:, h = (.*))?", line)
        if not found:
            lines.append(line)
            continue
        name, expression, shape, h = found.groups()
        values = f"(lambda h, w: {shape})({h}, {(h or '').replace('H', 'W')})" if h else shape
        lines += [
            f"        {name or 'last'} = {expression}",
            "        N, _, H, W = data_shape",
            f"        assert {name or 'last'}.shape == {values}, {line.strip()!r}",
            *([] if name else ["        return last"]),
        ]
        comments += 1
    text = "\n".join(lines).replace('"""From', 'data_shape = data.shape\n        """From')
    (tmp_path / "a.py").write_text(text)
    net = module_of(tmp_path / "a.py").load()
    assert comments >= 9
    with torch.no_grad():
        for height, width in ((64, 97), (40, 33), (71, 128)):
            assert net(torch.zeros(2, 3, height, width)).shape == (2, 21, height, width)


EVIL = (
    '"""',
    "'''\nimport os\n",
    "a\nimport os\nos.system('id')",
    "x\\",
    "# \r comment",
    "self",
    "__class__",
    "_parameters",
    "type",
    "forward",
    "import",
    "None",
    "torch",
    "crop",
    "l",
    "x",
    "245",
    "",
    "ﬁne",
    "fine",
    "a-b",
    "a/b",
    "\u202e\u2066evil",
    "{0.__init__}",
    "%s" * 40,
    "long" * 60,
    '\0\x1b[31m"',
)


def test_names_of_strangers_stay_names(tmp_path):
    """Layers, blobs, the net and its file may be called anything; nothing of it becomes code."""
    net, bottom = net_of(INPUT, none=[]), "data"
    layers = list(net.layers)
    for name in EVIL:
        text = layer("n", "Convolution", "b", "t", CONV) + layer("n", "TanH", "t", "t")
        for made in net_of(INPUT + text.replace('"b"', '"data"'), n=KERNEL).layers[1:]:
            blobs = made.blobs if made.type == "Convolution" else ()
            layers.append(replace(made, name=name, bottoms=(bottom,), tops=(name,), blobs=blobs))
            bottom = name
    crop = net_of(INPUT + layer("cut", "Crop", "data data", "cut", "crop_param { offset: 0 }")).layers[1]
    split = [replace(crop, name=name, bottoms=(bottom, "data"), tops=(f"{name} out",)) for name in EVIL]
    for evil in (EVIL[0], EVIL[1], "a\\", "\u202e"):
        strange = replace(net, name=evil, layers=(*layers, *split))
        text = agrees(strange, tmp_path / "evil.py")
        assert text.isascii()
        assert text.isprintable() or set(text) - set("\n") <= set(map(chr, range(32, 127)))
        calls = {node.func.id for node in ast.walk(ast.parse(text)) if is_plain_call(node)}
        assert calls <= {"super", "Path", "enumerate", "len", "crop", "load_file", class_of(text)}
        imports = [
            node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        assert len(imports) == len(re.findall(r"^(?:import|from) ", text, re.MULTILINE)) == 4
    assert_clean(tmp_path)


def is_plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def class_of(text: str) -> str:
    return re.search(r"^class (\w+)\(nn.Module\):", text, re.MULTILINE).group(1)


def test_shared_blobs_are_shared(tmp_path):
    shared = f'{CONV} param {{ name: "w" }}'
    net = net_of(
        INPUT
        + layer("one", "Convolution", "data", "one", shared)
        + layer("two", "Convolution", "one", "two", shared),
        one=KERNEL,
        two=KERNEL,
    )
    assert "        self.two.weight = self.one.weight\n" in agrees(net, tmp_path / "shared.py")
    loaded = module_of(tmp_path / "shared.py").load()
    assert loaded.two.weight is loaded.one.weight


def test_numbers_of_strangers_stay_numbers(tmp_path):
    power = "power_param { scale: %s shift: 1e-30 power: nan }"
    net = net_of(
        INPUT
        + layer("a", "Power", "data", "a", power % "inf")
        + layer("b", "ELU", "a", "b", "elu_param { alpha: 0.1 }")
    )
    write(model_of(net), tmp_path / "numbers.py", check=False)
    text = (tmp_path / "numbers.py").read_text()
    assert "return F.elu((data * torch.inf + 1e-30) ** torch.nan, 0.1)" in text
    assert module_of(tmp_path / "numbers.py").load()(torch.ones(1, 3, 2, 2)).isnan().all()


REFUSED = {
    "Im2col": ("convolution_param { kernel_size: 2 }", "has no readable Python form yet; use --format saf"),
    "Pooling": (
        "pooling_param { kernel_size: 1 stride: 3 }",
        "has no readable Python form yet: kernel (1, 1), stride (3, 3) and pad (0, 0);",
    ),
    "Dropout": ("dropout_param { scale_train: false }", "has no readable Python form yet"),
    "ArgMax": ("argmax_param { top_k: 2 }", "yet: several values, or values with positions"),
    "ArgMax values": ("argmax_param { out_max_val: true }", "yet: several values, or values with positions"),
    "Interp begin": ("interp_param { zoom_factor: 2 pad_beg: -1 }", "yet: pad_beg, pad_end or shrink_factor"),
    "Interp end": ("interp_param { zoom_factor: 2 pad_end: -1 }", "yet: pad_beg, pad_end or shrink_factor"),
    "Interp shrink": ("interp_param { shrink_factor: 2 }", "yet: pad_beg, pad_end or shrink_factor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused_by_name(case, tmp_path):
    kind, (parameters, problem) = case.split()[0], REFUSED[case]
    with pytest.raises(UnsupportedLayer, match=re.escape(f"layer 'odd' ({kind}): ")) as refused:
        write(model_of(net_of(INPUT + layer("odd", kind, "data", "y", parameters))), tmp_path / "a.py")
    assert problem in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_the_ratio_of_dropout_is_written(tmp_path):
    """It does not show in the numbers of phase TEST."""
    for ratio, module in ((0.5, "nn.Dropout()"), (0.25, "nn.Dropout(0.25)")):
        text = layer("drop", "Dropout", "data", "y", f"dropout_param {{ dropout_ratio: {ratio} }}")
        write(model_of(net_of(INPUT + text)), tmp_path / "a.py", check=False)
        assert f"self.drop = {module}\n" in (tmp_path / "a.py").read_text()


def test_the_largest_of_items_that_are_single_values_is_refused(tmp_path):
    net = net_of(
        layer("x", "Input", "", "x", "input_param { shape { dim: 5 } }") + layer("l", "ArgMax", "x", "y")
    )
    with pytest.raises(UnsupportedLayer, match="no readable Python form yet: a bottom of one axis"):
        write(model_of(net), tmp_path / "a.py")


def test_attributes_that_collide_are_refused(tmp_path):
    scale = "scale_param { bias_term: true }"
    net = net_of(
        INPUT + layer("s", "Scale", "data", "s", scale) + layer("s_bias", "Convolution", "s", "y", CONV),
        s=[np.ones(3), np.ones(3)],
        s_bias=KERNEL,
    )
    with pytest.raises(WriteError, match="layers 's' and 's_bias' would both have an attribute 's_bias'"):
        write(model_of(net), tmp_path / "a.py", check=False)
    assert list(tmp_path.iterdir()) == []


def test_weights_take_the_place_of_nothing_but_earlier_ones(tmp_path):
    plain = net_of(INPUT + layer("conv", "Convolution", "data", "y", CONV), conv=KERNEL)
    statistics = [np.full(3, 2.0), np.full(3, 8.0), np.array([2.0])]
    normalized = net_of(INPUT + layer("bn", "BatchNorm", "data", "y"), bn=statistics)
    path, weights = tmp_path / "net.py", tmp_path / "net.safetensors"
    problem = r"net\.safetensors: exists and is not from an earlier net\.py"
    weights.write_text("of a stranger")
    with pytest.raises(WriteError, match=problem):
        write(model_of(plain), path)
    assert weights.read_text() == "of a stranger"
    # A plain net's weights are those that this package reads; a normalized net's are not.
    write(model_of(plain), weights)
    write(model_of(plain), path)
    with pytest.raises(
        WriteError, match=r"is a whole net, and the weights of net\.py alone would replace it"
    ):
        write(model_of(normalized), path)
    assert read_safetensors(weights).layers[1].name == "conv"
    weights.unlink()
    for _ in range(2):
        write(model_of(normalized), path)
    write(model_of(plain), path)


def test_weights_cannot_have_the_name_of_the_file(tmp_path):
    with pytest.raises(WriteError, match=r"a\.safetensors: is the name of the weights; name a \.py file"):
        write(model_of(net_of(INPUT + layer("t", "TanH", "data", "t"))), tmp_path / "a.safetensors", "py")
    assert list(tmp_path.iterdir()) == []


def test_the_weights_of_an_fcn_are_ours_to_read_too(fcns):
    path = next(Path(job.path) for job in fcns if job.path.endswith("voc_fcn8s.py"))
    net = read_safetensors(path.with_suffix(".safetensors"))
    assert {"conv1_1", "score_fr", "upscore2"} <= {step.name for step in net.layers}


def test_half_the_bytes(tmp_path):
    net = net_of(INPUT + layer("c", "Convolution", "data", "c", CONV), c=KERNEL)
    for dtype in ("float32", "float16"):
        write(model_of(net), tmp_path / f"{dtype}.py", dtype=dtype, check=False)
    loaded = module_of(tmp_path / "float16.py").load()
    assert loaded.c.weight.dtype == torch.float32
    np.testing.assert_array_equal(loaded.c.weight.detach().numpy(), KERNEL[0])


def test_the_command_checks_what_it_wrote(tmp_path, capsys):
    weights = GOLDEN / "fcn" / "siftflow-fcn16s" / "weights.caffemodel"
    assert main([str(weights), "-o", str(tmp_path / "sift.py")]) == 0
    assert "loads with" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sift.py", "sift.safetensors"]


def test_a_file_that_gives_other_numbers_does_not_appear(tmp_path, monkeypatch):
    """The check runs the file itself: a wrong text is found, and neither file is left."""
    from caffe2torch.layers.caffe.neuron import TanH
    from caffe2torch.layers.python_form import PythonForm

    monkeypatch.setattr(TanH, "python", lambda self, place: PythonForm(f"torch.sin({place.bottoms[0]})"))
    with pytest.raises(VerificationFailed, match=r"a\.py: output 't' for .*; nothing was written"):
        write(model_of(net_of(INPUT + layer("t", "TanH", "data", "t"))), tmp_path / "a.py")
    monkeypatch.setattr(TanH, "python", lambda self, place: PythonForm("caffe2torch"))
    with pytest.raises(VerificationFailed, match=r"a\.py: does not run on .*: NameError: name 'caffe2torch'"):
        write(model_of(net_of(INPUT + layer("t", "TanH", "data", "t"))), tmp_path / "a.py")
    assert list(tmp_path.iterdir()) == []


def test_the_example_is_what_the_command_writes(tmp_path):
    """docs/examples/fcn8s.py, by the command in its docstring and with docs/examples/README.md's weights."""
    (tmp_path / "weights.caffemodel").symlink_to(GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel")
    converted = model_of(read(weights=tmp_path / "weights.caffemodel"))
    write(converted, tmp_path / "fcn8s.py", check=False)
    assert (tmp_path / "fcn8s.py").read_text() == EXAMPLE.read_text()
    assert "    fcn-convert weights.caffemodel -o fcn8s.py\n" in EXAMPLE.read_text()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_the_lines_that_load_it_make_a_module_that_torch_compiles(tmp_path):
    path = tmp_path / "voc-fcn8s.py"
    write(model_of(read(weights=GOLDEN / "fcn" / "voc-fcn8s" / "weights.caffemodel")), path, check=False)
    loaded, image = {}, torch.randn(1, 3, 61, 83)
    try:
        exec("\n".join(formats()["py"].code).format(path=str(path)), loaded)  # noqa: S102 (our own lines)
        model = loaded["model"]
        with torch.no_grad():
            wanted = model(image)
            assert torch.equal(torch.jit.script(model)(image), wanted)
            program = torch.export.export(model, (image,), strict=True).module()
            assert_close(program(image).numpy(), wanted.numpy(), 1e-6, "score")
    finally:
        sys.modules.pop("net", None)


def test_a_trained_model_is_written_as_it_is_now(tmp_path):
    """A hand-written FCN after a change of its weights, on the road by its own net definition."""
    model = c2t.load(GOLDEN / "fcn" / "voc-fcn16s" / "weights.caffemodel")
    with torch.no_grad():
        model.score_fr.bias += 3
        image = torch.randn(1, 3, 40, 61)
        c2t.export(model, tmp_path / "tuned.py", check=False)
        wanted, found = model(image), module_of(tmp_path / "tuned.py").load()(image)
    assert_close(found.numpy(), wanted.numpy(), 1e-6, "score")
    assert "Converted from" not in (tmp_path / "tuned.py").read_text()


def test_a_transposed_weight_is_written_as_linear_has_it(tmp_path):
    """A square one has the same key and shape on both sides, and other values."""
    parameters = "inner_product_param { num_output: 3 transpose: true bias_term: false axis: -1 }"
    inputs = INPUT.replace("dim: 8 dim: 11", "dim: 8 dim: 3")
    weight = np.arange(9, dtype=np.float32).reshape(3, 3)
    net = net_of(inputs + layer("ip", "InnerProduct", "data", "y", parameters), ip=[weight])
    agrees(net, tmp_path / "a.py")
    loaded = module_of(tmp_path / "a.py").load()
    np.testing.assert_array_equal(loaded.ip.weight.detach().numpy(), weight.T)


def test_what_a_model_knows_is_in_the_file_whatever_its_names_are(tmp_path):
    """Names of classes are strangers' text: they come back as they were, and run nothing."""
    names = ("sky", 'a"""b', "\\", "\u00e9\u202e", "{0}", "'; import os #")
    model = c2t.FCN32s(len(names), widths=(2,) * 7)
    model.preprocessing = {"data": c2t.Preprocessing((1, 2.5, 3), 0.5, 7, channels="RGB")}
    model.labellings = {"score": c2t.Labelling(names, tuple((n, 0, 255) for n in range(len(names))))}
    c2t.export(model, tmp_path / "net.py", check=False)
    found = runpy.run_path(str(tmp_path / "net.py"))
    assert c2t.Preprocessing(**found["PREPROCESSING"]["data"]) == model.preprocessing["data"]
    assert c2t.Labelling(**found["LABELLINGS"]["score"]) == model.labellings["score"]
    text = (tmp_path / "net.py").read_text()
    assert text.isascii()
    assert "data: RGB, minus (1, 2.5, 3), times 0.5, cut to 7 x 7" in text
    assert_clean(tmp_path / "net.py")


EXPRESSIONS = (
    "x",
    f"{'a' * 40}[{'b' * 20} : {'c' * 20} + 1, :, {'d' * 12}]",
    f"{'a' * 30}[{'b' * 30} : {'c' * 30} + 1, {'d' * 30} : {'e' * 30} + 2]",
    f"{'f' * 30}({'a' * 30}, {'b' * 30})",
    f"{'f' * 30}({'a' * 30}, key={'b' * 30}, other=({'c' * 30}, 2))",
    f"[{'a' * 30}, {'b' * 30}, {'c' * 30}]",
    f'{{"a": {"a" * 40}, "b": {"b" * 40}}}',
    f"{'a' * 30} + {'b' * 30} - {'c' * 30}",
    f"{'a' * 30} * {'b' * 30} + {'c' * 30} / {'d' * 30}",
    f"({'a' * 30} - 1) ** 2 / {'b' * 30} * {'c' * 30}",
    "x" * 90,
)


def test_lines_break_as_ruff_breaks_them(tmp_path: Path) -> None:
    statements = [lines("y = ", expression) for expression in EXPRESSIONS]
    body = "\n".join(line for statement in statements for line in statement)
    (tmp_path / "a.py").write_text(f"class A:\n    def forward(self):\n{body}\n")
    assert not ruff("format", "--diff", str(tmp_path))
    assert [len(statement) > 1 for statement in statements] == [False, *[True] * 9, False]
