"""Errors of the package.

The tree::

    SearchError
    ├── QueryError    a question that cannot be asked: empty, too long, nothing but unknown words
    └── DrawError     a picture of the hits that cannot be written

A collection that cannot be read, or that another checkpoint described, raises the errors of `db`; a weights file those
of `fcln`.
"""


class SearchError(Exception):
    """Anything this package refuses; the message is one sentence for the person at the keyboard."""


class QueryError(SearchError):
    """A question that cannot be asked."""


class DrawError(SearchError):
    """A picture of the hits that cannot be written."""
