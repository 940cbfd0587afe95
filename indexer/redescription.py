"""A collection over to another checkpoint: every photograph described again, while the old descriptions are searched.

The new descriptions grow in a collection beside the old one (`open_successor`), by ordinary builds: stopped or killed,
the next one goes on. It takes the old one's place in one commit, once it has every photograph that is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from db.local.collection import LocalCollection
from db.local.maintenance.model_switch import open_successor, pending_photos, switch
from db.records import ModelIdentity
from indexer.build.build import Describer, build
from indexer.build.options import BuildOptions
from indexer.build.report import BuildReport
from indexer.progress import Progress, Silence
from indexer.scan.plan import find_changes


@dataclass(frozen=True)
class Redescription:
    """What came of it."""

    report: BuildReport
    switched: bool  # the collection is of the new checkpoint now
    remaining: list[Path]  # photographs that have to be described before


def redescribe(
    collection: LocalCollection,
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
    options = options or BuildOptions()
    with open_successor(collection, model) as successor:
        report = build(
            successor,
            folders or list(collection.roots().values()),
            predictor,
            options,
            progress=progress,
            stop=stop,
        )
        pending = pending_photos(collection, successor)
        if pending and not report.interrupted:
            roots = list(collection.roots().values())
            # The build has said everything that there is to say about these folders.
            plan = find_changes(collection, roots, exclude=options.exclude, prune=options.prune, progress=Silence())
            gone = {stat.photo_id for stat in plan.missing}
        else:
            gone = set()
        remaining = [path for photo_id, path in pending.items() if photo_id not in gone]
        switched = not remaining and not report.interrupted
        if switched:
            switch(collection, successor, gone=gone)
    return Redescription(report, switched, remaining)
