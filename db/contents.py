"""The photograph that a file is, by its content."""

from collections.abc import Container
from pathlib import Path

from db.collection import Collection
from db.records import PhotoRow


def photo_of_content(collection: Collection, digest: str, places: Container[Path]) -> PhotoRow | None:
    """The described photo with this content; of several the one at one of these places, else the first one added.

    To each of them other boxes may have been given. digest: sha256 of the file. None: no photo has this content.
    """
    photo_id = collection.find_digest(digest)
    if photo_id is None:
        return None
    photos = collection.contents([photo_id])[photo_id]
    return next((photo for photo in photos if photo.path in places), photos[0])
