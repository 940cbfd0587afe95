"""A question is computed in one thread, and whoever asks keeps theirs."""

import os
import subprocess
import sys

import numpy as np  # noqa: F401  # whose library it is about
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from search.one_thread import in_one_thread


def threads() -> set[int]:
    """Of NumPy's library: other tests may load more."""
    return {library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"]}


@in_one_thread
def threads_inside(fails: bool = False) -> set[int]:
    if fails:
        raise ValueError("as asked")
    return threads()


def test_one_thread_inside_and_as_many_as_before_outside(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with threadpool_limits(2, user_api="blas"):
        assert threads() == {2}
        assert threads_inside() == {1}
        assert threads() == {2}
        with pytest.raises(ValueError, match="as asked"):
            threads_inside(fails=True)
        assert threads() == {2}


def test_what_the_environment_says_stays(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with threadpool_limits(2, user_api="blas"):
        assert threads_inside() == {2}


def test_a_searcher_asks_so(tmp_path):
    """In a process of its own: what other tests have set does not count."""
    program = f"""
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from pathlib import Path
from helpers.word_predictor import SixWords, WordPredictor, build
from search.searcher import Searcher
from db.collection import open_collection
path = Path({str(tmp_path)!r})
build(path / "collection", path, {{"1.jpg": ["a dog"]}})
seen = []
class Model(WordPredictor):
    def encode_phrases(self, phrases):
        seen.append({{info["num_threads"] for info in threadpool_info() if "numpy" in info["filepath"]}})
        return super().encode_phrases(phrases)
threadpool_limits(2, user_api="blas")
with open_collection(path / "collection") as collection:
    assert Searcher(collection, Model(), lexicon=SixWords()).search(["a dog"], scoring="embedding").hits
print(seen)
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), os.getcwd()])
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=300)
    assert ran.stdout.strip() == "[{1}]", ran.stdout + ran.stderr
