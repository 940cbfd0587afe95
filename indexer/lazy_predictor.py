"""The network, loaded when the first photograph is to be described: a build that finds none need not wait for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from db.records import ModelIdentity
from fcln.errors import CheckpointError
from fcln.weights_file import WeightsFile
from indexer.build.options import BATCH_SIZE

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from fcln.predictor import Predictor, Regions


class LazyPredictor:
    """A `Predictor` as far as a build needs it."""

    model: ModelIdentity

    def __init__(self, weights: Path | None = None, *, device: str = "auto"):
        """Read what the weights file says about itself (None: the embedded default).

        Raises:
            CheckpointError: it is missing, cut short or not ours.
        """
        file = WeightsFile.read(weights)
        self.model = ModelIdentity(file.digest, file.embedding_size, file.code_size)
        self._weights = weights
        self._device = device
        self._predictor: Predictor | None = None

    @property
    def precisions(self) -> list[str]:
        """In which way it describes, see `fcln.agreement`; none before the network is loaded."""
        return self._predictor.precisions if self._predictor else []

    @property
    def batch_size(self) -> int:
        """How many photographs it takes together, see `Predictor`; few before the network is loaded."""
        return self._predictor.batch_size if self._predictor else BATCH_SIZE

    @property
    def batches_at_once(self) -> int:
        """How many of them it takes side by side, see `Predictor`; one before the network is loaded."""
        return self._predictor.batches_at_once if self._predictor else 1

    def load(self) -> "Predictor":
        """The network itself.

        Raises:
            CheckpointError: the weights are damaged, or others than before.
            DeviceError: there is no such accelerator here.
        """
        if self._predictor is None:
            from fcln.predictor import Predictor

            predictor = Predictor.load(self._weights, device=self._device)
            if predictor.digest != self.model.digest:
                raise CheckpointError(
                    f"The weights file {self._weights} was replaced meanwhile: run the command again."
                )
            self._predictor = predictor
        return self._predictor

    def describe(self, images: "Sequence[Image.Image]", *, max_regions: int = 50) -> "list[Regions]":
        return self.load().describe(images, max_regions=max_regions)

    def describe_boxes(self, image: "Image.Image", boxes: "np.ndarray") -> "Regions":
        return self.load().describe_boxes(image, boxes)
