"""The command `indexer`; as `python -m indexer` whatever stands first on PATH."""

from commands import program
from indexer.cli import main


def run() -> None:
    """Run the command."""
    program.share_one_heap()
    program.run(lambda: main(prog_name="indexer"))


if __name__ == "__main__":
    run()
