"""`Searcher`: a collection and a network in, ranked photographs with the regions that answer out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

import numpy as np

from db.records import Features, RegionRow, RegionScores
from fcln.scoring import SCORINGS
from fcln.vocabulary import token_count
from search.composed_ranking import ComposedRanking, worth_looking_at
from search.copies import Group, fold
from search.errors import QueryError
from search.exclusion import Excluded, evidence, keep_wanted, unwanted_offsets
from search.explanation import Explanation, Shown, answers_of, with_words
from search.filters import Filters, Selection
from search.grounding import PhotoRegions, answering_regions, ground
from search.hits import Hit, HitRegion, Sort, described_photos, in_order
from search.likelihood import (
    JUDGED_PAIRS,
    JUDGED_REGIONS,
    closest_regions,
    fuse,
    judged_photos,
    log_likelihoods,
)
from search.likely import COMPOSED_LOOKED_AT, LOOKED_AT, Likelihoods, ListEnd, with_probabilities
from search.likeness import balanced, rank_alike
from search.model import Model, require_same_checkpoint
from search.one_thread import in_one_thread
from search.part_weights import PartWeights, part_weights
from search.ranking import Ranking, rank_photographs
from search.shortlist import SHORTLIST_PHOTOS
from search.wording.lexicon import Lexicon
from search.wording.parse import Query, parse_query

if TYPE_CHECKING:
    from db.collection import Collection
    from db.location import Location
    from search.example import Box, BoxDescriber, Example


# Regions whose codes are in memory at one time: 8 MB.
_REGIONS_AT_ONCE = 8192


@dataclass(frozen=True)
class Answer:
    """What a search found."""

    query: list[str]  # the phrases as asked
    scoring: str  # which of SCORINGS made the scores
    hits: list[Hit]  # best first
    unknown_words: list[str] = field(default_factory=list)  # words that the model has never met
    substitutions: dict[str, str] = field(default_factory=dict)  # words read as others: slips, words of like meaning
    without: list[str] = field(default_factory=list)  # phrases that nothing in a hit may answer
    excluded: list[Excluded] = field(default_factory=list)  # photographs that fell away for it, before the last hit
    selection: Selection | None = None  # what filters came to; None: none were asked for
    sort: Sort = "score"  # the order of the hits
    example: "Example | None" = None  # what the photographs are to be like; its name is the first of `query`
    reading: Query | None = None  # how the question was read
    end: ListEnd | None = None  # where the list stopped; None: how likely photographs answer is not known

    @property
    def scored(self) -> str:
        """What the scores are, for people."""
        return f"{self.scoring} scoring"

    def label(self, region: HitRegion) -> str:
        """What stands at a region's box in a drawing."""
        return region.phrase or region.for_phrase


# Photographs of a list that neither k nor its answers end.
DEFAULT_TOP = 10
# So many times as many photographs are looked at if some of them are to fall away.
EXCLUDING_FACTOR = 5


P = ParamSpec("P")
T = TypeVar("T")


def _one_at_a_time(
    method: "Callable[Concatenate[Searcher, P], T]",
) -> "Callable[Concatenate[Searcher, P], T]":
    """A method that a second thread waits for."""

    @wraps(method)
    def alone(self: "Searcher", *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            return method(self, *args, **kwargs)

    return alone


class Searcher:
    """Asks one collection, from any number of threads: one question is answered after the other.

    The collection itself is for one thread at a time: nothing else may use it meanwhile. `Searcher.open` opens one and
    is a context manager, as the Searcher is::

        with Searcher.open("demo/collection") as searcher:
            for hit in searcher.search(["dog on couch"]).hits:
                print(hit.path, hit.score, [(region.box, region.phrase) for region in hit.regions])

    Every method may raise CollectionError (or a kind of it) for a collection that cannot be read.
    """

    def __init__(
        self,
        collection: "Collection",
        model: Model,
        *,
        lexicon: Lexicon | None = None,
        shortlist_photos: int = SHORTLIST_PHOTOS,
        judged_pairs: int = JUDGED_PAIRS,
    ):
        """lexicon: how words are read; None for what the model knows of them. shortlist_photos, judged_pairs: what a
        search that is not exact looks at (scripts.evaluate.shortlist).

        Raises CheckpointMismatch if another checkpoint described the collection.
        """
        require_same_checkpoint(collection, model)
        self._collection = collection
        self._model = model
        self._lexicon = lexicon or Lexicon.of(model)
        self._shortlist_photos = shortlist_photos
        self._judged_pairs = judged_pairs
        self._lock = RLock()
        self._features: tuple[int, Features] | None = None  # of everything, as of a commit

    @classmethod
    def open(cls, location: "Location | None" = None, *, weights: Path | None = None, device: str = "auto") -> Self:
        """A Searcher of the collection in a folder or on a server, with the phrase side of the network; loads no torch.

        location: None for the default collection. weights: None for those that come with the program. device: where a
        language model runs that is asked to judge: "auto", "cpu" or "cuda".

        Raises:
            CollectionMissing, CollectionDamaged, SchemaTooNew: see `db.collection.open_collection`.
            CheckpointMismatch: other weights described the collection.
            CheckpointError: the weights cannot be used.
        """
        from db.collection import open_collection
        from db.location import default_collection
        from fcln.phrase_model import PhraseModel

        collection = open_collection(default_collection() if location is None else location)
        try:
            return cls(collection, PhraseModel.load(weights, device=device))
        except BaseException:
            collection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the collection, once a question that is being answered is."""
        with self._lock:
            self._collection.close()

    @_one_at_a_time
    def example(
        self,
        path: Path | None = None,
        *,
        photo_id: int | None = None,
        box: "Box | None" = None,
        describer: "BoxDescriber | None" = None,
    ) -> "Example":
        """A photograph for `like`: a file, or one of the collection by its id.

        box: x1 y1 x2 y2, pixels of the upright photograph, the part that is meant; None: all of it. describer: the
        network that looks at what the collection does not know (`fcln.predictor.Predictor`); None: that of the weights
        that come with the program, loaded when it is needed.

        Raises:
            ExampleError: there is no such photograph, it cannot be read, or the box is not in it.
            CheckpointMismatch: other weights described the collection.
        """

        def load() -> "BoxDescriber":
            if describer is not None:
                return describer
            from fcln.predictor import Predictor

            predictor = Predictor.load()
            require_same_checkpoint(self._collection, predictor)
            return predictor

        from search.example import find_example  # loads Pillow, which a question does not need

        return find_example(self._collection, load, path=path, photo_id=photo_id, box=box)

    @_one_at_a_time
    @in_one_thread
    def search(
        self,
        phrases: Sequence[str],
        *,
        k: int | None = None,
        least: float | None = None,
        scoring: str | None = None,
        exact: bool = False,
        excluded: Sequence[str] = (),
        where: Sequence[str] = (),
        as_typed: bool = False,
        fold_similar: bool = False,
        filters: Filters | None = None,
        sort: Sort = "score",
        explain: bool = False,
        limit: int | None = None,
    ) -> Answer:
        """The photographs that answer, best first; no hits in an empty collection.

        k: that many of the best, or all if there are fewer. None: the list stops where answers stop
        (`search.likely.ListEnd`), or, where it is not known how likely a photograph answers (scored otherwise than by
        the embedding, weights without a calibration), after DEFAULT_TOP. least: the least probability of any of them.
        phrases: one question, or several phrases as given. scoring: one of SCORINGS, None for the one that measured
        best when the weights were trained. exact: score every region of every photograph; else FAISS proposes
        photographs and, of those, the cosine proposes regions for the language model to judge. Up to
        SHORTLIST_PHOTOS hits (`judged_photos` of them where the language model judges) do not depend on k: a shorter
        answer is the start of a longer one. excluded: photographs in which a region surely answers one of these phrases
        fall away, as those do that show what the question negates. where: how things lie, each "dog left of child" or
        "dog in the foreground". as_typed: read no word as another one. Files of one content are one hit; fold_similar:
        photographs that look the same too. filters: only these photographs and regions may answer; they hold before
        anything is scored, so that a few photographs among many are found as surely. sort: the order of those k
        photographs; "date": newest first, undated ones last. explain: also the log-probability of each word where the
        language model judged. limit: only the first so many hits of a list that may be longer, as its `end` tells:
        where they answer is looked at hit by hit, which takes time.

        Raises QueryError for a question that cannot be asked, or a least probability where none is known.
        """
        if k is not None and k < 1:
            raise QueryError(f"The number of hits must be at least 1, not {k}.")
        scoring = self._checked(scoring)
        query = parse_query(phrases, self._lexicon, excluded=excluded, where=where, as_typed=as_typed)
        selection = None if filters is None else Selection.of(self._collection, filters)
        answer = Answer(query.given, scoring, [], query.unknown_words, query.substitutions, query.excluded)
        answer = replace(answer, selection=selection, sort=sort, reading=query)
        if not self._collection.region_count() or (selection and not selection.allowed):
            return answer
        vectors = self._model.encode_phrases(query.encoded)
        if exact:
            regions = self._score(query, self._cosines(vectors, None, selection), scoring)
        else:
            shortlist = self._shortlist(query, vectors, scoring, k or DEFAULT_TOP, selection)
            regions = self._score(query, shortlist, scoring, _judged_regions(query))
        weights = part_weights(query, self._model.scoring, vectors)
        ranked = self._ranked(query, regions, scoring, weights)
        likely, end = self._likely(query, vectors, scoring), None
        if likely is not None:
            best, end = _end(ranked, likely, query, k, least)
        elif least is not None:
            raise QueryError(
                "How likely a photograph answers is known of embedding scoring only, with weights that hold it "
                "(`python -m scripts.train.calibrate_answers WEIGHTS`): leave the least probability out."
            )
        count = (k or DEFAULT_TOP) if end is None else end.count
        count = count if limit is None else min(count, limit)
        groups, fallen = self._groups(query, ranked, count, fold_similar, selection) if count else ({}, [])
        shown = self._shown(regions, ranked, list(groups)) if groups else None
        answers = self._answers(query, shown, scoring, likely, explain=explain) if shown else []
        hits = _hits(groups, ranked.score_of, answers)
        if likely is not None:
            hits = with_probabilities(hits, likely, query)
        if end is not None and end.count and (k is None or least is not None):
            # Copies and what fell away made room for photographs beyond the end.
            hits = [hit for hit in hits if hit.score >= ranked.score_of(best[end.count - 1])]
        return replace(answer, hits=in_order(hits, sort), excluded=fallen, end=end)

    @_one_at_a_time
    @in_one_thread
    def like(
        self,
        example: "Example",
        phrases: Sequence[str] = (),
        *,
        k: int = 10,
        excluded: Sequence[str] = (),
        as_typed: bool = False,
        fold_similar: bool = False,
        filters: Filters | None = None,
        sort: Sort = "score",
    ) -> Answer:
        """The k photographs most like an example (`search.example.find_example`), which itself is not among them.

        A photograph's score is the mean over the example's regions of the cosine of its region that is most alike; with
        phrases, which are read as in `search`, the mean of that and of the phrases' own. The other arguments are those
        of `search`.

        Raises QueryError for a question that cannot be asked.
        """
        if k < 1:
            raise QueryError(f"The number of hits must be at least 1, not {k}.")
        query = self._beside_example(phrases, excluded, as_typed)
        selection = None if filters is None else Selection.of(self._collection, filters)
        asked = [f"like {example.path.name}", *query.given]
        answer = Answer(asked, "embedding", [], query.unknown_words, query.substitutions, query.excluded)
        answer = replace(answer, selection=selection, sort=sort, example=example)
        words = self._model.encode_phrases(query.encoded) if query.phrases else example.embeddings[:0]
        allowed = (None, None) if selection is None else (selection.photo_ids, selection.filters.area)
        count = max(self._shortlist_photos, k) * (EXCLUDING_FACTOR if query.excluded else 1)
        if not self._collection.region_count():
            return answer
        proposed = self._collection.candidates(
            balanced(example.embeddings, words), count + len(example.photo_ids), *allowed
        )
        photo_ids = proposed[~np.isin(proposed, list(example.photo_ids))]
        if not len(photo_ids):
            return answer
        regions = self._cosines(np.concatenate([example.embeddings, words]), photo_ids, selection)
        names = [*example.names, *query.phrases]
        ranking = rank_alike(regions, len(example.embeddings), names)
        groups, fallen = self._groups(query, ranking, k, fold_similar, selection)
        shown = [*range(len(example.names)), *(len(example.names) + column for column in query.grounded_phrases)]

        of_groups = _of_photos(regions, list(groups))
        answers = [
            ([photo.hit_region(row, scores[column, row], names[column]) for row, column in found], None)
            for photo, scores in described_photos(self._collection, of_groups)
            for found in [answering_regions(scores, photo.regions, shown, "embedding")]
        ]
        hits = _hits(groups, ranking.score_of, answers)
        return replace(answer, hits=in_order(hits, sort), excluded=fallen)

    def _beside_example(self, phrases: Sequence[str], excluded: Sequence[str], as_typed: bool) -> Query:
        """What is asked beside an example, which may be nothing, or only what is not wanted."""
        if phrases:
            return parse_query(phrases, self._lexicon, excluded=excluded, as_typed=as_typed)
        if not excluded:
            return Query([], [], [], [])
        unwanted = parse_query([], self._lexicon, excluded=excluded, as_typed=as_typed)
        return replace(unwanted, given=[], phrases=[], grounded_phrases=[])

    @_one_at_a_time
    def rank(self, phrases: Sequence[str], *, scoring: str | None = None, judged_regions: int | None = None) -> Ranking:
        """Every photograph of the collection, best first, every region of it scored.

        A question is ranked as by `search`, several phrases as in the paper: by the mean of their best regions.

        judged_regions: how many regions of each photograph and phrase the language model judges (the closest ones by
        cosine), None for all. Keeps the features of the whole collection in memory for the next call (about 2 KB a
        region). Raises QueryError for a question that cannot be asked.
        """
        scoring = self._checked(scoring)
        query = parse_query(phrases, self._lexicon)
        vectors = self._model.encode_phrases(query.encoded)
        features = self._everything()
        cosines = RegionScores(features.region_ids, features.photo_ids, vectors @ features.embeddings.T)

        def codes(region_ids: np.ndarray) -> np.ndarray:
            return features.codes[np.searchsorted(features.region_ids, region_ids)]

        scored = self._score(query, cosines, scoring, judged_regions, codes)
        if not (query.as_one or query.relations or query.counts):
            return rank_photographs(scored, query.phrases)
        ranked = self._ranked(query, scored, scoring, part_weights(query, self._model.scoring, vectors))
        photo_ids = ranked.first(len(scored.starts()))
        scores = np.fromiter(map(ranked.score_of, photo_ids), np.float64)
        return Ranking(query.phrases, np.array(photo_ids, np.int64), scores)

    @_one_at_a_time
    def ground(
        self, phrases: Sequence[str], photo_id: int, *, scoring: str | None = None, judged_regions: int | None = None
    ) -> list[RegionRow]:
        """The region of a photograph that answers each phrase of a query, those that `parse_query` adds included.

        Arguments as of `rank`. Raises QueryError for a question that cannot be asked, UnknownId for a photograph that
        is not in the collection.
        """
        scoring = self._checked(scoring)
        query = parse_query(phrases, self._lexicon)
        vectors = self._model.encode_phrases(query.encoded)
        scored = self._score(query, self._collection.cosines(vectors, [photo_id]), scoring, judged_regions)
        rows = self._collection.regions(scored.region_ids)
        return [rows[row] for row in ground(scored.scores, PhotoRegions.from_rows(rows), scoring)]

    def _checked(self, scoring: str | None) -> str:
        if scoring is None:
            return self._model.scoring.default
        if scoring not in SCORINGS:
            raise QueryError(f'There is no scoring "{scoring}": choose one of {", ".join(SCORINGS)}.')
        return scoring

    def _everything(self) -> Features:
        revision = self._collection.revision
        if self._features is None or self._features[0] != revision:
            self._features = revision, self._collection.features()
        return self._features[1]

    def _cosines(self, vectors: np.ndarray, photo_ids: np.ndarray | None, selection: Selection | None) -> RegionScores:
        """The cosines of the regions that may answer, of these photographs or of all that may."""
        if selection is None:
            return self._collection.cosines(vectors, photo_ids)
        return selection.cosines(self._collection, vectors, photo_ids)

    def _shortlist(
        self, query: Query, vectors: np.ndarray, scoring: str, k: int, selection: Selection | None
    ) -> RegionScores:
        """The cosines of the photographs worth scoring."""
        count = max(self._shortlist_photos, k) * (EXCLUDING_FACTOR if query.excluded else 1)
        allowed = (None, None) if selection is None else (selection.photo_ids, selection.filters.area)
        cosines = self._cosines(vectors, self._collection.candidates(vectors, count, *allowed), selection)
        if scoring == "embedding":
            return cosines
        closest = rank_photographs(cosines, query.phrases).photo_ids
        kept = closest[: judged_photos(len(query.phrases), k, self._judged_pairs)]
        return cosines.take(np.isin(cosines.photo_ids, kept))

    def _score(
        self,
        query: Query,
        cosines: RegionScores,
        scoring: str,
        judged_regions: int | None = None,
        codes: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> RegionScores:
        """Scores of the regions whose cosines these are. codes: of region ids; None for the collection's."""
        if scoring == "embedding":
            return cosines
        judged = None if judged_regions is None else closest_regions(cosines, judged_regions)
        scores = np.full(cosines.scores.shape, -np.inf, np.float32)
        rows = np.arange(len(cosines.region_ids)) if judged is None else np.flatnonzero(judged.any(axis=0))
        for some in np.split(rows, range(_REGIONS_AT_ONCE, len(rows), _REGIONS_AT_ONCE)):
            some_codes = (codes or self._collection.codes)(cosines.region_ids[some])
            some_judged = None if judged is None else judged[:, some]
            scores[:, some] = log_likelihoods(self._model, query.encoded, some_codes, some_judged)
        if scoring == "fused":
            tokens = [token_count(phrase) for phrase in query.encoded]
            scores = fuse(cosines.scores, scores, tokens, self._model.scoring.fused_weight)
        return replace(cosines, scores=scores)

    def _ranked(
        self, query: Query, regions: RegionScores, scoring: str, weights: PartWeights
    ) -> "Ranking | ComposedRanking":
        """The photographs of some scored regions, best first."""
        if not query.is_composed:
            return rank_photographs(regions, query.phrases)
        return ComposedRanking(self._collection, query, regions, scoring, weights)

    def _groups(
        self,
        query: Query,
        ranking: "Ranking | ComposedRanking",
        k: int,
        fold_similar: bool,
        selection: Selection | None,
    ) -> tuple[dict[int, Group], list[Excluded]]:
        """The first k photographs to show, by the id of the one ranked; and those that fell away before."""
        allowed = None if selection is None else selection.photo_ids
        looked_at = wanted_at_most = k
        judge = self._judge(query) if query.excluded else None
        while True:
            wanted, fallen = ranked, _ = ranking.first(looked_at), list[Excluded]()
            if judge is not None:
                wanted, fallen = keep_wanted(ranked, wanted_at_most, judge)
            groups = fold(self._collection, wanted, k, similar=fold_similar, allowed=allowed)
            if len(groups) == k or (len(ranked) < looked_at and len(wanted) < wanted_at_most):
                return {wanted[group.rank]: group for group in groups}, fallen
            # Some were copies, or fell away.
            looked_at *= 4
            if len(wanted) == wanted_at_most:
                wanted_at_most *= 4

    def _judge(self, query: Query) -> Callable[[Sequence[int]], list[Excluded | None]]:
        """Says of photographs why they fall away for what the query excludes; None for one that does not."""
        if self._model.scoring.calibration is None:
            raise QueryError(
                "These weights hold no confidence, so nothing can be excluded: "
                "`python -m scripts.train.choose_confidence WEIGHTS` fits one."
            )
        vectors = self._model.encode_phrases(query.encoded_excluded)
        offsets = unwanted_offsets(vectors, self._model.scoring)
        known: dict[int, Excluded | None] = {}

        def judge(photo_ids: Sequence[int]) -> list[Excluded | None]:
            unknown = [photo_id for photo_id in photo_ids if photo_id not in known]
            cosines = self._collection.cosines(vectors, sorted(unknown)) if unknown else None
            for photo, scores in described_photos(self._collection, worth_looking_at(cosines)) if cosines else ():
                region = evidence(photo, scores, query.excluded, offsets, self._model.scoring)
                assert photo.photo_id is not None
                known[photo.photo_id] = Excluded(photo.photo_id, photo.path, region) if region else None
            return [known[photo_id] for photo_id in photo_ids]

        return judge

    def _shown(self, regions: RegionScores, ranking: "Ranking | ComposedRanking", photo_ids: Sequence[int]) -> Shown:
        """The regions of the photographs ranked that are shown. Copies have the same ones, and so the same scores."""
        if isinstance(ranking, ComposedRanking):
            return Shown(*ranking.parts(photo_ids))
        of_photos = _of_photos(regions, photo_ids)
        return Shown(of_photos, PhotoRegions.from_boxes(self._collection.boxes(of_photos.region_ids)))

    def _likely(self, query: Query, vectors: np.ndarray, scoring: str) -> Likelihoods | None:
        """How likely photographs answer; None: that is not known."""
        if scoring != "embedding" or self._model.scoring.answers is None:
            return None
        return Likelihoods(self._model.scoring, query, vectors)

    def _answers(
        self, query: Query, shown: Shown, scoring: str, likely: Likelihoods | None, *, explain: bool
    ) -> list[tuple[list[HitRegion], Explanation]]:
        """The regions that show where each photograph answers, and why."""
        likelihoods = None if likely is None else likely.of_boxes
        answers = answers_of(query, shown, scoring, self._collection.regions, likelihoods)
        if explain and scoring != "embedding":
            return [(found, with_words(why, query, self._region_words)) for found, why in answers]
        return answers

    def _region_words(self, phrase: str, region_id: int) -> np.ndarray:
        """log p of each word of a phrase, END last, for a region."""
        return self._model.word_log_likelihoods(phrase, self._collection.codes(np.array([region_id]))[0])


def _end(
    ranked: "Ranking | ComposedRanking", likely: Likelihoods, query: Query, k: int | None, least: float | None
) -> tuple[list[int], ListEnd]:
    """The photographs looked at to find the end of a list, best first, and that end."""
    count = k + 1 if k is not None else COMPOSED_LOOKED_AT if query.is_composed else LOOKED_AT
    while True:
        best = ranked.first(count)
        end = likely.end(np.array([ranked.score_of(photo_id) for photo_id in best]), k=k, least=least)
        if k is not None or end.count < len(best) or len(best) < count or count >= LOOKED_AT:
            return best, end
        count *= 4


def _hits(
    groups: Mapping[int, Group],
    score_of: Callable[[int], float],
    answers: Sequence[tuple[list[HitRegion], Explanation | None]],
) -> list[Hit]:
    """The hits, best first. groups: by the id of the photograph ranked; score_of: of that id; answers: of each."""
    return [
        Hit.of(group, rank, score_of(photo_id), regions, explanation)
        for rank, ((photo_id, group), (regions, explanation)) in enumerate(zip(groups.items(), answers, strict=True), 1)
    ]


def _of_photos(regions: RegionScores, photo_ids: Sequence[int]) -> RegionScores:
    """The regions of some photographs, in the order asked."""
    return regions.take(np.concatenate([np.flatnonzero(regions.photo_ids == photo_id) for photo_id in photo_ids]))


def _judged_regions(query: Query) -> int:
    """Of each photograph, how many regions the language model judges for a phrase: of two dogs, more than two."""
    return max([JUDGED_REGIONS, *(count.number + 1 for count in query.counts.values())])
