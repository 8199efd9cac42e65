"""Model files that mean harm, or were damaged: what each is called, and its bytes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator

import h5py
import numpy as np

from tests import wire_writer as w
from tests.places import GOLDEN

FEEDING = GOLDEN / "pycaffe" / "feeding"

Files = Iterator[tuple[str, bytes]]
ESCAPE = "a\x1b[2J\x1b]0;owned\x07\r\nfcn-convert: all is well\u202e"
"""A name that would clear a terminal, rename its window and print a line of its own."""
DATA = (
    "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n"
)
V1 = GOLDEN / "legacy" / "v1.caffemodel"


def damaged(name: str, whole: bytes, suffix: str) -> Files:
    """Cut, overwritten and lengthened."""
    for part in (1, 3, 9, len(whole) // 2, len(whole) - 1):
        yield f"{name}-cut-{part}{suffix}", whole[:part]
    middle = len(whole) // 2
    yield f"{name}-ones{suffix}", whole[:middle] + b"\xff" * 16 + whole[middle + 16 :]
    yield f"{name}-zeros{suffix}", whole[:middle] + bytes(64) + whole[middle + 64 :]
    yield f"{name}-twice{suffix}", whole + whole
    yield f"{name}-tail{suffix}", whole + b"\0" * 100


def caffemodels() -> Files:
    yield from damaged("v1", V1.read_bytes(), ".caffemodel")
    huge = w.varint(1 << 40)
    blob = w.packed(5, [0.0] * 6)
    odd = {
        "empty": b"",
        "length-of-a-terabyte": w.tag(100, w.LENGTH) + huge + b"x",
        "length-negative": w.tag(100, w.LENGTH) + w.varint(2**64 - 1),
        "varint-endless": b"\xff" * 40,
        "tag-overlong": b"\xa2\x86\x80\x80\x80\x80\x00\x00",
        "groups-nested": b"\x0b" * 5000,
        "layers-empty": w.delimited(100, b"") * 20_000,
        "blobs-empty": w.delimited(100, w.delimited(1, b"a") + w.delimited(7, b"") * 20_000),
        "shape-of-exabytes": w.layer("a", w.shape(1 << 60, 1 << 60)),
        "shape-negative": w.layer("a", w.shape(-1, -3) + blob),
        "shape-of-many-axes": w.layer("a", w.shape(*[1] * 4000) + blob),
        "shape-of-others": w.layer("a", w.shape(7, 5) + blob),
        "shape-huge-without-values": w.layer("a", w.shape(1 << 15, 1 << 15)),
        "shape-legacy-negative": w.layer("a", w.legacy(num=-1, channels=2, height=3, width=1) + blob),
        "values-cut": w.layer("a", w.shape(2, 3) + w.delimited(5, b"\0" * 23)),
        "values-nan": w.layer("a", w.shape(2, 3) + w.packed(5, [float("nan")] * 6)),
        "raw-of-no-type": w.layer("a", w.shape(2, 3) + w.integer(10, 99) + w.delimited(12, bytes(24))),
        "name-escapes": w.layer(ESCAPE, w.shape(2, 3) + blob),
        "name-not-utf8": w.delimited(100, w.delimited(1, b"\xff\xfe") + w.delimited(2, b"ReLU")),
        "name-of-a-path": w.layer("../../../etc/passwd", w.shape(2, 3) + blob),
        "name-of-100-kB": w.layer("n" * 100_000, w.shape(2, 3) + blob),
        "name-of-nul": w.layer("a\0b", w.shape(2, 3) + blob),
        "names-equal": w.layer("same", w.shape(6) + blob) * 1000,
        "type-unknown": w.layer("a", w.shape(2, 3) + blob, type_name="__import__('os').system('true')"),
        "type-escapes": w.layer("a", w.shape(2, 3) + blob, type_name=ESCAPE),
        "v1-type-unknown": w.v1_layer("a", w.shape(2, 3) + blob, number=4711),
        "v0-without-all": w.v0_layer("a"),
        "all-ages": w.v0_layer("a") + w.v1_layer("b") + w.layer("c"),
        "fields-unknown": w.delimited(536870911, b"x" * 100) * 500,
        "net-name-of-5000": w.delimited(1, b"n" * 5000) + w.layer("a"),
        "private-index": w.layer("a", w.integer(536870000, 7) + blob),
    }
    for name, content in odd.items():
        yield f"{name}.caffemodel", content
    for name, content in {
        "pickle": b"\x80\x02cposix\nsystem\n(S'true'\ntR.",
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08" + bytes(30),
        "page": b"<!DOCTYPE html><html><script>x</script></html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "utf16": "name: 'a'".encode("utf-16"),
        "npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4'}",
    }.items():
        yield f"is-a-{name}.caffemodel", content


def layer(kind: str, parameters: str = "", bottom: str = "bottom: 'data'") -> str:
    """A layer, after an Input `data` if it has a bottom."""
    return f"{DATA if bottom else ''}layer {{ name: 'l' type: '{kind}' {bottom} top: 'l' {parameters} }}\n"


def conv(parameters: str) -> str:
    return layer("Convolution", f"convolution_param {{ {parameters} }}")


def prototxts() -> Files:
    relu = "layer {{ name: '{0}' type: 'ReLU' bottom: '{1}' top: '{0}' }}\n"
    chain = "".join(relu.format(f"r{i}", f"r{i - 1}" if i else "data") for i in range(800))
    odd = {
        "braces": "layer" + "{" * 50_000,
        "braces-in-unknown": "foo" + "{foo" * 20_000,
        "unknown-nested": "foo{" * 80 + "}" * 80,
        "unknown-in-each": "layer { name: 'a' type: 'ReLU' foo: 1 }\n" * 2000,
        "quote-open": "name: '" + "a" * 100_000,
        "escapes-many": "name: '" + "\\" * 100_000,
        "escape-odd": r"name: '\q'",
        "name-escapes": f"name: 'a\x1b[2Jb' {DATA}",
        "name-nul": "name: 'a\0b'",
        "names-equal": "layer { name: 'a' type: 'Silence' bottom: 'a' }\n" * 3000,
        "number-long": "input_dim: " + "9" * 50_000,
        "number-negative": "input: 'x' " + "input_dim: -1 " * 4,
        "number-huge": "input: 'x' input_dim: 1 input_dim: 3 " + "input_dim: 2147483647 " * 2,
        "number-nan": layer("Power", "power_param { power: nan }"),
        "input-shape-of-many-axes": "input: 'x' input_shape { " + "dim: 1 " * 500 + "}",
        "inputs-many": "".join(f"input: 'i{i}' input_dim: 1\n" for i in range(3000)),
        "chain": DATA + chain,
        "circle": relu.format("a", "b") + relu.format("b", "a"),
        "itself": "layer { name: 'a' type: 'ReLU' bottom: 'a' top: 'a' }",
        "bottom-of-nobody": relu.format("a", "nobody"),
        "tops-many": layer("Split", "top: 't' " * 5000),
        "conv-of-billions": conv("num_output: 2147483647 kernel_size: 2147483647"),
        "conv-of-nothing": conv(""),
        "conv-kernels-many": conv("num_output: 1 " + "kernel_size: 1 " * 2000),
        "conv-stride-0": conv("num_output: 1 kernel_size: 1 stride: 0"),
        "conv-group-0": conv("num_output: 1 kernel_size: 1 group: 0"),
        "conv-pad-huge": conv("num_output: 1 kernel_size: 1 pad: 2000000000"),
        "filler": conv("num_output: 2 kernel_size: 1 weight_filler { type: 'gaussian' std: -1 }"),
        "spp": layer("SPP", "spp_param { pyramid_height: 2147483647 }"),
        "tile": layer("Tile", "tile_param { tiles: 2147483647 }"),
        "slice": layer("Slice", "top: 'b' slice_param { slice_point: 4294967295 }"),
        "reshape": layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: -1 } }"),
        "crop": layer("Crop", "bottom: 'data' crop_param { axis: -99 }"),
        "python": layer("Python", "python_param { module: 'os' layer: 'system' param_str: 'true' }"),
        "param-str-deep": layer(
            "Python", f"python_param {{ module: 'm' layer: 'L' param_str: '{'(' * 9000}' }}", bottom=""
        ),
        "lrn": layer("LRN", "lrn_param { local_size: 2147483647 }"),
        "lstm": layer("LSTM", "bottom: 'data' recurrent_param { num_output: 1000000000 }"),
        "dummy": layer("DummyData", "dummy_data_param { shape { dim: 100000 dim: 100000 } }", bottom=""),
        "source-of-a-device": layer("HDF5Data", "hdf5_data_param { source: '/dev/zero' batch_size: 1 }", ""),
        "source-of-a-folder": layer("ImageData", "image_data_param { source: '/' batch_size: 1 }", ""),
        "batch-of-billions": layer("Data", "data_param { source: 'gone' batch_size: 4294967295 }", ""),
        "bom-only": "\ufeff",
        "empty-layers": "layer {}" * 5000,
        "comment-only": "# nothing\n" * 1000,
        "conflict": "<<<<<<< HEAD\nname: 'a'\n=======\nname: 'b'\n>>>>>>> other\n",
    }
    for name, text in odd.items():
        yield f"{name}.prototxt", text.encode()
    yield "not-utf8.prototxt", b"name: '\xff\xfe\x80'"
    yield "binary.prototxt", bytes(range(256)) * 4


def greedy_nets() -> Files:
    """Nets that read what is there, and ask for far more memory than that."""
    images = f"image_data_param {{ source: '{FEEDING}/same.txt' root_folder: '{FEEDING}/images/' "
    windows = f"window_data_param {{ source: '{FEEDING}/windows.txt' root_folder: '{FEEDING}/images/' "
    huge = 4294967295
    rows = f"hdf5_data_param {{ source: '{FEEDING}/rows.txt' "
    records = f"data_param {{ source: '{FEEDING}/raw_lmdb' backend: LMDB "
    side = f"channels: {huge} height: {huge} width: {huge}"
    odd = {
        "images-batch": ("ImageData", images + f"batch_size: {huge} }}"),
        "images-size": ("ImageData", images + f"batch_size: 1 new_height: {huge} new_width: {huge} }}"),
        "images-size-less": ("ImageData", images + "batch_size: 1 new_height: 60000 new_width: 60000 }"),
        "images-crop": ("ImageData", images + f"batch_size: 1 }} transform_param {{ crop_size: {huge} }}"),
        "windows-batch": (
            "WindowData",
            windows + f"batch_size: {huge} }} transform_param {{ crop_size: 5 }}",
        ),
        "windows-crop": ("WindowData", windows + f"batch_size: 1 }} transform_param {{ crop_size: {huge} }}"),
        "windows-nan": ("WindowData", windows + "fg_fraction: nan } transform_param { crop_size: 5 }"),
        "rows-batch": ("HDF5Data", rows + f"batch_size: {huge} }}"),
        "records-batch": ("Data", records + f"batch_size: {huge} }}"),
        "memory": ("MemoryData", f"memory_data_param {{ batch_size: {huge} {side} }}"),
        "dummy": ("DummyData", "dummy_data_param { shape { dim: 100000 dim: 100000 } }"),
    }
    for name, (kind, parameters) in odd.items():
        more = "" if kind in ("HDF5Data", "DummyData") else " top: 'label'"
        yield (
            f"{name}.prototxt",
            f"layer {{ name: 'd' type: '{kind}' top: 'data'{more} {parameters} }}".encode(),
        )
    for module, name in (("os", "system"), ("builtins", "exec"), ("../x", "L")):
        parameters = f"python_param {{ module: '{module}' layer: '{name}' param_str: 'true' }}"
        yield f"python-{name}.prototxt", layer("Python", parameters).encode()


def hdf5(fill: Callable[[h5py.File], object]) -> bytes:
    """A file that `fill` fills."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    return content.getvalue()


def hdf5s() -> Files:
    layer = "data/conv/0"

    def virtual(file):
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
        file.create_virtual_dataset(layer, layout)

    def many(file):
        array = file.create_dataset(layer, data=np.zeros(1, "f"))
        for i in range(3000):
            file[f"data/conv/x{i}"] = array

    def circle(file):
        inner = file.create_group("data/a")
        inner["b"] = file["data"]

    fills = {
        "external-link": lambda file: file.create_group("data").__setitem__(
            "conv", h5py.ExternalLink("/etc/passwd", "/")
        ),
        "soft-link": lambda file: file.create_group("data").__setitem__("conv", h5py.SoftLink("/data/conv")),
        "external-storage": lambda file: file.create_dataset(
            layer, (3,), "f4", external=[("/etc/passwd", 0, 12)]
        ),
        "virtual": virtual,
        "chunked": lambda file: file.create_dataset(layer, data=np.zeros(9, "f"), chunks=(3,)),
        "deflated": lambda file: file.create_dataset(layer, data=np.zeros(1 << 20, "f"), compression=9),
        "unwritten": lambda file: h5py.h5d.create(
            file.create_group("data/conv").id, b"0", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((1 << 20,))
        ),
        "petabytes": lambda file: h5py.h5d.create(
            file.create_group("data/conv").id, b"0", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((1 << 48,))
        ),
        "circle": circle,
        "links-many": many,
        "objects": lambda file: file.create_dataset(layer, data=["a"], dtype=h5py.string_dtype()),
        "numbered-far": lambda file: file.__setitem__("data/conv/999999999", np.zeros(1, "f")),
        "name-escapes": lambda file: file.__setitem__(f"data/{ESCAPE}/0", np.zeros(1, "f")),
        "deep": lambda file: file.__setitem__("data/" + "d/" * 600 + "0", np.zeros(1, "f")),
        "nothing": lambda file: None,
    }
    for name, fill in fills.items():
        yield f"{name}.caffemodel.h5", hdf5(fill)
    yield from damaged("v1", (GOLDEN / "legacy" / "v1.caffemodel.h5").read_bytes(), ".caffemodel.h5")


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return content.getvalue()


def tuples(depth: int) -> bytes:
    """A key of 2**depth values in a few bytes for each level."""
    return b"\x80\x02}(N\x85q\x00" + b"h\x00h\x00\x86q\x00" * depth + b"K\x01u."


def state_dicts() -> Files:
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x06tQK\x00%sK\x01\x85\x89ccollections\nOrderedDict\n)RtR"
    )
    pickles = {
        "global-system": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        "global-eval": b"\x80\x02cbuiltins\neval\nX\x011\x85R.",
        "global-exec": b"\x80\x02cbuiltins\nexec\nX\x01\x00\x00\x001\x85R.",
        "global-import": b"\x80\x02c__builtin__\n__import__\nX\x02\x00\x00\x00os\x85R.",
        "global-popen": b"\x80\x02csubprocess\nPopen\n](X\x04\x00\x00\x00trueel\x85R.",
        "global-load": b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00a\x85R.",
        "global-stack": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        "global-escapes": b"\x80\x02cposix\x1b[2J\nsystem\n)R.",
        "inst": b"\x80\x02(iposix\nsystem\n.",
        "ext": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "newobj": b"\x80\x02ccollections\nOrderedDict\n)\x81}b.",
        "build": b"\x80\x02}}X\x09\x00\x00\x00__class__Nsb.",
        "tuples": tuples(40),
        "tuples-more": tuples(2000),
        "lists": b"\x80\x02" + b"]" * 200_000 + b".",
        "marks": b"\x80\x02" + b"(" * 200_000 + b".",
        "pops": b"\x80\x02" + b"0" * 1000 + b".",
        "memo-far": b"\x80\x02}r\xff\xff\xff\xff.",
        "long": b"\x80\x02\x8b" + struct.pack("<i", 50_000) + b"\x7f" * 50_000 + b".",
        "text-longer": b"\x80\x02X\xff\xff\xff\x7fabc.",
        "bytes-longer": b"\x80\x04\x96" + struct.pack("<Q", 1 << 60) + b"abc.",
        "no-end": b"\x80\x02}",
        "not-a-dict": b"\x80\x02K\x01.",
        "tensor-of-terabytes": b"\x80\x02}X\x01\x00\x00\x00a"
        + tensor % b"\x8a\x06\0\0\0\0\0\x01\x85"
        + b"s.",
        "tensor-larger": b"\x80\x02}X\x01\x00\x00\x00a" + tensor % b"K\x63\x85" + b"s.",
    }
    for name, pickle in pickles.items():
        yield f"{name}.pth", zipped({"a/data.pkl": pickle, "a/version": b"3\n", "a/data/0": bytes(24)})
    yield "compressed.pth", zipped({"a/data.pkl": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    yield "pickle-of-a-megabyte.pth", zipped({"a/data.pkl": b"N" * (1 << 20)})
    yield "no-pickle.pth", zipped({"a/version": b"3\n"})
    yield "no-members.pth", b"PK\x05\x06" + bytes(18)
    yield "legacy-magic-alone.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    yield (
        "legacy-system.pth",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.",
    )


def safetensor(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors() -> Files:
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    net = layer("InnerProduct", "inner_product_param { num_output: 2 }")
    known = {"format_version": "1", "net": net}
    headers = {
        "not-json": b"{'a': 1}",
        "deep": b'{"a":' * 20_000,
        "lists": b'{"a":[' + b"[]," * 50_000 + b"[]]}",
        "twice": b'{"a": 1, "a": 2}',
        "array": b"[1]",
        "not-utf8": b'{"\xff": 1}',
        "digits": b'{"a": ' + b"9" * 5000 + b"}",
        "entry-empty": {"a": {}},
        "dtype-unknown": {"a": {**entry, "dtype": "F4096"}},
        "dtype-list": {"a": {**entry, "dtype": ["F32"]}},
        "shape-negative": {"a": {**entry, "shape": [-2, -3]}},
        "shape-huge": {"a": {**entry, "shape": [1 << 40, 1 << 40]}},
        "shape-bool": {"a": {**entry, "shape": [True, 6]}},
        "shape-of-many-axes": {"a": {**entry, "shape": [1] * 5000}},
        "offsets-reversed": {"a": {**entry, "data_offsets": [24, 0]}},
        "offsets-beyond": {"a": {**entry, "data_offsets": [1 << 62, (1 << 62) + 24]}},
        "overlap": {"a": entry, "b": entry},
        "gap": {"a": {**entry, "shape": [2], "data_offsets": [16, 24]}},
        "key-escapes": {ESCAPE: entry},
        "metadata-nested": {"__metadata__": {"net": {"a": 1}}, "a": entry},
        "net-that-is-none": {"__metadata__": {**known, "net": "layer {"}, "a": entry},
        "net-without-its-tensors": {"__metadata__": known, "a": entry},
        "net-of-python": {
            "__metadata__": {**known, "net": DATA + "layer { name: 'p' type: 'Python' top: 'p' }"},
            "a": entry,
        },
        "knowledge-deep": {"__metadata__": {**known, "preprocessing": "[" * 5000}, "a": entry},
        "knowledge-odd": {
            "__metadata__": {**known, "preprocessing": '{"data": {"mean": [1e308]}}'},
            "a": entry,
        },
        "version-odd": {"__metadata__": {**known, "format_version": "\x1b[2J"}, "a": entry},
    }
    for name, header in headers.items():
        yield f"{name}.safetensors", safetensor(header, bytes(24))
    yield "header-longer.safetensors", safetensor({"a": entry}, length=1 << 60)
    yield "header-none.safetensors", bytes(8)


def pt2s() -> Files:
    folder = "net/data/weights/"
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": 2}, {"as_int": 3}],
        "strides": [{"as_int": 3}, {"as_int": 1}],
        "storage_offset": {"as_int": 0},
    }
    entry = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}
    odd = {
        "pickled": {**entry, "use_pickle": True},
        "path-out": {**entry, "path_name": "../../../../etc/passwd"},
        "path-absolute": {**entry, "path_name": "/etc/passwd"},
        "sizes-huge": {**entry, "tensor_meta": {**meta, "sizes": [{"as_int": 1 << 40}, {"as_int": 3}]}},
        "sizes-negative": {**entry, "tensor_meta": {**meta, "sizes": [{"as_int": -2}, {"as_int": -3}]}},
        "offset-beyond": {**entry, "tensor_meta": {**meta, "storage_offset": {"as_int": 1 << 62}}},
        "strides-odd": {**entry, "tensor_meta": {**meta, "strides": [{"as_int": 0}, {"as_int": 0}]}},
        "dtype-odd": {**entry, "tensor_meta": {**meta, "dtype": "7"}},
        "nothing": {},
    }
    for name, weight in odd.items():
        config = json.dumps({"config": {"w": weight}}).encode()
        yield (
            f"{name}.pt2",
            zipped({f"{folder}model_weights_config.json": config, f"{folder}weight_0": bytes(24)}),
        )
    yield "config-deep.pt2", zipped({f"{folder}model_weights_config.json": b"[" * 50_000})
    yield (
        "config-deflated.pt2",
        zipped({f"{folder}model_weights_config.json": b" " * 90_000}, zipfile.ZIP_DEFLATED),
    )
    pickle = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."
    yield "code.pt2", zipped({"net/data/weights/weights.pt": pickle, "net/archive_format": b"pt2"})


def onnxs() -> Files:
    whole = w.integer(1, 8) + w.delimited(2, b"caffe2torch")
    net = w.delimited(1, b"net") + w.delimited(2, DATA.encode())
    odd = {
        "cut": whole[:-3],
        "metadata-odd": whole + w.integer(14, 3),
        "metadata-not-utf8": whole + w.delimited(14, b"\x0a\x02\xff\xfe"),
        "metadata-net": whole + w.delimited(14, net),
        "graph-of-a-terabyte": whole + w.tag(7, w.LENGTH) + w.varint(1 << 40),
        "fields-many": w.integer(5, 1) * 60_000,
        "group": b"\x0b" * 100,
    }
    for name, content in odd.items():
        yield f"{name}.onnx", content
