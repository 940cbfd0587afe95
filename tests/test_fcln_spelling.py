"""Which word was meant."""

import pytest

from fcln.spelling import Spelling, slips

SPELLING = Spelling(["dog", "bicycle", "horse", "house", "motorcycle", "settle", "tricycle"])


@pytest.mark.parametrize(
    ("a", "b", "count"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("horse", "horse", 0),
        ("horse", "hose", 1),  # missing
        ("horse", "hoarse", 1),  # too many
        ("horse", "house", 1),  # wrong
        ("horse", "hosre", 1),  # order
        ("bycicle", "bicycle", 2),  # y for i, i for y
        ("umberella", "umbrella", 1),
        ("ca", "abc", 3),  # the letters of an exchange are not touched again: else 2
    ],
)
def test_slips_are_letters_too_many_missing_wrong_or_exchanged(a: str, b: str, count: int) -> None:
    assert slips(a, b) == slips(b, a) == count


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("bycicle", "bicycle"),  # two slips
        ("hosre", "horse"),
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
