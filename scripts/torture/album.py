"""A folder of small generated photographs that changes, for `scripts.torture`."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = ("0", "1", "1/2")


class Album:
    """A folder of generated photographs that changes."""

    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self._seed = seed
        self._rng = random.Random(seed)
        self._made = 0  # names, contents and times so far: all are drawn from it, so none comes twice

    def add(self, count: int) -> None:
        """New photographs."""
        for _ in range(count):
            self._write(self._new_path())

    def change(self, count: int, *, new_contents: bool) -> None:
        """So many files of each kind of change, and one that is no photograph.

        new_contents: there are new photographs among them, and others in the place of old ones.
        """
        bad = self._new_path(".jpg")
        bad.write_text(f"no photograph {self._serial()}")
        self._stamp(bad)
        if new_contents:
            self.add(2 * count)
        for change in ("move", "copy", "touch", "truncate", "remove", *(["rewrite"] if new_contents else [])):
            files = sorted(path for path in self.folder.rglob("*") if path.is_file())
            for path in self._rng.sample(files, count):
                match change:
                    case "move":
                        path.rename(self._new_path())
                    case "copy":
                        shutil.copy2(path, self._new_path())
                    case "rewrite":
                        self._write(path)
                    case "touch":
                        self._stamp(path)
                    case "truncate":
                        os.truncate(path, path.stat().st_size // 2)
                        self._stamp(path)
                    case "remove":
                        path.unlink()

    def _new_path(self, suffix: str = ".png") -> Path:
        serial = self._serial()
        odd = b"\xff\n" if serial % 7 == 0 else b""
        folder = self.folder / self._rng.choice(FOLDERS)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / os.fsdecode(odd + str(serial).encode() + suffix.encode())

    def _write(self, path: Path) -> None:
        rng = np.random.default_rng([self._seed, self._serial()])
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(path, "PNG")
        self._stamp(path)

    def _stamp(self, path: Path) -> None:
        """A time that no file had before, however coarse the clock is."""
        serial = self._serial()
        os.utime(path, ns=(serial, serial))

    def _serial(self) -> int:
        self._made += 1
        return self._made
