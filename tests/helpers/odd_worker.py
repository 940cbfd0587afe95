"""A helper process of the page that does as it is told: `python -m tests.helpers.odd_worker`."""

import os
import signal
import sys
import time
from pathlib import Path

from search.page.messages import read_message, write_message


def main() -> None:
    while (message := read_message(sys.stdin.buffer)) is not None:
        fields, payload = message
        match fields["do"]:
            case "echo":
                write_message(sys.stdout.buffer, {"process": os.getpid()}, payload[::-1])
            case "hang":
                if "mark" in fields:
                    Path(fields["mark"]).touch()
                time.sleep(3600)
            case "meet":  # answers once so many processes are in the folder
                folder = Path(fields["folder"])
                (folder / str(os.getpid())).touch()
                while len(list(folder.iterdir())) < fields["processes"]:
                    time.sleep(0.01)
                write_message(sys.stdout.buffer, {"process": os.getpid()}, payload[::-1])
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "babble":
                sys.stdout.buffer.write(b'{"bytes": "many"}\nno message at all\n')
                sys.stdout.buffer.flush()
            case "break off":
                sys.stdout.buffer.write(b'{"bytes": 100}\nhalf of it')
                sys.stdout.buffer.flush()
                return


if __name__ == "__main__":
    main()
