"""Errors of the page, each one sentence.

The tree::

    PageError (a SearchError)
    ├── ServeError     the server cannot start: a port that is taken, an address without a token
    ├── RequestError   a request that cannot be answered as it stands; has an HTTP status
    └── WorkerError    a helper process that died, or took too long
"""

from search.errors import SearchError


class PageError(SearchError):
    """Base of what this folder raises."""


class ServeError(PageError):
    """The server cannot start."""


class RequestError(PageError):
    """A request that cannot be answered."""

    def __init__(self, status: int, sentence: str):
        """status: HTTP's."""
        super().__init__(sentence)
        self.status = status


class WorkerError(PageError):
    """A helper process gave no answer."""
