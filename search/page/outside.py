"""`Outside`: photographs that are in no collection, described on demand by a helper process that holds the network."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.calibration import confidences, nms
from search.detector import Detections
from search.errors import DetectError
from search.file_description import MAX_REGIONS
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto
from search.model import Model
from search.output import detections_as_json
from search.page.errors import RequestError, WorkerError
from search.page.worker import Worker
from search.probability import presences_of
from search.wording.parse import Query

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


def detected(outside: OutsidePhoto, query: Query, model: Model, threshold: float, prior: float) -> dict[str, Any]:
    """The boxes of a photograph that show what the phrases of a query name: as `search detect --json`, without a path.

    Raises DetectError if no calibration was fitted for the weights.
    """
    if (calibration := model.scoring.calibration) is None:
        raise DetectError("These weights hold no confidence, so nothing can be said of boxes.")
    phrases = list(dict.fromkeys(query.phrases))
    vectors = model.encode_phrases(phrases)
    similarities = vectors @ outside.embeddings.T
    photo = outside.photo
    presence = presences_of(model.scoring.answers, vectors, similarities, prior)
    confidence = confidences(calibration, similarities, photo.regions.objectness, prior=prior, presence=presence)
    regions = [
        photo.hit_region(row, of_phrase[row], phrase)
        for phrase, of_phrase in zip(phrases, confidence)
        for row in nms(photo.regions.boxes, of_phrase, threshold=threshold)
    ]
    hits = [photo.hit(1, max(region.score for region in regions), regions)] if regions else []
    answer = Detections(query.given, hits, query.unknown_words, query.substitutions, threshold, prior, 1, [])
    document = json.loads(detections_as_json(answer))
    for hit in document["hits"]:
        del hit["path"]
    return {**document, "width": photo.width, "height": photo.height}
