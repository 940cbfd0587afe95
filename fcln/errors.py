"""Errors of the package.

The tree::

    FclnError
    ├── CheckpointError    a weights file is missing, damaged or not ours
    ├── DatasetError       annotations or photographs to train on are missing or malformed
    ├── TrainingError      a training run cannot go on (a loss that is not finite, a folder of another run)
    └── DeviceError        no such accelerator here
"""


class FclnError(Exception):
    """Anything this package refuses; the message is one sentence for the person at the keyboard."""


class CheckpointError(FclnError):
    """A weights file is missing, damaged or not one of ours."""


class DatasetError(FclnError):
    """Annotations or photographs to train on are missing or malformed."""


class TrainingError(FclnError):
    """A training run cannot go on."""


class DeviceError(FclnError):
    """An accelerator was asked for that this computer does not have."""


def in_words(error: Exception) -> str:
    """What is wrong with a document, of the error that reading it raised: for people who need not know Python."""
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, (TypeError, AttributeError)):
        return "a part of it has another form"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
