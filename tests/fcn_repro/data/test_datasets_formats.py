"""Every data set as a miniature in its true format: fetched, unpacked, opened, compared, evaluated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fcn_repro.data.datasets import Dataset, dataset, names, open_dataset
from fcn_repro.data.transforms import prepared
from fcn_repro.fetching.datasets import obtain, plan_fetch
from fcn_repro.scoring.evaluate import evaluate
from tests.fcn_repro.miniatures import MINIATURES, Miniature

OUR_LISTS = ("voc2011", "nyudv2", "sift-flow")
"""Whose lists come with the package, all ids of them; a miniature has only some."""


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


class ByBrightness(torch.nn.Module):
    """Scores classes by how near a pixel's brightness, 0 to 765, is to theirs; whole numbers throughout."""

    inputs = ("data",)

    def __init__(self, classes: dict[str, int]) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, data: torch.Tensor) -> dict[str, torch.Tensor]:
        brightness = (data + 128).sum(1, keepdim=True)
        return {
            f"score_{head}": -(brightness * 2 * n - (2 * torch.arange(n)[:, None, None] + 1) * 766).abs()
            for head, n in self.classes.items()
        }


def assert_evaluates(found: Dataset) -> None:
    """One confusion matrix per labelling, equal to one that is counted pixel by pixel."""
    classes = {head: len(labelling.classes) for head, labelling in found.heads.items()}
    preparation = prepared(("data",), (128.0, 128.0, 128.0))
    evaluation = evaluate(ByBrightness(classes), found, preparation=preparation)
    assert evaluation.images == len(found)
    assert list(evaluation.heads) == list(classes)
    for head, n in classes.items():
        expected = np.zeros((n, n), np.int64)
        for sample in found:
            brightness = sample.image_hwc.astype(int).sum(2)
            for truth, seen in zip(sample.labels[head].ravel(), brightness.ravel(), strict=True):
                if truth != 255:
                    expected[truth, max(0, -(-int(seen) * n // 766) - 1)] += 1
        assert expected.sum() > 0
        np.testing.assert_array_equal(evaluation.heads[head].confusion.counts, expected, head)


def test_each_data_set_has_a_miniature():
    assert {*MINIATURES, "folder", "shapes"} == set(names())


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
    assert_evaluates(opened)
    obtain(dataset(name).source, tmp_path, source=source)
    assert len(server.requests) == 2 * len(served), "what is there was fetched again"
    assert (tmp_path / "archives" / f"{served[0].file}.sha256").is_file()
