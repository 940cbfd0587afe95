"""What photos.db knows about the files beside it, and what an inspection of all of them finds, as plain values."""

from dataclasses import dataclass, field

from db.local.layout import index_file_name, quantizer_name, segment_name
from db.records import Problem


@dataclass(frozen=True)
class SegmentFile:
    """An HDF5 segment."""

    id: int
    rows: int
    size: int  # bytes
    sha256: str
    codes_offset: int  # bytes from the start of the file
    embeddings_offset: int

    @property
    def name(self) -> str:
        return segment_name(self.id, self.sha256)


@dataclass(frozen=True)
class FaissFile:
    """A FAISS file."""

    id: int
    first_region_id: int
    last_region_id: int
    region_count: int
    nlist: int  # inverted lists; 0: exact scan
    size: int  # bytes
    sha256: str
    quantizer_id: int | None = None  # whose lists these are; None: the file's own, or none
    recall: float | None = None  # of the exact first 100 for regions in it, the share found; None: not measured

    @property
    def name(self) -> str:
        return index_file_name(self.id)


@dataclass(frozen=True)
class QuantizerFile:
    """The centres of the inverted lists of FAISS files."""

    id: int
    nlist: int
    nprobe: int  # how many of them a question looks into
    regions: int  # in the collection when it was trained
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        return quantizer_name(self.sha256)


ALTERED_ROWS = "What the collection knew of it was damaged: the next build describes it again."
LOST_FEATURES = "Its features were damaged: the next build describes it again."


@dataclass
class Counts:
    """What there is."""

    photographs: int = 0
    regions: int = 0
    segments: int = 0
    index_files: int = 0
    index_recall: float | None = None  # of the exact first 100, the share that the worst of them finds; None: all
    index_stale: bool = False  # so few because regions are no longer like those that their lists were trained for
    rows_of_gone: int = 0  # rows in segments, of photos that are gone: compacting drops them
    unsaved_regions: int = 0  # added or gone since FAISS files were saved: readers know, and the next build saves them
    without_checksums: int = 0  # photos that an older version described


@dataclass
class Findings:
    """What there is, and what is wrong with it."""

    counts: Counts = field(default_factory=Counts)
    problems: list[Problem] = field(default_factory=list)

    # What there is to repair.
    damaged: dict[int, str] = field(default_factory=dict)  # photos to describe again -> why
    orphan_regions: list[int] = field(default_factory=list)  # of no photo
    lost: list[int] = field(default_factory=list)  # photos of no root, or whose names are damaged
    index_unusable: bool = False


def counted(rows: list[int], what: str) -> str:
    """A number and a noun."""
    return f"{len(rows):,} {what}" + ("" if len(rows) == 1 else "s")
