"""Previews of samples as pictures small enough that a page can hold hundreds of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

_PNG = "data:image/png;base64,"
_JPEG = "data:image/jpeg;base64,"
_KEPT = 700
"""Bytes up to which a PNG stays as it is; above, a JPEG says as much in fewer."""
_COARSE = 32
"""Pixels a side up to which an enlarged picture is shown as squares: smoothing would invent detail."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture in the page."""

    uri: str
    """Data URI of a PNG or JPEG."""
    coarse: bool
    """Whether its pixels are to be shown as squares."""


def thumbnail(uri: str, side: int) -> Thumbnail | None:
    """Make a picture fit to stand in the page beside hundreds of others.

    Args:
        uri: Data URI of a PNG, as a preview holds it.
        side: Longest side wanted, in pixels.

    Returns:
        The picture as it is when it is small, else a smaller one; None when it cannot be decoded.
    """
    try:
        content = base64.b64decode(uri.removeprefix(_PNG), validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            coarse = max(image.size) <= _COARSE
            if max(image.size) <= side and len(content) <= _KEPT:
                return Thumbnail(uri, coarse)
            return Thumbnail(_jpeg(image, side), coarse)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _jpeg(image: Image.Image, side: int) -> str:
    small = image.convert("L" if image.mode in {"1", "L"} else "RGB")
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80, optimize=True)
    return _JPEG + base64.b64encode(file.getvalue()).decode("ascii")
