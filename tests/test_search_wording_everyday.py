"""Everyday questions, read by the words of the network that comes with the program."""

import numpy as np
import pytest

from fcln.phrase_model import PhraseModel
from search.errors import QueryError
from search.wording.lexicon import Lexicon
from search.wording.parse import parse_query


@pytest.fixture(scope="module")
def model():
    return PhraseModel.load()


@pytest.fixture(scope="module")
def lexicon(model):
    return Lexicon.of(model)


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("girl wearing glasses", ["a girl", "glasses"]),
        ("a man kicking a ball", ["a man", "a ball"]),
        ("woman driving a car", ["a woman", "a car"]),
        ("cat on sofa", ["a cat", "a sofa"]),
        ("kids eating ice cream", ["kids", "an ice cream"]),
    ],
)
def test_words_that_english_has_are_read_as_typed(lexicon, question, things):
    query = parse_query([question], lexicon)
    assert query.substitutions == {}
    assert query.phrases == [question, *things]


@pytest.mark.parametrize("forms", [["cat", "a cat", "cats", "the cat", "my cats"], ["red car", "the red cars"]])
def test_singular_plural_and_article_ask_the_same(model, lexicon, forms):
    first, *others = [model.encode_phrases(parse_query([form], lexicon).encoded) for form in forms]
    for other in others:
        np.testing.assert_array_equal(other, first)
    counted = model.encode_phrases(parse_query(["two cats"], lexicon).encoded)
    assert forms[0] != "cat" or not np.allclose(counted, first)


@pytest.mark.parametrize("question", ["glasses", "people", "jeans", "scissors", "a bus", "two cats", "cats on a couch"])
def test_other_phrases_are_encoded_as_they_are(lexicon, question):
    assert parse_query([question], lexicon).encoded[0] in (question, f"a {question}")


@pytest.mark.parametrize("word", ["selfie", "screenshot", "bbq", "hoodie", "vlogger"])
def test_newer_words_are_english(lexicon, word):
    query = parse_query([word], lexicon)
    assert (query.unknown_words, query.substitutions) == ([], {})


@pytest.mark.parametrize(
    ("typed", "meant"), [("bicyle", "bicycle"), ("umberella", "umbrella"), ("dog on cuoch", "couch")]
)
def test_slips_are_corrected_and_told(lexicon, typed, meant):
    query = parse_query([typed], lexicon)
    assert list(query.substitutions.values()) == [meant]
    assert meant in query.phrases[0]


@pytest.mark.parametrize(
    "question",
    [
        "Hund auf dem Sofa",
        "eine Katze auf dem Tisch",
        "ein Mann mit Hut",
        "zwei Kinder im Schnee",
        "un chien sur le canapé",
        "perro en el sofá",
        "gatto sul divano",
        "asdf qwer dog",
        "girl weering glases",
        "Hund Sofa",
        "perro negro",
        "un chat noir et une voiture",
        "zwei hunde mit ball",
    ],
)
def test_what_is_not_english_is_refused_in_one_sentence(lexicon, question):
    with pytest.raises(QueryError, match="The model reads English, and these words are not: "):
        parse_query([question], lexicon)
    assert parse_query([question], lexicon, as_typed=True).phrases[0].lower().startswith(question.split()[0].lower())


@pytest.mark.parametrize("question", ["on the", "of the and", "with a", "is it the"])
def test_function_words_alone_are_refused(lexicon, question):
    with pytest.raises(QueryError, match="says nothing of what a photograph shows"):
        parse_query([question], lexicon)


@pytest.mark.parametrize(
    ("unwanted", "sentence"),
    [
        ("the", '"the" says nothing of what a photograph shows'),
        ("no dog", '"no dog" is negated twice: name the thing alone, "a dog"'),
        ("without a person", '"without a person" is negated twice'),
    ],
)
def test_what_is_not_wanted_is_a_thing(lexicon, unwanted, sentence):
    with pytest.raises(QueryError, match=sentence):
        parse_query(["beach"], lexicon, excluded=["a cat", unwanted])
    assert parse_query(["beach"], lexicon, excluded=["no parking sign"]).excluded == ["no parking sign"]


@pytest.mark.parametrize("word", ["gato", "chien", "katze", "perro", "fahrrad", "voiture"])
def test_a_word_of_another_language_is_no_slip(lexicon, word):
    with pytest.raises(QueryError, match=f"knows none of these words: {word}. It reads plain English"):
        parse_query([word], lexicon)


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("dog swimming in water", ["a dog", "the water"]),
        ("a painting on a wall", ["a painting", "a wall"]),
        ("woman painting a fence", ["a woman", "a fence"]),
        ("boy playing soccer", ["a boy", "a soccer"]),
        ("kids in a swimming pool", ["a kid", "a swimming pool"]),
        ("vintage camera", []),
        ("woman in red", ["a woman"]),
        ("man on top", ["a man"]),
        ("bottom of the sea", ["the sea"]),
        ("dog in front of the house", ["a dog", "a house"]),
    ],
)
def test_things_of_a_question(lexicon, question, things):
    query = parse_query([question], lexicon)
    named = [query.canonical.get(phrase, phrase) for phrase in query.phrases[1:]]
    assert named == [lexicon.canonical(thing) for thing in things]


@pytest.mark.parametrize(
    ("question", "relation"),
    [
        ("dog left of child", ("left of", "a dog", "a child")),
        ("cup underneath the table", ("under", "a cup", "a table")),
        ("a laptop alongside a cup", ("next to", "a laptop", "a cup")),
        ("child in the foreground", ("foreground", "a child", None)),
        ("photo of a dog in the upper left corner of the picture", ("top left", "a dog", None)),
    ],
)
def test_how_things_lie(lexicon, question, relation):
    query = parse_query([question], lexicon)
    assert query.substitutions == {} and query.unknown_words == []
    (found,) = query.relations
    names = [query.canonical.get(name, name) if name else None for name in (found.subject, found.object)]
    assert (found.kind, *names) == relation


@pytest.mark.parametrize(
    ("question", "count"),
    [("two dogs", 2), ("three people on a bench", 3), ("several cups", 3), ("a pair of shoes", 2), ("dogs", None)],
)
def test_how_many(lexicon, question, count):
    counts = parse_query([question], lexicon).counts
    assert [each.number for each in counts.values()] == ([] if count is None else [count])


@pytest.mark.parametrize(
    ("question", "unwanted"),
    [
        ("no people", ["people"]),
        ("-person", ["a person"]),
        ("without a dog", ["a dog"]),
        ("no people, no cars", ["people", "a car"]),
        ("no parking", []),
        ("no smoking sign", []),
    ],
)
def test_a_question_may_do_nothing_but_negate(lexicon, question, unwanted):
    query = parse_query([question], lexicon)
    assert query.encoded_excluded == unwanted
    assert (query.phrases == ["a photograph"]) == bool(unwanted)


def test_what_is_not_wanted_may_be_an_option_alone(lexicon):
    query = parse_query([], lexicon, excluded=["person"])
    assert (query.phrases, query.encoded_excluded) == (["a photograph"], ["a person"])
