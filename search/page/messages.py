"""Messages between the server and its helper processes: a line of JSON, and bytes of the length that it states.

No pickles: what comes back is from a process that has just parsed a file from a stranger.
"""

import json
from typing import Any, BinaryIO


def write_message(pipe: BinaryIO, fields: dict[str, Any], payload: bytes = b"") -> None:
    pipe.write(json.dumps({**fields, "bytes": len(payload)}).encode("ascii") + b"\n")
    pipe.write(payload)
    pipe.flush()


def read_message(pipe: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None at the end.

    Raises ValueError for half a message, or none.
    """
    if not (line := pipe.readline()):
        return None
    fields = json.loads(line)
    payload = pipe.read(fields["bytes"])
    if len(payload) != fields["bytes"]:
        raise ValueError("a message ends early")
    return fields, payload
