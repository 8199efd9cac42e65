"""Getting a published model: fetched, checked against what is known about it, then converted.

ZooModel ─ obtain ─→ DIR/NAME.caffemodel, DIR/NAME.safetensors
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import urlsplit

import caffe2torch as c2t
from caffe2torch.errors import MissingData
from fcn_repro.data.datasets import dataset
from fcn_repro.data.knowledge import know
from fcn_repro.fetching.archives import extract
from fcn_repro.fetching.http import Expected, Progress, fetch, verify
from fcn_repro.fetching.zoo import UNKNOWN, ZooModel
from fcn_repro.files import make_folder


def describe(name: str, model: ZooModel) -> str:
    """What would be fetched: address, size, hashes, licence, disk space."""
    size = f"about {model.about / 1e6:.0f} MB" if model.about else "unknown until the server reports it"
    hashes = [
        f"{kind} {value}"
        for kind, value in (("sha1", model.sha1), ("sha256", model.sha256))
        if value != UNKNOWN
    ]
    room = f"about {2 * model.about / 1e6:.0f} MB with the converted file" if model.about else "unknown"
    facts = {
        "address": model.address
        if model.address != UNKNOWN
        else "unknown: fetch it by hand, then --from FILE",
        "size": size,
        "hash": " and ".join(hashes)
        or "unknown: its sha256 is recorded at the first fetch, and checked after",
        "licence": model.licence,
        "disk": room,
        **({"note": model.note} if model.note else {}),
    }
    return "\n".join([f"{name}: {model.title}", *(f"  {key:9} {fact}" for key, fact in facts.items())])


def obtain(
    name: str,
    model: ZooModel,
    folder: Path,
    *,
    given: Path | None = None,
    progress: Progress | None = None,
    pause_s: float = 1.0,
) -> Path:
    """The converted model in `folder`, from its address or from the file `given`; existing ones are checked.

    Archives are unpacked, not converted. Raises MissingData, and what fetching, reading and exporting raise.
    """
    kept = folder / f"{name}{_suffix(model)}"
    expected = Expected(None, _known(model.sha256), _known(model.sha1))
    if given is not None:
        if not given.is_file():
            raise MissingData(f"{given}: no such file")
        make_folder(folder)
        file = verify(given, expected, on_record=kept)
    elif model.address == UNKNOWN:
        raise MissingData(
            f"{name}: its address is unknown{f', see gist {model.gist}' if model.gist else ''}; "
            f"fetch it by hand, then: fcn-repro --fetch {name} --from FILE"
        )
    else:
        file = fetch(
            model.address,
            kept,
            sha1=expected.sha1,
            sha256=expected.sha256,
            progress=progress,
            pause_s=pause_s,
        )
    if kept.suffix != ".caffemodel":
        return folder / name if (folder / name).exists() else extract(file, folder / name)
    converted = folder / f"{name}.safetensors"
    module = cast("c2t.FCN | c2t.CaffeNet", c2t.load(file))
    if model.dataset:
        know(module, dataset(model.dataset).mean_bgr, dataset(model.dataset).labellings)
    c2t.export(module, converted)
    return converted


def _suffix(model: ZooModel) -> str:
    if model.address == UNKNOWN:
        return ".caffemodel"
    return "".join(PurePosixPath(urlsplit(model.address).path).suffixes[-2:])


def _known(value: str) -> tuple[str, ...]:
    return () if value == UNKNOWN else (value,)
