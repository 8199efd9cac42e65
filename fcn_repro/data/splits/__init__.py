"""Lists of ids that the data sets' own archives lack, byte for byte as published, one id per line.

    seg11valid        736  VOC 2011 val without SBD's train, sorted
    nyudv2_train      381  with nyudv2_val the 795 that the papers train on
    nyudv2_val        414
    nyudv2_test       654
    sift_flow_test    200  the other annotated images, 2486, are the training set

All five are lists of shelhamer/fcn.berkeleyvision.org at 1305c73 (data/pascal, data/nyud, data/sift-flow).
"""

from __future__ import annotations

from pathlib import Path

from fcn_repro.data.reading import read_ids


def read(name: str) -> tuple[str, ...]:
    """The ids of a list, in its order."""
    return read_ids(Path(__file__).parent / f"{name}.txt")
