"""The formats that photographs come in: what their files are called, and whether they can be decoded. Opens none."""

from functools import cache

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"},
)
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
FORMAT_NAMES = "JPEG, PNG, WebP, TIFF, GIF or BMP"

# JPEG opens as MPO where a camera wrote a second picture behind the first.
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")


@cache
def heic_supported() -> bool:
    """Whether HEIC files can be decoded: the extra `heic` is installed. The first call registers its decoder."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def pillow_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are opened; of no others, for strangers choose what a file holds."""
    return (*_PILLOW_FORMATS, "HEIF") if heic_supported() else _PILLOW_FORMATS
