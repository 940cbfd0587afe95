"""How much of what the exact search finds the shortlist finds, and what it costs: a curve over the shortlist's size.

\b
    python -m scripts.evaluate.shortlist --photos PHOTOS --annotations VAL
    python -m scripts.evaluate.shortlist --photos ... --annotations ... --made-up 42000 --plot shortlist.png

Indexes the photographs with the product's own pipeline and asks the queries of scripts.evaluate.retrieval, each as four
phrases and as a question of its first phrase, exactly and with shortlists of several sizes. places: the share of the
first ten places that hold the same photograph as in the exact answer. photographs: the share of the first ten
photographs of the exact answer that are among the ten found. For the language model's scorings the size is the number
of pairs of region and phrase that it judges. Time is the processor's, of a whole search in a warm process: other work
on the computer does not count.

With --made-up, the same for so many made-up photographs of 50 regions (those of scripts.benchmark.query, with its
questions): above 40,000 of them FAISS searches inverted lists, which find nearly all.
"""

import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from tqdm import tqdm

from db.collection import Collection, open_collection
from fcln.predictor import Predictor
from fcln.scoring import SCORINGS
from fcln.training.annotations import load_annotations
from scripts.benchmark.query import QUESTIONS, fill
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.retrieval import PHRASES, draw_queries, find_candidates, is_askable
from search.likelihood import JUDGED_PAIRS
from search.searcher import Searcher
from search.shortlist import SHORTLIST_PHOTOS
from search.wording.lexicon import Lexicon

TOP = 10
MADE_UP_REGIONS = 50
# Times the default size.
SHARES = (0.05, 0.1, 0.25, 0.5, 1, 2, 5)


@click.command(help=__doc__)
@collection_options
@click.option("--scoring", type=click.Choice(SCORINGS), help="Default: the one that the weights name as their best.")
@click.option("--images", type=click.IntRange(1), help="Only so many photographs. Default: all.")
@click.option("--queries", type=click.IntRange(1), default=100, show_default=True, help="Of each kind.")
@click.option(
    "--sizes",
    type=click.IntRange(1),
    multiple=True,
    help="Of the shortlist: photographs or, where the language model judges, pairs. Default: the default size of a "
    "search and shares of it.",
)
@click.option("--made-up", type=click.IntRange(1), metavar="PHOTOGRAPHS", help="Also a made-up collection.")
@click.option("--made-up-at", type=click.Path(path_type=Path), help="Keep that collection here and use it again.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw the curves.")
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, scoring: str | None, images: int | None, queries: int, sizes: tuple[int, ...],
         made_up: int | None, made_up_at: Path | None, plot: Path | None) -> None:  # fmt: skip
    with errors_as_sentences(), ExitStack() as stack:
        photographs = load_annotations(photos, annotations)[:images]
        predictor = Predictor.load(weights, device=device)
        scoring = scoring or predictor.scoring.default
        sizes = tuple(sorted(sizes)) or default_sizes(scoring)
        labelled = stack.enter_context(
            labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection)
        )
        lexicon = Lexicon.of(predictor)
        candidates = find_candidates(labelled.photos, 3, lambda phrase: is_askable(phrase, lexicon))
        drawn = draw_queries(candidates, queries, "1")
        four = [[phrase.text for phrase in query.phrases] for query in drawn]
        curves = [
            measure("photographs, one phrase", labelled.collection, predictor, [q[:1] for q in four], scoring, sizes),
            measure("photographs, four phrases", labelled.collection, predictor, four, scoring, sizes),
        ]
        if made_up:
            path = made_up_at or Path(stack.enter_context(TemporaryDirectory(prefix="densecap-shortlist-"))) / "made-up"
            if not path.exists():
                fill(path, predictor, made_up, MADE_UP_REGIONS)
            large = stack.enter_context(open_collection(path))
            four = made_up_queries(queries)
            curves += [
                measure("made up, one phrase", large, predictor, [q[:1] for q in four], scoring, sizes),
                measure("made up, four phrases", large, predictor, four, scoring, sizes),
            ]
    result = {"scoring": scoring, "default_size": default_size(scoring), "curves": curves}
    if plot:
        draw(result, plot)
    show(result, lambda: table(result), as_json=as_json)


def default_size(scoring: str) -> int:
    """The size of a shortlist unless told otherwise: photographs or, where the language model judges, pairs."""
    return SHORTLIST_PHOTOS if scoring == "embedding" else JUDGED_PAIRS


def default_sizes(scoring: str) -> tuple[int, ...]:
    """Sizes around the default one; no shortlist is shorter than the answer."""
    return tuple(sorted({max(TOP, round(share * default_size(scoring))) for share in SHARES}))


def made_up_queries(count: int) -> list[list[str]]:
    """Queries of four different questions; the same every time."""
    rng = random.Random(1)
    return [rng.sample(QUESTIONS, PHRASES) for _ in range(count)]


def measure(
    name: str,
    collection: Collection,
    predictor: Predictor,
    queries: Sequence[Sequence[str]],
    scoring: str,
    sizes: Sequence[int],
) -> dict[str, Any]:
    """A curve: what shortlists of several sizes find of the first ten of the exact answer, and in what time."""
    exact = Searcher(collection, predictor)
    searchers = [make_searcher(collection, predictor, scoring, size) for size in sizes]
    wanted, exact_seconds = [], []
    found: list[list[list[int]]] = [[] for _ in sizes]
    seconds: list[list[float]] = [[] for _ in sizes]
    ask(exact, queries[0], scoring, exact=True)  # not counted: reads the whole collection
    for searcher in searchers:
        ask(searcher, queries[0], scoring)
    for query in tqdm(queries, unit="query", desc=name.capitalize(), mininterval=5):
        photo_ids, taken = ask(exact, query, scoring, exact=True)
        wanted.append(photo_ids)
        exact_seconds.append(taken)
        for place, searcher in enumerate(searchers):
            photo_ids, taken = ask(searcher, query, scoring)
            found[place].append(photo_ids)
            seconds[place].append(taken)
    return {
        "name": name,
        "photographs": collection.photo_count(),
        "regions": collection.region_count(),
        "queries": len(queries),
        "exact_ms": 1e3 * statistics.median(exact_seconds),
        "points": [
            {"size": size, **agreement(wanted, found[place]), "ms": 1e3 * statistics.median(seconds[place])}
            for place, size in enumerate(sizes)
        ],
    }


def make_searcher(collection: Collection, predictor: Predictor, scoring: str, size: int) -> Searcher:
    """One with a shortlist of this size."""
    if scoring == "embedding":
        return Searcher(collection, predictor, shortlist_photos=size)
    return Searcher(collection, predictor, judged_pairs=size)


def ask(searcher: Searcher, query: Sequence[str], scoring: str, *, exact: bool = False) -> tuple[list[int], float]:
    """The ids of the first ten photographs, and the processor's seconds."""
    started = time.process_time()
    answer = searcher.search(query, k=TOP, scoring=scoring, exact=exact)
    seconds = time.process_time() - started
    return [hit.photo_id for hit in answer.hits if hit.photo_id is not None], seconds


def agreement(wanted: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> dict[str, float]:
    """The shares of all places that agree, and of all photographs wanted that were found. One list a query in each."""
    total = sum(map(len, wanted))
    places = sum(a == b for pair in zip(wanted, found, strict=True) for a, b in zip(*pair))
    photographs = sum(len(set(a) & set(b)) for a, b in zip(wanted, found, strict=True))
    return {"places": places / total, "photographs": photographs / total}


def table(result: dict) -> str:
    """A table a curve, Markdown."""
    unit = "photographs" if result["scoring"] == "embedding" else "pairs judged"
    lines = [f"{result['scoring']} scoring; the default is {result['default_size']} {unit}"]
    for curve in result["curves"]:
        lines += [
            "",
            f"{curve['name'].capitalize()}: {curve['queries']} queries, {curve['regions']} regions of "
            f"{curve['photographs']} photographs",
            "",
            f"| {unit} | places | photographs | ms |",
            "|---|---|---|---|",
        ]
        for point in curve["points"]:
            lines.append(
                f"| {point['size']} | {point['places']:.3f} | {point['photographs']:.3f} | {point['ms']:.1f} |"
            )
        lines.append(f"| exact | 1.000 | 1.000 | {curve['exact_ms']:.1f} |")
    return "\n".join(lines)


def draw(result: dict, path: Path) -> None:
    """Draw the shares of places and the times over the sizes, as a PNG."""
    from matplotlib.figure import Figure

    unit = "photographs" if result["scoring"] == "embedding" else "pairs judged"
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    shares, times = figure.subplots(1, 2)
    for curve in result["curves"]:
        sizes = [point["size"] for point in curve["points"]]
        shares.plot(sizes, [point["places"] for point in curve["points"]], "o-", label=curve["name"])
        times.plot(sizes, [point["ms"] for point in curve["points"]], "o-")
    shares.axhline(0.98, color="grey", linestyle=":")
    shares.set_ylabel("first ten places as in the exact answer")
    times.set(ylabel="milliseconds of processor time a query", yscale="log")
    for axes in (shares, times):
        axes.axvline(result["default_size"], color="grey", linestyle=":")
        axes.set(xlabel=f"shortlist: {unit}", xscale="log")
    shares.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    main()
