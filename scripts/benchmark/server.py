"""A collection on a PostgreSQL server: loading, indexes, and what a question costs, beside exact search.

\b
    python -m scripts.benchmark.server --regions 1000000
    python -m scripts.benchmark.server --regions 300000 --like ~/.local/share/densecap-search/collection --json

Loads photographs of 50 regions through `Collection.commit`, has the indexes made, asks questions of one phrase and of
four, and compares the ten best photographs with those of exact search. The server is one of its own (extra
`server-test`), with 2 GB of shared buffers; --collection names another one, whose schema must not exist yet and is
left behind.

The vectors are synthetic: clusters whose sizes follow Zipf's law, a share common to all regions of a photograph, and
questions near clusters. --like takes real ones: the photographs of a collection, again and again, with noise, and
phrases of one photograph's regions as questions.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from commands.options import LocationType
from db.collection import open_collection
from db.location import Location
from db.postgres import indexes
from db.postgres.collection import PostgresCollection
from db.postgres.partitions import TABLES
from db.records import ModelIdentity, NewPhoto
from scripts.options import json_option
from scripts.temporary_server import temporary_server

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

REGIONS = 50  # of a photograph
SIZE, CODE_SIZE = 256, 512
CLUSTERS = 2000
COMMIT = 128  # photographs
NOISE = 0.35  # of a copy of a real region: its cosine with it is 0.94
QUESTIONS = 100
WORDS = ("a", "man", "woman", "dog", "red", "shirt", "table", "tree", "car", "of", "on", "grass", "blue", "sky", "wall")


@dataclass(frozen=True)
class Asked:
    """What questions of so many phrases cost and find."""

    phrases: int
    candidates_ms: float  # median, of the ten best by the index
    candidates_95_ms: float
    shortlist_ms: float  # median, of 200 candidates and the cosines of their regions: what `search` asks
    as_exact: float  # of the ten best photographs of exact search, the share that the index finds


@dataclass(frozen=True)
class Measured:
    """One run."""

    regions: int
    vectors: str
    load_regions_per_second: float
    index_seconds: float
    lists: int
    probes: int
    recall_at_10: float
    recall_at_100: float
    table_bytes: int
    index_bytes: int
    code_bytes: int
    summary_bytes: int
    asked: list[Asked]


@click.command(help=__doc__)
@click.option("--regions", type=click.IntRange(10_000), default=1_000_000, show_default=True)
@click.option("--collection", "url", metavar="URL", help="Where to make it. Default: a server of its own.")
@click.option(
    "--like",
    multiple=True,
    type=LocationType(),
    metavar="PATH|URL",
    help="A collection with real vectors. Repeatable.",
)
@click.option("--seed", default=1, show_default=True)
@json_option
def main(regions: int, url: str | None, like: tuple[Location, ...], seed: int, as_json: bool) -> None:
    with ExitStack() as stack:
        if url is None:
            server = temporary_server(shared_buffers="2GB", max_wal_size="4GB", maintenance_work_mem="256MB")
            url = stack.enter_context(server).url
        measured = measure(url, RealVectors(like) if like else Synthetic(seed), regions // REGIONS, seed)
    click.echo(json.dumps(asdict(measured), indent=1) if as_json else table(measured))


def table(measured: Measured) -> str:
    """The result for people."""
    lines = [
        f"{measured.regions:,} regions ({measured.vectors} vectors)",
        f"load      {measured.load_regions_per_second:,.0f} regions/s",
        f"index     {measured.lists:,} lists in {measured.index_seconds:,.0f} s, {measured.probes} probes: recall@10 "
        f"{measured.recall_at_10:.3f}, recall@100 {measured.recall_at_100:.3f}",
        f"bytes     a region: table {measured.table_bytes / measured.regions:,.0f}, index "
        f"{measured.index_bytes / measured.regions:,.0f}, codes {measured.code_bytes / measured.regions:,.0f}, "
        f"summaries {measured.summary_bytes / measured.regions:,.0f}",
    ]
    lines += [
        f"{asked.phrases} phrase{'s' if asked.phrases > 1 else ' '}  ten best: median {asked.candidates_ms:.1f} ms "
        f"(95 %: {asked.candidates_95_ms:.1f}), {asked.as_exact:.3f} as exact; shortlist of 200 and cosines: "
        f"{asked.shortlist_ms:.1f} ms"
        for asked in measured.asked
    ]
    return "\n".join(lines)


class Synthetic:
    """Vectors in clusters, the same for the same seed."""

    name = "synthetic"
    model = ModelIdentity("e" * 64, SIZE, CODE_SIZE)

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self._centres = _unit(rng.normal(size=(CLUSTERS, SIZE)))
        weights = 1 / np.arange(1, CLUSTERS + 1)
        self._shares = weights / weights.sum()

    def photo(self, rng: np.random.Generator) -> np.ndarray:
        """(REGIONS, SIZE) float32."""
        common = rng.normal(size=SIZE) * 0.5 / np.sqrt(SIZE)
        of_clusters = self._centres[rng.choice(CLUSTERS, REGIONS, p=self._shares)]
        return _unit(of_clusters + common + rng.normal(size=(REGIONS, SIZE)) * 0.7 / np.sqrt(SIZE))

    def questions(self, rng: np.random.Generator, phrases: int) -> list[np.ndarray]:
        """QUESTIONS of (phrases, SIZE) float32."""
        near = self._centres[rng.choice(CLUSTERS, (QUESTIONS, phrases), p=self._shares)]
        return list(_unit(near + rng.normal(size=near.shape) * 0.5 / np.sqrt(SIZE)))


class RealVectors:
    """Those of a collection, with noise."""

    name = "real"

    def __init__(self, locations: Sequence[Location]):
        from fcln.phrase_model import PhraseModel

        self._embeddings: list[np.ndarray] = []
        self._phrases: list[list[str]] = []
        for location in locations:
            with open_collection(location) as collection:
                self.model = collection.model
                features = collection.features()
                regions = collection.regions(features.region_ids)
            self._embeddings += [features.embeddings[some] for some in features.slices()]
            of_photos = [sorted({region.phrase for region in regions[some]}) for some in features.slices()]
            self._phrases += [phrases for phrases in of_photos if len(phrases) >= 4]
        self._encode = PhraseModel.load().encode_phrases

    def photo(self, rng: np.random.Generator) -> np.ndarray:
        one = self._embeddings[rng.integers(len(self._embeddings))]
        one = (
            one[rng.permutation(len(one))[:REGIONS]] if len(one) >= REGIONS else np.resize(one, (REGIONS, one.shape[1]))
        )
        return _unit(one + rng.normal(size=one.shape) * NOISE / np.sqrt(one.shape[1]))

    def questions(self, rng: np.random.Generator, phrases: int) -> list[np.ndarray]:
        photos = rng.choice(len(self._phrases), QUESTIONS)
        return [self._encode(rng.choice(self._phrases[photo], phrases, replace=False).tolist()) for photo in photos]


def measure(url: str, vectors: Synthetic | RealVectors, photos: int, seed: int) -> Measured:
    """Load, index, ask."""
    rng = np.random.default_rng([seed, 1])
    questions = {phrases: vectors.questions(rng, phrases) for phrases in (1, 4)}
    exact = {phrases: _Best(asked) for phrases, asked in questions.items()}
    with PostgresCollection.open(url, write=True, create=True, model=vectors.model) as writer:
        root_id = writer.add_root(Path("/benchmark"))
        seconds, loaded = 0.0, 0
        for batch in _batches(vectors, root_id, photos, seed):
            started = time.perf_counter()
            writer.commit(new=batch)
            seconds += time.perf_counter() - started
            loaded += len(batch)
            for best in exact.values():
                best.add(np.arange(loaded - len(batch), loaded) + 1, batch)  # the ids of a new collection
            print(f"\r{loaded * REGIONS:,} regions", end="", file=sys.stderr)
        print(file=sys.stderr)
        started = time.perf_counter()
        report = indexes.rebuild(writer.server)
        index_seconds = time.perf_counter() - started
        sizes = writer.server.read(_sizes)
    with open_collection(url) as reader:
        asked = []
        for phrases, of_them in questions.items():
            reader.candidates(of_them[0], 10)
            found, times, shortlists = [], [], []
            for each in of_them:
                started = time.perf_counter()
                found.append(reader.candidates(each, 10))
                times.append(1000 * (time.perf_counter() - started))
                started = time.perf_counter()
                reader.cosines(each, reader.candidates(each, 200))
                shortlists.append(1000 * (time.perf_counter() - started))
            shares = [len(np.intersect1d(*pair)) / 10 for pair in zip(found, exact[phrases].ten_best(), strict=True)]
            asked.append(
                Asked(
                    phrases,
                    float(np.median(times)),
                    float(np.percentile(times, 95)),
                    float(np.median(shortlists)),
                    float(np.mean(shares)),
                )
            )
    return Measured(
        photos * REGIONS,
        vectors.name,
        photos * REGIONS / seconds,
        index_seconds,
        report.lists,
        sizes["probes"],
        report.recall_at_10,
        report.recall_at_100,
        sizes["region"] - report.bytes,
        report.bytes,
        sizes["region_code"],
        sizes["photo_mean"] + sizes["photo_group"],
        asked,
    )


def _batches(vectors: Synthetic | RealVectors, root_id: int, photos: int, seed: int) -> Iterator[list[NewPhoto]]:
    rng = np.random.default_rng([seed, 2])
    codes = rng.normal(size=(REGIONS, vectors.model.code_size)).astype(np.float16)
    corners = rng.integers(0, 400, (REGIONS, 2))
    boxes = np.concatenate([corners, corners + rng.integers(20, 200, (REGIONS, 2))], axis=1).astype(np.float32)
    for start in range(0, photos, COMMIT):
        yield [
            NewPhoto(
                root_id=root_id,
                path=f"{number}.jpg",
                size=number,
                mtime_ns=number,
                digest=f"{number:064x}",
                width=640,
                height=640,
                boxes=boxes,
                scores=np.linspace(1, 0, REGIONS, dtype=np.float32),
                phrases=[" ".join(words) for words in rng.choice(WORDS, (REGIONS, 4))],
                codes=codes,
                embeddings=vectors.photo(rng),
            )
            for number in range(start, min(start + COMMIT, photos))
        ]


class _Best:
    """Exact search, as the photographs come."""

    def __init__(self, questions: Sequence[np.ndarray]):
        self._questions = questions
        self._ids: list[np.ndarray] = []
        self._means: list[np.ndarray] = []

    def add(self, ids: np.ndarray, photos: Sequence[NewPhoto]) -> None:
        # As they are stored.
        embeddings = np.concatenate([photo.embeddings for photo in photos]).astype(np.float16).astype(np.float32)
        cosines = np.concatenate(list(self._questions)) @ embeddings.T
        best = cosines.reshape(len(self._questions), -1, len(photos), REGIONS).max(axis=3)
        self._ids.append(ids)
        self._means.append(best.mean(axis=1))

    def ten_best(self) -> list[np.ndarray]:
        ids, means = np.concatenate(self._ids), np.concatenate(self._means, axis=1)
        return [ids[np.argsort(-of_question, kind="stable")[:10]] for of_question in means]


def _sizes(session: "Session") -> dict[str, int]:
    from sqlalchemy import text

    found = {"probes": session.scalar(text("SELECT coalesce(max(probes), 0) FROM vector_index"))}
    for table_name in TABLES:
        found[table_name] = session.scalar(
            text(
                "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits "
                f"WHERE inhparent = '{table_name}'::regclass"
            )
        )
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
