"""What filters cost in a large collection, and what is found in spite of them.

\b
    python -m scripts.benchmark.filters
    python -m scripts.benchmark.filters --photographs 42000 --collection made-up

The made-up photographs and the questions of scripts.benchmark.query. Of a share of the photographs, drawn at random,
the 200 that answer best are proposed (`Collection.candidates`), as for every question with filters: median time in a
warm process, and the share of the first ten of an exact ranking of all allowed photographs that are among them. Beside
it, how many of the ten remain where the 200 best of all photographs are filtered afterwards.
"""

import statistics
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from db.candidates import closest_photos
from db.collection import Collection, open_collection
from db.records import AreaRange
from fcln.predictor import Predictor
from scripts.benchmark.query import QUESTIONS, fill
from scripts.evaluate.command import errors_as_sentences, show
from scripts.options import json_option, regions_option, weights_option
from search.shortlist import SHORTLIST_PHOTOS

SHARES = (0.001, 0.01, 0.1, 0.5)
TOP = 10
LARGE = AreaRange(0.25, 1.0)


@dataclass(frozen=True)
class Row:
    """A share of the photographs."""

    share: float
    area: bool  # whether only regions of a quarter of their photograph or more may answer
    photographs: int
    median_ms: float
    found: float  # of the first ten of the exact answer
    found_afterwards: float  # of the same, where what is found in all photographs is filtered


@click.command(help=__doc__)
@click.option("--photographs", type=click.IntRange(1), default=7000, show_default=True)
@regions_option
@weights_option
@click.option(
    "--collection",
    "kept_at",
    type=click.Path(path_type=Path),
    help="Keep the collection here and use it again; default: a temporary one.",
)
@json_option
def main(photographs: int, regions: int, weights: Path | None, kept_at: Path | None, as_json: bool) -> None:
    with errors_as_sentences(), ExitStack() as stack:
        path = kept_at or Path(stack.enter_context(TemporaryDirectory(prefix="densecap-benchmark-"))) / "collection"
        predictor = Predictor.load(weights, device="cpu")
        if not path.exists():
            fill(path, predictor, photographs, regions)
        collection = stack.enter_context(open_collection(path))
        vectors = predictor.encode_phrases(QUESTIONS)
        rows = [measure(collection, vectors, share, area) for area in (None, LARGE) for share in SHARES]
    show({"rows": [asdict(row) for row in rows]}, lambda: table(rows), as_json=as_json)


def measure(collection: Collection, vectors: np.ndarray, share: float, area: AreaRange | None) -> Row:
    """vectors: (Q, E) float32, unit length; each is a question."""
    rng = np.random.default_rng(2)
    everything = collection.photo_ids()
    allowed = np.sort(rng.choice(everything, max(1, round(share * len(everything))), replace=False))
    regions = None if area is None else collection.regions_of_area(area, allowed)
    seconds, found, afterwards = [], [], []
    for vector in vectors[:, None]:
        cosines = collection.cosines(vector, allowed)
        if regions is not None:
            cosines = cosines.take(np.isin(cosines.region_ids, regions))
        best = set(closest_photos(cosines, TOP).tolist())
        collection.candidates(vector, SHORTLIST_PHOTOS, allowed, area)
        started = time.perf_counter()
        proposed = collection.candidates(vector, SHORTLIST_PHOTOS, allowed, area)
        seconds.append(time.perf_counter() - started)
        found.append(_share_found(best, proposed))
        afterwards.append(_share_found(best, collection.candidates(vector, SHORTLIST_PHOTOS)))
    return Row(
        share,
        area is not None,
        len(allowed),
        1e3 * statistics.median(seconds),
        statistics.mean(found),
        statistics.mean(afterwards),
    )


def _share_found(wanted: set[int], found: np.ndarray) -> float:
    return len(wanted & set(found.tolist())) / len(wanted) if wanted else 1.0


def table(rows: list[Row]) -> str:
    """The result for people."""
    lines = ["allowed photographs           median time   first ten found   filtered afterwards"]
    for row in rows:
        regions = "large regions" if row.area else ""
        lines.append(
            f"{row.photographs:8,} {row.share:6.1%}  {regions:13} {row.median_ms:8.1f} ms   {row.found:14.1%}   "
            f"{row.found_afterwards:18.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
