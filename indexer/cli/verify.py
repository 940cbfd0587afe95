"""`indexer verify`: does the collection hold together?"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.next_commands import runnable
from commands.options import collection_option, device_option, weights_option
from indexer.cli.waiting import choose_progress

if TYPE_CHECKING:
    from db.location import Location

EXIT_PROBLEMS = 1


@click.command()
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
    "`indexer build`. If regions were given (--regions of `indexer build`), `indexer export` them first.",
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
    features and in the search index. On a server: its rows against each other and their checksums, and its indexes.
    Exit code 0 only if all holds, or was repaired; 1 if not; 2 if it could not be checked.

    \b
    Examples:
      indexer verify
      indexer verify --deep --repair
    """
    from db import maintenance
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output
    from indexer.disk_check import DiskReport, check_photographs
    from indexer.lazy_predictor import LazyPredictor

    location = collection or default_collection()
    predictor = LazyPredictor(weights, device=device) if deep else None
    report = maintenance.verify(location, repair=repair)
    disk = DiskReport()
    if report.holds or all(problem.kind != "database" for problem in report.problems):
        with open_collection(location, model=predictor.model if predictor else None) as opened:
            progress = choose_progress(quiet)
            try:
                disk = check_photographs(opened, predictor, progress=progress)
            finally:
                progress.close()
        if repair and disk.damaged:
            maintenance.describe_again(location, disk.damaged)
            report.to_describe += len(disk.damaged)
    holds = report.holds and all(repair and problem.repairable for problem in disk.problems)
    if as_json:
        click.echo(json.dumps({**report.as_dict(), "holds": holds, "disk": disk.as_dict()}, indent=2))
    else:
        click.echo(runnable(output.verification(report, disk, holds)))
    if not holds:
        sys.exit(EXIT_PROBLEMS)
