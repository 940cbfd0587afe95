"""What a file really is, whatever it is called: by its first bytes."""

from decoding.formats import HEIC, JPEG_XL, RAW, Extra

HEAD = 512  # bytes that are enough

JPEG, PNG, TIFF, GIF, BMP, WEBP, AVIF = "JPEG", "PNG", "TIFF", "GIF", "BMP", "WebP", "AVIF"
JPEG_2000 = "JPEG 2000"

# Formats of photographs, as (offset, bytes, name).
_PHOTOGRAPHS = (
    (0, b"\xff\xd8", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"GIF8", GIF),
    (0, b"BM", BMP),
    (8, b"WEBP", WEBP),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"II+\0", TIFF),  # BigTIFF
    (0, b"MM\0+", TIFF),
)
_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
_RAW = (
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"IIRO", "Olympus ORF"),
    (0, b"IIRS", "Olympus ORF"),
    (0, b"MMOR", "Olympus ORF"),
    (0, b"IIU\0", "Panasonic RW2"),
    (8, b"CR\x02", "Canon CR2"),
    (4, b"ftypcrx ", "Canon CR3"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (0, b"\0MRM", "Minolta MRW"),
    (0, b"FOVb", "Sigma X3F"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_OTHERS = (
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"v/1\x01", "an HDR picture (OpenEXR)"),
    (0, b"#?RADIANCE", "an HDR picture (Radiance)"),
    (0, b"II\xbc\x01", "a JPEG XR photograph"),
    (0, b"\x00\x05\x16\x07", "macOS's notes about a file (AppleDouble)"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO)"),
    (0, b"icns", "an icon (ICNS)"),
    (0, b"P5\n", "a PGM picture"),
    (0, b"P6\n", "a PPM picture"),
    (0, b"\n\x05\x01\x08", "a PCX picture"),
    (0, b"qoif", "a QOI picture"),
    (0, b"DDS ", "a texture (DDS)"),
    (0, b"gimp xcf ", "a GIMP document"),
    (0, b"SIMPLE  =", "an astronomer's picture (FITS)"),
    (128, b"DICM", "a medical picture (DICOM)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"\x00\x00\x01\xba", "a video (MPEG)"),
    (0, b"FLV\x01", "a video (FLV)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a video (Windows Media)"),
    (8, b"AVI ", "a video (AVI)"),
    (8, b"WAVE", "a sound file (WAV)"),
    (0, b"ID3", "a sound file (MP3)"),
    (0, b"OggS", "a sound file or video (Ogg)"),
    (0, b"fLaC", "a sound file (FLAC)"),
)
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def photo_format(head: bytes) -> str | Extra | None:
    """The format of a photograph: a name of this module's, or the extra that decodes it; None: it is none.

    Args:
        head: the first `HEAD` bytes of the file, or all of a shorter one.
    """
    if raw_name(head):
        return RAW
    if head.startswith(_JPEG_XL):
        return JPEG_XL
    brands = _brands(head)
    if any(brand in _AVIF_BRANDS for brand in brands):
        return AVIF
    if any(brand in _HEIC_BRANDS for brand in brands):
        return HEIC
    for offset, magic, name in _PHOTOGRAPHS:
        if head[offset:].startswith(magic):
            return name
    return None


def raw_name(head: bytes) -> str | None:
    """The maker's name of a camera raw format that has first bytes of its own. (DNG, NEF and ARW begin as TIFFs.)"""
    return next((name for offset, magic, name in _RAW if head[offset:].startswith(magic)), None)


def other_name(head: bytes) -> str | None:
    """What a file is that is no photograph, with its article; None: nothing that is known."""
    for offset, magic, name in _OTHERS:
        if head[offset:].startswith(magic):
            return name
    if brands := _brands(head):
        kind = "QuickTime" if brands[0] == b"qt  " else "MP4"
        return "a sound file (M4A)" if brands[0].startswith(b"M4A") else f"a video ({kind})"
    if head[4:8] in _QUICKTIME_ATOMS:
        return "a video (QuickTime)"
    if not head.strip(b"\0"):
        return "a file that begins with nothing but zeros"
    text = _as_text(head)
    if text is None:
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html")):
        return "a web page (HTML)"
    if start.startswith("<svg") or (start.startswith("<?xml") and "<svg" in start):
        return "a drawing (SVG)"
    if start.startswith("<?xml"):
        return "an XML file"
    if start.startswith("version https://git-lfs"):
        return "a pointer to a file that Git LFS has not fetched"
    return "a text file"


def _brands(head: bytes) -> list[bytes]:
    """The brands of a file of boxes (HEIC, AVIF, MP4), the major one first; [] of any other file."""
    if head[4:8] != b"ftyp":
        return []
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]


def _as_text(head: bytes) -> str | None:
    if b"\0" in head:
        return None
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not only the last character that was cut
            return None
        text = head[: error.start].decode("utf-8")
    return text if all(char.isprintable() or char in "\ufeff\t\r\n\f" for char in text) else None
