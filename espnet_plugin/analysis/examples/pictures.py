"""Attention maps as small 8-bit pictures, for people to look at; no measure is taken from them."""

from __future__ import annotations

import io
from typing import NamedTuple, Tuple

import numpy as np

LEVELS = 255
"""The level of a map's largest weight."""
LARGEST = 16383
"""The most pixels that a side of a WebP picture may have."""
LOSSLESS_SIDE = 512
QUALITIES = (90, 75, 50, 25, 10, 5, 2, 0)


class Picture(NamedTuple):
    """A map as a WebP picture."""

    data: bytes
    quality: int
    """WebP's, 0 to 90; 100: lossless, so that only the rounding to levels is lost."""
    error: float
    """Root mean square of what compression changed, in levels of :data:`LEVELS`."""


def quantise(weights: np.ndarray) -> Tuple[np.ndarray, float]:
    """A map on a square-root scale: level p stands for maximum · (p / 255)².

    The root keeps weights apart that are small beside the largest: 1/65025 of it is one level.

    Args:
        weights: (T, T) or any shape, floating, not negative.

    Returns:
        uint8 levels of the same shape, and the largest weight.
    """
    maximum = float(weights.max())
    if not maximum > 0:
        return np.zeros(weights.shape, np.uint8), 0.0
    return np.rint(np.sqrt(weights / maximum) * LEVELS).astype(np.uint8), maximum


def picture(levels: np.ndarray, most_bytes: int) -> Picture:
    """Encode levels in the best quality that fits; if none does, in the least.

    Args:
        levels: (T, T) uint8, T at most :data:`LARGEST`. Up to :data:`LOSSLESS_SIDE` frames a
            lossless picture is tried first.
        most_bytes: what the picture may take.

    Raises:
        ImportError: Pillow is not installed; one line says what to do.
        ValueError: more pixels than a picture can have.
    """
    image_class = _pillow()
    if max(levels.shape) > LARGEST:
        raise ValueError(f"{max(levels.shape)} frames: a WebP picture has at most {LARGEST}")
    image = image_class.fromarray(np.ascontiguousarray(levels))
    if max(levels.shape) <= LOSSLESS_SIDE:
        data = _encode(image, lossless=True, quality=50)
        if len(data) <= most_bytes:
            return Picture(data, 100, 0.0)
    data, quality = b"", 0
    for quality in QUALITIES:
        data = _encode(image, quality=quality)
        if len(data) <= most_bytes:
            break
    difference = decode(data).astype(np.float32) - levels
    return Picture(data, quality, float(np.sqrt(np.mean(np.square(difference), dtype=np.float64))))


def decode(data: bytes) -> np.ndarray:
    """The levels (T, T) uint8 of a picture, as a browser sees them."""
    with _pillow().open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"))


def thumbnail(levels: np.ndarray, side: int = 48) -> np.ndarray:
    """(side, side) uint8: the highest level of each cell, so that thin lines stay; of fewer frames
    than that each is repeated."""
    for axis in (0, 1):
        size = levels.shape[axis]
        if size < side:
            levels = np.take(levels, np.arange(side) * size // side, axis=axis)
        else:
            levels = np.maximum.reduceat(levels, np.arange(side) * size // side, axis=axis)
    return levels


def sheet(thumbnails: np.ndarray) -> bytes:
    """Thumbnails (rows, columns, side, side) as one WebP picture."""
    rows, columns, side, _ = thumbnails.shape
    joined = thumbnails.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    return _encode(_pillow().fromarray(np.ascontiguousarray(joined)), quality=70)


def _encode(image: object, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", method=2, **options)  # type: ignore[attr-defined]
    return stream.getvalue()


def _pillow():  # type: ignore[no-untyped-def]
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("pictures need Pillow: pip install 'espnet_plugin[report]'") from None
    return Image
