"""What may be made of an answer beside printing it: a picture, a page, a folder of photographs, any of them shown."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.options import PathType, with_options
from commands.text import printable
from search import output

if TYPE_CHECKING:
    from search.detector import Detections
    from search.searcher import Answer

_OPTIONS = (
    click.option(
        "--html",
        type=PathType(),
        metavar="FILE.html",
        help="Also write one web page that needs no other file: the photographs, their boxes, phrases and scores.",
    ),
    click.option(
        "--copy",
        type=PathType(),
        metavar="FOLDER",
        help="Also copy the photographs into a folder. Nothing that is there is overwritten.",
    ),
    click.option(
        "--link",
        type=PathType(),
        metavar="FOLDER",
        help="Also make links to the photographs in a folder, which a viewer shows as an album.",
    ),
    click.option(
        "--open",
        "opened",
        is_flag=True,
        help="Show the answer: the page of --html, else the picture of --draw, else a page in your folder for caches.",
    ),
)


@dataclass(frozen=True)
class Delivery:
    """What was asked for."""

    html: Path | None
    copy: Path | None
    link: Path | None
    opened: bool

    def check(self) -> None:
        """Raise DeliveryError or UsageError for what cannot be done, before anything is searched."""
        if self.copy is not None and self.link is not None:
            raise click.UsageError("--copy and --link both fill a folder: give one of them.")
        if self.html is not None:
            from search.web_page import check_page

            check_page(self.html)
        if (folder := self.copy or self.link) is not None:
            from search.copying import check_folder

            check_folder(folder)

    def deliver(self, answer: "Answer | Detections", *, drawn: Path | None = None) -> None:
        """Make it of an answer that has hits. drawn: the picture that was drawn of it. Raises DeliveryError."""
        if self.copy is not None or self.link is not None:
            self._fill_folder(answer)
        page = self.html
        if self.opened and page is None and drawn is None:
            from platformdirs import user_cache_path

            page = user_cache_path("densecap-search", ensure_exists=True) / "answer.html"
        if page is not None:
            from search.web_page import answer_page, write_page

            write_page(answer_page(answer), page)
            click.echo(f"Wrote a page of {len(answer.hits)} photographs: {printable(page)}", err=True)
        if self.opened:
            from search.viewer import show

            show(page or drawn)  # type: ignore[arg-type]  # one of them there is

    def _fill_folder(self, answer: "Answer | Detections") -> None:
        from search.copying import deliver_photographs

        folder = self.copy or self.link
        assert folder is not None
        done = deliver_photographs([hit.path for hit in answer.hits], folder, link=self.link is not None)
        for path, reason in done.missing:
            click.echo(f"Left out {output.shown(path)}: {reason}", err=True)
        verb = "Linked to" if self.link is not None else "Copied"
        told = [f"{verb} {len(done.written)} photographs"]
        told += [f"{len(done.present)} were there"] if done.present else []
        told += [f"{len(done.missing)} are missing"] if done.missing else []
        click.echo(f"{', '.join(told)}: {printable(folder)}", err=True)


def draw_sheet(answer: "Answer | Detections", target: Path) -> None:
    """Draw the best hits of an answer into a PNG. Raises DrawError."""
    from search import drawing

    drawing.write_png(drawing.draw_hits(answer), target)
    drawn = min(len(answer.hits), drawing.MAX_DRAWN)
    click.echo(f"Drew the best {drawn} of {len(answer.hits)}: {printable(target)}", err=True)


def delivery_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options above, passed on as `delivery`."""

    @functools.wraps(function)
    def with_delivery(*, html: Path | None, copy: Path | None, link: Path | None, opened: bool, **values: Any) -> int:
        return function(delivery=Delivery(html, copy, link, opened), **values)

    return with_options(*_OPTIONS)(with_delivery)
