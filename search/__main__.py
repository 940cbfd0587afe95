"""The command `search`; as `python -m search` whatever stands first on PATH."""

from commands import program
from search.cli import main


def run() -> None:
    """Run the command."""
    program.run(main)


if __name__ == "__main__":
    run()
