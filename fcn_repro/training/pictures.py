"""What a net in training predicts for a few images of the validation split, always the same ones.

pictures/ITERATION/ID.png    or pictures/ITERATION/HEAD/ID.png if there are several heads
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fcn_repro.data.datasets import Dataset
from fcn_repro.scoring.predict import PredictionFolder, Predictor

IMAGES = 4
"""How many images are predicted."""
KEPT = 6
"""How many validations are kept: the first, the last, and others spread between them."""


@dataclass(frozen=True)
class Pictures:
    """The predictions of one training in its folder, of the labellings `heads` of a validation split."""

    folder: Path
    val: Dataset
    heads: tuple[str, ...]

    @property
    def indices(self) -> list[int]:
        """The images, evenly spread over the split."""
        spread = np.linspace(0, len(self.val) - 1, min(IMAGES, len(self.val)))
        chosen: list[int] = spread.round().astype(int).tolist()
        return chosen

    def save(self, iteration: int, predictor: Predictor) -> None:
        """Predicts the images and writes them; more than KEPT are thinned out. Raises WriteError."""
        for sample, predictions in predictor.predictions(self.indices):
            self.at(iteration).save(sample.id, predictions)
        kept = self.iterations()
        while len(kept) > KEPT:
            nearest = min(range(1, len(kept) - 1), key=lambda i: kept[i + 1] - kept[i - 1])
            self._remove(kept.pop(nearest))

    def at(self, iteration: int) -> PredictionFolder:
        """The files of one validation."""
        return PredictionFolder(self.folder / str(iteration), self.val, self.heads)

    def iterations(self) -> list[int]:
        """The iterations that are kept, in order."""
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(int(path.name) for path in there if path.name.isdecimal())

    def drop_from(self, iteration: int) -> None:
        """Removes those of this iteration and later ones, which a resumed training takes again."""
        for later in self.iterations():
            if later >= iteration:
                self._remove(later)

    def _remove(self, iteration: int) -> None:
        shutil.rmtree(self.folder / str(iteration), ignore_errors=True)
