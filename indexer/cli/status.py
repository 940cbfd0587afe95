"""`indexer status`: what the collection holds."""

import json
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.next_commands import runnable
from commands.options import collection_option
from indexer.cli.failures import list_failures

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@collection_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document, with every failed file.")
@plain_errors()
def status(collection: "Location | None", as_json: bool) -> None:
    """What the collection holds, where its photographs are, and which files failed.

    \b
    Examples:
      indexer status
      indexer status --json | jq .photographs
    """
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
        remembered = list_failures(opened)
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
            "described_with": opened.precisions(),
            "last_build": last
            and {"finished_at": last.finished_at.isoformat(), "seconds": round(last.seconds, 1), **last.counts},
        }
    click.echo(json.dumps(document, indent=2) if as_json else runnable(output.status(document)))
