"""The command `indexer`: parse, call, print; one file a command. What it needs is imported when it is needed."""

import click

from commands.options import CONTEXT_SETTINGS, version_option
from commands.options_first import OptionsFirstGroup
from indexer.cli import build, compact, copy, duplicates, export, failures, rebuild, relocate, remove, status, verify


@click.group(cls=OptionsFirstGroup, context_settings=CONTEXT_SETTINGS)
@version_option
def main() -> None:
    """Take photographs apart into regions that `search` finds by words.

    \b
    Examples:
      indexer build photos/          describe what is new or changed below photos/
      indexer status                 what the collection holds
      indexer errors                 the files that could not be described, and why
      indexer remove photos/old/     forget photographs; their files stay where they are
      indexer relocate OLD NEW       a folder was moved
      indexer duplicates             photographs that are there more than once
      indexer export --format coco   photographs and regions for other programs
      indexer verify                 whether the collection holds together; --repair where not
      indexer compact                give back the room of photographs that are gone
      indexer rebuild                rebuild the search index from the features
      indexer copy FROM TO           a folder to a server, or back

    Exit codes: 0 done (files that failed are named and counted), 1 verify found problems, 2 an error, or a build that
    failed on every file, 130 interrupted (what is done is kept).
    """


main.add_command(build.build)
main.add_command(status.status)
main.add_command(failures.errors)
main.add_command(relocate.relocate)
main.add_command(remove.remove)
main.add_command(duplicates.duplicates)
main.add_command(export.export)
main.add_command(verify.verify)
main.add_command(compact.compact)
main.add_command(rebuild.rebuild)
main.add_command(copy.copy)
