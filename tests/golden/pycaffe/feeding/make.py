"""`PYTHON make.py TOOLS`: what BVLC Caffe's data layers read, for every CASE.prototxt in this folder.

PYTHON imports Caffe with OpenCV, h5py, lmdb and Pillow; TOOLS is the folder of convert_imageset and
compute_image_mean. Makes the images, the databases and the HDF5 files of the cases, and runs each: CASE.npz
holds K.TOP for the K-th batch. This project's code has no part in it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import caffe
import h5py
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from PIL import Image

BATCHES = 4
HERE = Path(__file__).resolve().parent


def images():
    """Files of every kind that OpenCV reads, 9x8 and 7x10, and lists of them."""
    shutil.rmtree("images", ignore_errors=True)
    Path("images").mkdir()
    rng = np.random.default_rng(16)
    rgb = rng.integers(0, 256, (9, 8, 3), np.uint8)
    wide = rng.integers(0, 256, (7, 10, 3), np.uint8)
    photo = Image.fromarray(rgb).resize((16, 18)).resize((8, 9))
    exif = photo.getexif()
    exif[0x112] = 6
    files = {
        "a.png": Image.fromarray(rgb),
        "a b.jpg": photo,
        "grey.png": Image.fromarray(rgb[:, :, 0]),
        "grey.jpg": photo.convert("L"),
        "palette.png": Image.fromarray(rgb).quantize(16),
        "alpha.png": Image.fromarray(np.dstack([rgb, rgb[:, :, :1]])),
        "deep.png": Image.fromarray(rgb[:, :, 1].astype(np.uint16) * 257 + 3),
        "cmyk.jpg": photo.convert("CMYK"),
        "a.bmp": Image.fromarray(rgb),
        "wide.png": Image.fromarray(wide),
    }
    for name, image in files.items():
        image.save(f"images/{name}", **({"quality": 90} if name.endswith("jpg") else {}))
    photo.save("images/turned.jpg", exif=exif)
    kinds = [name for name in files if name != "wide.png"]
    labels = ["3", "-2", "7x", "cat", "0", "1", "2", "4", "5"]
    lines = [f"images/{name} {label}" for name, label in zip(kinds, labels, strict=True)]
    Path("kinds.txt").write_bytes("\r\n".join(lines).encode() + b"\n")
    Path("sizes.txt").write_text("a.png 0\nwide.png 1\nturned.jpg 2\n")
    Path("same.txt").write_text("a.png 4\nalpha.png 1\na.bmp 2\npalette.png 3\ngrey.png 9\n")


def databases(tools):
    """LMDBs and a LevelDB by convert_imageset, one LMDB of floats, and a mean image."""
    for name in ("raw_lmdb", "raw_leveldb", "encoded_lmdb", "float_lmdb"):
        shutil.rmtree(name, ignore_errors=True)
    convert = [f"{tools}/convert_imageset", "images/", "same.txt"]
    subprocess.run([convert[0], "--backend=lmdb", *convert[1:], "raw_lmdb"], check=True)
    subprocess.run([convert[0], "--backend=leveldb", *convert[1:], "raw_leveldb"], check=True)
    subprocess.run([convert[0], "--encoded", *convert[1:], "encoded_lmdb"], check=True)
    subprocess.run([f"{tools}/compute_image_mean", "raw_lmdb", "mean.binaryproto"], check=True)
    env = lmdb.open("float_lmdb", map_size=1 << 20)
    values = np.random.default_rng(17).standard_normal((3, 2, 4, 5)).astype(np.float32)
    with env.begin(write=True) as transaction:
        for i, value in enumerate(values):
            datum = caffe_pb2.Datum(channels=2, height=4, width=5, label=-i, float_data=value.ravel())
            transaction.put(f"{9 - i}".encode(), datum.SerializeToString())
    env.close()


def features(tools):
    """Blobs of a net into an LMDB and a LevelDB, whose records go into features.npz."""
    os.chdir("tool")
    shutil.rmtree("out", ignore_errors=True)
    Path("out").mkdir()
    caffe.Net("features.prototxt", caffe.TEST).save("features.caffemodel")
    given = ["features.caffemodel", "features.prototxt", "pool,label", "out/pool,out/label", "2", "lmdb"]
    subprocess.run([f"{tools}/extract_features", *given], check=True)
    found = {}
    for name in ("pool", "label"):
        with lmdb.open(f"out/{name}") as env, env.begin() as transaction:
            found.update(
                {
                    f"{name}/{key.decode()}": np.frombuffer(value, np.uint8)
                    for key, value in transaction.cursor()
                }
            )
    np.savez_compressed("features.npz", **found)
    shutil.rmtree("out")
    os.chdir("..")


def hdf5():
    """Two files of 3 and 2 rows, one of them compressed."""
    rng = np.random.default_rng(18)
    for name, count, more in (
        ("rows_a.h5", 3, {}),
        ("rows_b.h5", 2, {"compression": "gzip", "shuffle": True}),
    ):
        with h5py.File(name, "w") as file:
            file.create_dataset("data", data=rng.standard_normal((count, 2, 3, 4)), **more)
            file.create_dataset("label", data=rng.integers(0, 9, (count,)), **more)
            file.create_dataset("more", data=rng.integers(0, 9, (count, 5), np.uint8), **more)
    Path("rows.txt").write_text("rows_a.h5\n\n  rows_b.h5")


def windows():
    """One window of the foreground at the corner of an image, and one of the background inside."""
    block = "# 0\nimages/wide.png\n3\n7\n10\n2\n5 0.9 6 0 9 4\n1 0.1 2 1 5 5\n"
    Path("windows.txt").write_text(block)


def run(case):
    """Runs one case in this process, which Caffe may end."""
    net = caffe.Net(f"{case}.prototxt", caffe.TEST)
    found = {}
    for i in range(BATCHES):
        net.forward()
        found.update({f"{i}.{name}": np.array(blob.data) for name, blob in net.blobs.items()})
    np.savez_compressed(f"{case}.npz", **found)


if __name__ == "__main__":
    os.chdir(HERE)
    images()
    databases(sys.argv[1])
    features(sys.argv[1])
    hdf5()
    windows()
    for path in sorted(HERE.glob("*.prototxt")):
        if os.fork() == 0:
            run(path.stem)
            os._exit(0)
        if os.wait()[1]:
            sys.exit(f"{path.name}: Caffe ended")
    for file in (*HERE.glob("*_lmdb/lock.mdb"), *Path("raw_leveldb").glob("LO*")):
        file.unlink()
