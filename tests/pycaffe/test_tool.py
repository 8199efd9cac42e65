"""c2t-caffe: options and log lines as Caffe's tool has them, and what signals do to a training."""

import re
import sys

import pytest
import torch

from caffe2torch import pycaffe as caffe
from caffe2torch.errors import MissingData
from caffe2torch.pycaffe.tool.flags import parse
from caffe2torch.pycaffe.tool.main import main
from tests.pycaffe.problem import write

NET = """
name: "small"
layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
  data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 2 }
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param {
  num_output: 1 weight_filler { type: "constant" value: 0.5 } } }
layer { name: "zloss" type: "EuclideanLoss" bottom: "fc" bottom: "y" top: "zloss" loss_weight: 3 }
layer { name: "vec" type: "Power" bottom: "fc" top: "vec" include { phase: TEST stage: "deploy" } }
layer { name: "vec2" type: "Power" bottom: "fc" top: "a_vec" }
"""
SOLVER = """
net: "net.prototxt" test_iter: 2 test_interval: 2 base_lr: 0.01 display: 2 max_iter: 3
lr_policy: "multistep" gamma: 0.1 momentum: 0.9 stepvalue: 2 snapshot: 2
"""
RAISING = """
import signal
import caffe2torch.pycaffe as caffe

class Raising(caffe.Layer):
    count = 0

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        Raising.count += 1
        if Raising.count == 2:
            signal.raise_signal(getattr(signal, self.param_str))
"""
_HEAD = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\w+\.[ch]pp):\d+\] ")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path / "net.prototxt", NET)
    write(tmp_path / "solver.prototxt", SOLVER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def run(capsys, *argv):
    """The exit code of a command, and what it logs without times."""
    code = main(argv)
    lines = capsys.readouterr().err.splitlines()
    return code, [_HEAD.sub(r"\1 \2: ", line) for line in lines]


def after(lines, start):
    return lines[next(i for i, line in enumerate(lines) if start in line) :]


def test_train_then_test(folder, capsys):
    code, lines = run(capsys, "train", "--solver=solver.prototxt")
    assert code == 0
    assert lines[:2] == [
        "I upgrade_proto.cpp: snapshot_prefix was not specified and is set to solver",
        "I caffe.cpp: Use CPU.",
    ]
    rest = [re.sub(r" \(\S+ iter/s, \S+s/", " (r iter/s, ts/", line) for line in after(lines, "Starting")]
    assert rest[:12] == [
        "I caffe.cpp: Starting Optimization",
        "I solver.cpp: Solving small",
        "I solver.cpp: Learning Rate Policy: multistep",
        "I solver.cpp: Iteration 0, Testing net (#0)",
        "I solver.cpp:     Test net output #0: a_vec = 1.5",
        "I solver.cpp:     Test net output #1: a_vec = 1.5",
        "I solver.cpp:     Test net output #2: zloss = 0.125 (* 3 = 0.375 loss)",
        "I solver.cpp: Iteration 0 (r iter/s, ts/2 iters), loss = 0.375",
        "I solver.cpp:     Train net output #0: a_vec = 1.5",
        "I solver.cpp:     Train net output #1: a_vec = 1.5",
        "I solver.cpp:     Train net output #2: zloss = 0.125 (* 3 = 0.375 loss)",
        "I sgd_solver.cpp: Iteration 0, lr = 0.01",
    ]
    assert "I solver.cpp:     Test net output #2: zloss = 0.0555111 (* 3 = 0.166533 loss)" in rest
    assert "I sgd_solver.cpp: MultiStep Status: Iteration 2, step = 1" in rest
    assert rest[-2:] == ["I solver.cpp: Optimization Done.", "I caffe.cpp: Optimization Done."]

    weights = "solver_iter_3.caffemodel"
    code, lines = run(capsys, "test", "-model", "net.prototxt", "-weights", weights, "-iterations", "2")
    assert code == 0
    assert after(lines, "Running") == [
        "I caffe.cpp: Running for 2 iterations.",
        "I caffe.cpp: Batch 0, a_vec = 1.76692",
        "I caffe.cpp: Batch 0, a_vec = 1.76692",
        "I caffe.cpp: Batch 0, zloss = 0.0271635",
        "I caffe.cpp: Batch 1, a_vec = 1.76692",
        "I caffe.cpp: Batch 1, a_vec = 1.76692",
        "I caffe.cpp: Batch 1, zloss = 0.0271635",
        "I caffe.cpp: Loss: 0.0814905",
        "I caffe.cpp: a_vec = 1.76692",
        "I caffe.cpp: a_vec = 1.76692",
        "I caffe.cpp: zloss = 0.0271635 (* 3 = 0.0814905 loss)",
    ]
    code, lines = run(capsys, "test", "-model", "net.prototxt", "-weights", weights, "-stage", "deploy")
    assert after(lines, "Loss:")[3] == "I caffe.cpp: vec = 1.76692"
    assert lines.count("I caffe.cpp: Batch 49, zloss = 0.0271635") == 1

    code, lines = run(capsys, "train", "-solver=solver.prototxt", "-snapshot=solver_iter_2.solverstate")
    assert after(lines, "Resuming")[:3] == [
        "I caffe.cpp: Resuming from solver_iter_2.solverstate",
        "I sgd_solver.cpp: SGDSolver: restoring history",
        "I caffe.cpp: Starting Optimization",
    ]
    assert "I solver.cpp: Iteration 2, Testing net (#0)" in lines

    code, lines = run(capsys, "train", "-solver=solver.prototxt", f"-weights={weights}")
    assert lines.count(f"I solver.cpp: Finetuning from {weights}") == 2
    assert "I solver.cpp:     Test net output #0: a_vec = 1.76692" in lines


def test_the_log_of_a_net_that_is_built(folder, capsys):
    caffe.Net("net.prototxt", caffe.TRAIN)
    lines = [_HEAD.sub(r"\1 \2: ", line) for line in capsys.readouterr().err.splitlines()]
    rule = "The NetState phase (0) differed from the phase (1) specified by a rule in layer vec"
    assert lines[0] == f"I net.cpp: {rule}"
    assert lines[2:7] == ['name: "small"', "state {", "  phase: TRAIN", "  level: 0", "}"]
    assert "      value: 0.5" in lines
    assert after(lines, "Creating layer zloss") == [
        "I layer_factory.hpp: Creating layer zloss",
        "I net.cpp: Creating Layer zloss",
        "I net.cpp: zloss <- fc_fc_0_split_0",
        "I net.cpp: zloss <- y",
        "I net.cpp: zloss -> zloss",
        "I net.cpp: Setting up zloss",
        "I net.cpp: Top shape: (1)",
        "I net.cpp:     with loss weight 3",
        "I net.cpp: Memory required for data: 60",
        "I layer_factory.hpp: Creating layer vec2",
        "I net.cpp: Creating Layer vec2",
        "I net.cpp: vec2 <- fc_fc_0_split_1",
        "I net.cpp: vec2 -> a_vec",
        "I net.cpp: Setting up vec2",
        "I net.cpp: Top shape: 2 1 (2)",
        "I net.cpp: Memory required for data: 68",
        "I net.cpp: vec2 does not need backward computation.",
        "I net.cpp: zloss needs backward computation.",
        "I net.cpp: fc_fc_0_split needs backward computation.",
        "I net.cpp: fc needs backward computation.",
        "I net.cpp: d does not need backward computation.",
        "I net.cpp: This network produces output a_vec",
        "I net.cpp: This network produces output zloss",
        "I net.cpp: Network initialization done.",
    ]


def test_time(folder, capsys):
    code, lines = run(capsys, "time", "--model=net.prototxt", "--iterations=2")
    assert code == 0
    lines = [re.sub(r"[\d.e-]+ ms", "T ms", line) for line in after(lines, "Performing Forward")]
    names = ["         d", "        fc", "fc_fc_0_split", "     zloss", "      vec2"]
    assert lines == [
        "I caffe.cpp: Performing Forward",
        "I caffe.cpp: Initial loss: 0.375",
        "I caffe.cpp: Performing Backward",
        "I caffe.cpp: *** Benchmark begins ***",
        "I caffe.cpp: Testing for 2 iterations.",
        "I caffe.cpp: Iteration: 1 forward-backward time: T ms.",
        "I caffe.cpp: Iteration: 2 forward-backward time: T ms.",
        "I caffe.cpp: Average time per layer: ",
        *[f"I caffe.cpp: {name}\t{way}: T ms." for name in names for way in ("forward", "backward")],
        "I caffe.cpp: Average Forward pass: T ms.",
        "I caffe.cpp: Average Backward pass: T ms.",
        "I caffe.cpp: Average Forward-Backward: T ms.",
        "I caffe.cpp: Total Time: T ms.",
        "I caffe.cpp: *** Benchmark ends ***",
    ]


@pytest.mark.fault(
    "Ctrl-C or SIGHUP in a training",
    "c2t-caffe train",
    "exit code 0 after a snapshot, as Caffe does; SIGHUP snapshots and goes on",
)
@pytest.mark.parametrize(
    ("signal", "more", "expected"),
    [
        ("SIGINT", (), ["solver_iter_2.caffemodel", "solver_iter_2.solverstate"]),
        ("SIGHUP", (), ["solver_iter_2.caffemodel", "solver_iter_2.solverstate", "5"]),
        ("SIGINT", ("--sigint_effect=none",), ["5"]),
    ],
)
def test_signals(folder, capsys, monkeypatch, signal, more, expected):
    write(folder / "raising_layer.py", RAISING)
    param = f"python_param {{ module: 'raising_layer' layer: 'Raising' param_str: '{signal}' }}"
    write(folder / "net.prototxt", NET + f"layer {{ name: 'r' type: 'Python' top: 'r' {param} }}")
    write(folder / "solver.prototxt", 'net: "net.prototxt" base_lr: 0.01 max_iter: 5 lr_policy: "fixed"')
    try:
        code, lines = run(capsys, "train", "--solver=solver.prototxt", *more)
    finally:
        sys.modules.pop("raising_layer", None)
    assert code == 0
    stopped = "5" not in expected
    assert ("I solver.cpp: Optimization stopped early." in lines) == stopped
    files = sorted(path.name for path in folder.glob("solver_iter_*"))
    end = ["solver_iter_5.caffemodel", "solver_iter_5.solverstate"]
    assert files == [name for name in expected if name != "5"] + ([] if stopped else end)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("train",), "need a solver definition to train"),
        (("train", "-solver=s", "-weights=w", "-snapshot=s"), "not both"),
        (("train", "-solver=s", "-sigint_effect=go"), "sigint_effect"),
        (("test", "-model=m"), "need model weights to score"),
        (("brew",), "unknown action: brew"),
        (("train", "test"), "give one command"),
        (("time", "-modle=x"), "modle"),
        (("time", "-iterations=x"), "needs an int"),
        (("time", "-model=net.prototxt", "-iterations=0"), "--iterations is 0; give 1 or more"),
        (
            ("test", "-model=net.prototxt", "-weights=w", "-iterations=-1"),
            "--iterations is -1; give 1",
        ),
        (("python",), "SCRIPT"),
        (("python", "-m"), "SCRIPT"),
        (("python", "none.py"), "none.py: no such script"),
        (("time", "-model"), "flag '--model' needs a value"),
        (("time", "-logtostderr=maybe"), "flag '--logtostderr' is true or false, not 'maybe'"),
        (("time", "-model=net.prototxt", "-gpu=0,1"), "training on several GPUs is not done here"),
        (("time", "-model=net.prototxt", "-gpu=first"), "--gpu first: give the number of a GPU"),
    ],
)
def test_usage(folder, capsys, argv, said):
    code, lines = run(capsys, *argv)
    assert code == 2
    assert said in lines[-1]


def test_flags_as_gflags_reads_them():
    values, rest = parse(["time", "--nologtostderr", "-alsologtostderr", "-v=2", "--", "-model=x", "y"])
    assert (values["logtostderr"], values["alsologtostderr"], values["v"]) == (False, True, 2)
    assert (values["model"], rest) == ("", ["time", "-model=x", "y"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(folder, capsys):
    code, lines = run(capsys, "time", "-model=net.prototxt", "-gpu=0", "-iterations=1")
    assert code == 0
    assert "W common.cpp: torch finds no GPU here: computing on the CPU" in lines


def test_a_missing_solver_is_said_in_one_line(folder, capsys):
    code, lines = run(capsys, "train", "-solver=none.prototxt")
    assert code == MissingData.exit_code
    assert len(lines) == 1


def test_help_and_version(capsys):
    assert main([]) == main(["--help"]) == main(["--version"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"train +train or finetune a model", out)
    assert "Caffe 1.0.0" in out


def test_device_query(capsys):
    code, lines = run(capsys, "device_query")
    assert (code, lines) == (0, ["I caffe.cpp: Querying GPUs "])


@pytest.fixture
def interpreter(folder, monkeypatch):
    """What `c2t-caffe python` changes in the interpreter is undone."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys, "path_hooks", [*sys.path_hooks])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "caffe"]:
        del sys.modules[name]
    sys.path_importer_cache.clear()


SCRIPT = """
import sys
import caffe
from caffe import layers as L, params as P
import caffe.io
caffe.set_mode_gpu()
net = caffe.Net(sys.argv[1], caffe.TRAIN)
print(net.forward()['zloss'], caffe.__name__, __name__, __file__)
"""


def test_a_script_imports_caffe(interpreter, capsys):
    write(interpreter / "script.py", SCRIPT)
    assert main(["python", "script.py", "net.prototxt"]) == 0
    assert capsys.readouterr().out == "0.125 caffe2torch.pycaffe __main__ script.py\n"
    assert main(["python", "-c", "import caffe; print(caffe.TEST)"]) == 0
    assert capsys.readouterr().out == "1\n"
    assert main(["python", "-m", "script", "net.prototxt"]) == 0
    assert capsys.readouterr().out.startswith("0.125 caffe2torch.pycaffe __main__ ")


def test_another_caffe_is_not_replaced(interpreter, monkeypatch):
    import types

    monkeypatch.setitem(sys.modules, "caffe", types.ModuleType("caffe"))
    with pytest.raises(RuntimeError, match="another caffe"):
        caffe.install()
