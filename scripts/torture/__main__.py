"""`python -m scripts.torture`."""

from scripts.torture.commands import main

main()
