"""`python -m scripts.train`."""

from scripts.train.train import main

main()
