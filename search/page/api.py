"""The HTTP API: everything that the page can do, for programs.

`/api/v1/...`, and the same under `/api/...`, which is always the newest version. An error is {"error": SENTENCE}.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, quote

import anyio
import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParameter
from starlette.responses import FileResponse, Response, StreamingResponse

from db.errors import CollectionMissing
from db.records import Orientation, PhotoRow
from decoding.signatures import HEAD, photo_format
from search import output
from search.detector import COLLECTION_THRESHOLD, FILES_PRIOR, FILES_THRESHOLD, Detector
from search.example import Example
from search.filters import Filters
from search.hits import Sort
from search.page import documents, downloads, like
from search.page.documents import JsonResponse
from search.page.errors import RequestError
from search.page.outside import UPLOAD_BYTES, Outside, OutsidePhoto
from search.page.phrases import Phrases
from search.page.readers import Readers
from search.page.thumbnails import SIDES, Thumbnails
from search.wording.parse import parse_query

Result = TypeVar("Result")
Corners = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the upright photograph

MAX_HITS = 10_000
MAX_TAKEN = 10_000  # photographs in one archive or export
MAX_FORM_BYTES = 4_000_000
MAX_WAITING_UPLOADS = 4  # each of them is in memory

# No phrase is longer: 50 words of 10 letters (`search.wording` has a word about fewer).
Phrase = Annotated[str, Query(max_length=500)]
Box = Annotated[str | None, Query(max_length=100, description="x,y,width,height: only what is in there.")]
Id = Annotated[int, PathParameter(ge=0, lt=2**63)]  # what a database can hold
AsTyped = Annotated[bool, Query(description="Read every word as it is typed.")]
FoldSimilar = Annotated[bool, Query(description="Photographs that look the same are one hit.")]
Where = Annotated[
    list[Phrase] | None,
    Query(max_length=32, description="How things lie: `dog left of child`, `dog in the middle`."),
]
GivenSort = Annotated[Sort, Query(description="The order of those k photographs.")]
Area = Annotated[float | None, Query(ge=0, le=1, description="Of the regions that answer: share of the photograph.")]
Count = Annotated[int, Query(ge=1, le=MAX_HITS, description="How many photographs to find.")]

# What browsers show; the others are downloaded.
_SHOWN = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WebP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}


def given_filters(
    under: Annotated[list[str] | None, Query(description="Only photographs in this folder, or below.")] = None,
    after: Annotated[str | None, Query(description="Taken then or later: 2023, 2023-05, 2023-05-01.")] = None,
    before: Annotated[str | None, Query(description="Taken before that begins.")] = None,
    orientation: Annotated[Orientation | None, Query(description="Of the photograph.")] = None,
    camera: Annotated[list[str] | None, Query(description="Words of make and model: canon 5d.")] = None,
    format: Annotated[list[str] | None, Query(description="By file name: jpeg, heic, raw, png, ...")] = None,
    near: Annotated[str | None, Query(description="Degrees north, degrees east, kilometres: 52.52,13.40,10.")] = None,
    min_area: Area = None,
    max_area: Area = None,
) -> Filters | None:
    """The conditions of a request; None: none are given.

    Raises FilterError for those that cannot be meant.
    """
    if not all(folder and "\0" not in folder for folder in under or ()):
        raise RequestError(400, "under is the path of a folder: under=/photos/2024.")
    if near is None:
        circle = None
    else:
        try:
            latitude, longitude, km = map(float, near.split(","))
        except ValueError as error:
            raise RequestError(
                400, "near is degrees north, degrees east and kilometres: near=52.52,13.40,10."
            ) from error
        circle = latitude, longitude, km
    filters = Filters(
        under=tuple(map(Path, under or ())),
        after=after,
        before=before,
        orientation=orientation,
        min_area=min_area,
        max_area=max_area,
        cameras=tuple(camera or ()),
        formats=tuple(format or ()),
        near=circle,
    )
    return filters if filters.as_dict() else None


GivenFilters = Annotated[Filters | None, Depends(given_filters)]


@dataclass(frozen=True)
class BesideExample:
    """What is asked beside an example."""

    phrases: Sequence[str]
    without: Sequence[str]
    k: int
    as_typed: bool
    fold_similar: bool
    sort: Sort
    filters: Filters | None


def beside_example(
    q: Annotated[list[Phrase] | None, Query(max_length=32, description="What should be there too.")] = None,
    without: Annotated[
        list[Phrase] | None, Query(alias="not", max_length=32, description="Leave out photographs that show this.")
    ] = None,
    k: Count = 10,
    as_typed: AsTyped = False,
    fold_similar: FoldSimilar = False,
    sort: GivenSort = "score",
    filters: GivenFilters = None,
) -> BesideExample:
    """The parameters that all questions by example have."""
    return BesideExample(q or (), without or (), k, as_typed, fold_similar, sort, filters)


Beside = Annotated[BesideExample, Depends(beside_example)]


class Api:
    """The routes and what they need. One for a server."""

    def __init__(self, readers: Readers, thumbnails: Thumbnails, outside: Outside):
        self.readers = readers
        self.thumbnails = thumbnails
        self.outside = outside
        self.phrases = Phrases(readers)
        # Threads: however many questions come at once, thumbnails and photographs are served meanwhile.
        self._searches = anyio.CapacityLimiter(1)
        self._lookups = anyio.CapacityLimiter(8)
        self._decoding = anyio.CapacityLimiter(8)
        self._uploads = anyio.CapacityLimiter(1)
        self._waiting_uploads = 0

    def close(self) -> None:
        self.thumbnails.close()
        self.outside.close()
        self.readers.close()

    # -- asking

    async def search(
        self,
        q: Annotated[
            list[Phrase],
            Query(max_length=32, description="A question, such as `dog on couch`; several: all must be there."),
        ],
        where: Where = None,
        k: Annotated[
            int | None,
            Query(ge=1, le=MAX_HITS, description="So many photographs; else the list stops where answers stop."),
        ] = None,
        limit: Annotated[
            int | None, Query(ge=1, le=MAX_HITS, description="Only the first so many of them; `count` says how many.")
        ] = None,
        min_score: Annotated[
            float | None, Query(ge=0, le=1, description="The least probability that a photograph answers.")
        ] = None,
        without: Annotated[
            list[Phrase] | None, Query(alias="not", max_length=32, description="Leave out photographs that show this.")
        ] = None,
        as_typed: AsTyped = False,
        fold_similar: FoldSimilar = False,
        sort: GivenSort = "score",
        explain: Annotated[bool, Query(description="Tell of each hit what its score is made of.")] = False,
        filters: GivenFilters = None,
    ) -> Response:
        """Photographs that answer a question, best first, and the regions that answer.

        The document of `search query --json`; each hit also has `photo_id`, `version`, `taken` and `camera`.
        """

        def ask() -> dict[str, Any]:
            with self.readers.searching() as (collection, searcher):
                answer = searcher.search(
                    q,
                    k=k,
                    least=min_score,
                    scoring="embedding",
                    excluded=without or (),
                    where=where or (),
                    as_typed=as_typed,
                    fold_similar=fold_similar,
                    filters=filters,
                    sort=sort,
                    limit=limit,
                )
                document = documents.answer_document(answer, output.as_json(answer, explain=explain), collection)
                document["revision"] = collection.revision
                document["count"] = len(answer.hits) if answer.end is None else answer.end.count
            assert answer.reading is not None
            return {**document, "reading": documents.reading_document(answer.reading)}

        return await self._searched(ask)

    async def like_region(self, region_id: Id, asked: Beside) -> Response:
        """Photographs with a region like this one, best first; the photograph that it is of is not among them."""

        def find() -> tuple[Example, int]:
            with self.readers.reading() as collection:
                (row,) = collection.regions([region_id])
                return like.region_example(collection, region_id), row.photo_id

        return await self._like(*await self._looked_up(find), asked)

    async def like_photo(self, photo_id: Id, asked: Beside, box: Box = None) -> Response:
        """Photographs like this one, or with a region like what is in a box of it, best first."""
        corners = None if box is None else _corners(box)

        def find() -> Example:
            with self.readers.reading() as collection:
                (photo,) = collection.photos([photo_id])
                return like.photo_example(collection, photo, corners, self.outside, self.readers.model.digest)

        return await self._like(await self._looked_up(find), photo_id, asked)

    async def like_upload(self, request: Request, asked: Beside, box: Box = None) -> Response:
        """Photographs like the one that is sent (the file's bytes are the body), which is not kept."""
        corners = None if box is None else _corners(box)
        outside = await self._describe_upload(request, corners)
        return await self._like(like.outside_example(outside), None, asked)

    async def _like(self, example: Example, photo_id: int | None, asked: "BesideExample") -> Response:
        """photo_id: of the example; None: it is in no collection."""

        def ask() -> dict[str, Any]:
            with self.readers.searching() as (collection, searcher):
                answer = searcher.like(
                    example,
                    asked.phrases,
                    k=asked.k,
                    excluded=asked.without,
                    as_typed=asked.as_typed,
                    fold_similar=asked.fold_similar,
                    filters=asked.filters,
                    sort=asked.sort,
                )
                document = documents.answer_document(answer, output.as_json(answer), collection)
                document["revision"] = collection.revision
            document["like"]["photo_id"] = photo_id
            if photo_id is None:
                document["query"] = document["query"][1:]
                del document["like"]["path"]
            return document

        return await self._searched(ask)

    async def detect(
        self,
        q: Annotated[list[Phrase], Query(max_length=32, description="What to look for.")],
        k: Count = 10,
        threshold: Annotated[float, Query(ge=0, le=1, description="The least confidence of a box.")] = (
            COLLECTION_THRESHOLD
        ),
        prior: Annotated[float | None, Query(gt=0, lt=1, description="Share of photographs that show it.")] = None,
        as_typed: AsTyped = False,
        filters: GivenFilters = None,
    ) -> Response:
        """Where in the photographs of the collection is what the phrases name: as `search detect --json`."""

        def ask() -> dict[str, Any]:
            with self.readers.searching() as (collection, _):
                detector = Detector(self.readers.model, lexicon=self.readers.lexicon)
                answer = detector.detect_in_collection(
                    q, collection, k=k, threshold=threshold, prior=prior, as_typed=as_typed, filters=filters
                )
                return documents.answer_document(answer, output.detections_as_json(answer), collection)

        return await self._searched(ask)

    async def detect_upload(
        self,
        request: Request,
        q: Annotated[list[Phrase], Query(max_length=32, description="What to look for.")],
        threshold: Annotated[float, Query(ge=0, le=1, description="The least confidence of a box.")] = FILES_THRESHOLD,
        prior: Annotated[float, Query(gt=0, lt=1, description="How likely it shows it.")] = FILES_PRIOR,
        as_typed: AsTyped = False,
    ) -> Response:
        """Where in the photograph that is sent (the file's bytes are the body) is what the phrases name.

        The photograph is not kept.
        """
        # Refused before the photograph is looked at.
        await self._looked_up(lambda: parse_query(q, self.readers.lexicon, as_typed=as_typed, taken_apart=False))
        outside = await self._describe_upload(request, None)

        def look() -> dict[str, Any]:
            detector = Detector(self.readers.model, lexicon=self.readers.lexicon)
            answer = detector.detect_described(
                q, outside.photo, outside.embeddings, threshold=threshold, prior=prior, as_typed=as_typed
            )
            return documents.upload_document(answer, output.detections_as_json(answer), outside.photo)

        return JsonResponse(await self._looked_up(look))

    async def read(
        self,
        q: Annotated[list[Phrase], Query(max_length=32)],
        where: Where = None,
        without: Annotated[list[Phrase] | None, Query(alias="not", max_length=32)] = None,
        as_typed: bool = False,
    ) -> Response:
        """How a question is read: its things, what it does not want, words read as others."""
        query = await self._looked_up(
            lambda: parse_query(q, self.readers.lexicon, excluded=without or (), where=where or (), as_typed=as_typed)
        )
        return JsonResponse(documents.reading_document(query))

    async def suggest(self, q: Phrase = "", limit: Annotated[int, Query(ge=1, le=50)] = 8) -> Response:
        """Phrases of the collection that go on with what was typed, frequent ones first."""

        def look_up() -> list[dict[str, Any]]:
            with self.readers.reading() as collection:
                revision = collection.revision
            found = self.phrases.suggest(q, revision, limit=limit)
            return [{"phrase": phrase, "photographs": count} for phrase, count in found]

        return JsonResponse(await self._looked_up(look_up))

    # -- the collection

    async def collection(self) -> Response:
        """What the collection holds: counts, folders, the last build. Also of one that is not there yet."""

        def look_up() -> dict[str, Any]:
            try:
                with self.readers.reading() as collection:
                    return documents.collection_document(collection)
            except CollectionMissing as error:
                return documents.missing_document(self.readers.location, str(error))

        return JsonResponse(await self._looked_up(look_up))

    async def words(self, limit: Annotated[int, Query(ge=1, le=20_000)] = 500) -> Response:
        """What the network wrote about regions, by the thing that it names, frequent ones first.

        `counted`: false while the first count is being made: ask again.
        """

        def look_up() -> dict[str, Any]:
            with self.readers.reading() as collection:
                counted = self.phrases.counted(collection.revision)
            nouns = [
                {"noun": noun.noun, "photographs": noun.photos, "phrases": _first(noun.phrases, 100)}
                for noun in counted.nouns[:limit]
            ]
            return {"counted": counted.revision >= 0, "revision": counted.revision, "nouns": nouns}

        return JsonResponse(await self._looked_up(look_up))

    async def errors(self) -> Response:
        """The files that could not be described, or only in part, and why."""

        def look_up() -> list[dict[str, Any]]:
            with self.readers.reading() as collection:
                return documents.failures(collection)

        return JsonResponse(await self._looked_up(look_up))

    async def duplicates(self) -> Response:
        """Photographs that are there more than once: groups of files of one content."""

        def look_up() -> list[list[dict[str, Any]]]:
            with self.readers.reading() as collection:
                groups = collection.repeated()
                rows = {row.photo_id: row for row in collection.photos([i for group in groups for i in group])}
            return [[documents.summary(rows[photo_id]) for photo_id in group] for group in groups]

        return JsonResponse(await self._looked_up(look_up))

    async def photos(
        self,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(description="Only those added before this photograph.")] = None,
    ) -> Response:
        """The photographs, those added last first; go on with `before` = the last one's id."""

        def look_up() -> dict[str, Any]:
            try:
                return look()
            except CollectionMissing:
                return {"revision": -1, "photographs": 0, "photos": []}

        def look() -> dict[str, Any]:
            with self.readers.reading() as collection:
                photo_ids = collection.photo_ids()
                end = len(photo_ids) if before is None else int(np.searchsorted(photo_ids, before))
                page = photo_ids[max(end - limit, 0) : end][::-1]
                rows = collection.photos(page)
                return {
                    "revision": collection.revision,
                    "photographs": len(photo_ids),
                    "photos": [documents.summary(row) for row in rows],
                }

        return JsonResponse(await self._looked_up(look_up))

    # -- photographs

    async def photo(self, photo_id: Id) -> Response:
        """All that there is to say of a photograph: where it lies, its headers, its regions."""

        def look_up() -> dict[str, Any]:
            with self.readers.reading() as collection:
                (row,) = collection.photos([photo_id])
                regions = collection.regions_of([photo_id])[0]
                copy_ids = [i for i in collection.copies([photo_id])[photo_id] if i != photo_id]
                return documents.photo_document(row, regions, collection.photos(copy_ids))

        return JsonResponse(await self._looked_up(look_up))

    async def thumbnail(
        self, request: Request, photo_id: Id, side: int, v: Annotated[str | None, Query(max_length=64)] = None
    ) -> Response:
        """A photograph, upright, as a JPEG without metadata; its longest side is at most 256, 512, 1024, ... pixels.

        With `v`, the photograph's `version`, a browser may keep it for good.
        """
        if side not in SIDES:
            raise RequestError(404, f"There are thumbnails of {', '.join(map(str, SIDES))} pixels, not of {side}.")
        row = await self._row(photo_id)
        tag = f'"{row.digest[:32]}-{side}"'
        lasts = "private, max-age=31536000, immutable" if v == row.digest[:12] else "private, no-cache"
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag, "cache-control": lasts})
        made = await anyio.to_thread.run_sync(lambda: self.thumbnails.get(row, side), limiter=self._decoding)
        headers = {"etag": tag, "cache-control": lasts} if made.is_described else {"cache-control": "no-store"}
        return Response(made.jpeg, media_type="image/jpeg", headers=headers)

    async def original(
        self, photo_id: Id, download: Annotated[bool, Query(description="As a file to save.")] = False
    ) -> Response:
        """The file of a photograph, as it lies on the disk."""
        row = await self._row(photo_id)
        kind = await self._looked_up(lambda: _photo_kind(row))
        shown = _SHOWN.get(kind)
        place = "attachment" if download or shown is None else "inline"
        name = quote(os.fsencode(row.path.name))
        headers = {"content-disposition": f"{place}; filename*=UTF-8''{name}", "cache-control": "private, no-cache"}
        return FileResponse(row.path, media_type=shown or "application/octet-stream", headers=headers)

    async def _row(self, photo_id: Id) -> PhotoRow:
        def look_up() -> PhotoRow:
            with self.readers.reading() as collection:
                return collection.photos([photo_id])[0]

        return await self._looked_up(look_up)

    # -- taking away

    async def zip(self, request: Request) -> Response:
        """Photographs as a ZIP archive. The body is a form: `photo`, once for each id."""
        photo_ids = [_number(value) for name, value in await _form(request) if name == "photo"]

        def look_up() -> list[PhotoRow]:
            with self.readers.reading() as collection:
                return collection.photos(_some(photo_ids))

        rows = await self._looked_up(look_up)
        headers = {"content-disposition": 'attachment; filename="photographs.zip"', "cache-control": "no-store"}
        return StreamingResponse(downloads.zip_archive(rows), media_type="application/zip", headers=headers)

    async def export(
        self,
        request: Request,
        form: Annotated[Literal["coco", "csv", "paths"], Query(description="The format.")] = "coco",
    ) -> Response:
        """Photographs and regions as COCO, CSV or paths.

        The body is a form: `photo`, once for each id; `region`, once for each region that answers, as
        `ID SCORE PHRASE`. Of a photograph without such regions all are taken.
        """
        fields = await _form(request)
        photo_ids = [_number(value) for name, value in fields if name == "photo"]
        answers = [value.split(" ", 2) for name, value in fields if name == "region"]
        if any(len(answer) != 3 for answer in answers):
            raise RequestError(400, "A region is given as its id, its score and its phrase.")
        asked = [(_number(region_id), _share(score), phrase[:500]) for region_id, score, phrase in answers]

        def look_up() -> bytes:
            with self.readers.reading() as collection:
                rows = collection.photos(_some(photo_ids))
                found: dict[int, list[downloads.TakenRegion]] = {}
                answering = collection.regions([region_id for region_id, _, _ in asked])
                for row, (_, score, phrase) in zip(answering, asked):
                    found.setdefault(row.photo_id, []).append(downloads.TakenRegion(row, score, phrase))
                rest = sorted({row.photo_id for row in rows} - set(found))
                for region in collection.regions(collection.features(rest).region_ids) if rest else ():
                    score = round(region.score, 6)
                    found.setdefault(region.photo_id, []).append(downloads.TakenRegion(region, score))
            taken = [downloads.TakenPhoto(row, found[row.photo_id]) for row in rows]
            write = {"coco": downloads.as_coco, "csv": downloads.as_csv, "paths": downloads.as_paths}[form]
            return write(taken)

        name = {"coco": "photographs.coco.json", "csv": "regions.csv", "paths": "photographs.txt"}[form]
        kind = {"coco": "application/json", "csv": "text/csv", "paths": "text/plain"}[form]
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return Response(await self._looked_up(look_up), media_type=kind, headers=headers)

    # -- threads

    async def _searched(self, ask: Callable[[], Any]) -> Response:
        """A document, and in `Server-Timing` the milliseconds that it took once it was its turn."""

        def timed() -> Response:
            started = time.perf_counter()
            response = JsonResponse(ask())
            response.headers["server-timing"] = f"answer;dur={1000 * (time.perf_counter() - started):.1f}"
            return response

        return await anyio.to_thread.run_sync(timed, limiter=self._searches)

    async def _looked_up(self, look_up: Callable[[], Result]) -> Result:
        return await anyio.to_thread.run_sync(look_up, limiter=self._lookups)

    async def _describe_upload(self, request: Request, box: Corners | None) -> OutsidePhoto:
        if self._waiting_uploads >= MAX_WAITING_UPLOADS:
            raise RequestError(503, "Many photographs are waiting to be looked at already: try again in a moment.")
        self._waiting_uploads += 1
        try:
            content = await _body(request, UPLOAD_BYTES)
            if not content:
                raise RequestError(400, "Send the photograph as the body: `curl --data-binary @photo.jpg ADDRESS`.")

            def describe() -> OutsidePhoto:
                return self.outside.describe(content, digest=self.readers.model.digest, box=box)

            return await anyio.to_thread.run_sync(describe, limiter=self._uploads)
        finally:
            self._waiting_uploads -= 1


def make_router(api: Api) -> APIRouter:
    """The routes below /api."""
    router = APIRouter(default_response_class=JsonResponse)

    def add(path: str, endpoint: Callable[..., Any], method: str = "GET") -> None:
        router.add_api_route(path, endpoint, methods=[method], response_model=None)

    add("/search", api.search)
    add("/read", api.read)
    add("/suggest", api.suggest)
    add("/detect", api.detect)
    add("/detect", api.detect_upload, "POST")
    add("/like", api.like_upload, "POST")
    add("/regions/{region_id}/like", api.like_region)
    add("/photos/{photo_id}/like", api.like_photo)
    add("/photos", api.photos)
    add("/photos/zip", api.zip, "POST")
    add("/photos/export", api.export, "POST")
    add("/photos/{photo_id}", api.photo)
    add("/photos/{photo_id}/thumbnail/{side}", api.thumbnail)
    add("/photos/{photo_id}/original", api.original)
    add("/collection", api.collection)
    add("/collection/words", api.words)
    add("/collection/errors", api.errors)
    add("/collection/duplicates", api.duplicates)
    return router


def _photo_kind(row: PhotoRow) -> str:
    """The format of a file by its first bytes: whatever has taken the photograph's place is not given out."""
    try:
        if not row.path.is_file():  # a pipe would never end
            raise FileNotFoundError
        with open(row.path, "rb") as file:
            kind = photo_format(file.read(HEAD))
    except FileNotFoundError as error:
        raise RequestError(410, "The file is not there any more: `indexer build` looks again.") from error
    except OSError as error:
        raise RequestError(410, f"The file cannot be read: {error.strerror or error}.") from error
    if kind is None:
        raise RequestError(410, "The file is no photograph any more: `indexer build` looks again.")
    return kind if isinstance(kind, str) else kind.kind


def _corners(box: str) -> Corners:
    """x1, y1, x2, y2 of "x,y,width,height"."""
    try:
        x, y, width, height = (float(number) for number in box.split(","))
    except ValueError:
        x = y = width = height = math.nan
    if not all(map(math.isfinite, (x, y, width, height))) or width < 1 or height < 1:
        raise RequestError(400, "A box is x,y,width,height in pixels, such as box=10,20,200,100.")
    return x, y, x + width, y + height


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RequestError(400, f"An id is a number, not {text[:20]!r}.")
    return int(text)


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(400, f"A score is a number, not {text[:20]!r}.")
    return number


def _some(photo_ids: list[int]) -> list[int]:
    photo_ids = list(dict.fromkeys(photo_ids))
    if not photo_ids:
        raise RequestError(400, "Name the photographs: photo=ID, once for each.")
    if len(photo_ids) > MAX_TAKEN:
        raise RequestError(413, f"These are {len(photo_ids):,} photographs, and at most {MAX_TAKEN:,} go at once.")
    return photo_ids


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request. More than `limit` bytes are not read."""
    too_long = RequestError(413, f"That is too much: at most {limit // 1_000_000} MB.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_long
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_long
        parts.append(part)
    return b"".join(parts)


async def _form(request: Request) -> list[tuple[str, str]]:
    """The fields of an HTML form."""
    text = (await _body(request, MAX_FORM_BYTES)).decode("utf-8", "replace")
    return parse_qsl(text, keep_blank_values=True)


def _first(values: dict[str, int], count: int) -> list[dict[str, Any]]:
    return [{"phrase": phrase, "photographs": number} for phrase, number in islice(values.items(), count)]
