"""Every data set as a miniature in its true format: fetched, unpacked, opened, compared pixel by pixel."""

from __future__ import annotations

import dataclasses

import miniatures
import numpy as np
import pytest
from miniatures import CONTEXT_NUMBERS, Miniature

from fcn_repro.datasets import Dataset, dataset, names, open_dataset
from fcn_repro.download import obtain, plan_fetch

CONTEXT_59 = tuple(CONTEXT_NUMBERS)
CONTEXT_33 = (
    *CONTEXT_59[:20],
    *("sky", "grass", "ground", "road", "building", "tree", "water", "mountain", "wall", "floor", "track"),
    *("keyboard", "ceiling"),
)
OUR_LISTS = ("voc2011", "nyudv2", "sift-flow")
"""Whose lists come with the package, all ids of them; a miniature has only some."""
MINIATURES = {
    "voc2011": lambda root: miniatures.pascal_voc(root, 2011, "seg11valid"),
    "voc2012": miniatures.pascal_voc,
    "sbd": miniatures.sbd,
    "nyudv2": miniatures.nyudv2,
    "sift-flow": miniatures.sift_flow,
    "pascal-context": lambda root: miniatures.pascal_context(root, CONTEXT_59, rest=0, first=1),
    "pascal-context-59": lambda root: miniatures.pascal_context(root, CONTEXT_59, rest=255, first=0),
    "pascal-context-33": lambda root: miniatures.pascal_context(root, CONTEXT_33, rest=255, first=0),
    "camvid": miniatures.camvid,
}


def assert_same(found: Dataset, made: Miniature) -> None:
    """Ids, images, labels, depths: all of them, and nothing else."""
    assert set(found.ids) == set(made.images)
    assert [sample.id for sample in found] == list(found.ids)
    for sample in found:
        image, labels = made.images[sample.id], made.labels[sample.id]
        assert sample.image_hwc.dtype == np.uint8
        assert sample.image_hwc.shape == image.shape
        off = np.abs(sample.image_hwc.astype(int) - image).max()
        assert off <= (0 if found.image_path(sample.id).suffix == ".png" else 4), f"{sample.id}: off by {off}"
        assert list(sample.labels) == list(found.heads) == list(labels)
        for head, label in labels.items():
            assert sample.labels[head].dtype == np.uint8
            np.testing.assert_array_equal(sample.labels[head], label, f"{sample.id} {head}")
        for part, made_parts in ((sample.depth, made.depths), (sample.hha_hwc, made.hhas)):
            assert (part is None) == (sample.id not in made_parts)
            if part is not None:
                np.testing.assert_array_equal(part, made_parts[sample.id])


def test_each_data_set_has_a_miniature():
    assert {*MINIATURES, "folder"} == set(names())


@pytest.mark.parametrize("name", MINIATURES)
def test_from_the_address_to_the_pixels(name, server, tmp_path):
    made = MINIATURES[name](tmp_path / "made")
    archives = {file: path.read_bytes() for file, path in made.pack(tmp_path / "packed").items()}
    published = plan_fetch(dataset(name).source)
    assert [archive.file for archive in published.archives] == sorted(archives)
    served = tuple(
        dataclasses.replace(
            archive,
            address=server.serve(
                archive.file, archives[archive.file], drops=[len(archives[archive.file]) // 2]
            ),
            size=len(archives[archive.file]),
            md5=(),
        )
        for archive in published.archives
    )
    source = dataclasses.replace(published, archives=served)
    folder = obtain(dataset(name).source, tmp_path, source=source, pause_s=0.001)
    assert len(server.requests) == 2 * len(served)

    opened = open_dataset(
        name, folder, made.split, expected_count=len(made.images), partial=name in OUR_LISTS
    )
    assert_same(opened, made)
    obtain(dataset(name).source, tmp_path, source=source)
    assert len(server.requests) == 2 * len(served), "what is there was fetched again"
    assert (tmp_path / "archives" / f"{served[0].file}.sha256").is_file()
