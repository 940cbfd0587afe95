import pytest

from search.wording.counts import MOST, Count, counted


def canonical(phrase):
    return {"dogs": "a dog", "black dogs": "a black dog", "person": "a person"}.get(phrase, phrase)


@pytest.mark.parametrize(
    ("phrase", "count", "one"),
    [
        ("two dogs", Count(2), "a dog"),
        ("2 dogs", Count(2), "a dog"),
        ("the two black dogs", Count(2), "a black dog"),
        ("three people", Count(3), "a person"),
        ("several dogs", Count(3, at_least=True), "a dog"),
        ("a couple of dogs", Count(2), "a dog"),
        ("a few dogs", Count(3, at_least=True), "a dog"),
        ("ten dogs", Count(MOST, at_least=True), "a dog"),
    ],
)
def test_phrases_that_count(phrase, count, one):
    assert counted(phrase, canonical) == (count, one)


@pytest.mark.parametrize("phrase", ["dogs", "a dog", "two", "people", "the", "", "one dog", "a couple"])
def test_phrases_that_do_not(phrase):
    assert counted(phrase, canonical) is None
