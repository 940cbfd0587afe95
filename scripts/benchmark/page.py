"""How long the page takes, in a real browser: from Enter to the first photograph, first view, scrolling, many at once.

\b
    python -m scripts.benchmark.page
    python -m scripts.benchmark.page --photographs 100000 --regions 10 --json

Makes a collection of photographs (those of `make demo`, small, each file with bytes of its own) whose regions have the
embeddings of phrases, with noise; serves it with `search serve` and opens it in Chromium (Debian's `chromium`; what
drives it comes with the extra `test`). Times are medians of --times.
"""

import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click
import numpy as np
from PIL import Image

from db.collection import open_collection
from db.records import ModelIdentity, NewPhoto, PhotoHeaders
from fcln.phrase_model import PhraseModel
from scripts.demo import copy_photographs
from scripts.options import json_option, regions_option

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
CODE_SIZE = 512  # of the embedded weights
SIDE = 320  # pixels of the photographs' longest side
FILES_A_FOLDER = 1000
COMMIT_PHOTOGRAPHS = 500
NOISE = 0.8  # embeddings that say the same are alike by a cosine of 1 / sqrt(1 + NOISE^2)
SCROLLED_HITS = 5000
WAIT_FOR_MORE_MS = 40_000

THINGS = (
    "dog",
    "cat",
    "horse",
    "bird",
    "tree",
    "car",
    "bicycle",
    "bus",
    "boat",
    "house",
    "table",
    "chair",
    "couch",
    "lamp",
    "cup",
    "plate",
    "apple",
    "pizza",
    "cake",
    "flower",
)
COLOURS = ["red", "blue", "green", "black", "white", "brown"]

# What a browser does: how long from a key to the first photograph that is drawn.
_WATCH = """() => {
  window.drawn = new Promise((resolve) => {
    let began = 0;
    document.addEventListener("keydown", () => (began = performance.now()), { capture: true, once: true });
    document.addEventListener("load", function loaded(event) {
      if (!event.target.closest?.(".results .tile")) return;
      document.removeEventListener("load", loaded, true);
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
    }, true);
  });
}"""
_SERVER_SHARE = r"""() => {
  const firstOnes = (entry) => /search\?.*limit=/.test(entry.name) && entry.serverTiming.length;
  const asked = performance.getEntriesByType("resource").filter(firstOnes);
  return asked.at(-1).serverTiming[0].duration;
}"""
_FIRST_VIEW = """() => ({
  bytes: [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((entry) => !entry.name.includes("/api/"))
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
  paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
})"""
# Scrolls through what there is, a third of a window a frame: milliseconds from one frame to the next.
_SCROLL = """async () => {
  const frames = [];
  const step = innerHeight / 3;
  let before = await new Promise(requestAnimationFrame);
  for (let y = 0; y < document.documentElement.scrollHeight - innerHeight && frames.length < 600; y += step) {
    window.scrollTo(0, y);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  return frames;
}"""


@click.command(help=__doc__)
@click.option("--photographs", type=click.IntRange(100), default=1000, show_default=True)
@regions_option
@click.option("--times", type=click.IntRange(2), default=30, show_default=True)
@click.option("--at-once", type=click.IntRange(1), default=200, show_default=True, help="Questions at one moment.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Keep the collection here, or reuse it."
)
@json_option
def main(photographs: int, regions: int, times: int, at_once: int, folder: Path | None, as_json: bool) -> None:
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        place = folder or Path(temporary)
        collection = place / "collection"
        if not collection.exists():
            print("making the collection ...", file=sys.stderr)
            make_collection(collection, place / "photos", photographs, regions)
        with serving(collection, Path(temporary)) as server, sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*arguments, "--disable-dev-shm-usage"]
            )
            result = {
                "photographs": photographs,
                "regions": regions,
                "start": server.started_seconds,
                **ask_in_browser(browser, server, times),
                **first_view(browser, server, times),
                **scroll(browser, server, min(SCROLLED_HITS, photographs)),
            }
            browser.close()
            result |= ask_at_once(server, at_once)
            result["memory_mb"] = server.peak_memory() / 1e6
    click.echo(json.dumps(result, indent=1) if as_json else table(result))


# -- a collection and its server


def make_collection(path: Path, photos: Path, count: int, regions: int) -> None:
    """Photographs that phrases describe."""
    model = PhraseModel.load()
    phrases = [f"a {colour} {thing}" for thing in THINGS for colour in COLOURS]
    vectors = model.encode_phrases(phrases)
    identity = ModelIdentity(model.digest, model.embedding_size, CODE_SIZE)
    with open_collection(path, write=True, create=True, model=identity) as collection:
        root_id = collection.add_root(photos)
        made = make_photographs(root_id, photos.resolve(), count, regions, phrases, vectors)
        while batch := list(islice(made, COMMIT_PHOTOGRAPHS)):
            collection.commit(new=batch)
        collection.record_build({"new": count}, seconds=0)


def make_photographs(
    root_id: int, root: Path, count: int, regions: int, phrases: list[str], vectors: np.ndarray
) -> Iterator[NewPhoto]:
    """Files, and what is said of them; vectors: of the phrases, (Q, E) unit length."""
    rng = np.random.default_rng(1)
    pictures = small_photographs(root.parent / "originals")
    spread = NOISE / np.sqrt(vectors.shape[1])
    codes = np.zeros((regions, CODE_SIZE), np.float16)
    for number in range(count):
        size, jpeg = pictures[number % len(pictures)]
        content = jpeg + number.to_bytes(8, "big")  # behind the picture's end, where decoders do not look
        path = root / f"{number // FILES_A_FOLDER:04}" / f"{number:07}.jpg"
        if number % FILES_A_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        state = path.stat()
        said = rng.integers(len(phrases), size=regions)
        embeddings = vectors[said] + spread * rng.standard_normal((regions, vectors.shape[1]), np.float32)
        corner = rng.uniform(0, 0.7, (regions, 2))
        low, high = corner * size, (corner + rng.uniform(0.1, 0.3, (regions, 2))) * size
        yield NewPhoto(
            root_id=root_id,
            path=path.relative_to(root).as_posix(),
            size=state.st_size,
            mtime_ns=state.st_mtime_ns,
            digest=hashlib.sha256(content).hexdigest(),
            width=size[0],
            height=size[1],
            boxes=np.concatenate([low, high], axis=1).astype(np.float32),
            scores=rng.uniform(0.1, 1, regions).astype(np.float32),
            phrases=[phrases[index] for index in said],
            codes=codes,
            embeddings=(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32),
            headers=PhotoHeaders(taken=f"{2000 + number % 25}-{1 + number % 12:02}-01T12:00:00"),
        )


def small_photographs(folder: Path) -> list[tuple[tuple[int, int], bytes]]:
    """The size and the JPEG of each photograph of `make demo`, reduced."""
    found = []
    for path in sorted(copy_photographs(folder).iterdir()):
        image = Image.open(path).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        target = io.BytesIO()
        image.save(target, "JPEG", quality=80)
        found.append((image.size, target.getvalue()))
    return found


class Server:
    """The command, and how to ask it."""

    def __init__(self, process: subprocess.Popen[str], started_seconds: float, port: int):
        self._process = process
        self.started_seconds = started_seconds
        self.port = port

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, question: str, k: int = 20) -> list[int]:
        """The ids of the photographs found."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request("GET", f"/api/search?{urlencode({'q': question, 'k': k})}")
            reply = connection.getresponse()
            document = json.loads(reply.read())
            if reply.status != 200:
                raise click.ClickException(document["error"])
            return [hit["photo_id"] for hit in document["hits"]]
        finally:
            connection.close()

    def peak_memory(self) -> int:
        """The most bytes of memory that the server has held, without mapped files' share of other programs."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


@contextmanager
def serving(collection: Path, home: Path) -> Iterator[Server]:
    """`search serve` over a collection; its cache of thumbnails is in `home`."""
    command = [sys.executable, "-m", "search", "serve", "--port", "0", "--collection", str(collection)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(home)}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        if address is None:
            raise click.ClickException(said + process.stderr.read())
        yield Server(process, time.perf_counter() - began, int(address[1]))
    finally:
        process.terminate()
        process.wait()


# -- what is measured


def questions(count: int) -> list[str]:
    """Questions of one and of two things, each another one."""
    rng = np.random.default_rng(2)
    single = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    double = [f"{a} and a {b}" for a in single for b in THINGS]
    some = [*rng.permutation(single)[: (count + 1) // 2].tolist(), *rng.permutation(double).tolist()]
    return some[:count]


def ask_in_browser(browser: "Browser", server: Server, times: int) -> dict[str, Any]:
    """From Enter to the first photograph drawn, and of that the server's answer; milliseconds."""
    page = browser.new_page(base_url=server.address)
    page.goto("/")
    page.wait_for_selector(".tile img")
    server.ask("a dog")  # the first question reads the vectors
    drawn, share = [], []
    for question in questions(times):
        page.fill("#question", question)
        page.evaluate(_WATCH)
        page.keyboard.press("Enter")
        drawn.append(page.evaluate("window.drawn"))
        share.append(page.evaluate(_SERVER_SHARE))
    page.close()
    return {"enter_to_first_photograph_ms": median(drawn), "server_share_ms": median(share), "slowest_ms": max(drawn)}


def first_view(browser: "Browser", server: Server, times: int) -> dict[str, Any]:
    """Bytes of code and style, and milliseconds to the first paint, nothing being cached."""
    seen = []
    for _ in range(times):
        context = browser.new_context(base_url=server.address)
        page = context.new_page()
        page.goto("/")
        page.wait_for_selector(".tile img")
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        seen.append(page.evaluate(_FIRST_VIEW))
        context.close()
    return {
        "first_view_kb": max(view["bytes"] for view in seen) / 1000,
        "first_paint_ms": median(view["paint"] for view in seen),
    }


def scroll(browser: "Browser", server: Server, hits: int) -> dict[str, Any]:
    """Through many hits: milliseconds of a frame."""
    page = browser.new_page(base_url=server.address, viewport={"width": 1440, "height": 900})
    page.goto("/search?q=dog&all=1")
    page.wait_for_selector(".results .tile img")
    loaded = _load_all(page, hits)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(1000)
    frames = page.evaluate(_SCROLL)
    page.close()
    return {"scrolled_hits": loaded, "frame_ms": median(frames), "frame_ms_95th": quantiles(frames, n=20)[-1]}


def _load_all(page: "Page", hits: int) -> int:
    """Scroll to the end until that many photographs are there, or no more come; how many there are."""
    count = "Math.max(...[...document.querySelectorAll('.results .tile')].map((tile) => Number(tile.ariaSetSize)))"
    loaded, waited = int(page.evaluate(count)), 0
    while loaded < hits and waited < WAIT_FOR_MORE_MS:
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(500)
        now = int(page.evaluate(count))
        loaded, waited = now, 0 if now > loaded else waited + 500
    return loaded


def ask_at_once(server: Server, count: int) -> dict[str, Any]:
    """Many questions at one moment: whether all are answered as they are one by one, and seconds."""
    asked = questions(count)
    some = asked[:: max(count // 20, 1)]
    alone = {question: server.ask(question) for question in some}
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        answers = dict(zip(asked, pool.map(server.ask, asked)))
    seconds = time.perf_counter() - began
    wrong = sum(answers[question] != alone[question] for question in some)
    return {"at_once": count, "answered": len(answers), "wrong": wrong, "at_once_seconds": seconds}


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    return "\n".join(
        (
            f"{result['photographs']:,} photographs with {result['regions']} regions each",
            f"server answers after                 {result['start']:.1f} s",
            f"Enter to first photograph drawn      {result['enter_to_first_photograph_ms']:.0f} ms "
            f"(slowest {result['slowest_ms']:.0f} ms)",
            f"of that the server's answer          {result['server_share_ms']:.0f} ms",
            f"first view: code and style           {result['first_view_kb']:.0f} KB",
            f"first view: first paint              {result['first_paint_ms']:.0f} ms",
            f"scrolling, a frame                   {result['frame_ms']:.1f} ms "
            f"(95 of 100: {result['frame_ms_95th']:.1f} ms, {result['scrolled_hits']:,} photographs)",
            f"{result['at_once']} questions at once                {result['answered']} answered, "
            f"{result['wrong']} wrong, {result['at_once_seconds']:.1f} s",
            f"the server's memory at most          {result['memory_mb']:.0f} MB",
        )
    )


if __name__ == "__main__":
    main()
