"""`Outside`: photographs that are in no collection, described on demand by a helper process that holds the network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.errors import DetectError
from search.file_description import MAX_REGIONS
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto
from search.page.errors import RequestError, WorkerError
from search.page.worker import Worker

# The first answer waits for torch and the weights: 5 s, or 30 on a busy computer.
SECONDS = 90.0

# Its process takes 600 MB, which somebody who asks no more gets back.
IDLE_SECONDS = 300.0

# More than any camera's JPEG; a photograph of more pixels than `decoding` accepts is refused by its header anyway.
UPLOAD_BYTES = 64_000_000


@dataclass(frozen=True)
class OutsidePhoto:
    """A photograph and what the network says of its N regions."""

    photo: DescribedPhoto
    embeddings: np.ndarray  # (N, E) float32, unit length


class Outside:
    """For any number of threads, which wait for each other."""

    def __init__(self, weights: Path | None, *, device: str = "auto"):
        self._worker = Worker(
            "search.page.network_worker",
            str(weights or ""),
            device,
            seconds=SECONDS,
            idle_seconds=IDLE_SECONDS,
        )

    def close(self) -> None:
        self._worker.close()

    @property
    def process_id(self) -> int | None:
        """Of the helper process, if there is one now."""
        return self._worker.process_id

    def describe(
        self, content: bytes, *, digest: str, box: tuple[float, float, float, float] | None = None
    ) -> OutsidePhoto:
        """Describe a photograph, or the region in a box of it (x1 y1 x2 y2, pixels of the upright photograph).

        content: the file. digest: of the weights that are expected. Raises RequestError for what is no photograph.
        """
        try:
            answer, embeddings = self._worker.ask({"box": box, "max_regions": MAX_REGIONS}, content)
        except WorkerError as error:
            raise RequestError(422, f"The photograph could not be described. {error}") from error
        if "refused" in answer:
            raise RequestError(422, f"The photograph cannot be used: {answer['refused']}.")
        if answer["digest"] != digest:
            raise DetectError("The weights file was replaced meanwhile: start `search serve` again.")
        count = len(answer["phrases"])
        photo = DescribedPhoto(
            None,
            Path("upload"),
            answer["width"],
            answer["height"],
            PhotoRegions(np.array(answer["boxes"]).reshape(-1, 4), np.array(answer["scores"])),
            [None] * count,
            answer["phrases"],
        )
        return OutsidePhoto(photo, np.frombuffer(embeddings, "<f4").reshape(count, -1).astype(np.float32))
