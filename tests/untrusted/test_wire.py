"""The scan of the wire format against protobuf's own parser, a writer of odd encodings, and damaged files."""

from __future__ import annotations

import csv
import gc
import mmap
import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe2torch import schema
from caffe2torch.blob import MAX_COUNT
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.wire import MAX_DEFINITION, MAX_FIELDS, scan
from tests import wire_writer as w
from tests.places import GOLDEN

CAFFEMODELS = [path for path in sorted(GOLDEN.rglob("*.caffemodel")) if "nvcaffe" not in str(path)]


def parse(kind: str, data: bytes) -> Any:
    return schema.message(kind).FromString(data)


def blobs_of(message: Any) -> list[Any]:
    """The BlobProtos of a message in the order in which a file holds them."""
    if message.DESCRIPTOR.name == "BlobProto":
        return [message]
    inner = [
        value if field.is_repeated else [value]
        for field, value in message.ListFields()
        if field.message_type is not None
    ]
    return [blob for values in inner for value in values for blob in blobs_of(value)]


def assert_same_as_protobuf(kind: str, data: bytes) -> int:
    """Checks definition, order, shapes, dtypes and values, bit for bit; returns how many blobs there were."""
    skeleton, blobs = scan(data, kind)
    expected, definition = parse(kind, data), parse(kind, skeleton)
    protos, kept = blobs_of(expected), blobs_of(definition)
    assert len(blobs) == len(protos) == len(kept)
    assert [blob.index for blob in kept] == list(range(len(blobs)))
    for blob, proto in zip(blobs, protos, strict=True):
        values = np.array(proto.double_data or proto.data, np.float64 if proto.double_data else np.float32)
        legacy = (proto.num, proto.channels, proto.height, proto.width)
        assert blob.shape == (legacy if proto.HasField("num") else tuple(proto.shape.dim))
        assert blob.dtype == values.dtype
        assert blob.read().tobytes() == values.tobytes()
    for blob in kept:
        blob.ClearField("index")
    for blob in protos:
        for name in ("data", "diff", "double_data", "double_diff"):
            blob.ClearField(name)
    assert definition == expected
    return len(blobs)


def one(data: bytes) -> Any:
    """The only blob of a BlobProto written by hand."""
    return scan(data, "BlobProto")[1][0]


@pytest.mark.parametrize("path", CAFFEMODELS, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_golden_caffemodels_scan_as_protobuf_parses_them(path: Path) -> None:
    assert_same_as_protobuf("NetParameter", path.read_bytes())


def test_real_models_scan_as_protobuf_parses_them(reference: Path) -> None:
    kinds = {"caffemodel": "NetParameter", "solverstate": "SolverState", "binaryproto": "BlobProto"}
    with (reference / "models" / "index.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["kind"] in kinds]
    assert len(rows) == 41
    for row in rows:
        data = (reference / "models" / row["folder"] / row["file"]).read_bytes()
        assert assert_same_as_protobuf(kinds[row["kind"]], data) == int(row["blobs"]), row["folder"]


VALUES = [1.5, -2.25, 3e-38, float("inf"), 0.0, 7.0]
HALVES = [1.5, -2.25, 65504.0, float("inf"), 2.0**-24, 7.0]
THIRDS = [1 / 3, -2 / 3, 1e300, 4 / 3, 5 / 3, 2.0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (w.packed(5, VALUES), VALUES),
        (w.unpacked(5, VALUES), VALUES),
        (w.packed(5, VALUES[:1]) + w.packed(5, VALUES[1:4]) + w.packed(5, VALUES[4:]), VALUES),
        (w.packed(5, VALUES[:2]) + w.unpacked(5, VALUES[2:4]) + w.packed(5, VALUES[4:]), VALUES),
        (w.unpacked(5, VALUES[:2]) + w.integer(99, 2) + w.unpacked(5, VALUES[2:]), VALUES),
        (w.packed(5, []) + w.packed(5, VALUES) + w.packed(5, []), VALUES),
        (w.packed(6, [9.0] * 6) + w.packed(5, VALUES) + w.unpacked(6, [9.0] * 6), VALUES),
        (w.packed(9, [9.0] * 6, "d") + w.packed(5, VALUES) + w.unpacked(9, [9.0] * 6, "d"), VALUES),
        (w.packed(8, THIRDS, "d"), THIRDS),
        (w.unpacked(8, THIRDS, "d"), THIRDS),
        (w.packed(8, THIRDS[:5], "d") + w.unpacked(8, THIRDS[5:], "d"), THIRDS),
        (w.packed(5, VALUES) + w.packed(8, THIRDS, "d"), THIRDS),
        (w.packed(5, VALUES[:1]) + w.packed(8, THIRDS, "d"), THIRDS),
        (w.packed(8, [], "d") + w.packed(5, VALUES), VALUES),
        # NVIDIA's raw_data_type 10 and raw_data 12, their diffs 11 and 13
        (w.integer(10, 1) + w.packed(12, VALUES), VALUES),
        (w.packed(12, VALUES) + w.integer(11, 2) + w.packed(13, [9.0], "e") + w.integer(10, 1), VALUES),
        (w.integer(10, 0) + w.packed(12, THIRDS, "d"), THIRDS),
        (w.integer(10, 2) + w.packed(12, HALVES, "e"), HALVES),
        (w.integer(10, 2) + w.packed(12, HALVES[::-1], "e") + w.packed(12, HALVES, "e"), HALVES),
        (w.integer(10, 2) + w.packed(12, HALVES, "e") + w.packed(5, VALUES), VALUES),
    ],
)
def test_values_in_every_encoding(content: bytes, expected: list[float]) -> None:
    blob = one(content + w.shape(1, 2, 3))
    dtype = np.float64 if expected is THIRDS else np.float32
    assert (blob.shape, blob.dtype) == ((1, 2, 3), dtype)
    assert blob.read().tobytes() == np.array(expected, dtype).tobytes()
    assert not blob.values().flags.writeable
    assert blob.values().flags.c_contiguous


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (w.packed(12, VALUES), "has no raw_data_type"),
        (w.integer(10, 3) + w.packed(12, VALUES), "has raw_data_type 3"),
        (w.integer(10, 2) + w.packed(12, VALUES), "asks for 6 values, 12 are there"),
        (w.integer(10, 0) + w.delimited(12, bytes(47)), "the last of its values has 7 bytes, not 8"),
    ],
)
def test_raw_data_that_cannot_be_read_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(ReadError, match=problem):
        one(content + w.shape(1, 2, 3))


@pytest.mark.parametrize("values", [w.packed(6, range(12)), w.unpacked(6, range(12))])
def test_a_blob_of_c3d_has_five_axes(values: bytes) -> None:
    sizes = b"".join(w.integer(number, size) for number, size in enumerate((1, 3, 2, 1, 2), start=1))
    for content in (sizes + values, values + sizes):
        blob = one(content)
        assert blob.shape == (1, 3, 2, 1, 2)
        assert blob.read().ravel().tolist() == list(range(12))


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 66, 191, 193, 5000])
def test_unpacked_values_end_where_another_field_starts(count: int) -> None:
    first, rest = np.arange(count, dtype=np.float32), np.arange(7, dtype=np.float32)
    blob = one(w.unpacked(5, first) + w.unpacked(6, rest) + w.unpacked(5, rest) + w.shape(count + 7))
    np.testing.assert_array_equal(blob.read(), [*first, *rest])


def test_a_tag_of_two_bytes_is_told_from_its_neighbour() -> None:
    one_value = b"\xad\x00" + b"\0\0\x80?"  # field 5, its number written longer than it need be
    other = b"\xad\x01" + b"\0\0\0@"  # field 21: the same first byte
    assert one(one_value + other + one_value + w.shape(2)).read().tolist() == [1, 1]


def test_packed_values_are_views_that_keep_the_file_mapped(tmp_path: Path) -> None:
    path = tmp_path / "one.caffemodel"
    path.write_bytes(w.layer("ip", w.packed(5, VALUES) + w.shape(2, 3)))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole = np.frombuffer(mapped, np.uint8)
    values = scan(mapped)[1][0].read()
    assert np.shares_memory(values, whole)
    del mapped, whole
    gc.collect()
    np.testing.assert_array_equal(values, np.array(VALUES, np.float32).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (w.shape(2, 3), (2, 3)),
        (w.shape(6), (6,)),
        (w.shape(2) + w.shape(3), (2, 3)),  # two parts of one message: protobuf joins them
        (w.delimited(7, w.integer(1, 3) + w.integer(1, 2)), (3, 2)),  # dims not packed
        (w.legacy(num=1, channels=2, height=3, width=1), (1, 2, 3, 1)),
        (w.legacy(num=6, channels=1, height=1, width=1) + w.shape(2, 3), (6, 1, 1, 1)),
    ],
)
def test_shapes(content: bytes, expected: tuple[int, ...]) -> None:
    assert one(content + w.packed(5, VALUES)).shape == expected


def test_one_legacy_size_makes_four_axes() -> None:
    blob = one(w.legacy(width=6))
    assert (blob.shape, blob.count, blob.has_data) == ((0, 0, 0, 6), 0, True)


def test_no_shape_at_all_is_one_value() -> None:
    assert one(w.packed(5, [2.5])).read() == np.float32(2.5)


def test_a_shape_without_values_has_no_data() -> None:
    blob = one(w.shape(4, 1))
    assert (blob.shape, blob.has_data) == ((4, 1), False)


def test_an_empty_blob_has_its_no_values() -> None:
    assert one(w.shape(4, 0)).read().shape == (4, 0)


def test_blobs_of_all_ages_in_their_order() -> None:
    blobs = [w.packed(5, [value]) + w.shape(1) for value in (1, 2, 3, 4)]
    data = w.v0_layer("a", *blobs[:2]) + w.v1_layer("b", blobs[2]) + w.layer("c", blobs[3])
    skeleton, found = scan(data)
    net = parse("NetParameter", skeleton)
    assert [blob.read().tolist() for blob in found] == [[1], [2], [3], [4]]
    assert [blob.index for blob in net.layers[0].layer.blobs] == [0, 1]
    assert [net.layers[0].layer.name, net.layers[1].name, net.layer[0].name] == ["a", "b", "c"]
    assert net.layers[1].blobs[0].index, net.layer[0].blobs[0].index == (2, 3)


def test_unknown_fields_of_a_blob_keep_their_number_only() -> None:
    half_floats = bytes(range(256))
    skeleton, blobs = scan(w.delimited(77, half_floats) + w.shape(4), "BlobProto")
    assert len(skeleton) < 20
    assert w.delimited(77, b"") in skeleton
    assert not blobs[0].has_data


def test_an_index_in_the_file_is_not_believed() -> None:
    for forged in (w.integer(schema.PRIVATE, 5), w.delimited(schema.PRIVATE, b"\5")):
        skeleton, _ = scan(w.shape(1) + forged + w.packed(5, [1]) + forged, "BlobProto")
        assert parse("BlobProto", skeleton).index == 0


BLOB = w.packed(5, VALUES) + w.shape(2, 3)
LAYER = w.layer("conv1", BLOB)


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (LAYER[:-1], f"field 100 takes {len(LAYER) - 3} bytes, {len(LAYER) - 4} are left"),
        (b"\xa2", "a number is cut short"),
        (b"\xa2\x06", "a number is cut short"),
        (b"\xa2\x06\x80", "a number is cut short"),
        (b"\x80" * 11, "a number is over 10 bytes long"),
        (b"\x02\x00", "no field starts here (number 0, wire type 2)"),
        (b"\x0b\x0c", "no field starts here (number 1, wire type 3)"),
        (b"\x0e", "no field starts here (number 1, wire type 6)"),
        (b"\x0d\0\0\0", "field 1 takes 4 bytes, 3 are left"),
        (b"\x09\0\0\0\0\0\0\0", "field 1 takes 8 bytes, 7 are left"),
    ],
)
def test_damage_is_refused_with_its_byte(end: bytes, problem: str) -> None:
    with pytest.raises(ReadError) as refusal:
        scan(LAYER + end)
    at, where, said = re.fullmatch(r"byte (\d+), in (\S+): (.*)", str(refusal.value)).groups()
    assert (where, said) == ("NetParameter", problem)
    assert len(LAYER) <= int(at) <= len(LAYER) + min(3, len(end))


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (w.packed(5, [1] * 7) + w.shape(2, 3), "its shape (2, 3) asks for 6 values, 7 are there"),
        (w.packed(5, [1] * 5) + w.shape(2, 3), "its shape (2, 3) asks for 6 values, 5 are there"),
        (w.unpacked(8, [1] * 2, "d") + w.shape(3), "its shape (3,) asks for 3 values, 2 are there"),
        (w.packed(5, [1] * 4), "its shape () asks for 1 values, 4 are there"),
        (w.packed(5, [1]) + w.shape(0, 4), "its shape (0, 4) asks for 0 values, 1 are there"),
        (w.delimited(5, b"\0" * 10), "the last of its values has 2 bytes, not 4"),
        (w.delimited(8, b"\0" * 10), "the last of its values has 2 bytes, not 8"),
        (w.delimited(9, b"\0" * 10), "the last of its values has 2 bytes, not 8"),
        (w.shape(2, -3), "its shape (2, -3) has a negative size"),
        (w.legacy(num=-1, channels=-1), "its shape (-1, -1, 0, 0) has a negative size"),
        (w.shape(1 << 20, 1 << 11), "asks for 2147483648 values, Caffe allows 2147483647"),
        (w.shape(*[(1 << 63) - 1] * 32), ", Caffe allows 2147483647"),
        (w.shape(*[1] * 33), "its shape has 33 axes, Caffe allows 32"),
        (w.delimited(7, b"\x0a\x05\x80"), "its shape does not parse"),
        (w.packed(5, [1])[:-1], "field 5 takes 4 bytes, 3 are left"),
    ],
)  # fmt: skip
def test_a_blob_that_cannot_be_is_refused_with_its_byte_and_place(blob: bytes, problem: str) -> None:
    data = LAYER + w.layer("fc6", BLOB, blob)
    with pytest.raises(ReadError) as refusal:
        scan(data)
    place = f"byte {len(data) - len(blob)}, in NetParameter.layer[1] 'fc6'.blobs[1]: "
    assert str(refusal.value).startswith(place)
    assert str(refusal.value).endswith(problem)


def test_a_field_that_overruns_its_message_is_refused() -> None:
    layer = w.layer("fc6", BLOB)
    inside = layer.replace(w.varint(len(BLOB)) + BLOB, w.varint(len(BLOB) + 1) + BLOB)
    with pytest.raises(ReadError, match=f"'fc6': field 7 takes {len(BLOB) + 1} bytes, {len(BLOB)} are left"):
        scan(inside + LAYER)


def test_a_refusal_names_layer_and_blob() -> None:
    bad = w.packed(5, [1]) + w.shape(2)
    for data, place in (
        (w.layer("fc6", BLOB, bad), "NetParameter.layer[0] 'fc6'.blobs[1]"),
        (w.v1_layer("fc6", bad), "NetParameter.layers[0] 'fc6'.blobs[0]"),
        (w.v0_layer("fc6\n", bad), "NetParameter.layers[0].layer[0] 'fc6\\n'.blobs[0]"),
    ):
        with pytest.raises(ReadError) as refusal:
            scan(data)
        assert f"in {place}: its shape (2,) asks for 2 values, 1 are there" in str(refusal.value)


def test_the_number_of_fields_is_bounded() -> None:
    scan(w.layer("", b"") * 1000)
    with pytest.raises(ReadError, match=f"more than {MAX_FIELDS} fields"):
        scan(w.delimited(100, b"") * (MAX_FIELDS + 1))
    with pytest.raises(ReadError, match=f"more than {MAX_FIELDS} fields"):
        scan(w.delimited(6, b"") * (MAX_FIELDS + 1), "BlobProto")


def test_the_size_of_a_definition_is_bounded() -> None:
    scan(w.delimited(1, bytes(1000)))
    with pytest.raises(ReadError, match=f"the definition, blobs aside, is over {MAX_DEFINITION} bytes"):
        scan(w.delimited(1, bytes(MAX_DEFINITION)))


def peak_of_scan(data: Any) -> int:
    """The most memory, in bytes, that Python and NumPy held during a scan that may refuse the data."""
    tracemalloc.start()
    try:
        scan(data)
    except ReadError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_a_file_over_four_gigabytes(tmp_path: Path) -> None:
    count, path = 1_100_000_000, tmp_path / "big.caffemodel"
    end = np.array([1.5, -2.5, 3.5], np.float32)
    head = w.shape(count) + w.tag(5, w.LENGTH) + w.varint(4 * count)
    blob = w.tag(7, w.LENGTH) + w.varint(len(head) + 4 * count) + head
    tail = w.delimited(7, w.packed(5, [9.0]) + w.shape(1))
    length = w.tag(100, w.LENGTH) + w.varint(len(blob) + 4 * count + len(tail))
    with path.open("wb") as file:
        file.write(length + blob)
        file.seek(4 * count - end.nbytes, 1)  # a hole that takes no disk space
        file.write(end.tobytes() + tail + LAYER)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    big, small, conv = scan(mapped)[1]
    assert big.shape == (count,)
    np.testing.assert_array_equal(big.read()[-4:], [0, *end])
    assert small.read() == 9
    assert conv.shape == (2, 3)
    assert peak_of_scan(mapped) < 1 << 20


DAMAGED = (GOLDEN / "legacy" / "v0.caffemodel").read_bytes()


def test_every_truncation_is_refused_or_a_net_of_fewer_layers() -> None:
    whole = len(scan(DAMAGED)[1])
    for size in range(0, len(DAMAGED), 97):
        try:
            blobs = scan(DAMAGED[:size])[1]
        except ReadError:
            continue
        # Only a cut between two layers leaves a whole message.
        assert len(blobs) < whole


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_do_nothing_but_refuse(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    for _ in range(250):
        data = bytearray(DAMAGED)
        for _ in range(rng.choice((1, 1, 2, 8))):
            # Most bytes are values, where nothing can go wrong; half of the flips hit the definition.
            data[rng.choice((rng.randrange(len(data)), rng.randrange(400)))] = rng.randrange(256)
        try:
            skeleton, blobs = scan(bytes(data))
        except ReadError:
            continue
        assert len(skeleton) <= len(data)
        assert sum(blob.values().nbytes for blob in blobs if blob.has_data) <= len(data)


def test_damage_costs_no_memory() -> None:
    rng = random.Random(5)  # noqa: S311
    for _ in range(40):
        data = bytearray(DAMAGED)
        data[rng.randrange(400)] = rng.randrange(256)
        assert peak_of_scan(bytes(data)) < len(data)
    absurd = w.layer("fc", w.shape(MAX_COUNT) + w.tag(5, w.LENGTH) + w.varint(4 * MAX_COUNT))
    assert peak_of_scan(absurd) < 1 << 16
