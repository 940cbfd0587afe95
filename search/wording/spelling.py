"""Which word was meant by a misspelt one: "bycicle" -> "bicycle".

A word is misspelt if neither the network nor an English dictionary has it. A rare word that is spelt right ("settee")
is left alone, however near it is to a frequent one ("settle").
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from search.wording.foreign_words import FOREIGN_WORDS
from search.wording.function_words import FOREIGN_FUNCTION_WORDS

if TYPE_CHECKING:
    from spellchecker import SpellChecker

# Everyday words of photographs and of the last decades that the dictionary has not.
_NEWER_TEXT = """
    selfie selfies screenshot screenshots bbq bbqs emoji emojis hoodie hoodies smartphone smartphones smartwatch
    vlog vlogger vlogging influencer influencers hashtag hashtags bokeh timelapse longboard longboarding snowboarder
    wakeboard wakeboarding paddleboard paddleboarding rollerblade rollerblades rollerblading ebike ebikes escooter
    whiteboard whiteboards powerpoint jpeg jpg png gif gifs pdf qr led tv tvs dj suv suvs atv atvs rv rvs bmx ufo
    usb wifi cosplay cosplayer cosplayers anime manga sushi ramen burrito burritos latte lattes cappuccino smoothie
    smoothies frisbee frisbees velcro lego legos fedora fedoras beanie beanies leggings onesie onesies flipflops
    labradoodle goldendoodle pomeranian photobomb photobooth
"""
_NEWER_WORDS = frozenset(_NEWER_TEXT.split())

# Shorter words have too many neighbours to say which one was meant.
_MIN_LETTERS = 4
# From this length on, two slips are forgiven; below, one: "selfie" is not "self".
_TWO_SLIPS_FROM = 7


class Spelling:
    """The words that can be meant."""

    def __init__(self, words: Sequence[str]):
        """words: lower-case, the most frequent first."""
        self.words = tuple(dict.fromkeys(words))

    @cached_property
    def _dictionary(self) -> "SpellChecker":
        # Half a second and 30 MB, which only a word that the network has never met costs.
        from spellchecker import SpellChecker

        return SpellChecker()

    def is_english(self, word: str) -> bool:
        """Whether English has a word."""
        if word in FOREIGN_FUNCTION_WORDS or word in FOREIGN_WORDS:
            return False
        return word in _NEWER_WORDS or word in self._dictionary

    def nearest(self, word: str) -> str | None:
        """The word that is the fewest slips away, of several the most frequent; None if none is near.

        A slip is a letter too many, missing, wrong, or two in the wrong order, and no letter is touched twice (optimal
        string alignment); "f" for "ph" is none ("elefant" is an elephant, not elegant). Hardly anybody gets the first
        letter wrong, and a word that no dictionary has yet ("vlogger") is not to become another ("jogger"). Also for
        words that are spelt right: ask `is_english` first.
        """
        if len(word) < _MIN_LETTERS or not word.isalpha() or word in FOREIGN_WORDS:
            return None
        from rapidfuzz.distance import OSA  # 30 ms, which only a misspelt word costs

        limit = 2 if len(word) >= _TWO_SLIPS_FROM else 1
        best = None
        word = _as_heard(word)
        for candidate in self.words:
            heard = _as_heard(candidate)
            if heard[0] == word[0]:
                slips = OSA.distance(word, heard, score_cutoff=limit)  # limit + 1 for any more
                if slips <= limit:
                    best, limit = candidate, slips - 1
                    if limit < 0:
                        break
        return best


def _as_heard(word: str) -> str:
    return word.replace("ph", "f")
