"""`python -m indexer`: the same command, whatever else is called `indexer` on the PATH."""

from indexer.cli import main

main(prog_name="indexer")
