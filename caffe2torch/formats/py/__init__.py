"""Plan -> a Python file with a plain nn.Module, and its weights as safetensors next to it.

    plan ─ graph ─ statements ─ module ─→ the file
                                    └─→ the weights, by the module's own keys

The file needs only torch and safetensors; it is for people to read and build on. Names in nets come from
strangers: they enter the text only as an identifier, a literal or a remark of names.py.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch.errors import ReadError, WriteError
from caffe2torch.formats.py.lines import lines
from caffe2torch.formats.py.names import literal, remark
from caffe2torch.formats.py.running import run_fresh
from caffe2torch.formats.safetensors import Kept, kept_shape, metadata_of, write_safetensors, write_tensors
from caffe2torch.net.preprocessing import Preprocessing
from caffe2torch.untrusted.safetensors import read_tensors
from caffe2torch.writing import DTYPES
from caffe2torch.writing.format import Format
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

if TYPE_CHECKING:
    from caffe2torch.formats.py.module import Module

_IMPORTS = {
    "torch": "import torch",
    "load_file": "from safetensors.torch import load_file",
    "nn": "from torch import Tensor, nn",
    "F": "from torch.nn import functional as F",
}
"""What the file imports if it uses a name, in the order that linters want."""
_PREPROCESSING = (
    "By input: (image - mean) * scale. `channels` is the order of image and mean,\n"
    "`crop_size` a square from the middle if it is not 0."
)
_LABELLINGS = "By output: the classes by index, and their colours, RGB."
_LOAD = '''\
def load(path: str | Path = WEIGHTS) -> {0}:
    """The net with its weights, in eval mode."""
    net = {0}()
    net.load_state_dict(load_file(path))
    return net.eval()
'''


def write_python(model: Model, output: Output, dtype: str = "float32") -> None:
    """The file, and next to it the weights, under the same name with `.safetensors`."""
    from caffe2torch.formats.py.module import Module  # loads slowly, and no other format needs it

    name = output.path.name
    weights = str(Path(name).with_suffix(".safetensors"))
    if weights == name:
        raise WriteError(f"{name}: is the name of the weights; name a .py file with -o")
    module = Module(model)
    output.write("\n".join(_file(module, model, name)).encode())
    state, tensors = module.state(), output.another(weights)
    kept = _is_kept(state, model)
    if not output.force:
        _check_free(tensors.target, kept, name)
    if kept:
        # With the net's definition next to its tensors, this package can read the file, too.
        write_safetensors(model, tensors, dtype)
    else:
        write_tensors(state, _origin(model), tensors, dtype)


def _check_free(weights: Path, kept: bool, name: str) -> None:
    """Refuses to replace a file that nobody named, unless an earlier run wrote it."""
    if not weights.exists():
        return
    try:
        _, metadata = read_tensors(weights)
    except ReadError:
        metadata = {}
    if "caffe2torch" not in metadata:
        problem = f"exists and is not from an earlier {name}, whose weights would replace it"
    elif "net" in metadata and not kept:
        problem = f"is a whole net, and the weights of {name} alone would replace it"
    else:
        return
    raise WriteError(f"{weights}: {problem}; name another .py file with -o")


def _is_kept(state: Mapping[str, Kept], model: Model) -> bool:
    """Whether a state is what this package's own files hold: keys, shapes and values."""
    parameters = {parameter.key: parameter for parameter in model.plan.parameters()}
    return {key: kept.shape for key, kept in state.items()} == {
        key: kept_shape(parameter) for key, parameter in parameters.items()
    } and all(np.array_equal(state[key].values(), parameters[key].read().reshape(-1)) for key in state)


def _origin(model: Model) -> dict[str, str]:
    """The metadata of values that are not in the form that this package reads."""
    digest = model.digest.sha256() if model.digest else ""
    metadata = metadata_of(model) | {"source_sha256": digest}
    return {name: metadata[name] for name in ("caffe2torch", "source", "source_sha256", "net_name")}


def _file(module: Module, model: Model, name: str) -> Iterator[str]:
    parts = [inspect.getsource(part).rstrip() for part in module.parts]
    body = "\n\n\n".join([*parts, module.text(), _LOAD.format(module.name)])
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    yield f'"""{_title(model)}\n'
    yield from _about(model, name)
    yield '"""\n\nfrom pathlib import Path\n'
    yield from (line for symbol, line in _IMPORTS.items() if symbol in used)
    yield '\nWEIGHTS = Path(__file__).with_suffix(".safetensors")'
    yield from _constants(model)
    yield f"\n\n{body}"


def _constants(model: Model) -> Iterator[str]:
    """What the model knows, as dictionaries by input and by output; nothing where nothing is known."""
    known = model.deployed_knowledge.as_data()
    for name, about in (("preprocessing", _PREPROCESSING), ("labellings", _LABELLINGS)):
        if known[name]:
            yield from lines(f"{name.upper()} = ", literal(known[name]), indent=0)
            yield f'"""{about}"""'


def _title(model: Model) -> str:
    """The net's name, and its architecture if it is one of the papers'."""
    known = f" ({model.architecture.name})" if model.architecture else ""
    return f"{remark(model.net.name or 'A net')}{known}, a Caffe model in PyTorch."


def _about(model: Model, name: str) -> Iterator[str]:
    if source := model.digest:
        yield f"Converted from {remark(source.name)}"
        yield f"(SHA-256 {source.sha256()}):\n"
        yield f"    fcn-convert {remark(source.name)} -o {remark(name)}\n"
    yield "All it needs is torch and safetensors. `load()` gives the net with its weights, from"
    yield "the .safetensors file beside this one. Inputs are float32; images are from 0 to 255,"
    yield "and then:\n"
    for blob in model.plan.inputs:
        known = model.preprocessing.get(blob)
        done = ", ".join(_steps(known)) if known else "as in training, which the model does not describe"
        yield f"    {remark(blob)}: {done}"


def _steps(known: Preprocessing) -> Iterator[str]:
    """What was done to an input before the net saw it."""
    yield known.channels or "its channels as in training"
    if known.mean_file:
        yield f"minus the mean image {remark(known.mean_file)}"
    if known.mean:
        mean = ", ".join(f"{value:.8g}" for value in known.mean)
        yield f"minus ({mean})" if len(known.mean) > 1 else f"minus {mean}"
    if known.scale != 1:
        yield f"times {known.scale:.8g}"
    if known.crop_size:
        yield f"cut to {known.crop_size} x {known.crop_size}"


# A module in sys.modules, where torch.compile and torch.export look for what they compile.
FORMAT = Format(
    "py",
    (".py",),
    write_python,
    run=run_fresh,
    runs_code=True,
    dtypes=DTYPES,
    code=(
        "import importlib.util, sys",
        "spec = importlib.util.spec_from_file_location('net', {path!r})",
        "sys.modules['net'] = net = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(net)",
        "model = net.load()",
    ),
)
