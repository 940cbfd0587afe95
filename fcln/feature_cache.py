"""A frozen backbone's features of photographs, kept in HDF5: training above them runs four times as fast."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from fcln.errors import TrainingError


class FeatureCache:
    """One (C, H/16, W/16) float16 data set a photograph, named by its image id; the file names its backbone."""

    def __init__(self, path: Path, fingerprint: str):
        """fingerprint: what the features depend on (backbone weights, image size). Another one's file is refused."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = h5py.File(path, "a")
        except OSError as error:
            raise TrainingError(
                f"{path} is in use by another training, or damaged: then delete it ({error})."
            ) from error
        if len(self._file) == 0:
            self._file.attrs["fingerprint"] = fingerprint
        if self._file.attrs.get("fingerprint") != fingerprint:
            self._file.close()
            raise TrainingError(f"{path} caches another backbone's features; delete it or name another --cache.")

    def __contains__(self, image_id: int) -> bool:
        return str(image_id) in self._file

    def missing(self, image_ids: Iterable[int]) -> list[int]:
        """Those that are not cached yet."""
        return [i for i in image_ids if i not in self]

    def write(self, image_id: int, features: np.ndarray) -> None:
        self._file.create_dataset(str(image_id), data=features.astype(np.float16))

    def read(self, image_id: int) -> np.ndarray:
        """(C, H/16, W/16) float16."""
        return self._file[str(image_id)][()]

    def flush(self) -> None:
        self._file.flush()
