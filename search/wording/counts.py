"""How many of a thing a question asks for: "two dogs", "several people", "a couple of cups"."""

from collections.abc import Callable
from dataclasses import dataclass

from fcln.vocabulary import words_of
from search.wording.noun_phrases import NUMBERS

# More distinct regions than these are hardly ever found, and every further one costs time.
MOST = 6
# Words for no exact number: at least so many.
_SEVERAL = {"several": 3, "many": 4, "few": 3, "multiple": 3, "numerous": 4, "various": 3}
_PAIRS = {("couple", "of"): 2, ("pair", "of"): 2, ("dozen",): MOST}


@dataclass(frozen=True)
class Count:
    """A number of things."""

    number: int  # 2 to MOST
    at_least: bool = False  # more are as good: "several"

    def __str__(self) -> str:
        return f"at least {self.number}" if self.at_least else str(self.number)


def counted(noun_phrase: str, canonical: Callable[[str], str]) -> tuple[Count, str] | None:
    """How many a noun phrase asks for, and the phrase for one of them; None if it does not count.

    "two black dogs" -> 2, "a black dog". canonical: of a phrase that names one thing ("black dogs" -> "a black dog").
    """
    words = words_of(noun_phrase)
    while words and words[0] in ("a", "the", "these", "those", "all"):
        words = words[1:]
    if not words:
        return None
    if words[0] in NUMBERS:
        number, words, at_least = NUMBERS[words[0]], words[1:], False
    elif words[0] in _SEVERAL:
        number, words, at_least = _SEVERAL[words[0]], words[1:], True
    else:
        opening = next((said for said in _PAIRS if tuple(words[: len(said)]) == said), None)
        if opening is None:
            return None
        number, words, at_least = _PAIRS[opening], words[len(opening) :], False
    one = canonical(_SINGULAR.get(words[-1], " ".join(words)) if len(words) == 1 else " ".join(words)) if words else ""
    if not one or one == "of":
        return None
    return Count(min(number, MOST), at_least or number > MOST), one


# One of these is named by another word than the plural's own singular, which `inflection` leaves alone.
_SINGULAR = {"people": "person"}
