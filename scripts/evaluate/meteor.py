"""METEOR 1.5 (Denkowski and Lavie, WMT 2014): how close a caption is to its references, in [0, 1].

A Java program, which the package pycocoevalcap carries; asked as the authors of DenseCap ask it (`-l en -norm`).
"""

import importlib.resources
import shutil
import subprocess
from collections.abc import Sequence

from scripts.evaluate.errors import EvaluationError

_STOPPED = "METEOR's Java program has stopped; it takes up to 2 GB of memory."


class Meteor:
    """A running METEOR: call it with captions and, for each, its references. To be used in a `with` statement.

    It reads its table of paraphrases for many seconds before its first answer: start it early, do something meanwhile.

    Raises EvaluationError if Java or the package is missing, or if Java stops.
    """

    def __init__(self) -> None:
        try:
            jar = importlib.resources.files("pycocoevalcap") / "meteor" / "meteor-1.5.jar"
        except ModuleNotFoundError as error:
            raise EvaluationError("METEOR is in the package pycocoevalcap: pip install -e '.[eval]'.") from error
        java = shutil.which("java")
        if java is None:
            raise EvaluationError(
                "METEOR is a Java program, and there is no java: install Java 8 or newer, on Debian and Ubuntu with "
                "apt install default-jre-headless."
            )
        self._process = subprocess.Popen(
            [java, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def check(self) -> None:
        """Raises EvaluationError if Java has stopped, as it does at once where its memory is missing."""
        if self._process.poll() is not None:
            raise EvaluationError(_STOPPED)

    def __call__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """captions: words with blanks between them; "" scores 0. references: the same, at least one for each caption.

        With several references, the closest one counts.
        """
        scores = []
        for caption, others in zip(captions, references, strict=True):
            statistics = self._ask(" ||| ".join(["SCORE", *others, caption]))
            self._ask(f"EVAL ||| {statistics}")  # the score of this caption ...
            scores.append(float(self._answer()))  # ... and of all captions together, the same
        return scores

    def _ask(self, line: str) -> str:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # there will be no answer
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EvaluationError(_STOPPED)
        return line.strip()
