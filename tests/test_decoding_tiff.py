"""TIFFs of every kind of sample, against what tifffile or the TIFF's own arithmetic says they hold."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto, Photograph
from decoding.tiff_samples import write_tiff

tifffile = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 70, 90  # neither is a multiple of a tile or strip below


def picture(samples: int = 3, *, seed: int = 0) -> np.ndarray:
    """(HEIGHT, WIDTH, samples) uint8, smooth with some noise, from 0 to 255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [(x * (i + 1) + y * (samples - i)) % 230 + rng.integers(0, 20, (HEIGHT, WIDTH)) for i in range(samples)]
    pixels = np.stack(planes, axis=2).astype(np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 255
    return pixels


def written(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **{"photometric": "rgb", "metadata": None, **options})
    return file.getvalue()


def decode(content: bytes) -> Photograph:
    return OpenedPhoto(io.BytesIO(content)).decode()


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(decode(content).image).astype(int)


def refusal(content: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content)
    return str(caught.value)


def as_kind(pixels: np.ndarray, kind: str) -> np.ndarray:
    """Values of 8 bits as others, from black to white."""
    if kind[0] == "f":
        return (pixels / 255).astype(kind)
    most = np.iinfo(kind).max
    return (pixels.astype(np.float64) * most / 255).astype(kind)


# -- every kind of sample, in every order


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "f2", "f4", "f8"])
def test_colours_of_any_kind_of_sample(kind, planar, byteorder):
    pixels = picture()
    array = as_kind(pixels, kind)
    array = np.moveaxis(array, 2, 0) if planar == "separate" else array
    for layout in ({}, {"rowsperstrip": 7}, {"tile": (32, 16)}, {"rowsperstrip": 11, "compression": "zlib"}):
        content = written(array, planarconfig=planar, byteorder=byteorder, **layout)
        assert np.abs(pixels_of(content) - pixels).max() <= 1, layout


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_of_any_kind_of_sample(kind, photometric):
    grey = picture(1)[:, :, 0]
    stored = as_kind(255 - grey if photometric == "miniswhite" else grey, kind)
    for options in ({}, {"compression": "zlib", "tile": (16, 32)}):
        found = pixels_of(written(stored, photometric=photometric, **options))
        assert np.abs(found - grey[:, :, None]).max() <= 1


def test_signed_numbers_below_zero_are_stretched():
    grey = picture(1)[:, :, 0]
    found = pixels_of(written((grey.astype(np.int32) * 257 - 32768).astype(np.int16), photometric="minisblack"))
    assert np.abs(found - grey[:, :, None]).max() <= 1
    found = pixels_of(written((grey.astype(np.int16) - 128).astype(np.int8), photometric="minisblack"))
    assert np.abs(found - grey[:, :, None]).max() <= 1


@pytest.mark.parametrize(("bits", "most"), [(10, 1023), (12, 4095), (14, 16383), (16, 65535)])
@pytest.mark.parametrize("samples", [1, 3])
def test_fewer_bits_in_sixteen(bits, most, samples):
    pixels = picture(samples)
    array = (pixels.astype(np.uint32) * most // 255).astype(np.uint16)
    content = written(array[:, :, 0] if samples == 1 else array, photometric="rgb" if samples == 3 else "minisblack")
    assert np.abs(pixels_of(content) - pixels).max() <= 1


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_samples_that_are_packed_without_gaps(bits):
    values = picture() >> max(0, 8 - bits) if bits < 8 else (picture().astype(np.uint32) * (2**bits - 1) // 255)
    row_bits = ((values.reshape(HEIGHT, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    data = np.packbits(row_bits.reshape(HEIGHT, -1), axis=1).tobytes()
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [bits] * 3, 259: [1], 262: [2], 277: [3], 278: [HEIGHT]}
    expected = values.astype(float) * 255 / (2**bits - 1)
    assert np.abs(pixels_of(write_tiff(tags, [data]).getvalue()) - expected).max() <= 1


def test_twelve_packed_bits_as_tifffile_reads_them():
    values = picture(1)[:, :, 0].astype(np.uint32) * 4095 // 255
    bits = ((values.reshape(HEIGHT, -1, 1) >> np.arange(11, -1, -1)) & 1).astype(np.uint8).reshape(HEIGHT, -1)
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [12], 259: [8], 262: [1], 277: [1], 278: [HEIGHT]}
    content = write_tiff(tags, [zlib.compress(np.packbits(bits, axis=1).tobytes())]).getvalue()
    assert np.abs(pixels_of(content)[:, :, 0] - values * 255 / 4095).max() <= 1


# -- predictors and compressions


@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
@pytest.mark.parametrize("samples", [1, 3])
def test_differences_between_neighbours(kind, samples):
    pixels = picture(samples)
    array = as_kind(pixels, kind)
    differences = np.diff(array, axis=1, prepend=np.zeros((HEIGHT, 1, samples), kind)).astype(f"<{kind}")
    tags = {
        256: [WIDTH], 257: [HEIGHT], 258: [8 * array.itemsize] * samples, 259: [8],
        262: [2 if samples == 3 else 1], 277: [samples], 278: [20], 317: [2],
    }  # fmt: skip
    strips = [zlib.compress(differences[start : start + 20].tobytes()) for start in range(0, HEIGHT, 20)]
    assert np.abs(pixels_of(write_tiff(tags, strips).getvalue()) - pixels).max() <= 1


def test_differences_of_floats():
    pixels = picture()
    array = as_kind(pixels, "f4").astype(">f4").reshape(HEIGHT, WIDTH * 3)
    planes = array.view(np.uint8).reshape(HEIGHT, WIDTH * 3, 4).swapaxes(1, 2).reshape(HEIGHT, -1, 3)
    differences = np.diff(planes, axis=1, prepend=np.zeros((HEIGHT, 1, 3), np.uint8))
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [32] * 3, 259: [8], 262: [2], 277: [3], 278: [HEIGHT], 317: [3],
            339: [3, 3, 3]}  # fmt: skip
    content = write_tiff(tags, [zlib.compress(differences.tobytes())]).getvalue()
    assert np.abs(pixels_of(content) - pixels).max() <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd", "lzma"])
def test_what_libtiff_compresses(compression):
    pixels = picture()
    for image in (Image.fromarray(pixels), Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)):
        file = io.BytesIO()
        image.save(file, "TIFF", compression=compression)
        expected = pixels if image.mode == "RGB" else pixels[:, :, :1]
        assert np.abs(pixels_of(file.getvalue()) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "P", "YCbCr", "LAB", "CMYK", "L", "LA"])
def test_modes_that_pillow_writes(mode):
    image = Image.fromarray(picture()).convert("RGB" if mode == "LAB" else mode)
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", image.size, value) for value in (200, 128, 128)])
    for options in ({}, {"compression": "tiff_adobe_deflate"}):
        if mode == "YCbCr" and options:
            options = {"compression": "jpeg", "quality": 95}
        file = io.BytesIO()
        image.save(file, "TIFF", **options)
        if mode == "LAB":
            # L* 78: a light grey of 193 or so
            assert np.abs(pixels_of(file.getvalue()) - 194).max() <= 4
            continue
        expected = image.convert("RGB")
        if mode == "LA":
            expected = Image.composite(expected, Image.new("RGB", image.size, "white"), image.getchannel("A"))
        most = 12 if options.get("compression") == "jpeg" else 2
        assert np.abs(pixels_of(file.getvalue()) - np.asarray(expected).astype(int)).mean() <= most


def test_ycbcr_without_compression_is_right_or_named():
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [8, 8, 8], 259: [1], 262: [6], 277: [3], 278: [HEIGHT], 530: [2, 2]}
    content = write_tiff(tags, [bytes(HEIGHT * WIDTH * 3 // 2)]).getvalue()
    assert refusal(content) == "a TIFF of a kind that cannot be read (YCbCr with 8 bits a sample)"


# -- alpha and inks


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("associated", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
def test_alpha_goes_over_white(kind, associated, samples):
    pixels, alpha = picture(samples), np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    alpha[0, 0] = 255
    share = alpha[:, :, None] / 255
    stored = np.floor(pixels * share).astype(np.uint8) if associated else pixels
    content = written(
        as_kind(np.concatenate([stored, alpha[:, :, None]], axis=2), kind),
        photometric="rgb" if samples == 3 else "minisblack",
        planarconfig="contig",
        extrasamples=["assocalpha" if associated else "unassalpha"],
    )
    assert np.abs(pixels_of(content) - (pixels * share + 255 * (1 - share))).max() <= 3


def test_extra_samples_without_a_meaning_are_left_out():
    pixels = picture(5)
    content = written(pixels, planarconfig="contig", extrasamples=["unspecified", "unspecified"])
    np.testing.assert_array_equal(pixels_of(content), pixels[:, :, :3])


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("alpha", [False, True])
def test_inks(kind, alpha):
    inks = picture(5 if alpha else 4)
    inks[:, :, 3] //= 4
    content = written(
        as_kind(inks, kind),
        photometric="separated",
        planarconfig="contig",
        **({"extrasamples": ["unassalpha"]} if alpha else {}),
    )
    expected = np.asarray(Image.fromarray(inks[:, :, :4].copy(), "CMYK").convert("RGB")).astype(float)
    if alpha:
        share = inks[:, :, 4:] / 255
        expected = expected * share + 255 * (1 - share)
    assert np.abs(pixels_of(content) - expected).max() <= 3


# -- which white


def test_floats_beyond_white_are_clipped():
    bright = as_kind(picture(), "f4")
    bright[10:20, 10:20] = 1.6
    np.testing.assert_allclose(pixels_of(written(bright)), np.clip(bright, 0, 1) * 255, atol=1)
    bright[10:12] = np.array([np.nan, np.inf, 1000.0])
    assert np.abs(pixels_of(written(bright))[30:] - picture()[30:]).max() <= 1


def test_floats_of_other_scales():
    for white in (255, 65535):
        assert np.abs(pixels_of(written((picture() * (white / 255)).astype(np.float32))) - picture()).max() <= 1


def test_the_file_may_say_what_white_is():
    content = written((picture(1)[:, :, 0].astype(np.uint16) * 10), photometric="minisblack",
                      extratags=[(281, "H", 1, 2550, True)])  # fmt: skip
    assert np.abs(pixels_of(content)[:, :, 0] - picture(1)[:, :, 0]).max() <= 1


# -- pages


def pages(*each: tuple[np.ndarray, dict]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for pixels, options in each:
            tiff.write(pixels, photometric="rgb", metadata=None, **options)
    return file.getvalue()


SMALL = np.full((40, 50, 3), 200, np.uint8)


def test_the_largest_page_that_is_not_reduced_is_taken():
    reduced, whole = {"subfiletype": 1}, {}
    np.testing.assert_array_equal(pixels_of(pages((SMALL, reduced), (picture(), whole))), picture())
    np.testing.assert_array_equal(pixels_of(pages((SMALL, whole), (picture(), whole))), picture())
    np.testing.assert_array_equal(pixels_of(pages((picture(), whole), (SMALL, reduced))), picture())
    # larger, but reduced from something that is not there
    np.testing.assert_array_equal(pixels_of(pages((picture(), reduced), (SMALL, whole))), SMALL)
    # of two of one size the first
    np.testing.assert_array_equal(pixels_of(pages((picture(), whole), (picture(seed=1), whole))), picture())


def test_a_page_in_a_directory_of_its_own_is_found():
    content = pages((SMALL, {"subfiletype": 1, "subifds": 1}), (picture(), {}))
    np.testing.assert_array_equal(pixels_of(content), picture())


def test_pages_that_point_at_each_other_end():
    content = bytearray(pages((picture(), {}), (SMALL, {})))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as tiff:
        first, second = (page.offset for page in tiff.pages)
        entries = len(tiff.pages[1].tags)
    content[second + 2 + 12 * entries : second + 6 + 12 * entries] = first.to_bytes(4, "little")
    np.testing.assert_array_equal(pixels_of(bytes(content)), picture())


def test_the_orientation_is_that_of_the_page():
    content = written(picture(), extratags=[(274, "H", 1, 6, True)])
    photo = decode(content)
    assert (photo.width, photo.height) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(np.asarray(photo.image), np.rot90(picture(), -1))


def test_big_tiff():
    np.testing.assert_array_equal(pixels_of(written(picture(), bigtiff=True)), picture())


# -- reduced, bounded, damaged


def test_a_large_one_is_reduced_as_pillow_would():
    pixels = np.asarray(Image.fromarray(picture()).resize((2200, 1501)))
    expected = np.asarray(Image.fromarray(pixels).reduce(3)).astype(int)
    for options in ({}, {"tile": (64, 64), "compression": "zlib"}, {"rowsperstrip": 7, "compression": "zlib"}):
        photo = decode(written(pixels, **options))
        assert (photo.image.size, photo.scale, photo.width) == ((734, 501), 3, 2200)
        assert np.abs(np.asarray(photo.image).astype(int) - expected).max() <= 1


def test_notes_of_any_length_cost_nothing():
    layers = (37724, "B", 80_000_000, bytes(80_000_000), True)
    opened = OpenedPhoto(io.BytesIO(written(picture(), extratags=[layers])))
    assert opened.memory < 60_000_000 + 60 * HEIGHT * WIDTH
    np.testing.assert_array_equal(np.asarray(opened.decode().image), picture())


def test_a_photograph_that_lacks_a_little_is_decoded_and_said_so():
    pixels = picture()
    content = written(pixels, rowsperstrip=5)
    assert content.index(pixels[:5].tobytes()) + pixels.nbytes == len(content)  # its pixels stand at its end
    photo = decode(content[: -WIDTH * 3 * 4])
    assert photo.incomplete == "the file ends early, 94 % of the picture is there"
    np.testing.assert_array_equal(np.asarray(photo.image)[:66], pixels[:66])
    assert refusal(content[: -pixels.nbytes // 2]) == "the file ends early, 50 % of the picture is there"


def test_damaged_pixels_and_directories():
    tags = {256: [WIDTH], 257: [HEIGHT], 258: [8, 8, 8], 259: [8], 262: [2], 277: [3], 278: [HEIGHT]}
    assert refusal(write_tiff(tags, [b"no deflate" * 100]).getvalue()).startswith("its compressed pixels are damaged")
    assert (
        refusal(b"II*\0\xff\xff\0\0" + bytes(100)) == "a TIFF whose pages cannot be found: it is damaged or ends early"
    )
    assert refusal(b"II*\0") == "a TIFF whose header is damaged"


# -- what it is, if it cannot be read


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({262: [32845]}, "LogLuv with 8 bits a sample"),
        ({262: [8], 258: [16, 16, 16]}, "L*a*b* with 16 bits a sample"),
        ({258: [5, 6, 5]}, "samples of several sizes"),
        ({258: [24, 24, 24], 339: [3]}, "floats of 24 bits"),
        ({339: [5]}, "samples that are no real numbers"),
        ({259: [34712]}, "photometric interpretation 2, compression 34712"),
        ({259: [7], 258: [12, 12, 12]}, "JPEG with 12 bits a sample"),
        ({262: [5], 258: [8, 8, 8, 8], 277: [4], 332: [2]}, "inks that are not those of four-colour print"),
    ],
)
def test_a_tiff_that_cannot_be_read_says_why(tags, reason):
    plain = {256: [WIDTH], 257: [HEIGHT], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [HEIGHT]}
    content = write_tiff({**plain, **tags}, [bytes(HEIGHT * WIDTH * 12)]).getvalue()
    assert refusal(content) == f"a TIFF of a kind that cannot be read ({reason})"


@pytest.mark.parametrize("size", [(60_000, 40), (40, 60_000)])
def test_long_thin_ones_take_little_memory(size):
    pixels = np.broadcast_to(np.array([10, 200, 90], np.uint8), (size[1], size[0], 3))
    opened = OpenedPhoto(io.BytesIO(written(np.ascontiguousarray(pixels))))
    tracemalloc.start()
    photo = opened.decode()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 << 20
    assert (photo.scale, photo.width, photo.height) == (83, *size)
    assert np.abs(np.asarray(photo.image).astype(int) - [10, 200, 90]).max() == 0
