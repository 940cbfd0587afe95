"""The process that describes photographs from outside: `python -m search.page.network_worker WEIGHTS DEVICE`.

See worker.py, outside.py. It holds the network, and torch with it, which the server does without.

    {"box": null}  and a photograph's bytes
    {"width": 500, "height": 375, "boxes": [[x1, y1, x2, y2], ...], "scores": [...], "phrases": [...]}
                   and the embeddings, N x E little-endian float32

With a box (x1, y1, x2, y2, pixels of the upright photograph), of that region only. Or {"refused": REASON}.
"""

import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto
from fcln.errors import FclnError
from search.page.messages import read_message, write_message

if TYPE_CHECKING:
    from fcln.predictor import Predictor


def main() -> None:
    weights, device = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    from fcln.predictor import Predictor

    try:
        predictor = Predictor.load(Path(weights) if weights else None, device=device)
    except FclnError as error:
        while read_message(sys.stdin.buffer) is not None:
            write_message(stdout, {"refused": str(error).rstrip(".")})
        return
    while (message := read_message(sys.stdin.buffer)) is not None:
        write_message(stdout, *answer(predictor, *message))


def answer(predictor: "Predictor", question: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        photo = OpenedPhoto(io.BytesIO(payload)).decode()
    except PhotoError as error:
        return {"refused": str(error)}, b""
    if question["box"] is None:
        regions = predictor.describe([photo.image], max_regions=question["max_regions"])[0]
    else:
        # From the whole photograph's pixels to those of the reduced image.
        box = (np.array(question["box"], np.float64) - [*photo.origin, *photo.origin]) / photo.scale
        size = np.array(photo.image.size * 2)
        box = np.clip(box, 0, size)
        if (box[2:] - box[:2]).min() < 1:
            return {"refused": "the box is outside of the photograph"}, b""
        regions = predictor.describe_boxes(photo.image, box[None].astype(np.float32))
    fields = {
        "digest": predictor.digest,
        "width": photo.width,
        "height": photo.height,
        "boxes": photo.full_boxes(regions.boxes).tolist(),
        "scores": [float(score) for score in regions.scores],
        "phrases": list(regions.phrases),
    }
    return fields, np.ascontiguousarray(regions.embeddings, "<f4").tobytes()


if __name__ == "__main__":
    main()
