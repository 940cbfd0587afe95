from pathlib import Path

from db.local import layout
from db.local.layout import Layout
from db.local.maintenance.model_switch import open_successor
from helpers.db_photos import OTHER_MODEL, create, live


def test_every_file_of_a_collection_is_in_the_drawing(tmp_path):
    with create(tmp_path) as collection:
        live(collection)
        collection.record_build({}, seconds=1)
        collection.save_index()
        open_successor(collection, OTHER_MODEL).close()
        found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert {"photos.db", "photos.db-wal", "photos.copy.db", "features", "regions.1.faiss", "lock", "next"} <= found
    drawing = layout.__doc__ or ""
    for name in found:
        if name.startswith("features/"):
            assert name.endswith(".h5") and len(name) == len("features/00000001-01234567.h5")
        elif name.startswith("regions."):
            assert name == f"regions.{name.split('.')[1]}.faiss"
        elif not name.startswith("next/"):
            base, *suffix = name.split("-")
            assert base in drawing and all(f"-{part}" in drawing for part in suffix), name


def test_only_their_own_files_are_listed(tmp_path):
    ours = ["regions.1.faiss", "regions.22.faiss.tmp"]
    for name in (*ours, "regions.3.faiss.damaged", "regions.x.faiss", "regions.1.faiss.bak", "photos.db"):
        (tmp_path / name).touch()
    assert sorted(path.name for path in layout.index_files_in(tmp_path)) == ours
    assert not Layout(tmp_path / "nowhere").has_orphaned_files()
    assert Layout(tmp_path).has_orphaned_files()


def test_a_name_stands_for_one_content():
    assert layout.segment_name(7, "0123456789abcdef") == "00000007-01234567.h5"
    assert layout.temporary(Path("a/b.h5")) == Path("a/b.h5.tmp")
    assert layout.damaged(Path("a/photos.db")) == Path("a/photos.db.damaged")
