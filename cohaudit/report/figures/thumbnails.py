"""Previews of samples as pictures small enough that a page can hold hundreds of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

_JPEG = "data:image/jpeg;base64,"
"""Start of the data URI of a JPEG."""
_FORMATS = ("PNG", "JPEG")
"""Formats that are decoded, by Pillow's names."""
_MAX_PNG_BYTES = 700
"""Size up to which a PNG stays as it is; above, a JPEG of the same picture is smaller."""
_MAX_COARSE_SIDE = 32
"""Side in pixels up to which a picture is enlarged as squares: smoothing would invent detail."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture in the page."""

    uri: str
    """Data URI of a PNG or JPEG."""
    coarse: bool
    """Whether its pixels are to be shown as squares."""


def thumbnail(uri: str, side: int) -> Thumbnail | None:
    """Make a picture small enough for a page that has hundreds of them.

    Args:
        uri: Data URI of a PNG or JPEG, from a preview.
        side: Longest side of the result, in pixels.

    Returns:
        The picture as it is if it is small, else a smaller one; None if it cannot be decoded.
    """
    try:
        # the picture may come from an audit.json of unknown origin: no other format is decoded
        content = base64.b64decode(uri.partition(",")[2], validate=True)
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            coarse = max(image.size) <= _MAX_COARSE_SIDE
            is_small = image.format == "JPEG" or len(content) <= _MAX_PNG_BYTES
            if max(image.size) <= side and is_small:
                image.load()  # a broken picture is left out
                return Thumbnail(uri, coarse)
            return Thumbnail(_jpeg(image, side), coarse)
    # Pillow raises SyntaxError for a broken PNG, and refuses a small file that unpacks to a huge picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _jpeg(image: Image.Image, side: int) -> str:
    # JPEG has neither palettes nor transparency
    small = image.convert("L" if image.mode in {"1", "L"} else "RGB")
    small.thumbnail((side, side))
    file = io.BytesIO()
    # At this quality artifacts are invisible at thumbnail size, and a page holds hundreds of pictures.
    small.save(file, "JPEG", quality=80, optimize=True)
    return _JPEG + base64.b64encode(file.getvalue()).decode("ascii")
