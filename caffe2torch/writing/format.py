"""What a format is: how a model is written in it, and how the written file is read back or run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from caffe2torch.blob import Array
from caffe2torch.net import Net
from caffe2torch.writing.model import Model
from caffe2torch.writing.output import Output

Writer = Callable[[Model, Output, str], None]
"""Writes a model with its parameters in a dtype ("float32", "float16", "bfloat16")."""
Reader = Callable[[Path, Model], Net]
"""Reads back the net in a written file, with its blobs as float32; needs no torch if writing needs none."""
Blobs = Mapping[str, Array]
Run = Callable[[Blobs], Blobs]
"""Float32 inputs by blob name -> outputs by blob name."""
Runner = Callable[[Path, Model], Run]
"""Loads a written file afresh, as its user would, to be run; of the model it may use only the names."""
Opener = Callable[[Path], Run]
"""The same for a file that holds its own names, and so needs no model."""


@dataclass(frozen=True)
class EngineToCheckIn:
    """An engine in which files of a format can be run, to see that it gives what our model gives."""

    module: str
    """What is imported."""
    package: str
    """What pip installs."""
    open: Callable[[Path, Sequence[str], Sequence[str]], Run]
    """Loads a file, of which it gets the names of the inputs and of the outputs."""

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported; imports it not, which may take seconds."""
        return importlib.util.find_spec(self.module.partition(".")[0]) is not None


def _deployed(model: Model) -> Net:
    return model.deployed


@dataclass(frozen=True)
class Format:
    """A format: its name, the suffixes of its files, the function that writes it, and how that is checked.

    The suffix "/" stands for a folder. Raises RuntimeError for a format without `read`, `run` and `open`: its
    files could not be checked.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Writer
    read: Reader | None = None
    """Reads it back, to compare with what it `holds`."""
    holds: Callable[[Model], Net] = _deployed
    run: Runner | None = None
    """Loads it, to be run on random inputs; without it and `open`, what was read back is run."""
    open: Opener | None = None
    """Loads any file of this format, to be run."""
    values: Reader | None = None
    """Reads the values alone, by the model's net, of a format that does not define its own: for --diff."""
    source: Callable[[Path], str] | None = None
    """Reads the name of the file that a written one says it was converted from; empty where it says none."""
    runs_code: bool = False
    """Whether `run` and `open` run what the file's author wrote: nothing for the files of strangers."""
    dtypes: tuple[str, ...] = ("float32",)
    """The dtypes that parameters can be written in."""
    engine: tuple[str, ...] = ()
    """What an Engine (model.py) may ask for, by its field's name."""
    check_in: Mapping[str, EngineToCheckIn] = field(default_factory=dict)
    """Engines besides the one that `open` uses, by name, in which a file can be checked."""
    needs_values: bool = True
    """Whether every parameter must have values; a definition needs none, and a graph gets Caffe's filler."""
    code: tuple[str, ...] = ()
    """Lines of Python that load and run it: `{path!r}`, `{inputs}` as keywords, `{arrays}` as a dictionary,
    `{reading}` for the lines that make a `net` and a `model` from the file that was converted."""

    def __post_init__(self) -> None:
        if self.read is None and self.runner is None:
            raise RuntimeError(f"format {self.name}: no way to check what it writes")

    @property
    def runner(self) -> Runner | None:
        """`run`, or else `open`, which needs no model."""
        opener = self.open
        return self.run if opener is None else lambda path, model: opener(path)

    @property
    def keeps_training(self) -> bool:
        """Whether it holds the whole net, including the layers that only training uses."""
        return self.holds is not _deployed

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return "/" in self.suffixes
