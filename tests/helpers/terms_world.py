"""Names of things and a classifier's targets for the photographs of tests."""

import json
from pathlib import Path

import numpy as np

from fcln.training.region_targets import RegionTargets
from fcln.training.terms import Terms

ANIMAL, DOG, CAT, FURNITURE, COUCH, RICE = range(6)
FORMS = (
    ("an animal", "animal", "animals"),
    ("a dog", "dog", "dogs"),
    ("a cat", "cat", "cats"),
    ("furniture", "some furniture", "furniture"),
    ("a flat screen couch", "flat screen couch", "flat screen couches"),
    ("rice", "some rice", "rice"),
)
BROADER = ((), (ANIMAL,), (ANIMAL,), (), (FURNITURE,), ())


def write_terms(path: Path, images: dict[int, list[int]], *, classes: tuple[int, ...] = (DOG, CAT, COUCH)) -> Terms:
    """A file of six terms. images: the terms of each photograph's names."""
    rows = [
        {"name": forms[1], "forms": list(forms), "broader": list(broader)}
        for forms, broader in zip(FORMS, BROADER, strict=True)
    ]
    words = {form: number for number, forms in enumerate(FORMS) for form in forms[1:]}
    values = {"terms": rows, "lexicon": words, "images": images, "classes": classes, "direct": len(rows)}
    path.write_text(json.dumps(values), encoding="utf-8")
    return Terms(path)


def write_targets(path: Path, rows: dict[int, list[tuple[int, float]]]) -> RegionTargets:
    """rows: of each image, class and probability of the whole photograph and of each box; vectors count the rows."""
    flat = [row for own in rows.values() for row in own]
    vectors = np.arange(len(flat), dtype=np.float32)[:, None] + np.zeros((1, 2))
    classes = np.array([[c, *((c + n) % 3 for n in (1, 2, 1, 2))] for c, _ in flat])  # there are three
    probabilities = np.zeros((len(flat), 5))
    probabilities[:, 0] = [p for _, p in flat]
    RegionTargets.write(path, list(rows), [len(own) for own in rows.values()], vectors, classes, probabilities)
    return RegionTargets(path)
