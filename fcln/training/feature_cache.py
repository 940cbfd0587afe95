"""A frozen backbone's features of photographs, kept in HDF5: training above them runs four times as fast."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from fcln.errors import TrainingError


class FeatureCache:
    """A group a photograph, named by its image id, of float16 maps "0", "1" and so on; the file names its backbone.

    An HDF5 file does not survive a kill while it grows. From the first `write` until `flush` it is marked as growing;
    one that is found so, or that no longer opens, is set aside and filled again.
    """

    def __init__(self, path: Path, fingerprint: str):
        """fingerprint: what the features depend on (backbone weights, image size). Another one's file is refused."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open(path)
        if file is None or file.attrs.get("growing", False):
            if file is not None:
                file.close()
            os.replace(path, path.with_name(path.name + ".damaged"))
            logging.getLogger(__name__).warning(
                "%s was being filled when its training was killed; it is filled again.", path
            )
            file = h5py.File(path, "a")
        self._file = file
        self._growing = False
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

    def write(self, image_id: int, features: Sequence[np.ndarray]) -> None:
        """features: maps by stride, (C, H/s, W/s) each, kept as float16. Safe from a kill only after flush."""
        if not self._growing:
            self._mark(growing=True)
        for number, maps in enumerate(features):
            self._file.create_dataset(f"{image_id}/{number}", data=maps.astype(np.float16))

    def read(self, image_id: int) -> list[np.ndarray]:
        """(C, H/s, W/s) float16 each."""
        group = self._file[str(image_id)]
        return [group[str(number)][()] for number in range(len(group))]

    def flush(self) -> None:
        """Call after the last write."""
        self._file.flush()
        self._mark(growing=False)

    def close(self) -> None:
        self._file.close()

    def _mark(self, *, growing: bool) -> None:
        self._file.attrs["growing"] = growing
        self._file.flush()
        self._growing = growing


def _open(path: Path) -> h5py.File | None:
    """None: an HDF5 file that a kill has damaged."""
    try:
        return h5py.File(path, "a")
    except BlockingIOError as error:
        raise TrainingError(f"{path} is in use by another training.") from error
    except OSError as error:
        if path.is_file() and h5py.is_hdf5(path):
            return None
        raise TrainingError(f"{path} cannot be used as a cache of features ({error}).") from error
