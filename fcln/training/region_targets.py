"""What an image classifier sees in regions cut out of photographs: targets for codes, and names where it is sure."""

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from fcln.errors import DatasetError


class RegionTargets:
    """Rows for the whole photograph and each of its boxes (see AnnotatedImage.numbers); all in memory."""

    def __init__(self, path: Path):
        """Raises DatasetError if the file is not one of `write`."""
        try:
            with h5py.File(path) as file:
                images, starts = file["images"][()], file["starts"][()]
                self.vectors: np.ndarray = file["vectors"][()]  # (N, D) float16
                self.classes: np.ndarray = file["classes"][()]  # (N, 5) int16, likeliest first
                self.probabilities: np.ndarray = file["probabilities"][()]  # (N, 5) float16
        except (OSError, KeyError) as error:
            raise DatasetError(f"{path} is not a file of scripts.train.region_targets ({error}).") from error
        self._first = dict(zip(images.tolist(), zip(starts[:-1].tolist(), starts[1:].tolist())))

    def rows(self, image_id: int, count: int) -> range | None:
        """The rows of a photograph of `count` boxes: the whole first, then its boxes; None if it has none.

        Raises DatasetError if the file was made for other boxes.
        """
        if image_id not in self._first:
            return None
        start, stop = self._first[image_id]
        if stop - start != count + 1:
            raise DatasetError(f"Photograph {image_id} has other boxes than when its region targets were made.")
        return range(start, stop)

    @staticmethod
    def write(
        path: Path,
        images: Sequence[int],
        counts: Sequence[int],
        vectors: np.ndarray,
        classes: np.ndarray,
        probabilities: np.ndarray,
    ) -> None:
        """counts: rows of each image; the arrays as of the attributes, their rows in the order of the images."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with h5py.File(temporary, "w") as file:
            file["images"] = np.asarray(images, np.int64)
            file["starts"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            file["vectors"] = vectors.astype(np.float16)
            file["classes"] = classes.astype(np.int16)
            file["probabilities"] = probabilities.astype(np.float16)
        os.replace(temporary, path)
