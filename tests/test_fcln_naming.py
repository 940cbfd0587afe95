"""A region is called by the nearest name where the phrase is far from it, and by nothing where both are."""

import numpy as np

from fcln.naming import CLOSER, LEAST, LEAST_OF_NAMES, NEUTRAL_CLOSER, Naming

# Unit vectors of the plane by angle; each text has one.
ANGLES = {"a dog": 0.0, "a brown dog": 0.2, "a giraffe": 1.2, "a stop sign": 2.5, "": 3.0, "?": 3.0}


def at(*angles: float) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


class Encoder:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts) -> np.ndarray:
        self.asked += texts
        return at(*(ANGLES[text] for text in texts))


def test_a_much_closer_name_takes_the_phrase_s_place() -> None:
    naming = Naming(["a giraffe", "a dog"], Encoder())
    assert naming(["a stop sign"], at(1.2)) == ["a giraffe"]


def test_names_may_have_vectors_of_their_own() -> None:
    own = {"a giraffe": -0.5, "a dog": 3.0}
    naming = Naming(["a giraffe", "a dog"], Encoder(), encode_names=lambda texts: at(*(own[text] for text in texts)))
    assert naming(["a stop sign"], at(0.0)) == ["a giraffe"]
    # What a phrase says is still the encoder's: it is where the region is, and the name no closer.
    assert naming(["a dog"], at(0.0)) == ["a dog"]
    assert naming(["a stop sign"], at(1.2)) == ["a stop sign"]  # where the encoder has the giraffe


def test_a_phrase_stays_where_names_are_hardly_closer() -> None:
    naming = Naming(["a giraffe", "a dog"], Encoder())
    assert np.cos(0.1) - np.cos(0.3) < CLOSER  # the name is a little closer
    assert naming(["a brown dog"], at(-0.1)) == ["a brown dog"]


def test_nothing_is_said_where_nothing_is_near() -> None:
    naming = Naming(["a giraffe"], Encoder())
    far = 1.2 - np.arccos(LEAST_OF_NAMES) - 0.05
    assert naming(["a stop sign"], at(far)) == [""]
    assert naming(["a stop sign"], at(far + 0.1)) == ["a giraffe"]
    phrase_is_far = ANGLES["a stop sign"] + np.arccos(LEAST) + 0.05
    assert naming(["a stop sign"], at(phrase_is_far)) == [""]
    assert naming(["a stop sign"], at(phrase_is_far - 0.1)) == ["a stop sign"]


def test_what_is_usual_for_a_phrase_counts_half() -> None:
    angles = {"a thing": 0.0, "a giraffe": 0.3, "a stop sign": 1.5}

    def usual(vectors: np.ndarray) -> np.ndarray:
        """0.2 for "a thing", to which everything is near; none for the others."""
        return 0.2 * (vectors @ at(0.0)[0] > 0.99)

    names = ["a thing", "a giraffe"]
    plain = Naming(names, lambda texts: at(*(angles[text] for text in texts)))
    naming = Naming(names, lambda texts: at(*(angles[text] for text in texts)), usual=usual)
    assert plain(["a stop sign"], at(0.1)) == ["a thing"]
    assert naming(["a stop sign"], at(0.1)) == ["a giraffe"]  # 0.980 against 0.995 - 0.1
    assert naming(["a stop sign"], at(-0.5)) == ["a thing"]  # 0.697 against 0.878 - 0.1
    assert plain(["a thing"], at(0.25)) == ["a thing"]
    assert naming(["a thing"], at(0.25)) == ["a giraffe"]  # 0.999 against 0.969 - 0.1 + CLOSER


def test_a_kind_of_kinds_is_no_name() -> None:
    angles = {"an animal": 0.9, "a stuffed animal": 0.7, "a container": 2.0} | ANGLES
    naming = Naming(["an animal", "a container", "a stuffed animal"], lambda texts: at(*(angles[t] for t in texts)))
    assert naming(["a stop sign"], at(0.9)) == ["a stuffed animal"]
    assert naming(["a brown dog", "a stop sign"], at(0.5, 2.0)) == ["a brown dog", "a stop sign"]


def test_vectors_are_asked_for_once() -> None:
    encoder = Encoder()
    naming = Naming(["a giraffe"], encoder)
    naming(["a dog", "a dog", ""], at(0.0, 0.1, 0.2))
    naming(["a dog"], at(0.0))
    assert sorted(encoder.asked) == ["?", "a dog", "a giraffe"]


def test_without_names_all_phrases_stay() -> None:
    assert Naming((), Encoder())(["a stop sign", ""], at(0.0, 1.0)) == ["a stop sign", ""]
    assert Naming(["a dog"], Encoder())([], np.zeros((0, 2), np.float32)) == []


def test_a_phrase_of_the_same_thing_stays_and_people_are_not_renamed() -> None:
    angles = {"a person": 0.9, "a man": 0.9} | ANGLES
    naming = Naming(["a dog", "a person", "a man"], lambda texts: at(*(angles[text] for text in texts)))
    assert naming(["a brown dog"], at(-0.9)) == ["a brown dog"]  # 0.62 from the name, 0.45 from the phrase
    assert naming(["a stop sign"], at(0.9)) == ["a dog"]  # "a person" is no name that a region may take


def test_a_man_is_a_person_where_that_is_closer() -> None:
    angles = {"a man in a hat": 0.3, "a person in a hat": 0.9, "two women": 2.0, "two people": 2.2, "x": 0.0}
    naming = Naming(["x"], lambda texts: at(*(angles[text] for text in texts)))
    assert np.cos(0.1) - np.cos(0.7) > NEUTRAL_CLOSER > np.cos(0.25) - np.cos(0.35) > 0
    assert naming(["a man in a hat"], at(1.0)) == ["a person in a hat"]
    assert naming(["a man in a hat"], at(0.65)) == ["a man in a hat"]  # a little closer is not enough
    assert naming(["two women", "a man in a hat"], at(2.7, 0.3)) == ["two people", "a man in a hat"]


def test_what_is_said_of_people_neutrally_may_still_give_way_to_a_name_or_to_nothing() -> None:
    angles = {"a man": 0.0, "a person": 0.4, "a statue": 4.0}
    naming = Naming(["a statue"], lambda texts: at(*(angles[text] for text in texts)))
    assert naming(["a man"], at(3.9)) == ["a statue"]
    far = 0.4 + np.arccos(LEAST) + 0.05
    assert naming(["a man"], at(far)) == [""]
    assert naming(["a man"], at(far - 0.1)) == ["a person"]  # nothing would have been said of it


def test_a_boy_is_a_child_or_a_person_whatever_is_closest() -> None:
    angles = {"a boy": 0.0, "a child": 0.5, "a person": 1.0, "a little boy": 0.0, "a little child": 0.5, "x": 4.0}
    naming = Naming(["x"], lambda texts: at(*(angles[text] for text in texts)))
    assert naming(["a boy", "a boy", "a boy"], at(0.1, 0.6, 1.1)) == ["a boy", "a child", "a person"]
    assert naming(["a child"], at(1.2)) == ["a person"]
    assert naming(["a little boy"], at(1.1)) == ["a little child"]  # there are no little persons
