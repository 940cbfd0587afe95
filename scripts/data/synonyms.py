"""Makes search/wording/synonyms.txt.gz: for English words, those that mean nearly the same and describe photographs.

\b
    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet
    python -m scripts.data.synonyms --wordnet wordnet/usr/share/wordnet --text TEXT

WordNet (3.0, Princeton University) says what means the same (a synset) and what means more (its hypernyms, similar and
pertaining adjectives), the sentence-embedding teacher (see scripts.train.piece_vectors) which of a word's meanings is
meant in everyday English. The distance of two words:

\b
    4 (1 - cosine of the teacher's vectors)
    + 0.3 for each more frequent meaning of the word, at most 1.8
    + 1 if the other one means more, and then 0.3 once more for each more frequent meaning
    + 1 if one is a plural (a past, ...) and the other is not

A word that can be a noun or an adjective is not taken for a verb: photographs are asked for things. Farther than 4, or
with a cosine below 0.2, words are taken to have nothing to do with each other.

Words: WordNet's, and those forms of them that an English dictionary has. Others: words that the text folder has five
times or more. At search time neither WordNet nor teacher is needed.
"""

import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
import numpy as np

from fcln.vocabulary import words_of
from scripts.data.text_folder import captions, counted_phrases
from scripts.data.wordnet import WordNet
from scripts.train.sentence_teacher import SentenceTeacher
from search.wording.synonyms import SYNONYMS_FILE

MIN_COUNT = 5
FARTHEST = 4.0
LEAST_COSINE = 0.2
# Of one word. The vocabulary of another network lacks some of them.
MOST = 6

_MEANING, _SENSE, _MOST_SENSES, _BROADER, _FORM = 4.0, 0.3, 6, 1.0, 1.0
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), default=SYNONYMS_FILE)
@click.option("--wordnet", type=_FOLDER, required=True, help="Folder of data.noun, index.noun, noun.exc, ...")
@click.option("--text", type=_FOLDER, required=True, help="Folder of phrases.tsv.gz and captions.txt.gz.")
def main(out: Path, wordnet: Path, text: Path) -> None:
    from spellchecker import SpellChecker

    net = WordNet(wordnet)
    forms = {word for word in SpellChecker().word_frequency.dictionary if net.lemmas(word)}
    words = sorted(word for word in forms | net.words() if re.fullmatch("[a-z]{3,}", word))
    related = find_related(net, words, frequent_words(text))
    every = sorted({*related, *(other for others in related.values() for other in others)})
    vectors = SentenceTeacher().embed(every)
    lines = synonym_lines(related, dict(zip(every, vectors)))
    # No time and no name in the file: the same words give the same bytes.
    out.write_bytes(gzip.compress("".join(lines).encode("ascii"), 9, mtime=0))
    click.echo(f"{out}: {len(lines)} words, {out.stat().st_size} bytes")


def frequent_words(text: Path) -> list[str]:
    """The words of the text folder that occur MIN_COUNT times or more, in the order of the alphabet."""
    counts: Counter[str] = Counter()
    for phrase, count in counted_phrases(text):
        counts.update(dict.fromkeys(words_of(phrase), count))
    for caption in captions(text):
        counts.update(words_of(caption))
    return sorted(word for word, count in counts.items() if count >= MIN_COUNT and re.fullmatch("[a-z]{2,}", word))


def find_related(net: WordNet, words: Iterable[str], others: Iterable[str]) -> dict[str, dict[str, float]]:
    """For each word that WordNet relates with some of the others, these and their distances but for the teacher's
    share."""
    forms: dict[tuple[str, str], list[str]] = defaultdict(list)
    for other in others:
        for lemma in net.lemmas(other):
            forms[lemma].append(other)
    related = {word: _related(net, word, forms) for word in words}
    return {word: others for word, others in related.items() if others}


def synonym_lines(related: Mapping[str, Mapping[str, float]], vectors: Mapping[str, np.ndarray]) -> list[str]:
    """The file's lines; none for a word that nothing is near. vectors: (size,) each, unit length."""
    lines = []
    for word, others in related.items():
        cosines = {other: float(vectors[word] @ vectors[other]) for other in others}
        near = [(others[other] + _MEANING * (1 - cos), other) for other, cos in cosines.items() if cos >= LEAST_COSINE]
        nearest = sorted((distance, other) for distance, other in near if distance <= FARTHEST)[:MOST]
        if nearest:
            lines.append(" ".join([word, *(f"{other} {round(10 * distance)}" for distance, other in nearest)]) + "\n")
    return lines


def _related(net: WordNet, word: str, forms: Mapping[tuple[str, str], list[str]]) -> dict[str, float]:
    found: dict[str, float] = {}
    lemmas = net.lemmas(word)
    for kind, lemma in [(kind, lemma) for kind, lemma in lemmas if kind != "v"] or lemmas:
        form = _form(kind, lemma, word)
        for number, synset in enumerate(net.senses(kind, lemma)):
            distance = _SENSE * min(number, _MOST_SENSES)
            steps = [(synset, distance), *((broader, 2 * distance + _BROADER) for broader in net.broader(synset))]
            for meaning, far in steps:
                for same in meaning.words:
                    for other in forms.get((kind, same), ()):
                        total = far + (0 if _form(kind, same, other) == form else _FORM)
                        if other != word:
                            found[other] = min(found.get(other, total), total)
    return found


def _form(kind: str, lemma: str, word: str) -> str:
    """Which form of its lemma a word is: "" itself, "plural", "ing", ..."""
    if word == lemma:
        return ""
    if kind == "n":
        return "plural"
    return next((ending for ending in ("ing", "s", "er", "est") if word.endswith(ending)), "past")


if __name__ == "__main__":
    main()
