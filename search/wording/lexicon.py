"""`Lexicon`: what is known of the words of a question."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from fcln.vocabulary import MAX_PHRASE_WORDS, words_of
from fcln.word_uses import WordUse
from search.wording.inflection import same_word
from search.wording.noun_phrases import NounPhrases
from search.wording.spelling import Spelling
from search.wording.synonyms import Synonyms

if TYPE_CHECKING:
    from fcln.vocabulary import Vocabulary
    from fcln.word_pieces import WordPieces


class KnowsWords(Protocol):
    """What a network knows of words: `fcln.phrase_model.PhraseModel`, or `fcln.predictor.Predictor`."""

    vocabulary: "Vocabulary"
    pieces: "WordPieces"
    word_uses: dict[str, WordUse]
    names: tuple[str, ...]


class Lexicon:
    """Which words a network has learnt, which others English has, and what stands for those that it has not learnt."""

    max_phrase_words = MAX_PHRASE_WORDS

    def __init__(
        self,
        vocabulary: Sequence[str],
        pieces: "WordPieces",
        word_uses: Mapping[str, WordUse],
        names: Sequence[str] = (),
    ):
        """vocabulary: the words that the network has learnt, frequent ones first. pieces: the phrase encoder's. names:
        of things that the network has learnt."""
        self._pieces = pieces
        self._noun_phrases = NounPhrases(word_uses, {word for name in names for word in words_of(name)[-1:]})
        self._synonyms = Synonyms(vocabulary)
        self._met = frozenset([*vocabulary, *word_uses])
        self._spelling = Spelling([*vocabulary, *word_uses])

    @classmethod
    def of(cls, model: KnowsWords) -> Self:
        """What a network knows of words."""
        # What only names of photographs taught is learnt too, though the language model may not write it.
        named = dict.fromkeys(word for name in model.names for word in words_of(name))
        return cls([*model.vocabulary.words, *named], model.pieces, model.word_uses, model.names)

    def unknown_words(self, phrase: str) -> list[str]:
        """The words that neither the network has met (in phrases, captions or as a whole word piece) nor English has.

        Other words that it has not met are read in pieces, which carry their meaning; those of these say nothing.
        """
        words = [w for w in words_of(phrase) if not (w in self._met or w in self._pieces)]
        return [word for word in words if not self._spelling.is_english(word)]

    def substitutions(self, phrase: str) -> dict[str, str]:
        """The words that are read as others: {"bycicle": "bicycle", "automobile": "car"}.

        Of the unknown words those that are slips, read as the words that were meant; of the words that the network has
        learnt from no photograph those that mean nearly the same as one that it has. Never another form of the same
        word ("wearing" as "wear"): the pieces tell the forms apart, and captions use them differently.
        """
        unknown = set(self.unknown_words(phrase))
        found = {}
        for word in dict.fromkeys(words_of(phrase)):
            meant = (self._spelling.nearest(word) if word in unknown else None) or word
            read = self._synonyms.nearest(meant, is_piece=meant in self._pieces) or meant
            if read != word and not (word not in unknown and same_word(word, read)):
                found[word] = read
        return found

    def canonical(self, phrase: str) -> str:
        """A phrase that names one thing, as captions mostly name it: "cat", "the cat" and "cats" -> "a cat"."""
        return self._noun_phrases.canonical(phrase)

    def noun_phrases(self, question: str) -> list[str]:
        """The things a question names: "dog on couch" -> ["a dog", "a couch"]."""
        return self._noun_phrases(question)
