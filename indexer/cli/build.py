"""`indexer build`: folders -> collection."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.errors import EXIT_INTERRUPTED, Failure, plain_errors
from commands.next_commands import runnable
from commands.options import NumberType, PathType, collection_option, device_option, weights_option
from commands.text import counted, printable
from indexer.cli.waiting import choose_progress, wait_option, when_unlocked

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@click.argument("folders", nargs=-1, type=PathType())
@collection_option
@weights_option
@device_option
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Photographs described together. Memory grows with it. Default: 16, on a GPU 192.",
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
    type=NumberType(min=0),
    default=5.0,
    show_default=True,
    help="Time between commits: the work that a power cut costs at most.",
)
@click.option(
    "--lease-seconds",
    type=NumberType(min=1),
    default=60.0,
    show_default=True,
    help="On a server, several builds share the work: what one has begun others take over once it has been silent for "
    "so long.",
)
@click.option(
    "--ray",
    "ray_address",
    metavar="ADDRESS",
    help="Describe on every GPU and processor of this Ray cluster (head:6379, ray://head:10001, auto), or of this "
    "computer alone (local). --batch-size is of each. Needs the package ray.",
)
@click.option(
    "--regions",
    "regions_file",
    type=PathType(),
    metavar="FILE.json",
    help="Describe the boxes of this file (COCO's format) in the place of those that the network finds: photographs by "
    "their names relative to the folder, phrases by captions or categories. Photographs that it lacks stay "
    "as they are. Photographs that change get what the network finds in a build without this.",
)
@wait_option
@click.option("-q", "--quiet", is_flag=True, help="No progress: only warnings, failed files and the counts at the end.")
@plain_errors()
def build(
    folders: tuple[Path, ...],
    collection: "Location | None",
    weights: Path | None,
    device: str,
    batch_size: int | None,
    max_regions: int,
    threads: int | None,
    exclude: tuple[str, ...],
    retry: bool,
    prune: bool,
    redescribe: bool,
    commit_seconds: float,
    lease_seconds: float,
    ray_address: str | None,
    regions_file: Path | None,
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

    With a collection on a server, any number of builds may run at once, on any number of computers that see the same
    folders: they share the work. --root-as says where a folder is on this one.

    Without FOLDERS: all that were built before. Ctrl-C ends it within seconds and keeps what is done; run it again to
    go on.

    \b
    Examples:
      indexer build ~/Pictures /media/disk/photos
      indexer build --exclude '*.gif' --exclude raw
      indexer build photos/ --regions boxes.json --collection work/
    """
    from db.collection import Collection, open_collection
    from db.location import default_collection, is_server
    from indexer import output, redescription
    from indexer.build import build as building
    from indexer.build.given_regions import no_photograph_of, read_regions
    from indexer.build.options import BATCH_SIZE, BuildOptions
    from indexer.interrupts import interruptible, stop_on_signals
    from indexer.lazy_predictor import LazyPredictor
    from indexer.ray_describer import RayDescriber
    from indexer.scan.plan import require_photographs

    if regions_file is not None and redescribe:
        raise click.UsageError("--regions and --redescribe are two ways to describe again: give one of them.")
    regions = read_regions(regions_file) if regions_file is not None else None
    location = collection or default_collection()
    first = not redescribe and not is_server(location) and not Path(location).exists()
    if not folders and first:
        raise click.UsageError("Missing argument 'FOLDERS...': the folders that the photographs are in.")
    if first:  # neither a mistyped folder nor damaged weights must leave an empty collection behind
        if regions is None:
            require_photographs(folders, exclude=exclude)
        elif not require_photographs(folders, exclude=exclude, wanted=lambda *file: regions.of(*file) is not None):
            raise no_photograph_of(regions, folders)
    remaining: list[Path] = []
    predictor: LazyPredictor | RayDescriber
    if ray_address is None:
        predictor = LazyPredictor(weights, device=device)
    else:
        of_each = batch_size or BATCH_SIZE
        predictor = RayDescriber(ray_address, weights, batch_size=of_each)
        batch_size = of_each * len(predictor)
    if first:
        interruptible(predictor.load)
    with stop_on_signals() as stop:

        def open_it() -> Collection:
            if redescribe:
                return open_collection(location, write=True)
            return open_collection(location, write=True, create=True, model=predictor.model)

        with when_unlocked(open_it, wait=wait, stop=stop) as opened:
            if not folders and not opened.roots():
                raise click.UsageError("Missing argument 'FOLDERS...': the collection has none yet.")
            progress = choose_progress(quiet)
            options = BuildOptions(
                max_regions=max_regions,
                batch_size=batch_size,
                threads=threads,
                exclude=exclude,
                retry=retry,
                prune=prune,
                commit_seconds=commit_seconds,
                lease_seconds=lease_seconds,
                regions=regions,
            )
            watched: dict[str, Any] = {"progress": progress, "stop": stop.is_set}
            try:
                if opened.model != predictor.model:
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
            click.echo(runnable(output.summary(report)))
            click.echo(output.contents(opened))
    if report.interrupted:
        click.echo("Interrupted: what was done is kept, the same command goes on from here.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if report.nothing_but_failures:
        failed = counted(report.failed + report.failed_before, "file")
        again = "; --retry tries again" if report.failed_before else ""
        raise Failure(f"No photograph could be described: {failed} failed (`indexer errors`{again}).")
    if remaining:
        raise Failure(
            f"{counted(len(remaining), 'photograph')}, the first is {printable(remaining[0])}, could not be described "
            "with the new checkpoint yet, so the collection stays with the old one: run the command again when they "
            "can be read (without FOLDERS), or let them go with --prune."
        )
