"""The command `indexer`; as `python -m indexer` whatever stands first on PATH."""

from commands import program


def run() -> None:
    """Run the command."""
    program.share_one_heap()
    program.run(_main)


def _main() -> None:
    from indexer.cli import main  # here, for Ctrl-C meanwhile

    main(prog_name="indexer")


if __name__ == "__main__":
    run()
