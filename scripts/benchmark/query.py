"""How long a query takes over a large collection: in a warm process, and as a whole command.

    python -m scripts.benchmark.query

Fills a collection with 350,000 made-up regions of 7,000 photographs through `Collection.commit`. Their embeddings lie
in clusters, as regions that show the same kind of thing do; each question has clusters of its own. The network that
reads the questions is the real one. Warm: each question is asked through `Searcher.search` with the default scoring,
--repeats times after a first time that is not counted. Command: the wall time of `python -m search query`, start to
exit.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from tqdm import tqdm

from db.collection import open_collection
from db.records import ModelIdentity, NewPhoto
from fcln.predictor import Predictor
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.options import device_option, json_option, regions_option, weights_option
from search.searcher import Searcher

QUESTIONS = (
    "dog on couch",
    "red lamp",
    "a man in a blue shirt",
    "woman riding a horse",
    "two children playing in the snow",
    "black cat on a windowsill",
    "a bowl of fruit",
    "bicycle against a wall",
    "people at a table",
    "a boat on the lake at sunset",
    "girl with a yellow umbrella",
    "old car",
    "a dog catching a frisbee",
    "street at night",
    "a baby in a stroller",
    "man playing the guitar",
    "white flowers in a vase",
    "a train on a bridge",
    "someone climbing a rock",
    "birthday cake with candles",
)
PHOTO_SIZE = (500, 375)
COMMIT_PHOTOS = 500
# Within a cluster embeddings are alike by a cosine of about 1 / (1 + SPREAD^2) = 0.6, as those of one phrase's regions.
SPREAD = 0.8
CLUSTERS_OF_A_QUESTION = 5
OTHER_CLUSTERS = 2000


@dataclass(frozen=True)
class QueryTimes:
    """The result, as its JSON says it."""

    photographs: int
    regions: int
    median_ms: float  # warm, in one process
    p95_ms: float
    command_seconds: float  # median of whole commands
    scoring: str
    device: str
    threads: int  # of torch


@click.command(help=__doc__)
@click.option("--photographs", type=click.IntRange(1), default=7000, show_default=True)
@regions_option
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Of each question.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Of the whole command.")
@weights_option
@device_option
@click.option(
    "--collection",
    "kept_at",
    type=click.Path(path_type=Path),
    help="Keep the collection here and use it again; default: a temporary one.",
)
@json_option
def main(photographs: int, regions: int, repeats: int, runs: int, weights: Path | None, device: str,
         kept_at: Path | None, as_json: bool) -> None:  # fmt: skip
    with errors_as_sentences(), ExitStack() as stack:
        path = kept_at or Path(stack.enter_context(TemporaryDirectory(prefix="densecap-benchmark-"))) / "collection"
        predictor = Predictor.load(weights, device=device)
        if not path.exists():
            fill(path, predictor, photographs, regions)
        collection = stack.enter_context(open_collection(path))
        warm = time_warm(Searcher(collection, predictor), repeats)
        command = [time_command(path, weights, device, question) for question in QUESTIONS[:runs]]
        times = QueryTimes(
            photographs=collection.photo_count(),
            regions=collection.region_count(),
            median_ms=1e3 * statistics.median(warm),
            p95_ms=1e3 * float(np.percentile(warm, 95)),
            command_seconds=statistics.median(command),
            scoring=predictor.scoring.default,
            device=str(predictor.device),
            threads=torch.get_num_threads(),
        )
    show(asdict(times), lambda: table(times), as_json=as_json)


def fill(path: Path, predictor: Predictor, photographs: int, regions: int) -> None:
    """Make a collection of photographs that do not exist, each with so many regions."""
    model = ModelIdentity(predictor.digest, predictor.embedding_size, predictor.code_size)
    with open_collection(path, write=True, create=True, model=model) as collection:
        root = collection.add_root(path.parent / "made-up")
        made = make_photographs(root, predictor.encode_phrases(QUESTIONS), predictor.code_size, photographs, regions)
        batch = []
        for photo in tqdm(made, total=photographs, unit="photograph", desc="Filling", mininterval=2):
            batch.append(photo)
            if len(batch) == COMMIT_PHOTOS:
                collection.commit(new=batch)
                batch = []
        collection.commit(new=batch)


def make_photographs(
    root_id: int, questions: np.ndarray, code_size: int, photographs: int, regions: int
) -> Iterator[NewPhoto]:
    """Made-up photographs, the same every time.

    questions: (Q, E) float32, unit length, around which some of the clusters of embeddings lie.
    """
    rng = np.random.default_rng(1)
    around = np.repeat(questions, CLUSTERS_OF_A_QUESTION, axis=0)
    centers = np.concatenate([
        unit_length(around + SPREAD * unit_length(rng.standard_normal(around.shape))),
        unit_length(rng.standard_normal((OTHER_CLUSTERS, questions.shape[1]))),
    ])  # fmt: skip
    for number in range(photographs):
        clusters = centers[rng.integers(len(centers), size=regions)]
        corners = rng.uniform(0, 1, (regions, 2, 2)) * PHOTO_SIZE  # two opposite corners of each box
        low, high = corners.min(axis=1), corners.max(axis=1)
        yield NewPhoto(
            root_id=root_id,
            path=f"{number:06}.jpg",
            size=100_000,
            mtime_ns=0,
            digest=f"{number:064x}",
            width=PHOTO_SIZE[0],
            height=PHOTO_SIZE[1],
            boxes=np.concatenate([low, np.minimum(high + 1, PHOTO_SIZE)], axis=1).astype(np.float32),
            scores=rng.uniform(0, 1, regions).astype(np.float32),
            phrases=[f"thing number {cluster}" for cluster in range(regions)],
            codes=np.maximum(rng.standard_normal((regions, code_size)), 0).astype(np.float16),
            embeddings=unit_length(clusters + SPREAD * unit_length(rng.standard_normal(clusters.shape))),
        )


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, E) scaled to length 1, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def time_warm(searcher: Searcher, repeats: int) -> list[float]:
    """Seconds of each search: every question asked once uncounted, then all of them `repeats` times over."""
    for question in QUESTIONS:
        searcher.search([question])
    seconds = []
    for question in tqdm(QUESTIONS * repeats, unit="query", desc="Asking", mininterval=2):
        started = time.perf_counter()
        searcher.search([question])
        seconds.append(time.perf_counter() - started)
    return seconds


def time_command(collection: Path, weights: Path | None, device: str, question: str) -> float:
    """Seconds of a whole `search query`. Raises EvaluationError if it finds nothing."""
    command = [sys.executable, "-m", "search", "query", question, "--collection", str(collection), "--device", device]
    if weights:
        command += ["--weights", str(weights)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise EvaluationError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")
    return seconds


def table(times: QueryTimes) -> str:
    """The result for people."""
    return "\n".join(
        [
            f"{times.regions} regions of {times.photographs} photographs, {times.scoring} scoring, "
            f"on {times.device}, {times.threads} threads",
            "",
            f"warm query, median     {times.median_ms:8.1f} ms",
            f"warm query, p95        {times.p95_ms:8.1f} ms",
            f"whole command, median  {times.command_seconds:8.2f} s",
        ]
    )


if __name__ == "__main__":
    main()
