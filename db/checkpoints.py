"""Whether a collection is of the checkpoint that somebody comes with, whatever the back end."""

from db.errors import CheckpointMismatch
from db.location import Location, option
from db.records import ModelIdentity


def require_checkpoint(stored: ModelIdentity, wanted: ModelIdentity | None, location: Location) -> None:
    """Refuse a collection of another checkpoint. wanted: None: whichever it is of.

    Raises:
        CheckpointMismatch: names both, and the way out.
    """
    if wanted is not None and wanted != stored:
        raise CheckpointMismatch(
            f"The collection {location} was described by the checkpoint {stored.digest[:12]}, not by "
            f"{wanted.digest[:12]}: use that one, or move the collection over with "
            f"`indexer build --redescribe{option(location)}`."
        )


def require_unmoved(stored: ModelIdentity, opened: ModelIdentity, location: Location) -> None:
    """Refuse a collection that was moved over to another checkpoint since it was opened.

    Raises:
        CheckpointMismatch: names both.
    """
    if stored != opened:
        raise CheckpointMismatch(
            f"The collection {location} has moved from the checkpoint {opened.digest[:12]} to "
            f"{stored.digest[:12]}: open it again with that one."
        )
