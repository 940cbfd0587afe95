"""A collection that the embedded weights can be asked about, of drawn photographs, and the real `search serve` over it.

A region's embedding is that of its phrase, so a question finds the regions that say what it asks.
"""

import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image, ImageDraw

from db.collection import open_collection
from db.records import FailedFile, ModelIdentity, NewPhoto, PhotoHeaders
from fcln.phrase_model import PhraseModel

ROOT = Path(__file__).parents[2]
CODE_SIZE = 512
COLOURS = ("#b5651d", "#2e8b57", "#4169e1", "#8b008b", "#b22222", "#708090", "#daa520", "#008b8b")


@cache
def phrase_model() -> PhraseModel:
    return PhraseModel.load()


@dataclass(frozen=True)
class Drawn:
    """A photograph to draw and describe: phrases by boxes, x1 y1 x2 y2 in pixels."""

    regions: Sequence[tuple[str, tuple[float, float, float, float]]]
    size: tuple[int, int] = (320, 240)
    headers: PhotoHeaders | None = None


def drawn(*phrases: str, size: tuple[int, int] = (320, 240), **headers: Any) -> Drawn:
    """The boxes beside each other."""
    width = size[0] / len(phrases)
    boxes = [(i * width + 4, size[1] * 0.2, (i + 1) * width - 4, size[1] * 0.9) for i in range(len(phrases))]
    return Drawn(list(zip(phrases, boxes)), size, PhotoHeaders(**headers))


def draw(path: Path, photo: Drawn, **options: Any) -> None:
    image = Image.new("RGB", photo.size, "#dde3ea")
    pen = ImageDraw.Draw(image)
    for phrase, box in photo.regions:
        colour = COLOURS[int(hashlib.sha256(phrase.encode()).hexdigest(), 16) % len(COLOURS)]
        pen.rectangle(box, fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def new_photo(root_id: int, root: Path, name: str, photo: Drawn) -> NewPhoto:
    path = root / name
    phrases = [phrase for phrase, _ in photo.regions]
    return NewPhoto(
        root_id=root_id,
        path=name,
        size=path.stat().st_size,
        mtime_ns=path.stat().st_mtime_ns,
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        width=photo.size[0],
        height=photo.size[1],
        boxes=np.array([box for _, box in photo.regions], np.float32),
        scores=np.linspace(0.9, 0.6, len(phrases)).astype(np.float32),
        phrases=phrases,
        codes=np.zeros((len(phrases), CODE_SIZE), np.float16),
        embeddings=phrase_model().encode_phrases(phrases),
        headers=photo.headers or PhotoHeaders(),
    )


def add_photos(
    collection: Path, root: Path, photos: Mapping[str, Drawn], failed: Mapping[str, str] | None = None
) -> None:
    """Draw photographs and commit them. failed: names and reasons of files that could not be described."""
    model = phrase_model()
    identity = ModelIdentity(model.digest, model.embedding_size, CODE_SIZE)
    for name, photo in photos.items():
        if not (root / name).exists():
            draw(root / name, photo)
    root.mkdir(parents=True, exist_ok=True)
    with open_collection(collection, write=True, create=True, model=identity) as opened:
        root_id = opened.add_root(root)
        opened.commit(
            new=[new_photo(root_id, root, name, photo) for name, photo in photos.items()],
            failed=[FailedFile(root_id, name, 1, 1, "0" * 64, reason) for name, reason in (failed or {}).items()],
        )


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class PageServer(AbstractContextManager):
    """The real command, on a free port, its cache in a folder of its own."""

    def __init__(self, collection: Path, home: Path, *arguments: str):
        environment = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "HOME": str(home)}
        command = [sys.executable, "-m", "search", "serve", "--port", "0", "--collection", str(collection), *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        self.said = self._process.stderr.readline()
        found = re.search(r"http://([^/]+):(\d+)/\S*", self.said)
        assert found, self.said + self._process.stderr.read()
        self.address, self.port = found[0], int(found[2])

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> str:
        """Interrupt it, as Ctrl-C does; what it said after the first line."""
        self._process.terminate()
        _, said = self._process.communicate(timeout=300)
        return said

    @property
    def process_id(self) -> int:
        return self._process.pid

    def ask(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request. query: values, or lists of them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        target = path + (f"?{urlencode(query, doseq=True)}" if query else "")
        try:
            connection.request(method, target, body, dict(headers or {}))
            reply = connection.getresponse()
            names = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, names, reply.read())
        finally:
            connection.close()

    def get(self, path: str, **query: Any) -> Any:
        """The document of a successful request."""
        reply = self.ask(path, query)
        assert reply.status == 200, reply.body
        return reply.document
