"""`Readers`: the collection, open for reading as often as it is needed, each time at its last commit."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from db.collection import open_collection
from db.errors import DbError, UnknownId
from db.location import is_server
from fcln.phrase_model import PhraseModel
from search.searcher import Searcher
from search.wording.lexicon import Lexicon

if TYPE_CHECKING:
    from db.collection import Collection
    from db.location import Location

# What a commit changes is read again with the next question. Of a large collection that takes seconds, and a build
# commits every five: no more of the time than this goes into it, unless it is too short to notice.
_SHARE_OF_READING = 0.1
_UNNOTICED_SECONDS = 0.5


class Readers:
    """For any number of threads, each of which has what it takes from here for itself.

    The collection need not exist yet, and may be replaced: it is opened when it is asked for.
    """

    def __init__(self, location: "Location", load_model: Callable[[], PhraseModel]):
        """load_model: called once, by the first who needs it."""
        self.location = location
        self._load_model = load_model
        self._lock = threading.Lock()
        self._model_lock = threading.Lock()
        self._search_lock = threading.Lock()
        self._idle: list[_Opened] = []
        self._model: tuple[PhraseModel, Lexicon] | None = None
        self._searching: tuple[_Opened, Searcher] | None = None
        self._read_at = self._reading_took = 0.0

    def close(self) -> None:
        """Close what is not in use now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for opened in idle:
            opened.collection.close()
        with self._search_lock:
            self._close_searching()

    @property
    def model(self) -> PhraseModel:
        return self._loaded()[0]

    @property
    def lexicon(self) -> Lexicon:
        return self._loaded()[1]

    @contextmanager
    def reading(self) -> Iterator["Collection"]:
        """A collection at the last commit, to look up photographs and regions: never waits for a search.

        Raises DbError if there is none, or it cannot be read.
        """
        with self._lock:
            opened = self._idle.pop() if self._idle else None
        if opened is not None and opened.is_replaced():
            opened.collection.close()
            opened = None
        if opened is None:
            opened = _Opened(self.location)
        usable = True
        try:
            opened.collection.refresh()
            yield opened.collection
        except DbError as error:
            usable = isinstance(error, UnknownId)
            raise
        finally:
            if usable:
                with self._lock:
                    self._idle.append(opened)
            else:
                opened.collection.close()

    @contextmanager
    def searching(self) -> Iterator[tuple["Collection", Searcher]]:
        """The collection to search, one search at a time: its vectors are in memory once.

        Raises DbError as `reading`; CheckpointMismatch if other weights than the model's described it.
        """
        model, lexicon = self._loaded()
        with self._search_lock:
            if self._searching is not None and self._searching[0].is_replaced():
                self._close_searching()
            try:
                if self._searching is None:
                    opened = _Opened(self.location)
                    self._searching = opened, Searcher(opened.collection, model, lexicon=lexicon)
                    self._read(opened.collection)
                opened, searcher = self._searching
                waited = time.monotonic() - self._read_at >= self._reading_took / _SHARE_OF_READING
                if waited or self._reading_took < _UNNOTICED_SECONDS:
                    before = opened.collection.revision
                    opened.collection.refresh()
                    if opened.collection.revision != before:
                        self._read(opened.collection)
                yield opened.collection, searcher
            except UnknownId:
                raise
            except DbError:
                self._close_searching()
                raise

    def _read(self, collection: "Collection") -> None:
        """Have the vectors read, and note what it took."""
        started = time.monotonic()
        if collection.region_count():
            vector = collection.features(collection.photo_ids()[:1]).embeddings[:1]
            collection.candidates(vector, 1)
        self._read_at = time.monotonic()
        self._reading_took = self._read_at - started

    def _loaded(self) -> tuple[PhraseModel, Lexicon]:
        with self._model_lock:
            if self._model is None:
                model = self._load_model()
                self._model = model, Lexicon.of(model)
            return self._model

    def _close_searching(self) -> None:
        if self._searching is not None:
            self._searching[0].collection.close()
        self._searching = None


class _Opened:
    """An open collection, and which folder it was opened in."""

    def __init__(self, location: "Location"):
        self._location = location
        self._folder = _folder(location)
        self.collection = open_collection(location)

    def is_replaced(self) -> bool:
        """Whether the folder is gone, or another one has taken its place."""
        return _folder(self._location) != self._folder


def _folder(location: "Location") -> tuple[int, int] | None:
    """What tells a folder from another of the same name; None: there is none, or it is a server."""
    if is_server(location):
        return None
    try:
        state = os.stat(location)
    except OSError:
        return None
    return state.st_dev, state.st_ino
