"""The command `search`; as `python -m search` whatever stands first on PATH."""

from commands import program


def run() -> None:
    """Run the command."""
    program.run(_main)


def _main() -> None:
    from search.cli import main  # here, for Ctrl-C meanwhile

    main()


if __name__ == "__main__":
    run()
