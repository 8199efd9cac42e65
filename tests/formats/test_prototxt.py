"""The dialect of prototxt files, and what is said of those that do not parse."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path
from typing import Any

import pytest

from caffe2torch import schema
from caffe2torch.errors import Caffe2TorchError, ReadError, SyntaxRefused, UnsupportedLayer
from caffe2torch.net.reading import read
from caffe2torch.plan import plan
from caffe2torch.untrusted.layer_texts import read_net
from caffe2torch.untrusted.text import read_prototxt


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "net.prototxt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def parsed(folder: Path, text: str | bytes, kind: str = "NetParameter", **options: Any) -> Any:
    return read_prototxt(written(folder, text), kind, **options)


DIALECTS = [
    """layer {
         name: "a"
         type: "ReLU"
         relu_param { negative_slope: 1.0 engine: CUDNN }
         include { phase: TEST }
       }""",
    'layer{name:"a"type:"ReLU"relu_param{negative_slope:1.0 engine:CUDNN}include{phase:TEST}}',
    'layer: {name: "a" type: "ReLU" relu_param: {negative_slope: 1 engine: CUDNN} include: {phase: 1}}',
    "layer {name: 'a' type: 'ReLU' relu_param {negative_slope: 1. engine: 2} include {phase: TEST}}",
    'layer <name: "a"; type: "ReLU", relu_param <negative_slope: 1e0; engine: 0x2> include <phase: TEST>>',
    """layer {\r\n\tname : "a"\r\n\ttype: "Re" 'LU'\r\n relu_param { negative_slope: 1f engine: CUDNN }\r\n
       include { phase: TEST }\r\n}\r\n""",
    """# layer { name: "b" }
       layer { name: "\\141" # octal
       type: "\\x52eLU" relu_param { negative_slope: 10e-1 engine: CUDNN } include { phase: TEST } }  #""",
    '\ufefflayer { name: "a" type: "ReLU" relu_param { negative_slope: 1.0e+0 engine: CUDNN }'
    "include: [{ phase: TEST }] }",
]


@pytest.mark.parametrize("text", DIALECTS)
def test_one_net_in_every_dialect(tmp_path: Path, text: str) -> None:
    expected = schema.message("NetParameter")()
    layer = expected.layer.add(name="a", type="ReLU")
    layer.relu_param.negative_slope, layer.relu_param.engine = 1.0, 2
    layer.include.add(phase=1)
    assert parsed(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "value"), [("0", False), ("1", True), ("false", False), ("true", True), ("t", True)]
)
def test_bools_are_words_or_digits(tmp_path: Path, text: str, value: bool) -> None:
    net = parsed(tmp_path, f"layer {{ convolution_param {{ bias_term: {text} }} }}")
    assert net.layer[0].convolution_param.bias_term is value


def test_a_list_in_brackets(tmp_path: Path) -> None:
    assert list(parsed(tmp_path, "input_dim: [1, 3, 5, 7]").input_dim) == [1, 3, 5, 7]


def test_escapes_in_a_string(tmp_path: Path) -> None:
    net = parsed(tmp_path, r"""layer { python_param { param_str: "{\'split\': \"val\"}\n" } }""")
    assert net.layer[0].python_param.param_str == "{'split': \"val\"}\n"


def test_comments_may_be_in_any_encoding(tmp_path: Path) -> None:
    assert parsed(tmp_path, 'name: "a" # \u6ce8\u91ca'.encode("gb18030")).name == "a"
    assert parsed(tmp_path, 'name: "r\u00e9seau"').name == "r\u00e9seau"


CONFLICT = 'name: "a"\n\n<<<<<<< HEAD\ninput: "b"\n=======\n>>>>>>> other'
SOLVER = "'net' is a field of SolverParameter, and this should be a NetParameter"


@pytest.mark.parametrize(
    ("text", "line", "column", "problem", "there"),
    [
        ("layer {\n  oops { }\n}", 2, 3, "LayerParameter has no field 'oops'", "oops { }"),
        ("layer {\n  name: 'a'\n", 2, 9, 'Expected "}"', "name: 'a'"),
        ("layer { name: 'a\n }", 1, 15, "String missing ending quote", "layer { name: 'a"),
        ("// hi\nlayer { }", 1, 1, "Expected identifier or number, got /", "// hi"),
        (b"name: '\xff'", 1, 7, "a string that is not UTF-8", "name: ' '"),
        (b"# \xff\nlayers { type: \xa0RELU }", 2, 16, "a byte that is not UTF-8", "layers { type:  RELU }"),
        (b"layers {type: '\xa0' }", 1, 15, "a string that is not UTF-8", "layers {type: ' ' }"),
        (b"# '\xa0\nlayers {type: 'a\xa0", 2, 15, "a string that is not UTF-8", "layers {type: 'a"),
        (b"name: 'a' \xa0", 1, 11, "a byte that is not UTF-8", "name: 'a'"),
        ("# \\e\nname: 'a\\e'", 2, 9, "an escape that protobuf does not know", "name: 'a\\e'"),
        ('name: "a" "\\n\\\\\\477"', 1, 16, "an escape that protobuf", 'name: "a" "\\n\\\\\\477"'),
        ("name: '\\e", 1, 8, "an escape that protobuf does not know", "name: '\\e"),
        ("layers { type: OOPS }", 1, 16, "has no value named OOPS", "layers { type: OOPS }"),
        ("input_dim: 3.5", 1, 12, "Couldn't parse integer: 3.5", "input_dim: 3.5"),
        ("input_dim: 99999999999", 1, 12, "Value out of range: 99999999999", "input_dim: 99999999999"),
        ('name: "a"\nname: "b"', 2, 7, 'should not have multiple "name" fields', 'name: "b"'),
        (CONFLICT, 3, 1, "a git conflict marker; resolve the conflict first", "<<<<<<< HEAD"),
        ("input_shape {\n  dim: $HEIGHT$ }", 2, 8, "a template's placeholder; fill it in", "dim: $HEIGHT$ }"),
        ("input_shape {\n  dim: ${height} }", 2, 8, "a template's placeholder", "dim: ${height} }"),
        ("net: 'train.prototxt'", 1, 1, SOLVER, "net: 'train.prototxt'"),
    ],
)
def test_what_does_not_parse_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, line: int, column: int, problem: str, there: str
) -> None:
    with pytest.raises(SyntaxRefused) as refusal:
        parsed(tmp_path, text)
    assert (refusal.value.line, refusal.value.column) == (line, column)
    assert str(refusal.value).startswith(f"{tmp_path / 'net.prototxt'}:{line}:{column}: ")
    assert problem in str(refusal.value)
    assert str(refusal.value).endswith(f", at `{there}`")


def test_a_net_where_a_solver_is_expected(tmp_path: Path) -> None:
    with pytest.raises(
        SyntaxRefused, match="'layer' is a field of NetParameter, and this should be a Solver"
    ):
        parsed(tmp_path, "layer { }", "SolverParameter")


def test_a_long_line_is_quoted_around_the_problem(tmp_path: Path) -> None:
    with pytest.raises(SyntaxRefused, match=r"at `.*layer \{ \} oops: 1 layer \{ \}.*`") as refusal:
        parsed(tmp_path, "layer { } " * 5000 + "oops: 1 " + "layer { } " * 5000)
    assert len(str(refusal.value)) < 400


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="nests its messages too deeply"):
        parsed(tmp_path, "a {" * 100_000, ignore_unknown=True)


INPUT = 'input: "data" input_dim: [1, 3, 5, 7]\n'


def test_unknown_fields_can_be_ignored_and_are_noted(tmp_path: Path) -> None:
    path = written(tmp_path, INPUT + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" oops { b: 1 } }')
    with pytest.raises(UnsupportedLayer, match=r"no field 'oops'.*--ignore-unknown-fields"):
        plan(read(path))
    net = read(path, ignore_unknown=True)
    assert [layer.name for layer in net.layers] == ["input", "a"]
    assert "LayerParameter has no field 'oops'" in net.notes[0]


def test_unknown_fields_of_layers_are_told_with_their_place(tmp_path: Path) -> None:
    text = (
        INPUT
        + """
        # layer { not: 'this' }
        layer { name: 'layer { "a' type: "ReLU"
            relu_param < bet: 1 > gam: 2
        } layers { name: 'x' bet: 1 }"""
    )
    message, unknown = read_net(written(tmp_path, text))
    assert [(x, str(e).removeprefix(f"{tmp_path}")[14:]) for x, e in unknown.items()] == [
        (0, "5:26: ReLUParameter has no field 'bet', in Caffe or in any fork we know, at "
            "`relu_param < bet: 1 > gam: 2`"),
        (1, "6:30: V1LayerParameter has no field 'bet', in Caffe or in any fork we know, at "
            "`layers { name: 'x' bet: 1 }`"),
    ]  # fmt: skip
    assert (message.layer[0].name, message.layers[0].name) == ('layer { "a', "x")


@pytest.mark.parametrize("layer", ["oops: 1", "layer { type: 'Split' oops: 1 }"])
def test_unknown_fields_outside_of_named_layers_are_refused(tmp_path: Path, layer: str) -> None:
    path = written(tmp_path, f"{layer} layer {{ name: 'a' oops: 1 }}")
    with pytest.raises(SyntaxRefused, match=r"no field 'oops'.*; --ignore-unknown-fields leaves .*, at `"):
        read(path)
    assert "no field 'oops'" in read(path, ignore_unknown=True).notes[0]


def test_a_value_that_does_not_parse_is_not_an_unknown_field(tmp_path: Path) -> None:
    with pytest.raises(SyntaxRefused, match="parse integer"):
        parsed(tmp_path, "oops: 1 input_dim: 3.5", ignore_unknown=True)


@pytest.mark.parametrize(
    "layer",
    [
        "layer { name: 'a' blobs { index: 3 } }",
        "layers { name: 'a' blobs { data: 1 } }",
        "layers { layer { name: 'a' blobs { } } }",
    ],
)
def test_blobs_as_text_are_refused(tmp_path: Path, layer: str) -> None:
    with pytest.raises(ReadError, match="layer 'a' has blobs as text; give them in a caffemodel"):
        read(written(tmp_path, layer))


def test_required_fields_are_required(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"layer\[0\].clip_param.max is required but missing"):
        read(written(tmp_path, "layer { name: 'a' type: 'Clip' clip_param { min: 0 } }"))


def a_fork_has(caffes_problem: str) -> bool:
    """Whether what Caffe's schema lacks, by the corpus' index, is something that forks.proto adds to it."""
    field = re.search(r'Message type "caffe.(\w+)" has no field named "(\w+)"', caffes_problem)
    value = re.search(r'Enum type "caffe.(\w+).(\w+)" has no value named (\w+)', caffes_problem)
    if field:
        known = schema.descriptor(field[1]).fields_by_name.get(field[2])
        return known is not None and known.number >= schema.PRIVATE
    if value:
        return value[3] in schema.descriptor(value[1]).enum_types_by_name[value[2]].values_by_name
    return False


def test_the_corpus_parses_where_the_schema_lets_it(reference: Path) -> None:
    with (reference / "corpus" / "index.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 355
    wrong = []
    for row in rows:
        kind = "SolverParameter" if row["format"] == "solver" else "NetParameter"
        said = ""
        try:
            read_prototxt(reference / "corpus" / row["path"], kind)
        except ReadError as refusal:
            said = str(refusal)
        caffes = row["caffe_parses_strictly"]
        # Past the field that Caffe lacks, a fork's file may have more that we lack, too.
        fine = not said if caffes == "yes" else bool(said) or a_fork_has(caffes)
        if not fine or "\n" in said:
            wrong.append((row["path"], caffes, said))
    assert wrong == []


MARKS = [
    "{",
    "}",
    "<",
    "[",
    "]",
    ":",
    '"',
    "'",
    "\\",
    "\0",
    "\xe9",
    "#",
    "1e999",
    "-",
    "0x",
    "9" * 5000,
    "$X$",
]


def damaged(rng: random.Random, text: str) -> bytes:
    letters = list(text)
    for _ in range(rng.choice((1, 2))):
        at = rng.randrange(len(letters))
        letters[at : at + rng.randrange(3)] = rng.choice(MARKS)
    return "".join(letters).encode(rng.choice(("utf-8", "latin-1")))


@pytest.mark.parametrize("ignore_unknown", [False, True])
def test_damage_is_read_or_refused_in_one_printable_line(tmp_path: Path, ignore_unknown: bool) -> None:
    whole = INPUT + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\n' * 3
    rng, refusals = random.Random(3), []  # noqa: S311
    for _ in range(300):
        try:
            read(written(tmp_path, damaged(rng, whole)), ignore_unknown=ignore_unknown)
        except Caffe2TorchError as refusal:
            refusals.append(str(refusal))
    assert 100 < len(refusals) < 300
    assert [said for said in refusals if not said.isprintable()] == []
