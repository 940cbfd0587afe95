"""Questions of several parts, as people wrote them in captions: many, where `questions.json` has a few by hand.

\b
    python -m scripts.evaluate.composed_questions --annotations VAL --besides VAL/questions.json > composed.json
    python -m scripts.evaluate.questions --photos PHOTOS --annotations VAL --questions composed.json

Two labelled phrases that follow each other in a caption, and the words between them if they say how the things lie or
what one does ("a black dog is running through the snow"), make the question that somebody would type ("black dog
running through the snow"). Beside them things that do something ("dog swimming") and things of a colour ("red car").

What makes a photograph an answer is what it is in `questions.json`: its captions together have a word of each group. A
group is a word of the question and all words of the captions that are forms of it ("surfer", "surfing") or name the
same (`SAME`). What a thing does is a group only where no other thing says it ("boy playing soccer" is a boy and
soccer); "young" and "large", which captions mostly leave out, never; "two dogs" are dogs of which a caption says two.

Asked are those that --least photographs answer or more and --most at most, and of questions with the same groups one.
None is asked that is one of --besides, or has all of its groups, or none but some of these.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from fcln.errors import in_words
from fcln.vocabulary import words_of
from scripts.evaluate.command import errors_as_sentences
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.questions import Question, read_questions
from search.wording.function_words import FUNCTION_WORDS
from search.wording.inflection import base_forms, singular
from search.wording.noun_phrases import NUMBERS

# Words for the same things, and kinds of them.
_CHILDREN = "child kid boy girl toddler baby infant"
_PEOPLE = f"person man woman guy lady {_CHILDREN}"
SAME = {
    "man": "man guy", "guy": "man guy", "woman": "woman lady", "lady": "woman lady", "child": _CHILDREN,
    "kid": _CHILDREN, "baby": "baby infant toddler", "toddler": "toddler baby", "person": _PEOPLE, "dog": "dog puppy",
    "bicycle": "bicycle bike", "bike": "bicycle bike", "motorcycle": "motorcycle motorbike dirtbike",
    "motorbike": "motorcycle motorbike dirtbike", "couch": "couch sofa", "sofa": "couch sofa", "jacket": "jacket coat",
    "coat": "jacket coat", "water": "water lake ocean river sea pool pond", "ocean": "ocean sea", "sea": "ocean sea",
    "street": "street road", "road": "street road", "beach": "beach sand", "snow": "snow snowy", "rock": "rock cliff",
    "cliff": "rock cliff", "hat": "hat cap", "cap": "hat cap", "grass": "grass grassy lawn",
    "field": "field grass grassy", "forest": "forest woods", "woods": "forest woods",
}  # fmt: skip
# What one caption of five says, if any.
_UNSAID_TEXT = """
    young little small large big old older adult elderly tall long short huge tiny other another different same
    beautiful pretty several many some group
"""
_UNSAID = frozenset(_UNSAID_TEXT.split())
# Words for amounts, and for what is no thing.
_NO_HEADS_TEXT = """
    group couple pair crowd bunch one other others another someone something front back side top bottom middle edge
    distance background foreground camera picture photo way time day
"""
_NO_HEADS = frozenset(_NO_HEADS_TEXT.split())
COLOURS = frozenset(
    ["red", "blue", "green", "yellow", "white", "black", "brown", "pink", "purple", "grey", "gray", "orange"]
)
_BETWEEN_TEXT = """
    on|in|with|at|near|over|under|through|by|along|against|across|into|inside|above|beside|behind|around|down|up|onto|
    off|from|next to|in front of|on top of
"""
_BETWEEN = frozenset(" ".join(words.split()) for words in _BETWEEN_TEXT.split("|"))
_FIRST_BETWEEN = frozenset(words.split()[0] for words in _BETWEEN)
_BEING = frozenset({"is", "are", "was", "were", "who", "that", "which"})
_ARTICLES = frozenset({"a", "an", "the"})
# Words of the things of a question, at most.
_MOST_WORDS = 3


@dataclass(frozen=True)
class Named:
    """A phrase that people labelled, where a caption has it."""

    begin: int  # words of the caption
    end: int


@click.command(help=__doc__)
@click.option(
    "--annotations", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="Folder in Visual Genome's format, with captions.json.",
)  # fmt: skip
@click.option(
    "--besides",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Questions that none of these may be: those that judge in the end.",
)
@click.option("--least", type=click.IntRange(1), default=4, show_default=True, help="Photographs that answer.")
@click.option("--most", type=click.IntRange(1), default=60, show_default=True, help="Photographs that answer.")
@click.option("--seed", default=0, show_default=True)
def main(annotations: Path, besides: Path | None, least: int, most: int, seed: int) -> None:
    with errors_as_sentences():
        captions, phrases = read_captions(annotations)
        questions = composed_questions(
            captions, phrases, read_questions(besides) if besides else [], least=least, most=most, seed=seed
        )
    click.echo(
        json.dumps([{"question": q.text, "all_of": [sorted(group) for group in q.all_of]} for q in questions], indent=1)
    )


def read_captions(annotations: Path) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """The captions and the labelled phrases of each photograph, by image id. Raises EvaluationError."""
    try:
        captions = json.loads((annotations / "captions.json").read_text(encoding="utf-8"))
        regions = json.loads((annotations / "region_descriptions.json").read_text(encoding="utf-8"))
        return (
            {int(entry["image_id"]): list(entry["captions"]) for entry in captions},
            {int(entry["id"]): [region["phrase"] for region in entry["regions"]] for entry in regions},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{annotations} holds no captions and labelled phrases ({in_words(error)}).") from error


def composed_questions(
    captions: Mapping[int, Sequence[str]],
    phrases: Mapping[int, Sequence[str]],
    besides: Sequence[Question],
    *,
    least: int,
    most: int,
    seed: int,
) -> list[Question]:
    """Questions of several parts that these photographs answer, in an order drawn at random.

    captions, phrases: of each photograph, by image id. besides: questions that none of them is.
    """
    found = {
        text: asked
        for image_id in sorted(captions)
        for caption in captions[image_id]
        for text, asked in questions_of(words_of(caption), phrases.get(image_id, ()))
    }
    said = [{word for caption in captions[image_id] for word in words_of(caption)} for image_id in sorted(captions)]
    every = sorted(set().union(*said))
    photographs: dict[str, set[int]] = defaultdict(set)
    for place, words in enumerate(said):
        for word in words:
            photographs[word].add(place)
    by_form: dict[str, set[str]] = defaultdict(set)
    for word in every:
        for form in forms(word):
            by_form[form].add(word)

    def group_of(word: str, *, several: bool) -> frozenset[str]:
        same = [meant for form in sorted(forms(word)) for meant in SAME.get(form, form).split()]
        words = set().union(*(by_form[form] for name in dict.fromkeys(same) for form in forms(name)))
        return frozenset(word for word in words if not several or is_plural(word))

    texts = sorted(found)
    random.Random(seed).shuffle(texts)
    questions: dict[frozenset[frozenset[str]], Question] = {}
    others = [
        question.all_of or tuple(group_of(word, several=False) for word in telling(question.text))
        for question in besides
    ]
    for text in texts:
        groups = tuple(dict.fromkeys(group_of(word, several=several) for word, several in found[text]))
        answers = len(set.intersection(*(set().union(*(photographs[w] for w in group)) for group in groups)))
        is_other = any(meet(groups, other) or meet(other, groups) for other in others)
        if least <= answers <= most and len(groups) > 1 and not is_other:
            questions.setdefault(frozenset(groups), Question(text, groups))
    return list(questions.values())


def questions_of(caption: Sequence[str], phrases: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """The questions in a caption's words: the text, and the words that an answer's captions have.

    phrases: that people labelled in the photograph. Each word of an answer with whether several are asked for.
    """
    named = list(find_phrases(caption, phrases))
    for place, one in enumerate(named):
        thing = caption[one.begin : one.end]
        bare = [word for word in thing if word not in _ARTICLES]
        asked = words_asked(thing)
        if not asked or len(bare) > _MOST_WORDS:
            continue
        if len(bare) == 2 and bare[0] in COLOURS:
            yield " ".join(bare), asked
        if place:  # "a man in a hat riding": the hat does not
            continue
        after = list(caption[one.end :])
        other = named[1] if len(named) > 1 else None
        between = after if other is None else list(caption[one.end : other.begin])
        while between and between[0] in _BEING:
            del between[0]
        doing = between[:1] if between and between[0].endswith("ing") else []
        rest = between[len(doing) :]
        if doing and ((not rest and other is None) or (rest and rest[0] in _FIRST_BETWEEN)):
            yield " ".join([*bare, *doing]), [*asked, (doing[0], False)]
        if other is None or (" ".join(rest) not in _BETWEEN and not (doing and not rest)):
            continue
        second = caption[other.begin : other.end]
        others = words_asked(second)
        if others and len([word for word in second if word not in _ARTICLES]) <= _MOST_WORDS:
            yield " ".join([*bare, *between, *second]), [*asked, *others]


def find_phrases(caption: Sequence[str], phrases: Sequence[str]) -> Iterator[Named]:
    """Where a caption has labelled phrases, in order, the longest where they overlap."""
    known = {tuple(words_of(phrase)) for phrase in phrases}
    longest = max(map(len, known), default=0)
    at = 0
    while at < len(caption):
        for end in range(min(at + longest, len(caption)), at, -1):
            if tuple(caption[at:end]) in known:
                yield Named(at, end)
                at = end
                break
        else:
            at += 1


def words_asked(thing: Sequence[str]) -> list[tuple[str, bool]]:
    """The words of a noun phrase that an answer's captions have, the last with whether several are asked for.

    None of a phrase that names nothing: "a group of people", "another one".
    """
    if thing[-1] in _UNSAID or not _NO_HEADS.isdisjoint(thing):
        return []
    several = thing[0] in NUMBERS
    words = [word for word in thing if word not in FUNCTION_WORDS and word not in _UNSAID]
    return [(word, several and word == thing[-1]) for word in words] if words and words[-1] == thing[-1] else []


def forms(word: str) -> set[str]:
    """What a word may be a form of; a surfer is somebody who is surfing."""
    stems = {word}
    for ending in ("er", "ers"):
        if word.endswith(ending) and len(word) >= len(ending) + 4:
            stems.add(word.removesuffix(ending) + "ing")
    return {form for stem in stems for form in base_forms(stem)}


def is_plural(word: str) -> bool:
    """Whether a word names several: "dogs", "children"."""
    return word == "people" or singular(word, lambda form: True) is not None


def telling(text: str) -> list[str]:
    """The words of a question that tell something."""
    return [word for word in words_of(text) if word not in FUNCTION_WORDS and word not in _UNSAID]


def meet(some: Sequence[frozenset[str]], others: Sequence[frozenset[str]]) -> bool:
    """Whether each of some groups has a word of one of the others."""
    return all(any(group & other for other in others) for group in some)


if __name__ == "__main__":
    main()
