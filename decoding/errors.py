"""Errors of this package.

PhotoError      one file that holds no usable photograph
"""


class PhotoError(Exception):
    """A file that holds no photograph that can be used. The message is the reason, without the file's name."""
