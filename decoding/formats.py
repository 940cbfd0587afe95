"""The formats that photographs come in: what their files are called, and which packages decode them. Opens none.

What Pillow decodes by itself is `SUFFIXES`. Three more kinds need a package each, an extra of this project (`Extra`).
What can be counted but never decoded is in `OTHER_KINDS`.
"""

import importlib
from dataclasses import dataclass
from functools import cache

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp"),
        *(".dib", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".jpc"),
    }
)
FORMAT_NAMES = "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF or JPEG 2000"

# JPEG opens as MPO where a camera wrote a second picture behind the first. TIFF is taken apart by `decoding.tiff`.
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000")


@dataclass(frozen=True)
class Extra:
    """A kind of photograph that is decoded by a package which need not be installed."""

    name: str  # of the extra in setup.py
    kind: str  # what its photographs are called
    package: str  # as pip knows it
    module: str
    suffixes: frozenset[str]

    @property
    def remedy(self) -> str:
        """What to do where the package is missing, as the end of a sentence."""
        return f"needs the package {self.package} (pip install {self.package})"

    def installed(self) -> bool:
        """Whether its photographs can be decoded. The first call has Pillow know the package's decoder."""
        return _installed(self.module)


HEIC = Extra(
    "heic",
    "HEIC photographs",
    "pillow-heif",
    "pillow_heif",
    frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"}),
)
RAW = Extra(
    "raw",
    "camera raw photographs",
    "rawpy",
    "rawpy",
    frozenset(
        {
            *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf", ".rw2", ".rwl"),
            *(".pef", ".srw", ".3fr", ".fff", ".iiq", ".kdc", ".dcr", ".mrw", ".mef", ".mos", ".erf", ".x3f", ".gpr"),
        }
    ),
)
JPEG_XL = Extra("jxl", "JPEG XL photographs", "pillow-jxl-plugin", "pillow_jxl", frozenset({".jxl"}))
EXTRAS = (HEIC, RAW, JPEG_XL)

VIDEOS = "videos"
OTHER_KINDS = {
    **dict.fromkeys(
        (
            *(".mp4", ".m4v", ".mov", ".qt", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".m2t", ".3gp", ".3g2", ".wmv"),
            *(".mpg", ".mpeg", ".flv", ".ogv", ".vob", ".insv", ".lrv", ".asf", ".dv", ".mod", ".tod"),
        ),
        VIDEOS,
    ),
    **dict.fromkeys((".psd", ".psb"), "Photoshop documents"),
    **dict.fromkeys((".exr", ".hdr"), "HDR pictures"),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR photographs"),
}


@cache
def _installed(module: str) -> bool:
    try:
        package = importlib.import_module(module)  # pillow_jxl registers its decoder by itself
    except ImportError:
        return False
    if module == HEIC.module:
        package.register_heif_opener()
    return True


def photo_suffixes() -> frozenset[str]:
    """The suffixes of all photographs that can be decoded here, in lower case."""
    return SUFFIXES.union(*(extra.suffixes for extra in EXTRAS if extra.installed()))


def can_be_decoded_now(reason: str) -> bool:
    """Whether a photograph was refused, for this reason, because of a missing package that is installed now."""
    return any(reason.endswith(extra.remedy) and extra.installed() for extra in EXTRAS)


def left_out_kind(suffix: str) -> str | None:
    """What a file that cannot be decoded here is, by its suffix in lower case; None: nothing that people look at.

    Suffixes of `photo_suffixes` have no answer here.
    """
    for extra in EXTRAS:
        if suffix in extra.suffixes:
            return extra.kind
    return OTHER_KINDS.get(suffix)


def pillow_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are opened; of no others, for strangers choose what a file holds."""
    more = {HEIC: "HEIF", JPEG_XL: "JXL"}
    return (*_PILLOW_FORMATS, *(name for extra, name in more.items() if extra.installed()))
