"""`python -m search`: the command `search`, whatever stands first on PATH."""

from search.cli import main

main()
