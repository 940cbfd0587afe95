"""Weights files as bytes: one safetensors file holds the weights and, in its metadata, everything needed to use them.

No pickle: a weights file from a stranger cannot run code. Needs no torch: `fcln.checkpoint` makes a network of it,
`fcln.phrase_model` its phrase side.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from fcln.errors import CheckpointError
from fcln.scoring import Scoring
from fcln.vocabulary import Vocabulary
from fcln.word_pieces import WordPieces
from fcln.word_uses import WordUse

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default.safetensors"
FORMAT = "densecap-search 1"
_KEY = "densecap-search"
# What the names of the tensors begin with that a question needs.
PHRASE_SIDE = "phrases."


@dataclass(frozen=True)
class WeightsFile:
    """Which network a weights file holds. Its header was read, its weights were not looked at."""

    digest: str  # sha256 of the file, hexadecimal
    embedding_size: int
    code_size: int

    @classmethod
    def read(cls, path: Path | None = None) -> "WeightsFile":
        """What a collection has to know of a weights file; None: the embedded default.

        Raises CheckpointError if it is missing, cut short, or not one of this version's.
        """
        path = path or DEFAULT_WEIGHTS
        texts = read_texts(path)
        try:
            config = json.loads(texts["config"])
            return cls(checkpoint_digest(path), int(config["embedding_size"]), int(config["code_size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise unfit(path, error) from error


@dataclass(frozen=True)
class Words:
    """What a network knows of words, and how its answers are scored."""

    vocabulary: Vocabulary  # of the language model
    pieces: WordPieces  # of the phrase encoder
    word_uses: dict[str, WordUse]
    scoring: Scoring
    names: tuple[str, ...] = ()  # phrases that name what a region may be called, see `fcln.naming`
    terms: tuple[tuple[str, ...], ...] = ()  # the forms of `fcln.term_vectors`

    def to_texts(self) -> dict[str, str]:
        """As a weights file keeps them, names included."""
        uses = {word: [use.inside, use.opens, use.opener] for word, use in self.word_uses.items()}
        return {
            "vocabulary": json.dumps(self.vocabulary.words, ensure_ascii=False),
            "pieces": json.dumps(self.pieces.pieces, ensure_ascii=False),
            "noun_phrases": json.dumps(uses, ensure_ascii=False),
            "scoring": json.dumps(self.scoring.to_json()),
            "names": json.dumps(self.names, ensure_ascii=False),
            "terms": json.dumps(self.terms, ensure_ascii=False),
        }


def read_words(path: Path, texts: Mapping[str, str]) -> Words:
    """The words among the texts of the weights file `path`. Raises CheckpointError if they are of another form."""
    try:
        return Words(
            Vocabulary(json.loads(texts["vocabulary"])),
            WordPieces(json.loads(texts["pieces"])),
            {word: WordUse(*use) for word, use in json.loads(texts["noun_phrases"]).items()},
            Scoring.from_json(json.loads(texts["scoring"])),
            tuple(json.loads(texts.get("names", "[]"))),
            tuple(tuple(forms) for forms in json.loads(texts.get("terms", "[]"))),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unfit(path, error) from error


def pack_texts(texts: dict[str, str]) -> dict[str, str]:
    """Texts as a safetensors header takes them: as one, for the library writes several in an order of its own."""
    return {_KEY: json.dumps(texts, ensure_ascii=False, sort_keys=True)}


def read_texts(path: Path) -> dict[str, str]:
    """The texts in a weights file's header: configuration, words, checksum.

    Raises CheckpointError if it is missing, cut short, or not one of this version's.
    """
    if not path.is_file():
        raise CheckpointError(f"The weights file {path} {'is no file' if path.exists() else 'does not exist'}.")
    try:
        with safe_open(path, framework="np") as file:
            texts = json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(texts, dict) or texts.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a weights file of densecap-search, or of another version.")
    return texts


def read_tensors(path: Path, texts: Mapping[str, str], *, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a weights file whose names begin with a prefix, by the rest of their names, dtypes as stored.

    texts: what `read_texts` returned. The whole file is checked against its checksum, one tensor in memory at a time.

    Raises CheckpointError if it is damaged.
    """
    kept: dict[str, np.ndarray] = {}
    checksum = Checksum(texts)
    try:
        with safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                checksum.add(name, tensor)
                if name.startswith(prefix):
                    kept[name.removeprefix(prefix)] = tensor
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: a dtype that numpy does not have
        raise damaged(path, str(error)) from error
    if texts.get("checksum", "") != checksum.hexdigest():
        raise damaged(path, "its checksum is wrong")
    return kept


class Checksum:
    """crc32 of everything in a weights file: safetensors itself notices only a damaged layout."""

    def __init__(self, texts: Mapping[str, str]):
        """texts: of the file; its checksum, if it is among them, is left out."""
        self._value = 0
        for key in sorted(texts.keys() - {"checksum"}):
            self._value = zlib.crc32(f"{key}\0{texts[key]}\0".encode(), self._value)

    def add(self, name: str, tensor: np.ndarray) -> None:
        """Tensors are to be added in the order of their names."""
        self._value = zlib.crc32(name.encode(), self._value)
        self._value = zlib.crc32(np.ascontiguousarray(tensor).data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def checkpoint_digest(path: Path | None = None) -> str:
    """sha256 of a weights file, hexadecimal: what a collection remembers of the network that filled it."""
    path = path or DEFAULT_WEIGHTS
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"The weights file {path} cannot be read ({error.strerror}).") from error


def damaged(path: Path, fault: str) -> CheckpointError:
    """What there is to say of a damaged weights file."""
    return CheckpointError(f"The weights file {path} is damaged ({fault}); fetch it again.")


def unfit(path: Path, error: Exception) -> CheckpointError:
    """What there is to say of a weights file of another form."""
    reason, *details = str(error).splitlines() or [type(error).__name__]
    if details and reason.startswith("Error(s) in loading"):  # torch's: then a line for each kind, with all names
        reason = "other layers, or of other sizes"
    what_to_do = "Train it again with this version, or use the embedded weights"
    return CheckpointError(f"The weights file {path} does not fit this version ({reason}). {what_to_do}.")
