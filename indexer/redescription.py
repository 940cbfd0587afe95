"""A collection over to another checkpoint: every photograph described again, while the old descriptions are searched.

The new descriptions grow in a collection beside the old one (`open_successor`), by ordinary builds: stopped or killed,
the next one goes on; on a server, several share the work. It takes the old one's place in one commit, once it has every
photograph that is there. Boxes that were given (`indexer build --regions`) stay, with their phrases.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from db.collection import Collection
from db.errors import CollectionError
from db.model_switch import moved_by_another, open_successor, pending_photos, switch
from db.records import ModelIdentity
from indexer.build.build import Describer, build
from indexer.build.given_regions import GivenBefore
from indexer.build.options import BuildOptions
from indexer.build.report import BuildReport
from indexer.progress import Progress, Silence
from indexer.scan.plan import find_changes

_WAIT_SECONDS = 0.3  # between two looks at what other builds are doing


@dataclass(frozen=True)
class Redescription:
    """What came of it."""

    report: BuildReport
    switched: bool  # the collection is of the new checkpoint now
    remaining: list[Path]  # photographs that have to be described before


def redescribe(
    collection: Collection,
    folders: Sequence[Path],
    predictor: Describer,
    model: ModelIdentity,
    options: BuildOptions | None = None,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Redescription:
    """Describe photographs with another checkpoint, and switch the collection to it once all are described.

    Args:
        collection: open for writing, of another checkpoint than `model`.
        folders: see `build`; none: all roots of the collection.
        predictor: of the checkpoint `model`.
        options, progress, stop: see `build`. What a build would take for gone is not waited for.

    Raises:
        As `build`. What was described before stays beside the collection, for the next call.
    """
    options = replace(options or BuildOptions(), given_before=GivenBefore(collection))
    watched: dict[str, Any] = {"progress": progress, "stop": stop}
    report = BuildReport()
    try:
        with open_successor(collection, model) as successor:
            report = build(successor, folders or list(collection.roots().values()), predictor, options, **watched)
            report.interrupted = report.interrupted or not _others_have_ended(successor, stop)
            pending = pending_photos(collection, successor)
            gone = _gone(collection, options) if pending and not report.interrupted else set()
            remaining = [path for photo_id, path in pending.items() if photo_id not in gone]
            if remaining or report.interrupted:
                return Redescription(report, False, remaining)
            switch(collection, successor, gone=gone)
    except CollectionError:
        if not moved_by_another(collection, model):
            raise
        # Another build has made the switch; what this one was describing meanwhile is described there.
        more = build(collection, folders or list(collection.roots().values()), predictor, options, **watched)
        report.include(more)
        report.seconds += more.seconds
        report.interrupted = more.interrupted
    return Redescription(report, True, [])


def _others_have_ended(successor: Collection, stop: Callable[[], bool]) -> bool:
    """Wait for builds that share the work: they may be describing what came later. False: asked to stop meanwhile."""
    queue = successor.queue()
    while queue is not None and queue.builds():
        if stop():
            return False
        time.sleep(_WAIT_SECONDS)
    return True


def _gone(collection: Collection, options: BuildOptions) -> set[int]:
    """The photographs whose files are gone."""
    roots = list(collection.roots().values())
    # The build has said everything that there is to say about these folders.
    plan = find_changes(collection, roots, exclude=options.exclude, prune=options.prune, progress=Silence())
    return {stat.photo_id for stat in plan.missing}
