"""What a question costs as a collection grows: time, memory, bytes a region, and how much of the exact answer is found.

\b
    python -m scripts.benchmark.growth --like COLLECTION --sizes 10000,100000,1000000 --plot growth.png

One collection is filled to each of --sizes regions in turn, through `Collection.commit`. Its photographs do not exist:
each has the embeddings of one of the photographs of the collections --like, every embedding changed a little (a cosine
of about 0.94 to the original), so that they lie as those of real photographs do; without --like they are made up as
`scripts.benchmark.query` does. At each size a fresh process opens it and asks every question of
`scripts.benchmark.query` once uncounted, then --repeats times, wall time and the processor time of all its threads. The
first ten photographs are compared with those of exact search: of the 1,000 photographs whose best regions have the
highest mean cosine, as comparing all regions finds them, the ten best. Bytes are those of the FAISS files and their
lists, which are all that a question reads of regions that are not near. 1,000,000 regions take 2 GB of disk and some
minutes, 10,000,000 with --code-size 8 take 8 GB: embedding scoring needs no codes. A --folder that is there is taken as
it is, and filled further.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from commands import program
from db.candidates import best_photos
from db.collection import open_collection
from db.local.collection import LocalCollection
from db.local.layout import index_files_in
from db.local.segments import PART_ROWS, as_float32
from db.records import ModelIdentity, NewPhoto
from fcln.phrase_model import PhraseModel
from fcln.weights_file import checkpoint_digest
from scripts.benchmark.collection import CODE_SIZE, anonymous_memory, measure
from scripts.evaluate.command import errors_as_sentences, show
from scripts.options import json_option
from search.one_thread import compute_in_one_thread
from search.searcher import Searcher
from search.wording.lexicon import Lexicon
from search.wording.parse import parse_query

TOP = 10
EXACT_PHOTOS = 1000
CHANGE = 0.35  # the length of what is added to a unit vector: cosine 1 / sqrt(1 + CHANGE^2) = 0.94
_COMMIT_PHOTOS = 500
_SCORING = "embedding"
_PHOTO_SIZE = (500, 375)


@dataclass(frozen=True)
class Size:
    """A line of the result."""

    regions: int
    median_ms: float  # warm
    p95_ms: float
    cpu_ms: float  # median
    peak_memory_mb: float  # of the process that asks, mapped files included; 10^6 bytes
    own_memory_mb: float  # without mapped files
    index_bytes_a_region: float
    recall_at_10: float | None  # of the exact answer's first ten photographs; None: not asked


@click.command(help=__doc__)
@click.option("--like", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A collection whose regions are varied; several times for several.")  # fmt: skip
@click.option("--sizes", default="10000,100000,1000000", show_default=True, help="Regions, ascending.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Of each question.")
@click.option("--exact-up-to", type=int, default=10_000_000, show_default=True, help="Largest size to compare exactly.")
@click.option("--code-size", type=click.IntRange(1), default=CODE_SIZE, show_default=True, help="Numbers in a code.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the collection here; default: a temporary one.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw times and bytes over regions.")
@json_option
def main(like: tuple[Path, ...], sizes: str, repeats: int, exact_up_to: int, code_size: int, folder: Path | None,
         plot: Path | None, as_json: bool) -> None:  # fmt: skip
    compute_in_one_thread()  # as `search` does
    program.sleep_while_waiting()
    with errors_as_sentences(), ExitStack() as stack:
        try:
            wanted = [int(size) for size in sizes.split(",")]
        except ValueError:
            raise click.BadParameter("numbers with commas between them: --sizes 10000,100000") from None
        if wanted != sorted(wanted) or wanted[0] < 1:
            raise click.BadParameter("ascending numbers of regions: --sizes 10000,100000")
        path = folder or Path(stack.enter_context(TemporaryDirectory(prefix="densecap-benchmark-"))) / "collection"
        found = list(grow(path, like, wanted, repeats, exact_up_to, code_size))
    if plot:
        draw(found, plot)
    show({"sizes": [asdict(size) for size in found]}, lambda: table(found), as_json=as_json)


def grow(
    path: Path, like: Sequence[Path], sizes: Sequence[int], repeats: int, exact_up_to: int, code_size: int
) -> Iterator[Size]:
    """Fill a collection to each size and measure it."""
    from scripts.benchmark.query import QUESTIONS  # which imports torch: the process that asks does not

    phrases = PhraseModel.load()
    made = make_photographs(like, phrases, code_size)
    model = ModelIdentity(checkpoint_digest(), phrases.embedding_size, code_size)
    with open_collection(path, write=True, create=True, model=model) as collection:
        root = min(collection.roots(), default=0) or collection.add_root(path.parent / "made-up")
    for size in sizes:
        with open_collection(path, write=True) as collection:
            photos = made(root, collection.photo_count())
            missing = size - collection.region_count()
            while missing > 0:
                batch: list[NewPhoto] = []
                for photo in islice(photos, _COMMIT_PHOTOS):
                    batch.append(photo)
                    missing -= len(photo.phrases)
                    if missing <= 0:
                        break
                collection.commit(new=batch)
        asked = measure(ask, path, QUESTIONS, repeats)
        recall = None
        if size <= exact_up_to:
            exact = measure(ask_exactly, path, QUESTIONS).details["photos"]
            shares = [len(set(a) & set(b)) / len(b) for a, b in zip(asked.details["photos"], exact) if b]
            recall = statistics.mean(shares)
        seconds = asked.details["seconds"]
        with open_collection(path) as collection:
            regions = collection.region_count()
        yield Size(
            regions=regions,
            median_ms=1e3 * statistics.median(seconds),
            p95_ms=1e3 * float(np.percentile(seconds, 95)),
            cpu_ms=1e3 * statistics.median(asked.details["cpu_seconds"]),
            peak_memory_mb=asked.peak_memory_mb,
            own_memory_mb=asked.details["own_memory"] / 1e6,
            index_bytes_a_region=sum(file.stat().st_size for file in index_files_in(path)) / regions,
            recall_at_10=recall,
        )


def make_photographs(like: Sequence[Path], phrases: PhraseModel, code_size: int = CODE_SIZE) -> Any:
    """A function (root id, first number) -> photographs from that number on, the same every time."""
    originals: list[np.ndarray] = []  # (R, E) float32 of each photograph
    for path in like:
        with open_collection(path) as collection:
            features = collection.features()
        starts = np.flatnonzero(np.diff(features.photo_ids, prepend=-1))
        originals += np.split(features.embeddings, starts[1:])
    codes = np.zeros((1000, code_size), np.float16)

    def varied(root: int, first: int) -> Iterator[NewPhoto]:
        number = first
        while True:
            rng = np.random.default_rng(number)
            some = originals[rng.integers(len(originals))]
            noise = CHANGE * _unit_length(rng.standard_normal(some.shape))
            yield _photo(root, number, _unit_length(some + noise), codes)
            number += 1

    def made_up(root: int, first: int) -> Iterator[NewPhoto]:
        from scripts.benchmark import query

        vectors = phrases.encode_phrases(query.QUESTIONS)
        # Not by number: from the first one on.
        everything = query.make_photographs(root, vectors, code_size, first + _COMMIT_PHOTOS, 50)
        return islice(everything, first, None)

    return varied if originals else made_up


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _photo(root: int, number: int, embeddings: np.ndarray, codes: np.ndarray) -> NewPhoto:
    count = len(embeddings)
    return NewPhoto(
        root_id=root,
        path=f"{number:08}.jpg",
        size=1,
        mtime_ns=0,
        digest=f"{number:064x}",
        width=_PHOTO_SIZE[0],
        height=_PHOTO_SIZE[1],
        boxes=np.tile(np.array([0, 0, *_PHOTO_SIZE], np.float32), (count, 1)),
        scores=np.full(count, 0.5, np.float32),
        phrases=["a thing"] * count,
        codes=codes[:count],
        embeddings=embeddings.astype(np.float32),
    )


def ask(path: Path, questions: Sequence[str], repeats: int) -> dict[str, Any]:
    """Ask every question: the first photographs of each, the seconds of each repetition. In a process of its own."""
    seconds, cpu_seconds = [], []
    with Searcher.open(path) as searcher:
        found = [searcher.search([q], k=TOP, scoring=_SCORING).hits for q in questions]
        for question in [*questions] * repeats:
            started, cpu_started = time.perf_counter(), time.process_time()
            searcher.search([question], k=TOP, scoring=_SCORING)
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
        own = anonymous_memory()
    photos = [[hit.photo_id for hit in hits] for hits in found]
    return {"photos": photos, "seconds": seconds, "cpu_seconds": cpu_seconds, "own_memory": own}


class ExactCandidates:
    """A collection whose candidates are those that comparing all regions with some questions' phrases found."""

    def __init__(self, collection: LocalCollection, questions: Sequence[np.ndarray]):
        """questions: of each the vectors (Q, E) of its phrases."""
        self._collection = collection
        self._candidates: dict[bytes, np.ndarray] = {}
        vectors = np.concatenate(questions)
        snapshot = collection.snapshot
        best = []  # of each part (V, P) the best cosine of each photograph
        for part in snapshot.extents.parts(PART_ROWS):
            embeddings = collection.segments.read("embeddings", part, snapshot.segments)
            starts = np.cumsum(part.counts) - part.counts
            best.append(np.maximum.reduceat(vectors @ as_float32(embeddings).T, starts, axis=1))
        of_all = np.concatenate(best, axis=1)
        for rows, question in zip(np.split(of_all, np.cumsum([len(some) for some in questions])[:-1]), questions):
            photos = best_photos(snapshot.extents.photo_ids, rows, EXACT_PHOTOS)
            self._candidates[question.tobytes()] = photos

    def candidates(self, vectors: np.ndarray, *_: Any) -> np.ndarray:
        return self._candidates[vectors.tobytes()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


def ask_exactly(path: Path, questions: Sequence[str]) -> dict[str, Any]:
    """The first photographs of each question, none left out. All regions are read once, for all questions."""
    model = PhraseModel.load()
    lexicon = Lexicon.of(model)
    with LocalCollection.open(path) as collection:
        vectors = [model.encode_phrases(parse_query([question], lexicon).encoded) for question in questions]
        exact: Any = ExactCandidates(collection, vectors)
        searcher = Searcher(exact, model)
        found = [searcher.search([question], k=TOP, scoring=_SCORING).hits for question in questions]
    return {"photos": [[hit.photo_id for hit in hits] for hits in found]}


def table(sizes: Sequence[Size]) -> str:
    """Markdown."""
    lines = [
        "| regions | median | 95th percentile | processor time, median | memory, mapped files included | without "
        "| index, bytes a region | of the exact answer's ten |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in sizes:
        recall = "not asked" if s.recall_at_10 is None else f"{100 * s.recall_at_10:.1f} %"
        lines.append(
            f"| {s.regions:,} | {s.median_ms:.0f} ms | {s.p95_ms:.0f} ms | {s.cpu_ms:.0f} ms "
            f"| {s.peak_memory_mb:.0f} MB | {s.own_memory_mb:.0f} MB | {s.index_bytes_a_region:.0f} | {recall} |"
        )
    return "\n".join(lines)


def draw(sizes: Sequence[Size], path: Path) -> None:
    """Times, memory and bytes over regions, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    regions = [size.regions for size in sizes]
    panels = (
        ("ms a question, warm", [("median", "median_ms"), ("95th percentile", "p95_ms"), ("processor", "cpu_ms")]),
        ("MB of memory", [("mapped files included", "peak_memory_mb"), ("without", "own_memory_mb")]),
        ("bytes a region, index", [("", "index_bytes_a_region")]),
    )
    for axes, (what, lines) in zip(figure.subplots(1, len(panels)), panels):
        for label, name in lines:
            axes.plot(regions, [getattr(size, name) for size in sizes], marker="o", label=label)
        axes.set(xscale="log", xlabel="regions", ylabel=what, ylim=(0, None))
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
