"""Errors of this package.

IndexerError
├── FolderError     a folder given to `indexer build`, or a path to `indexer remove`, that cannot be used
├── DecoderError    the processes that decode photographs do not start
├── DescribeError   the network fails on whole batches: no fault of one photograph
├── ClusterError    there is no Ray cluster, or it is lost
├── ExportError     an export that cannot be written
└── RegionsError    a file of given regions that cannot be used

A file that holds no usable photograph raises the error of `decoding`.
"""


class IndexerError(Exception):
    """Base of everything that this package raises on purpose. The message is one sentence for the user."""


class FolderError(IndexerError):
    """A folder does not exist, is not a directory, cannot be read or holds no photographs; a path is not known."""


class DecoderError(IndexerError):
    """The processes that decode photographs do not start."""


class DescribeError(IndexerError):
    """The network failed on every photograph of a batch."""


class ClusterError(IndexerError):
    """There is no Ray cluster at an address, or all of its workers are lost."""


class ExportError(IndexerError):
    """An export cannot be written: the disk refuses, or a package is missing."""


class RegionsError(IndexerError):
    """A file of given regions is missing, is not in COCO's format, or has none for any photograph."""
