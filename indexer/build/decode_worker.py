"""The process that decodes photographs: `python -m indexer.build.decode_worker SECONDS MEMORY` (see decoders.py).

It says `ready` and then answers questions, a line each, until its stdin ends. A photograph takes two, because before it
is decoded there must be room for it in the memory that all decoders share:

    "/photos/a.jpg"   {"memory": 187500, "pixels": 0}             bytes that decoding it takes at most
    null              {"width": 500, ..., "pixels": 562500}       and so many bytes of RGB behind the line; the fields
                                                                  are those of a Photograph

A list of one path asks for its headers only:

    ["/photos/a.jpg"] {"headers": {"taken": ...}, "pixels": 0}

Any may be answered by {"refused": REASON} or, where the file cannot be read, by {"errno": NUMBER, "error": REASON}.
An answer that takes longer than SECONDS ends the process.

Not a pool of `multiprocessing` or `concurrent.futures`: those unpickle what the other process says, and this one has
just parsed a file from a stranger. JSON and bytes of a stated length can be read from a process that was taken over.
"""

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto

Answer = tuple[dict[str, Any], bytes]


def main() -> None:
    seconds, memory_limit = float(sys.argv[1]), int(sys.argv[2])
    # Who stops a service means the build, which decides what is still to be decoded.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stdout = os.fdopen(os.dup(1), "wb")
    # What libraries print (libtiff does) is no answer, and of no use to anybody.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    stdout.write(b"ready\n")
    stdout.flush()
    answers: Iterator[Answer] = iter(())
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if isinstance(question, list):
            answers = headers_of(question[0])
        elif question is not None:
            answers = answers_about(question, memory_limit)
        # A thread in C: it ends the process also while the decoder holds Python up, and also when the
        # process that waits for the answer is gone.
        faulthandler.dump_traceback_later(seconds, exit=True)
        answer, pixels = next(answers)
        faulthandler.cancel_dump_traceback_later()
        stdout.write(json.dumps({**answer, "pixels": len(pixels)}).encode() + b"\n")
        stdout.write(pixels)
        stdout.flush()


def answers_about(path: str, memory_limit: int) -> Iterator[Answer]:
    """The answers to the two questions about a file, and the pixels that go with them."""
    try:
        with open(path, "rb") as file:
            opened = OpenedPhoto(file, memory_limit)
            yield {"memory": opened.memory}, b""
            photo = opened.decode()
        fields = {"width": photo.width, "height": photo.height, "scale": photo.scale, "origin": photo.origin}
        notes = {"incomplete": photo.incomplete, "headers": asdict(photo.headers)}
        yield {**fields, **notes, "size": photo.image.size}, photo.image.tobytes()
    except PhotoError as error:
        yield {"refused": str(error)}, b""
    except OSError as error:
        yield {"errno": error.errno, "error": error.strerror or str(error)}, b""


def headers_of(path: str) -> Iterator[Answer]:
    """The answer to a question about a file's headers."""
    try:
        with open(path, "rb") as file:
            yield {"headers": asdict(OpenedPhoto(file).headers())}, b""
    except PhotoError as error:
        yield {"refused": str(error)}, b""
    except OSError as error:
        yield {"errno": error.errno, "error": error.strerror or str(error)}, b""


if __name__ == "__main__":
    main()
