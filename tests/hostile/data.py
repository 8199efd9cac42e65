"""Photos, lists, archives, databases and records that mean harm, or were damaged: names and bytes."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

import h5py
import numpy as np
from PIL import Image

from tests import wire_writer as w
from tests.hostile.models import ESCAPE, Files, damaged, hdf5, zipped
from tests.places import GOLDEN, ROOT

FEEDING = GOLDEN / "pycaffe" / "feeding"
SOLVER = GOLDEN / "solver" / "sgd_step"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 2, pixels: bytes = b""
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + data + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **how)
    return content.getvalue()


def photos() -> Files:
    image = Image.fromarray(np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3))
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        whole = saved(image, kind)
        yield from list(damaged(kind.lower(), whole, ".png"))[2:6]
    odd = {
        "size-0": png(0, 0),
        "size-huge": png(2**31 - 1, 2**31 - 1),
        "size-wide": png(60_000_000, 1),
        "size-large-in-nothing": saved(Image.new("L", (5000, 5000)), "PNG"),
        "size-large-of-bits": saved(Image.new("1", (10_000, 10_000)), "PNG"),
        "text-bomb": png(2, 2, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26), 9)), pixels=bytes(14)),
        "text-escapes": png(2, 2, chunk(b"tEXt", b"Title\0\x1b[2J"), pixels=bytes(14)),
        "profile-odd": png(2, 2, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 99)), pixels=bytes(14)),
        "palette-none": png(2, 2, colour=3, pixels=bytes(6)),
        "palette-short": png(2, 2, chunk(b"PLTE", bytes(3)), colour=3, pixels=b"\0\xff\xff\0\xff\xff"),
        "bits-odd": png(2, 2, bits=5),
        "colour-odd": png(2, 2, colour=77),
        "pixels-few": png(100, 100, pixels=bytes(10)),
        "chunk-of-gigabytes": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR",
        "tiff-circle": b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
        "tiff-offset-beyond": b"II*\0\xff\xff\xff\xff",
        "tiff-many": b"II*\0\x08\0\0\0"
        + b"".join(struct.pack("<HI", 0, 14 + 6 * i) for i in range(2000))
        + struct.pack("<HI", 0, 0),
        "jpeg-scans": saved(image, "JPEG", progressive=True).replace(b"\xff\xd9", b"")
        + b"\xff\xda\0\x08\x01\x01\0\0\0\0" * 90,
        "jpeg-of-64k": b"\xff\xd8\xff\xc0\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0"
        + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0",
        "gif": saved(image, "GIF"),
        "heic": b"\0\0\0\x18ftypheic" + bytes(40),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nsystemdict\n",
        "nothing": b"",
        "page": b"<!DOCTYPE html><html>",
    }
    for name, content in odd.items():
        yield f"{name}.png", content


def labels() -> Files:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    shuffled = Image.fromarray(grey, "P")
    shuffled.putpalette([9, 9, 9, 128, 64, 128, 220, 220, 0])
    odd = {
        "other-size": saved(Image.fromarray(grey.T.copy()), "PNG"),
        "class-beyond": saved(Image.fromarray(grey + 77), "PNG"),
        "palette-renumbered": saved(shuffled, "PNG"),
        "palette-none": png(4, 3, colour=3, pixels=bytes(15)),
        "rgb": saved(Image.new("RGB", (4, 3), (1, 2, 3)), "PNG"),
        "rgba": saved(Image.new("RGBA", (4, 3), (1, 2, 3, 4)), "PNG"),
        "bits": saved(Image.new("1", (4, 3)), "PNG"),
        "deep": saved(Image.fromarray(grey.astype(np.uint16)), "PNG"),
        "jpeg": saved(Image.fromarray(grey), "JPEG"),
        "size-huge": png(100_000, 100_000, colour=0),
        "nothing": b"",
    }
    for name, content in odd.items():
        yield f"{name}.png", content


def class_lists() -> Files:
    odd = {
        "escapes": "ground\nsky\x1b[2J\nroad\x07\n",
        "thousands": "".join(f"c{i}\n" for i in range(3000)),
        "one": "ground\n",
        "equal": "a\na\nb\n",
        "line-of-100-kB": "ground\n" + "s" * 100_000 + "\n",
        "colours-odd": "a 1 2 300\nb 4 5 6\nc 7 8 9\n",
        "colours-some": "a 1 2 3\nb\nc\n",
        "spaces": " " * 199 + "a\nb" + " " * 190 + "\n",
        "nul": "a\0b\nc\nd\n",
        "nothing": "",
    }
    yield from texts(odd)
    yield "not-utf8.txt", b"\xff\xfe\x80\n"


def texts(contents: Mapping[str, str]) -> Files:
    """Text files by the stems of their names."""
    for name, text in contents.items():
        yield f"{name}.txt", text.encode()


def id_lists() -> Files:
    odd = {
        "out": "../../../etc/passwd\n",
        "absolute": "/etc/passwd\n",
        "backslashes": "..\\..\\secret\n",
        "hidden": ".ssh\n",
        "twice": "a\na\n",
        "twice-late": "".join(f"{i}\n" for i in range(60_000)) + "59999\n",
        "gone": "nobody\n",
        "escapes": "a\x1b[2Jb\n",
        "nul": "a\0b\n",
        "long": "a" * 5000 + "\n",
        "nothing": "",
    }
    yield from texts(odd)


def image_lists() -> Files:
    odd = {
        "gone": "nobody.png 1\n",
        "out": "../../../../etc/passwd 1\n",
        "device": "/dev/zero 1\n",
        "blank": "a.png 1\n\nb.png 2\n",
        "number-huge": "a.png " + "9" * 5000 + "\n",
        "escapes": "a\x1b[2J.png 1\n",
        "spaces": " " * 50_000 + "\n",
        "nul": "a\0.png 1\n",
        "not-text": "\ufffe\n",
        "nothing": "",
    }
    yield from texts(odd)


def window_lists() -> Files:
    odd = {
        "cut": "# 0\na.png\n3\n10\n",
        "count-of-billions": "# 0\na.png\n3\n10\n10\n9999999999\n",
        "count-negative": "# 0\na.png\n3\n10\n10\n-1\n",
        "numbers-odd": "# 0\na.png\n3\n10\n10\n1\n1 nan 0 0 5 5\n",
        "numbers-long": "# 0\na.png\n3\n10\n10\n1\n" + "9" * 5000 + " 1 0 0 5 5\n",
        "image-gone": "# 0\nnobody.png\n3\n10\n10\n1\n1 0.9 0 0 5 5\n",
        "mark-odd": "\x1b[2J 0\n",
        "nothing": "",
    }
    yield from texts(odd)


def row_files() -> Files:
    def kept_elsewhere(file):
        file.create_dataset("data", (3,), "f4", external=[("/etc/passwd", 0, 12)])

    fills = {
        "elsewhere": kept_elsewhere,
        "link": lambda file: file.__setitem__("data", h5py.ExternalLink("/etc/passwd", "/")),
        "bomb": lambda file: file.create_dataset("data", (1 << 15, 1 << 15), "u1", compression=9),
        "chunks-tiny": lambda file: file.create_dataset("data", (1 << 20,), "f4", chunks=(1,)),
        "petabytes": lambda file: file.create_dataset("data", (1 << 30, 1 << 20), "f4", chunks=(1, 1 << 20)),
        "objects": lambda file: file.create_dataset("data", data=["a"], dtype=h5py.string_dtype()),
        "scalar": lambda file: file.create_dataset("data", data=1.0),
        "rows-none": lambda file: file.create_dataset("data", (0, 3), "f4"),
        "other-name": lambda file: file.create_dataset("x", (3,), "f4"),
    }
    for name, fill in fills.items():
        yield f"{name}.h5", hdf5(fill)
    yield "text.h5", b"not HDF5\n"


def references() -> Files:
    def npy(header: bytes, data: bytes = b"") -> bytes:
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + data

    form = b"{'descr': '%s', 'fortran_order': False, 'shape': %s, }"
    members = {
        "object": npy(form % (b"|O", b"(1,)"), b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."),
        "shape-huge": npy(form % (b"<f4", b"(1099511627776,)"), bytes(24)),
        "shape-negative": npy(form % (b"<f4", b"(-6,)"), bytes(24)),
        "shape-deep": npy(form % (b"<f4", b"(" * 60 + b"1" + b")" * 60), bytes(4)),
        "header-code": npy(b"__import__('os').system('true')"),
        "header-deep": npy(b"[" * 9000),
        "dtype-odd": npy(form % (b"<f4096", b"(1,)")),
        "values-few": npy(form % (b"<f4", b"(6,)"), bytes(5)),
        "version": b"\x93NUMPY\x63\0" + bytes(20),
    }
    for name, content in members.items():
        yield f"{name}.npz", zipped({"in.data.npy": content})
    yield (
        "bomb.npz",
        zipped({"in.data.npy": npy(form % (b"<f4", b"(8388608,)"), bytes(1 << 25))}, zipfile.ZIP_DEFLATED),
    )
    yield "sets-many.npz", zipped({f"{i}.in.data.npy": b"" for i in range(2000)})
    yield "name-escapes.npz", zipped({f"in.{ESCAPE}.npy": npy(form % (b"<f4", b"(1,)"), bytes(4))})
    yield "number-long.npz", zipped({"9" * 5000 + ".in.data.npy": b""})
    yield "nothing.npz", zipped({})
    yield "cut.npz", b"PK\x03\x04" + bytes(9)


def means() -> Files:
    yield from list(damaged("mean", (GOLDEN / "legacy" / "mean.binaryproto").read_bytes(), ".binaryproto"))[
        :7
    ]
    yield "shape-huge.binaryproto", w.legacy(num=1, channels=3, height=30_000, width=30_000)
    yield (
        "other-channels.binaryproto",
        w.legacy(num=1, channels=7, height=1, width=1) + w.packed(5, [0.0] * 7),
    )
    yield "net.binaryproto", (GOLDEN / "legacy" / "v1.caffemodel").read_bytes()


def solver_states() -> Files:
    whole = (SOLVER / "snap_iter_6.solverstate").read_bytes()
    yield from list(damaged("state", whole, ".solverstate"))[:8]
    yield "iteration-negative.solverstate", w.integer(1, -5)
    yield "learned-net-elsewhere.solverstate", w.integer(1, 6) + w.delimited(2, b"/etc/passwd")
    yield "learned-net-escapes.solverstate", w.integer(1, 6) + w.delimited(2, ESCAPE.encode())


def solvers() -> Files:
    net = f"net: '{SOLVER / 'net.prototxt'}' "
    odd = {
        "net-gone": "net: 'nobody' base_lr: 1 max_iter: 1",
        "net-device": "net: '/dev/zero' base_lr: 1 max_iter: 1",
        "net-escapes": "net: 'a\\033[2J' base_lr: 1 max_iter: 1",
        "type-odd": net + "type: '__import__' base_lr: 1 max_iter: 1",
        "policy-odd": net + "lr_policy: 'exec' base_lr: 1 max_iter: 1",
        "rate-nan": net + "base_lr: nan lr_policy: 'fixed' max_iter: 1",
        "steps-0": net + "base_lr: 1 lr_policy: 'step' stepsize: 0 max_iter: 1",
        "iter-size-negative": net + "base_lr: 1 lr_policy: 'fixed' iter_size: -1 max_iter: 1",
        "tests-odd": net + "base_lr: 1 lr_policy: 'fixed' test_iter: -1 test_interval: 1 max_iter: 1",
        "is-a-net": "layer { name: 'a' type: 'ReLU' }",
        "deep": "net_param {" * 200,
    }
    for name, text in odd.items():
        yield f"{name}.prototxt", text.encode()


def recipes() -> Files:
    whole = (ROOT / "fcn_repro" / "recipes" / "camvid-fcn32s.toml").read_text()
    odd = {
        "arrays-deep": "a = " + "[" * 20_000,
        "tables-deep": "a = " + "{a = " * 20_000,
        "keys-dotted": "a" + ".a" * 20_000 + " = 1",
        "key-dotted-in-place": whole.replace("title =", "title" + ".a" * 900 + " ="),
        "value-deep": whole.replace("source = []", "source = " + "[" * 90 + "]" * 90),
        "key-unknown": whole + "\n[evil]\ncommand = 'true'\n",
        "key-escapes": whole + '\n["\\u001b[2J"]\n',
        "number-long": whole.replace("max_iter = 800", "max_iter = " + "9" * 5000),
        "number-nan": whole.replace("base_lr = 1e-4", "base_lr = nan"),
        "number-negative": whole.replace("max_iter = 800", "max_iter = -1"),
        "name-of-a-path": whole.replace('"camvid/train"', '"../../etc/passwd"'),
        "weights-elsewhere": whole.replace('"vgg16-trunk"', '"/etc/passwd"'),
        "net-odd": whole.replace('"FCN32s"', '"os.system"'),
        "widths-huge": whole.replace("[64, 128, 256, 512, 512, 512, 512]", "[1000000000, 1, 1, 1, 1, 1, 1]"),
        "bytes-many": whole + "# " + "x" * (1 << 20),
        "nothing": "",
    }
    for name, text in odd.items():
        yield f"{name}.toml", text.encode()
    yield "not-utf8.toml", b"title = '\xff'"


def results() -> Files:
    head = {
        "classes": ["a", "b"],
        "colours": ["#000000", "#ffffff"],
        "over": "classes in labels",
        "confusion": [[1, 0], [0, 1]],
    }
    texts = (
        "model",
        "model_sha256",
        "dataset",
        "split",
        "precision",
        "device",
        "date",
        "command",
        "predictions",
    )
    whole = {"format": "fcn-repro evaluation, 1", "images": 1, "processes": 1, "seconds": 1.0, "notes": []}
    whole |= {**dict.fromkeys(texts, "x"), "heads": {"": head}}
    odd = {
        "deep": "[" * 50_000,
        "objects-deep": '{"a":' * 50_000,
        "lists-many": '{"a":[' + "[]," * 300_000 + "[]]}",
        "digits": '{"a": ' + "9" * 5000 + "}",
        "array": "[]",
        "format-odd": json.dumps({**whole, "format": ESCAPE}),
        "key-unknown": json.dumps({**whole, "__class__": "x"}),
        "heads-odd": json.dumps({**whole, "heads": 3}),
        "counts-negative": json.dumps({**whole, "heads": {"": {**head, "confusion": [[-1, 0], [0, 1]]}}}),
        "counts-huge": json.dumps({**whole, "heads": {"": {**head, "confusion": [[1 << 70, 0], [0, 1]]}}}),
        "counts-ragged": json.dumps({**whole, "heads": {"": {**head, "confusion": [[1], [0, 1]]}}}),
        "counts-deep": json.dumps({**whole, "heads": {"": {**head, "confusion": [[[[1]]]]}}}),
        "colour-odd": json.dumps({**whole, "heads": {"": {**head, "colours": ["red;}</style>", "x"]}}}),
        "model-escapes": json.dumps({**whole, "model": ESCAPE}),
        "model-of-html": json.dumps({**whole, "model": "<script>alert(1)</script>"}),
        "nothing": "",
    }
    for name, text in odd.items():
        yield f"{name}.json", text.encode()
    yield "not-utf8.json", b'{"a": "\xff"}'


def answers() -> Files:
    rows = "<table><tr><th>mean<th>bird</tr>"
    odd = {
        "spaces": "a" + " " * 100_000,
        "letters": "a " * 50_000,
        "cell-in-pieces": "<tr><td>" + "a<b>" * 100_000,
        "tags": "<a " * 60_000,
        "angles": "<" * 150_000,
        "comments": "<!--" * 50_000,
        "references": "<tr><td>" + "&#" * 100_000,
        "titles-many": rows * 5000,
        "percent-huge": "mean: 999.9%",
        "percent-long": "mean: 1." + "0" * 50_000 + "%",
        "escapes": "mean\x1b[2J: 62%",
        "nul": "62.2\0",
        "nothing": "",
    }
    for name, text in odd.items():
        yield f"{name}.html", text.encode()
    yield "not-utf8.html", b"\xff\xfe<tr>"
    yield "megabytes.html", b" " * (1 << 21)


def tarred(*members: tuple[str, int, bytes]) -> bytes:
    """Members of a name, a type and a content, which for links is where they lead."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, kind, data in members:
            entry = tarfile.TarInfo(name)
            entry.type = bytes((kind,))
            if kind == 0x30:
                entry.size = len(data)
            else:
                entry.linkname = data.decode()
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def archives() -> Files:
    file, hard, link, device, fifo = 0x30, 0x31, 0x32, 0x33, 0x36
    tars = {
        "out": [("../out", file, b"x")],
        "out-deep": [("a/b/../../../out", file, b"x")],
        "absolute": [("/out", file, b"x")],
        "backslashes": [("..\\out", file, b"x")],
        "drive": [("C:\\out", file, b"x")],
        "link-out": [("a", link, b"../../etc/passwd")],
        "link-absolute": [("a", link, b"/etc/passwd")],
        "link-then-through": [("a", link, b"/"), ("a/out", file, b"x")],
        "hard-out": [("a", hard, b"../../etc/passwd")],
        "links-in-a-circle": [("a", link, b"b"), ("b", link, b"a")],
        "links-in-a-chain": [(f"{i}", link, f"{i + 1}".encode()) for i in range(500)],
        "device": [("a", device, b"")],
        "pipe": [("a", fifo, b"")],
        "twice": [("a", file, b"x"), ("a", file, b"y")],
        "file-and-folder": [("a", file, b"x"), ("a/b", file, b"y")],
        "name-long": [("n" * 5000, file, b"x")],
        "name-escapes": [(ESCAPE, file, b"x")],
        "names-empty": [("", file, b"x")],
    }
    for name, members in tars.items():
        yield f"{name}.tar", tarred(*members)
    whole = tarred(("a", file, bytes(2000)))
    yield "cut.tar", whole[:900]
    yield "size-of-a-terabyte.tar", whole[:124] + b"\x80" + bytes(4) + b"\x01" + bytes(6) + whole[136:]
    yield "gzip-cut.tar.gz", gzip.compress(whole, mtime=0)[:-20]
    yield "gzip-of-zeros.tar.gz", gzip.compress(bytes(1 << 22), mtime=0)
    yield "xz-cut.tar.xz", b"\xfd7zXZ\0" + bytes(30)
    yield "bz2-cut.tar.bz2", b"BZh9" + bytes(30)
    yield "out.zip", zipped({"../out": b"x"})
    yield "absolute.zip", zipped({"/out": b"x"})
    yield "twice.zip", zipped({"a": b"x", "./a": b"y"})
    yield "nul.zip", zipped({"a": b"x"}).replace(b"a", b"\0")
    yield "bomb.zip", zipped({"a": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    yield "crc.zip", zipped({"a": b"abcdefgh"}).replace(b"abcdefgh", b"abcdefgx")
    yield "nothing.zip", zipped({})
    yield "nothing.tar", b""


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrices() -> Files:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"

    def variable(shape: tuple[int, ...], data: bytes, kind: int = 9, stored: int = 2) -> bytes:
        dims = struct.pack(f"<{len(shape)}i", *shape)
        flags = element(6, struct.pack("<II", kind, 0))
        return element(14, flags + element(5, dims) + element(1, b"LabelMap") + element(stored, data))

    def packed(content: bytes) -> bytes:
        data = zlib.compress(content, 9)
        return struct.pack("<II", 15, len(data)) + data

    odd = {
        "header-alone": b"",
        "shape-huge": variable((2**31 - 1, 2**31 - 1), bytes(6)),
        "shape-negative": variable((-2, -3), bytes(6)),
        "shape-of-many-axes": variable((1,) * 500, bytes(1)),
        "numbers-few": variable((2, 3), bytes(5)),
        "type-odd": variable((2, 3), bytes(6), stored=99),
        "class-odd": variable((2, 3), bytes(6), kind=17),
        "object": variable((2, 3), bytes(6), kind=3),
        "sparse": variable((2, 3), bytes(6), kind=5),
        "bomb": packed(bytes(1 << 26)),
        "bombs": packed(bytes(1 << 24)) * 50,
        "elements-many": packed(struct.pack("<II", 1, 0) * (1 << 20)),
        "elements-many-plain": struct.pack("<II", 1, 0) * 50_000,
        "inflated-cut": packed(variable((2, 3), bytes(6)))[:-4],
        "length-huge": struct.pack("<II", 14, 2**32 - 1),
        "length-0": struct.pack("<II", 14, 0) * 5000,
        "struct-odd": variable((1, 1), bytes(6), kind=2),
    }
    for name, content in odd.items():
        yield f"{name}.mat", head + content
    yield "version-7.3.mat", b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
    yield "text.mat", b"not MATLAB\n" * 30


def lmdbs() -> Files:
    whole = (FEEDING / "raw_lmdb" / "data.mdb").read_bytes()
    yield from (file for file in damaged("pages", whole, ".mdb") if "cut-6144" not in file[0])
    yield "roots.mdb", whole[:100] + b"\xff" * 60 + whole[160:]
    yield "text.mdb", b"not LMDB\n" * 2000


def level_dbs() -> Files:
    """The tables of LevelDBs whose other files are whole."""
    whole = (FEEDING / "raw_leveldb" / "000005.ldb").read_bytes()
    yield "cut.ldb", whole[:300]
    yield "ones.ldb", whole[:100] + b"\xff" * 20 + whole[120:]
    yield "nothing.ldb", b""
