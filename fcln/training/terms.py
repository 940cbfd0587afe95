"""Names of things: which terms photographs, boxes and phrases mention, and what is broader than what.

A file of `scripts.data.terms` (JSON): `terms` (name, forms that ask for it, indices of broader terms), `direct` (how
many of them are names, not only broader than one), `names` (what regions may be called), `lexicon` (words -> term),
`images` (image id -> its names' terms), `classes` (an image classifier's class -> term).
"""

import json
import random
from collections.abc import Iterable
from pathlib import Path

from fcln.errors import DatasetError, in_words
from fcln.vocabulary import words_of

# Words of a phrase's end that are looked up together ("flat screen television").
_LONGEST = 3


class Terms:
    """Terms by index."""

    def __init__(self, path: Path):
        """Raises DatasetError if the file is not one of scripts.data.terms."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            self.forms: list[list[str]] = [term["forms"] for term in values["terms"]]
            self.broader: list[list[int]] = [term["broader"] for term in values["terms"]]
            self.of_image: dict[int, list[int]] = {int(image): found for image, found in values["images"].items()}
            self.classes: list[int] = values["classes"]
            self._lexicon: dict[str, int] = values["lexicon"]
            direct: int = values["direct"]  # the first so many are names; others are only broader than some
            # Phrases that regions may be called by. Older files do not choose: all names, with an article.
            self.names: tuple[str, ...] = tuple(values.get("names") or dict.fromkeys(f[0] for f in self.forms[:direct]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} is not a file of scripts.data.terms ({in_words(error)}).") from error

    def __len__(self) -> int:
        return len(self.forms)

    def of_phrase(self, phrase: str) -> int | None:
        """The term that a noun phrase ends with: "a small brown dog" -> dog; None if it names none."""
        words = words_of(phrase)
        for count in range(min(_LONGEST, len(words)), 0, -1):
            found = self._lexicon.get(" ".join(words[-count:]))
            if found is not None:
                return found
        return None

    def exactly(self, phrase: str) -> int | None:
        """The term that a phrase asks for and nothing else: "some dogs" -> dog, but not "brown dogs"."""
        words = words_of(phrase)
        if words and words[0] in ("a", "an", "the", "some", "two", "three"):
            words = words[1:]
        return self._lexicon.get(" ".join(words))

    def within(self, text: str) -> set[int]:
        """The terms whose words stand anywhere in a sentence."""
        words = words_of(text)
        spans = (" ".join(words[i : i + n]) for n in range(1, _LONGEST + 1) for i in range(len(words) - n + 1))
        return {self._lexicon[span] for span in spans if span in self._lexicon}

    def closure(self, terms: Iterable[int]) -> set[int]:
        """Terms and what is broader than they."""
        found = set(terms)
        for term in list(found):
            found.update(self.broader[term])
        return found

    def form(self, term: int, rng: random.Random) -> str:
        """A phrase that asks for a term: with an article most often, else bare or in the plural."""
        return rng.choices(self.forms[term], (2, 1, 1))[0]
