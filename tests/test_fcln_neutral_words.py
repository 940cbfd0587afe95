"""A person where the network cannot tell a man from a woman."""

import torch

from fcln.modeling.neutral_words import NeutralWords

WORDS = ["a", "man", "woman", "person", "boy", "dog"]  # ids from 4; no "child", which a boy would be
MAN, WOMAN, PERSON, BOY, DOG = 5, 6, 7, 8, 9
NEUTRAL = NeutralWords.of(WORDS, size=10, first=4)


def written(**probabilities: float) -> int:
    logits = torch.full((1, 10), -30.0)
    for word, probability in probabilities.items():
        logits[0, WORDS.index(word) + 4] = torch.tensor(probability).log()
    return int(NEUTRAL.choose(logits.argmax(1), logits)[0])


def test_a_man_only_where_a_woman_is_unlikely() -> None:
    assert written(man=0.60, woman=0.02, dog=0.38) == MAN
    assert written(man=0.60, woman=0.30, dog=0.10) == PERSON
    assert written(woman=0.60, man=0.02, dog=0.38) == WOMAN
    assert written(woman=0.60, man=0.10, dog=0.30) == PERSON


def test_words_of_one_group_count_together() -> None:
    assert written(man=0.40, boy=0.40, woman=0.12) == PERSON  # 0.80 of 0.92
    assert written(man=0.40, boy=0.40, woman=0.06) == MAN  # 0.80 of 0.86


def test_a_word_without_a_neutral_one_and_other_words_stay() -> None:
    assert written(boy=0.5, woman=0.4) == BOY
    assert written(dog=0.5, man=0.25, woman=0.25) == DOG


def test_a_vocabulary_without_these_words_is_left_alone() -> None:
    neutral = NeutralWords.of(["dog"], size=5, first=4)
    assert neutral.choose(torch.tensor([4]), torch.zeros(1, 5)).tolist() == [4]
