"""Which word was meant."""

import pytest

from search.wording.spelling import Spelling

SPELLING = Spelling(["dog", "bicycle", "horse", "house", "motorcycle", "settle", "tricycle"])


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("bycicle", "bicycle"),  # two slips: y for i, i for y
        ("hosre", "horse"),  # letters in the wrong order are one
        ("horrse", "horse"),  # a letter too many
        ("hrose", "horse"),
        ("hors", "horse"),  # missing
        ("bciycle", "bicycle"),
        ("bciycel", "bicycle"),  # twice in the wrong order
        ("hoese", "horse"),  # house is as near and less frequent
        ("hourse", "horse"),
        ("motersicle", None),  # three slips
        ("tricicle", "tricycle"),
        ("mototrcycl", "motorcycle"),  # one letter too many, one missing
        ("hoars", None),  # two slips in a short word
        ("hosres", None),  # and in one of six letters
        ("morse", None),  # another first letter
        ("dig", None),  # too short
        ("dogs2", None),
        ("settee", "settle"),
    ],
)
def test_the_fewest_slips_win_and_then_the_more_frequent_word(word: str, meant: str | None) -> None:
    assert SPELLING.nearest(word) == meant


def test_the_dictionary_has_rare_words_and_no_slips() -> None:
    for word in ("settee", "brolly", "waistcoat", "dungarees"):
        assert SPELLING.is_english(word)
    for word in ("bycicle", "umberella", "zorblax"):
        assert not SPELLING.is_english(word)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("elefant", "elephant"), ("elefents", "elephants"), ("fone", "phone"), ("phan", "fan"), ("elegent", "elegant")],
)
def test_f_for_ph_is_no_slip(word, meant):
    assert Spelling(["elegant", "phone", "fan", "elephant", "elephants"]).nearest(word) == meant
