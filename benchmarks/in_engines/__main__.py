"""`python -m in_engines NAME MODEL IN.npz OUT.npz [TIMES]`: runs a model in an engine.

`NAME.py` has `load(path, sets)`, which returns a function of arrays to a list of arrays, in the order of
the model's inputs and outputs; of NAME:WORD it gets the WORD, too. `sets` are those that it will be called
with. IN.npz holds K.I for the I-th input of the K-th set, OUT.npz the outputs, and the least `seconds` of
TIMES more runs of the first set.
"""

from __future__ import annotations

import importlib
import itertools
import sys

import numpy as np
from in_engines.shortest import shortest


def main(engine: str, model: str, given: str, found: str, times: str = "0") -> None:
    """Runs every set."""
    stored = np.load(given)
    sets = [
        [stored[name] for name in names] for _, names in itertools.groupby(stored, lambda x: x.split(".")[0])
    ]
    module, *word = engine.split(":")
    run = importlib.import_module(f"in_engines.{module}").load(model, sets, *word)
    outputs = {}
    for k, arrays in enumerate(sets):
        for i, array in enumerate(run(arrays)):
            outputs[f"{k}.{i}"] = np.asarray(array, np.float32)
    np.savez(found, seconds=shortest(lambda: run(sets[0]), int(times)), **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
