"""Where the roots of a collection are on this computer: other computers may have mounted them elsewhere."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from db import queries, writes
from db.errors import CollectionError


class RootPlaces:
    """Roots by the names that the user gave them here."""

    def __init__(self, here: Mapping[str, Path]):
        """here: a root's name (the last part of its path) or whole path -> its folder on this computer."""
        self._here = dict(here)

    def of(self, session: Session) -> dict[int, Path]:
        """Root id -> its folder here, in the order they were added.

        Raises:
            CollectionError: a name is that of several roots.
        """
        roots = queries.roots(session)
        for name, folder in self._here.items():
            if (root_id := self._find(roots, name)) is not None:
                roots[root_id] = folder
        return roots

    def add(self, session: Session, folder: Path) -> int:
        """The id of the root that is this folder here; a new one is remembered by the name that it was given here."""
        for root_id, place in self.of(session).items():
            if place == folder:
                return root_id
        names = [name for name, place in self._here.items() if place == folder]
        return writes.add_root(session, Path(names[0]) if names else folder)

    @staticmethod
    def _find(roots: Mapping[int, Path], name: str) -> int | None:
        found = [root_id for root_id, root in roots.items() if str(root) == name]
        found = found or [root_id for root_id, root in roots.items() if root.name == name]
        if len(found) > 1:
            both = ", ".join(str(roots[root_id]) for root_id in found)
            raise CollectionError(f"Several folders of photographs are called {name} ({both}): name one by its path.")
        return found[0] if found else None
