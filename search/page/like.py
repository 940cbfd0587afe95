"""Photographs like a region, a photograph or a box of one: those whose regions have the closest embeddings."""

from typing import TYPE_CHECKING, Any

import numpy as np

from db.records import PhotoRow, RegionRow
from fcln.boxes import iou
from search.copies import fold
from search.page import documents
from search.page.outside import OutsidePhoto
from search.ranking import rank_photographs
from search.shortlist import SHORTLIST_PHOTOS

if TYPE_CHECKING:
    from db.collection import Collection

# Of a whole photograph so many regions ask, the surest first: each is a scan of all vectors.
ASKING_REGIONS = 6

Corners = tuple[float, float, float, float]


def like_region(collection: "Collection", region: RegionRow, k: int) -> dict[str, Any]:
    """The document of photographs with a region like one of the collection, that region's own first."""
    features = collection.features([region.photo_id])
    row = int(np.searchsorted(features.region_ids, region.region_id))
    about = {"photo_id": region.photo_id, "regions": [documents.region_document(region)]}
    return _like(collection, features.embeddings[[row]], [region.phrase], k, about)


def like_photo(collection: "Collection", photo: PhotoRow, box: Corners | None, k: int) -> dict[str, Any]:
    """As `like_region`, for the region of a photograph that overlaps a box most, or its surest regions."""
    features = collection.features([photo.photo_id])
    regions = collection.regions(features.region_ids)
    if box is None:
        chosen = sorted(range(len(regions)), key=lambda row: -regions[row].score)[:ASKING_REGIONS]
    else:
        overlaps = iou(np.array([box]), np.array([region.box for region in regions]))[0]
        chosen = [int(overlaps.argmax())]
    about = {
        "photo_id": photo.photo_id,
        "box": box and [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        "regions": [documents.region_document(regions[row]) for row in chosen],
    }
    return _like(collection, features.embeddings[chosen], [regions[row].phrase for row in chosen], k, about)


def like_outside(collection: "Collection", outside: OutsidePhoto, k: int) -> dict[str, Any]:
    """As `like_photo`, for a photograph that is in no collection."""
    chosen = np.argsort(-outside.photo.regions.objectness, kind="stable")[:ASKING_REGIONS].tolist()
    phrases = [outside.photo.phrases[row] for row in chosen]
    about = {"photo_id": None, "regions": [{"phrase": phrase} for phrase in phrases]}
    return _like(collection, outside.embeddings[chosen], phrases, k, about)


def _like(
    collection: "Collection", vectors: np.ndarray, phrases: list[str], k: int, about: dict[str, Any]
) -> dict[str, Any]:
    """vectors: (Q, E) unit length. Shown of each photograph: its region closest to each vector."""
    document: dict[str, Any] = {"like": about, "scoring": "embedding", "hits": [], "revision": collection.revision}
    if not collection.region_count():
        return document
    photo_ids = collection.candidates(vectors, max(SHORTLIST_PHOTOS, k))
    scores = collection.cosines(vectors, photo_ids)
    ranking = rank_photographs(scores, phrases)
    ranked = ranking.photo_ids.tolist()
    groups = fold(collection, ranked, k)
    for rank, group in enumerate(groups, 1):
        of_photo = scores.of(ranked[group.rank])
        best = of_photo.scores.argmax(axis=1)
        closest = dict(zip(of_photo.region_ids[best].tolist(), of_photo.scores.max(axis=1).tolist()))
        rows = collection.regions(list(closest))
        document["hits"].append(
            {
                **documents.summary(group.photo),
                "rank": rank,
                "score": round(float(ranking.scores[group.rank]), 6),
                "copies": [str(path) for path in group.copies],
                "similar": [],
                "regions": [
                    {**documents.region_document(row), "score": round(closest[row.region_id], 6), "for": row.phrase}
                    for row in rows
                ],
            }
        )
    return document
