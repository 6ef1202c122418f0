"""A matrix as a PNG image in a data URI: one byte per entry, where shapes would be megabytes."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode

import numpy as np
from jaxtyping import Float, UInt8

from dfa_tl.viz.theme import DIVERGING

LEVELS = 255  # odd, so that zero has a colour of its own
SMALLEST = 480  # pixels: smaller images are enlarged, so that browsers do not blur their cells


def data_uri(values: Float[np.ndarray, "row column"], full: float) -> str:
    """The matrix in diverging colours, the first row at the bottom.

    Args:
        values: Finite entries.
        full: Absolute value that has full colour, and from which on colours no longer change.

    Returns:
        `data:image/png;base64,..`, at most about 1.4 bytes per entry (one pixel each, or more for a
        small matrix, where they compress well).
    """
    middle = LEVELS // 2
    levels = np.rint(np.clip(values / full, -1, 1) * middle) + middle
    repeat = -(-SMALLEST // max(values.shape))
    pixels = levels.astype(np.uint8)[::-1].repeat(repeat, axis=0).repeat(repeat, axis=1)
    return "data:image/png;base64," + b64encode(_png(pixels, _palette())).decode()


def _palette() -> UInt8[np.ndarray, "level channel"]:
    places = [place for place, _ in DIVERGING]
    colors = [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for _, color in DIVERGING]
    steps = np.linspace(0, 1, LEVELS)
    channels = [np.interp(steps, places, channel) for channel in zip(*colors, strict=True)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _png(
    pixels: UInt8[np.ndarray, "row column"], palette: UInt8[np.ndarray, "level channel"]
) -> bytes:
    """An image of palette indices: signature, header, palette, one stream of unfiltered rows."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    lines = np.hstack([np.zeros((height, 1), np.uint8), pixels])
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
