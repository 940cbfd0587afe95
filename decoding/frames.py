"""The frame of an animation that shows it: the first that is not of one colour.

Animations fade in from white or black, and an APNG may carry a blank picture for programs that know no animations.
"""

import numpy as np
from PIL import Image

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")

# How far the look ahead goes, in frames and in pixels of them: a second or two on a slow core.
_MOST_FRAMES = 200
_MOST_PIXELS = 300_000_000
# Levels between the darkest and the brightest value of a channel that still are one colour: lossy WebP has some.
_ONE_COLOUR = 8


def seek_first_frame(image: Image.Image) -> bool:
    """Has an image stand at the frame to take, loaded; False: it is to be opened again, and its first frame taken."""
    image.load()
    frames = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    if frames == 1 or not _is_one_colour(image):
        return True
    size = image.size
    most = min(frames, _MOST_FRAMES, 1 + _MOST_PIXELS // (image.width * image.height))
    try:
        for number in range(1, most):
            image.seek(number)
            if image.size != size:
                # Pillow enlarges a GIF for a frame that reaches beyond it, to gigabytes if the frame says so, for good.
                return False
            image.load()
            if not _is_one_colour(image):
                return True
    except (EOFError, OSError, SyntaxError, ValueError):  # it ends early; its first frame is there
        pass
    image.seek(0)
    image.load()
    return True


def _is_one_colour(image: Image.Image) -> bool:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
        image = white
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels.max(axis=(0, 1)) - pixels.min(axis=(0, 1)) <= _ONE_COLOUR).all())
