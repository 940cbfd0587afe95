"""Errors of the package.

The tree::

    SearchError
    ├── QueryError    a question that cannot be asked: empty, too long, nothing but unknown words
    │   ├── FilterError    conditions that cannot be meant: no date, no format, no share
    │   └── ExampleError   no photograph to be like, or no part of one
    ├── DetectError   weights without a confidence, or nothing to look at
    ├── DrawError     a picture of the hits that cannot be written
    ├── EvaluationError questions for `search evaluate` that cannot be used
    └── DeliveryError an answer that cannot be written as a page, copied or shown

A collection that cannot be read, or that another checkpoint described, raises the errors of `db`; a weights file those
of `fcln`; a file that holds no usable photograph that of `decoding`.
"""


class SearchError(Exception):
    """Anything this package refuses; the message is one sentence for the person at the keyboard."""


class QueryError(SearchError):
    """A question that cannot be asked."""


class FilterError(QueryError):
    """Conditions that cannot be meant."""


class ExampleError(QueryError):
    """A photograph, or a part of one, that others cannot be compared with."""


class DetectError(SearchError):
    """Nothing can be detected: the weights hold no confidence, or there is nothing to look at."""


class DrawError(SearchError):
    """A picture of the hits that cannot be written."""


class DeliveryError(SearchError):
    """An answer that cannot be written as a page, copied into a folder, or shown."""


class EvaluationError(SearchError):
    """A file of questions that cannot be read, or none of its questions can be asked."""
