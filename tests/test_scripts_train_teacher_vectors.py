"""scripts.train.teacher_vectors: which texts the teacher is asked about. (It is of the extra `train`, and slow.)"""

import gzip
import json

import numpy as np
from click.testing import CliRunner

from fcln.training.distillation import TeacherVectors
from helpers.small_world import region, write_json
from scripts.train import teacher_vectors
from scripts.train.teacher_vectors import _annotated, _more


def test_all_that_a_data_set_says(tmp_path):
    folder = write_json(
        tmp_path,
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 9, 9), "A dog!"), region((0, 0, 9, 9), "...")]}],
        captions=[{"image_id": 1, "captions": ["A dog runs."]}],
        objects=[{"image_id": 1, "objects": [{"name": "cup", "x": 0, "y": 0, "width": 9, "height": 9}]}],
    )
    assert _annotated(folder) == {"a dog", "a dog runs", "cup"}
    (tmp_path / "captions.json").unlink()
    (tmp_path / "objects.json").unlink()
    assert _annotated(folder) == {"a dog"}


def test_more_words_without_photographs(tmp_path):
    with gzip.open(tmp_path / "phrases.tsv.gz", "wt") as file:
        file.write("12\tA Man\n3\ta man\n1\tthe sea\n")
    with gzip.open(tmp_path / "captions.txt.gz", "wt") as file:
        file.write("A man runs.\nA man sits.\nA man jumps.\n")
    assert _more(tmp_path, 0) == {"a man", "the sea"}
    some = _more(tmp_path, 2)
    assert len(some) == 4 and some < {"a man", "the sea", "a man runs", "a man sits", "a man jumps"}
    assert _more(tmp_path, 2) == some  # the same ones each time
    assert len(_more(tmp_path, 10)) == 5


def test_several_data_sets_and_terms_are_embedded_together(tmp_path, monkeypatch):
    class Teacher:
        def embed(self, texts):
            return np.eye(len(texts), dtype=np.float32)

    monkeypatch.setattr(teacher_vectors, "SentenceTeacher", Teacher)
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        regions = [{"id": 1, "regions": [region((0, 0, 9, 9), f"dog {name}")]}]
        folders += ["--annotations", str(write_json(tmp_path / name, region_descriptions=regions))]
    terms = tmp_path / "terms.json"
    term = {"name": "iguana", "forms": ["an iguana", "iguana", "iguanas"], "broader": []}
    terms.write_text(json.dumps({"terms": [term], "lexicon": {"iguana": 0}, "images": {}, "classes": [], "direct": 1}))
    out = tmp_path / "teacher.h5"
    done = CliRunner().invoke(teacher_vectors.main, [str(out), *folders, "--terms", str(terms)])
    assert done.exit_code == 0, done.output
    assert TeacherVectors(out).texts == ["an iguana", "dog one", "dog two", "iguana", "iguanas"]
    terms.write_text("{}")
    done = CliRunner().invoke(teacher_vectors.main, [str(out), *folders, "--terms", str(terms)])
    assert done.exit_code == 1 and "is not a file of scripts.data.terms" in done.output
