"""The command `indexer`: parse, call, print. What it needs is imported when it is needed, so that help is instant."""

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from commands.errors import EXIT_INTERRUPTED, Failure, plain_errors
from commands.options import CONTEXT_SETTINGS, collection_option, device_option, version_option, weights_option
from commands.text import printable

if TYPE_CHECKING:
    from db.collection import Collection
    from db.location import Location
    from indexer.progress import Progress

    AnyCollection = TypeVar("AnyCollection", bound=Collection)

EXIT_PROBLEMS = 1

_ASK_AGAIN_SECONDS = 1.0  # while another process writes


wait_option = click.option(
    "--wait", is_flag=True, help="If another process is writing the collection, wait for it to end; else refuse."
)


@click.group(context_settings=CONTEXT_SETTINGS)
@version_option
def main() -> None:
    """Take photographs apart into regions that `search` finds by words.

    \b
    indexer build photos/          describe what is new or changed below photos/
    indexer status                 what the collection holds
    indexer errors                 the files that could not be described, and why
    indexer remove photos/old/     forget photographs; their files stay where they are
    indexer verify                 whether the collection holds together; --repair where not
    indexer compact                give back the room of photographs that are gone
    indexer rebuild                rebuild the search index from the features

    Exit codes: 0 done (files that failed are named and counted), 1 verify found problems, 2 an error, 130 interrupted
    (what is done is kept).
    """


@main.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@collection_option
@weights_option
@device_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Photographs described together. Memory grows with it.",
)
@click.option(
    "--max-regions",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Regions kept of a photograph, best first.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Photographs read at one time, each decoded in a process of its own. Default: one a processor, at most 8.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Take files and folders for absent whose name matches ('*.gif', thumbs), or whose path ends so if there is a "
    "/ in it ('2019/raw', 'raw/*.tif'; * matches / too). Repeatable. Not remembered: give it with every build.",
)
@click.option("--retry", is_flag=True, help="Try files again that failed before; else only once they change.")
@click.option(
    "--prune", is_flag=True, help="Remove what is not there even if its whole folder is missing, unreadable or empty."
)
@click.option(
    "--redescribe",
    is_flag=True,
    help="Move a collection of another checkpoint over to this one: describe its photographs again (FOLDERS, or all), "
    "while it can be searched with the old one. Interrupted, the same command goes on.",
)
@click.option(
    "--commit-seconds",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Time between commits: the work that a power cut costs at most.",
)
@wait_option
@click.option("-q", "--quiet", is_flag=True, help="No progress: only warnings, failed files and the counts at the end.")
@plain_errors()
def build(
    folders: tuple[Path, ...],
    collection: "Location | None",
    weights: Path | None,
    device: str,
    batch_size: int,
    max_regions: int,
    threads: int | None,
    exclude: tuple[str, ...],
    retry: bool,
    prune: bool,
    redescribe: bool,
    commit_seconds: float,
    wait: bool,
    quiet: bool,
) -> None:
    """Describe the photographs below FOLDERS, or bring what is known of them up to date.

    Only files that are new, changed or moved since the last build are looked at; those that are gone are removed.
    Hidden folders and those of systems and photo servers (@eaDir, $RECYCLE.BIN, ...) are left out. JPEG, PNG, WebP,
    TIFF, GIF (the first frame that is not of one colour), BMP, AVIF, JPEG 2000; HEIC, camera raw and JPEG XL if the
    packages pillow-heif, rawpy and pillow-jxl-plugin are installed. What else is met is counted by kind. A folder with
    a file .nomedia is left out. Photographs need 16 pixels a side and may have 200 megapixels, less where decoding
    takes more memory (progressive JPEG 142, HEIC and transparency 111, AVIF 100, WebP 58, JPEG XL 50, JPEG 2000 38).
    A file that crashes its decoder, or takes it longer than a minute, is named and left out like any
    other that is broken.

    Without FOLDERS: all that were built before. Ctrl-C ends it after the photographs in work; run it again to go on.

    \b
    indexer build ~/Pictures /media/disk/photos
    """
    from db.collection import Collection, open_collection
    from db.local.collection import LocalCollection
    from db.location import default_collection, is_server
    from indexer import output, redescription
    from indexer.build import build as building
    from indexer.build.options import BuildOptions
    from indexer.interrupts import stop_on_signals
    from indexer.lazy_predictor import LazyPredictor
    from indexer.scan.plan import require_photographs

    location = collection or default_collection()
    first = not redescribe and not is_server(location) and not Path(location).exists()
    if not folders and first:
        raise click.UsageError("Missing argument 'FOLDERS...': the folders that the photographs are in.")
    if first:  # neither a mistyped folder nor damaged weights must leave an empty collection behind
        require_photographs(folders, exclude=exclude)
    remaining: list[Path] = []
    predictor = LazyPredictor(weights, device=device)
    if first:
        predictor.load()
    with stop_on_signals() as stop:

        def open_it() -> Collection:
            if redescribe:
                return LocalCollection.open(location, write=True)
            return open_collection(location, write=True, create=True, model=predictor.model)

        with _when_unlocked(open_it, wait=wait, stop=stop) as opened:
            if not folders and not opened.roots():
                raise click.UsageError("Missing argument 'FOLDERS...': the collection has none yet.")
            progress = _progress(quiet)
            options = BuildOptions(
                max_regions=max_regions,
                batch_size=batch_size,
                threads=threads,
                exclude=exclude,
                retry=retry,
                prune=prune,
                commit_seconds=commit_seconds,
            )
            watched: dict[str, Any] = {"progress": progress, "stop": stop.is_set}
            try:
                if isinstance(opened, LocalCollection) and opened.model != predictor.model:
                    outcome = redescription.redescribe(opened, folders, predictor, predictor.model, options, **watched)
                    report, remaining = outcome.report, outcome.remaining
                    if outcome.switched:
                        click.echo(f"The collection is of the checkpoint {opened.model.digest} now.")
                else:
                    report = building.build(
                        opened, folders or list(opened.roots().values()), predictor, options, **watched
                    )
            finally:
                progress.close()
            click.echo(output.summary(report))
            click.echo(output.contents(opened))
    if report.interrupted:
        click.echo("Interrupted: what was done is kept, the same command goes on from here.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if report.nothing_but_failures:
        raise Failure(f"No photograph could be described: {report.failed:,} files failed (`indexer errors`).")
    if remaining:
        raise Failure(
            f"{len(remaining):,} photographs, the first is {printable(remaining[0])}, could not be described with the "
            "new checkpoint yet, so the collection stays with the old one: run the command again when they can be read "
            "(without FOLDERS), or let them go with --prune."
        )


@main.command()
@collection_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document, with every failed file.")
@plain_errors()
def status(collection: "Location | None", as_json: bool) -> None:
    """What the collection holds, where its photographs are, and which files failed."""
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output

    with open_collection(collection or default_collection()) as opened:
        roots = []
        left_out = opened.left_out()
        for root_id, root in opened.roots().items():
            described = sum(not stat.failed for stat in opened.known(root_id).values())
            fields = {"photographs": described, "left_out": left_out[root_id]}
            roots.append({"path": str(root), "present": root.is_dir(), **fields})
        remembered = _failures(opened)
        failures = [file for file in remembered if not file["described"]]
        last = opened.last_build()
        document = {
            "collection": str(opened.location),
            "photographs": opened.photo_count(),
            "regions": opened.region_count(),
            "failed": len(failures),
            "incomplete": len(remembered) - len(failures),
            "left_out": output.total(left_out.values()),
            "roots": roots,
            "failures": failures,
            "checkpoint": opened.model.digest,
            "last_build": last
            and {"finished_at": last.finished_at.isoformat(), "seconds": round(last.seconds, 1), **last.counts},
        }
    click.echo(json.dumps(document, indent=2) if as_json else output.status(document))


@main.command()
@collection_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list, with each file's size and digest.")
@plain_errors()
def errors(collection: "Location | None", as_json: bool) -> None:
    """List the files that could not be described, and why; and those that were, though a part of them is missing.

    They are tried again once they change, or with `indexer build --retry`.
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output

    with open_collection(collection or default_collection()) as opened:
        failures = _failures(opened)
    if as_json:
        click.echo(json.dumps(failures, indent=2))
    else:
        for failure in failures:
            click.echo(output.failure(failure))


@main.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@collection_option
@wait_option
@plain_errors()
def relocate(old: Path, new: Path, collection: "Location | None", wait: bool) -> None:
    """The photographs of folder OLD are in folder NEW now: nothing is described again.

    `indexer build NEW` finds this out by itself where OLD is not there any more and most of its photographs are in
    NEW. OLD may be a folder within one that was built, and need not exist.

    \b
    indexer relocate /media/old-disk/photos ~/Pictures
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output, relocation

    location = collection or default_collection()
    with _when_unlocked(lambda: open_collection(location, write=True), wait=wait) as opened:
        moved = relocation.relocate(opened, old, new)
        text = f"{moved.photographs:,} photographs are known in {printable(new)}"
        click.echo(text + (f", {moved.replaced:,} of them were there already" if moved.replaced else ""))
        click.echo(output.contents(opened))


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@collection_option
@wait_option
@plain_errors()
def remove(paths: tuple[Path, ...], collection: "Location | None", wait: bool) -> None:
    """Forget the photographs at or below PATHS. No file on the disk is touched.

    PATHS are photographs, folders or whole roots; they need not exist any more. A later `indexer build` of a folder
    around them describes them again, unless `--exclude` keeps them out.

    \b
    indexer remove ~/Pictures/scans /media/old-disk
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output, removal

    location = collection or default_collection()
    with _when_unlocked(lambda: open_collection(location, write=True), wait=wait) as opened:
        removed = removal.remove(opened, paths)
        click.echo(f"{removed.photographs:,} photographs and {removed.failed:,} failed files removed")
        click.echo(output.contents(opened))


@main.command()
@collection_option
@click.option("--near", is_flag=True, help="Also photographs that look the same: other sizes, bursts, slight crops.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list of groups.")
@plain_errors()
def duplicates(collection: "Location | None", near: bool, as_json: bool) -> None:
    """List the photographs that are there more than once. No file is touched.

    Groups are set apart by empty lines; of a group, the file that was added first comes first. With --near, photographs
    that only look the same are marked with "~".
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output
    from indexer.duplicates import find_duplicates

    with open_collection(collection or default_collection()) as opened:
        groups = find_duplicates(opened, near=near)
    click.echo(json.dumps(output.duplicates_as_dicts(groups), indent=2) if as_json else output.duplicates(groups))


@main.command()
@collection_option
@click.option(
    "--deep",
    is_flag=True,
    help="Also read every photograph and compare it with its digest, and describe some again to see whether the "
    "network still gives the same.",
)
@click.option(
    "--repair",
    is_flag=True,
    help="Repair what can be repaired; photographs whose data is damaged are described again by the next "
    "`indexer build`.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@weights_option
@device_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@plain_errors()
def verify(
    collection: "Location | None",
    deep: bool,
    repair: bool,
    as_json: bool,
    weights: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Check that the collection holds together, and that its photographs are there.

    SQLite's own checks; every file's and every photograph's checksum; the same regions in the database, in the
    features and in the search index. Exit code 0 only if all holds, or was repaired; 1 if not; 2 if it could not be
    checked.
    """
    from db.collection import open_collection
    from db.local.collection import LocalCollection
    from db.local.maintenance import verification
    from db.location import default_collection
    from indexer import output
    from indexer.disk_check import DiskReport, check_photographs
    from indexer.lazy_predictor import LazyPredictor

    location = collection or default_collection()
    predictor = LazyPredictor(weights, device=device) if deep else None
    report = verification.verify(location, repair=repair)
    disk = DiskReport()
    if report.holds or all(problem.kind != "database" for problem in report.problems):
        with open_collection(location, model=predictor.model if predictor else None) as opened:
            progress = _progress(quiet)
            try:
                disk = check_photographs(opened, predictor, progress=progress)
            finally:
                progress.close()
        if repair and disk.findings.damaged:
            with LocalCollection.open(location, write=True) as writer:
                verification.repair(writer, disk.findings)
            report.to_describe += len(disk.findings.damaged)
    holds = report.holds and all(repair and problem.repairable for problem in disk.problems)
    if as_json:
        click.echo(json.dumps({**report.as_dict(), "holds": holds, "disk": disk.as_dict()}, indent=2))
    else:
        click.echo(output.verification(report, disk, holds))
    if not holds:
        sys.exit(EXIT_PROBLEMS)


@main.command()
@collection_option
@wait_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@plain_errors()
def compact(collection: "Location | None", wait: bool, as_json: bool) -> None:
    """Merge small files of features into large ones, and give back the room of photographs that are gone.

    Worth it after many small builds or removals. Needs free space for the features once more. Searches go on.
    """
    from db.local.collection import LocalCollection
    from db.local.maintenance import compaction
    from db.location import default_collection
    from indexer import output

    location = collection or default_collection()
    with _when_unlocked(lambda: LocalCollection.open(location, write=True), wait=wait) as opened:
        report = compaction.compact(opened)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else output.compaction(report))


@main.command()
@collection_option
@wait_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@plain_errors()
def rebuild(collection: "Location | None", wait: bool, as_json: bool) -> None:
    """Rebuild the search index from the features, of the kind that suits their number, and measure its recall.

    The network is not needed. Recall: of the best regions for a vector, those that exact search finds, the share that
    the index finds, on vectors drawn from the collection.
    """
    from db.local.collection import LocalCollection
    from db.local.maintenance.reindexing import rebuild_index
    from db.location import default_collection
    from indexer import output

    location = collection or default_collection()
    with _when_unlocked(lambda: LocalCollection.open(location, write=True), wait=wait) as opened:
        report = rebuild_index(opened)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else output.rebuild(report))


def _failures(opened: "Collection") -> list[dict[str, Any]]:
    """Every file that is remembered as failed, or as described though incomplete, as JSON says it."""
    return [
        {
            "path": str(root / stat.path),
            "reason": stat.reason or stat.incomplete,
            "described": not stat.failed,
            "size": stat.size,
            "digest": stat.digest,
        }
        for root_id, root in opened.roots().items()
        for stat in opened.known(root_id).values()
        if stat.failed or stat.incomplete
    ]


def _when_unlocked(
    open_it: "Callable[[], AnyCollection]", *, wait: bool, stop: threading.Event | None = None
) -> "AnyCollection":
    """What `open_it` opens; with `wait`, once no other process writes it. KeyboardInterrupt if stopped."""
    from db.errors import CollectionLocked

    stop = stop or threading.Event()
    waiting = False
    while True:
        try:
            return open_it()
        except CollectionLocked as error:
            if not wait:
                raise
            if not waiting:
                click.echo(f"Waiting: {error}", err=True)
                waiting = True
        if stop.wait(_ASK_AGAIN_SECONDS):
            raise KeyboardInterrupt


def _progress(quiet: bool) -> "Progress":
    from indexer.progress import BarProgress, LineProgress, Progress

    if quiet:
        return Progress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
