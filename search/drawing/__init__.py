"""Pictures: a sheet of an answer's photographs with their boxes, and one photograph with all of its regions."""

from search.drawing.described import draw_described
from search.drawing.files import check_folder, check_target, free_targets, is_foreign, write_png
from search.drawing.sheet import MAX_DRAWN, draw_each, draw_hits

__all__ = [
    "MAX_DRAWN",
    "check_folder",
    "check_target",
    "draw_described",
    "draw_each",
    "draw_hits",
    "free_targets",
    "is_foreign",
    "write_png",
]
