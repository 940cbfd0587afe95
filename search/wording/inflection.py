"""Singular and plural, and other forms of a word, by rules and short lists of what no rule says.

Forms that are no words ("driv" of "driving") do no harm where forms are compared; `singular` asks whether there is such
a word.
"""

from collections.abc import Callable

# Plurals without rules.
_IRREGULAR = {
    "children": "child", "men": "man", "women": "woman", "people": "person", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "oxen": "ox", "leaves": "leaf", "knives": "knife", "wolves": "wolf",
    "shelves": "shelf", "loaves": "loaf", "calves": "calf", "halves": "half", "wives": "wife", "lives": "life",
    "scarves": "scarf", "hooves": "hoof", "elves": "elf", "thieves": "thief", "cacti": "cactus", "fungi": "fungus",
}  # fmt: skip
# Words that end as plurals do and are none, or name another thing than their singulars.
_NO_PLURALS_TEXT = """
    people glasses sunglasses eyeglasses spectacles goggles binoculars jeans pants trousers shorts leggings tights
    overalls pajamas pyjamas clothes scissors pliers tongs stairs headphones groceries fireworks surroundings woods
    grounds arms goods remains tennis gas bus bias lens iris plus news series species canvas atlas christmas sports
    waters always perhaps this his its yes
"""
_NO_PLURALS = frozenset(_NO_PLURALS_TEXT.split())
# Verbs without rules, as far as captions have them.
_PAST = {
    "ran": "run", "sat": "sit", "stood": "stand", "lay": "lie", "lying": "lie", "lies": "lie", "held": "hold",
    "wore": "wear", "worn": "wear", "rode": "ride", "ridden": "ride", "drove": "drive", "driven": "drive",
    "threw": "throw", "thrown": "throw", "caught": "catch", "ate": "eat", "eaten": "eat", "drank": "drink",
    "swam": "swim", "flew": "fly", "flown": "fly", "blew": "blow", "blown": "blow", "broke": "break",
    "broken": "break", "hid": "hide", "hidden": "hide", "took": "take", "taken": "take", "slept": "sleep",
    "fell": "fall", "fallen": "fall", "hung": "hang", "sang": "sing", "built": "build", "made": "make",
}  # fmt: skip
_VOWELS = "aeiou"


def singular(word: str, is_word: Callable[[str], bool]) -> str | None:
    """The singular of a plural; None for a word that is no plural, and for one whose singular is another thing.

    word: in lower case. is_word: whether there is such a word: of "dishes" both "dishe" and "dish" would do.
    """
    if word in _NO_PLURALS:
        return None
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return next((form for form in _without_s(word) if is_word(form)), None)


def same_word(a: str, b: str) -> bool:
    """Whether two words may be forms of one: "wearing" and "wear", "cats" and "cat"."""
    return not base_forms(a).isdisjoint(base_forms(b))


def base_forms(word: str) -> set[str]:
    """What a word in lower case may be a form of: itself, its singular, the verb that it is of."""
    forms = {word, _IRREGULAR.get(word, word), _PAST.get(word, word)}
    if word not in _NO_PLURALS:
        forms.update(_without_s(word))
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3:
            forms |= {stem, stem + "e"}
            if stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
                forms.add(stem[:-1])  # running, stopped
            if ending == "ed" and stem[-1] == "i":
                forms.add(stem[:-1] + "y")  # carried
    return forms


def _without_s(word: str) -> list[str]:
    """What a word may be the plural (or the third person) of, the likeliest first."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return []
    if word.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]  # puppies; movies
    if word.endswith(("ches", "shes", "xes", "sses", "zzes", "oes")):
        return [word[:-2], word[:-1]]
    return [word[:-1], word[:-2]] if word.endswith("es") else [word[:-1]]
