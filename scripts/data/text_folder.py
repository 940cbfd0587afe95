"""A folder of words without pictures: `phrases.tsv.gz` (count, phrase and more a line) and `captions.txt.gz`."""

import gzip
from collections.abc import Iterator
from pathlib import Path


def counted_phrases(folder: Path) -> Iterator[tuple[str, int]]:
    """Each phrase and how often it was written."""
    with gzip.open(folder / "phrases.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            count, phrase = line.rstrip("\n").split("\t")[:2]
            yield phrase, int(count)


def captions(folder: Path) -> Iterator[str]:
    with gzip.open(folder / "captions.txt.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")
