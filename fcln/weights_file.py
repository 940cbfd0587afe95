"""What a weights file says about itself, without loading its weights: needs no torch."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fcln.errors import CheckpointError

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "default.safetensors"
FORMAT = "densecap-search 1"
_KEY = "densecap-search"


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
            raise CheckpointError(f"The weights file {path} does not fit this version ({error}).") from error


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
