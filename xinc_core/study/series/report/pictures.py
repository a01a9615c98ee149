"""Pictures in a page without files beside it: data URIs, sprites of a sequence, figures made to
fit a budget of bytes.
"""

from __future__ import annotations

import base64
import io
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 72  # of WebP, for sprites and photographs
SPRITE_PIXELS = 4_000_000  # in one sequence: a browser keeps eight of them unpacked
SMALL_SVG = 120_000  # bytes up to which a chart goes in as it is
DPI = 150  # of the study's figures
CSS_DPI = 96
WIDTHS = (2000, 1500, 1100, 800, 560, 380, 240)  # pixels; the first at which all fit is taken
CHART_WIDTH = 1100  # pixels from which on a chart may be as large as SMALL_SVG


def uri(data: bytes, kind: str) -> str:
    """Bytes as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def webp(picture: np.ndarray | Image.Image, **options) -> bytes:
    """A picture, uint8 (H, W) or (H, W, 3), as a WebP file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, "WEBP", **{"quality": QUALITY} | options)
    return out.getvalue()


def cell_size(size: tuple[int, int], n_frames: int) -> tuple[int, int]:
    """(h, w) at which so many frames of (H, W) ``size`` stay within what a browser unpacks
    easily.
    """
    scale = min(1.0, sqrt(SPRITE_PIXELS / (n_frames * size[0] * size[1])))
    return shrunk(size, scale)


def shrunk(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(H, W) scaled, at least eight pixels a side."""
    return tuple(max(8, round(n * scale)) for n in size)


def columns(n_frames: int, cell: tuple[int, int]) -> int:
    """How many frames stand side by side in a sprite, so that it is about square."""
    return min(n_frames, ceil(sqrt(n_frames * cell[0] / cell[1])))


def sprite(frames: np.ndarray, cell: tuple[int, int]) -> bytes:
    """All frames of a sequence as one picture, row by row.

    frames : uint8 (T, h, w) or (T, h, w, 3); cell : (h, w) in the sprite, smaller where bytes must
    be saved.
    """
    h, w = cell
    across = columns(len(frames), cell)
    down = ceil(len(frames) / across)
    sheet = np.zeros((down * h, across * w, *frames.shape[3:]), np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // across * h, number % across * w
        small = Image.fromarray(frame).resize((w, h), Image.Resampling.BOX)
        sheet[top : top + h, left : left + w] = small
    return webp(sheet)


def sprites(
    sequences: dict[str, np.ndarray], cell: tuple[int, int], budget: int
) -> tuple[dict[str, str], tuple[int, int]]:
    """Sprites of several sequences, each within the same ``cell``, that together take at most
    ``budget`` bytes of page.

    Returns the address of each, and the cell that was small enough.
    """
    while True:
        packed = {
            name: uri(sprite(frames, cell), "image/webp") for name, frames in sequences.items()
        }
        if sum(map(len, packed.values())) <= budget or min(cell) <= 8:
            return packed, cell
        cell = shrunk(cell, 0.75)


def figures(files: list[Path], budget: int) -> dict[Path, dict]:
    """The figures of a study, by path, as they go into the page: address, and width and height
    in CSS pixels.

    A chart whose SVG is small is taken from there; everything else becomes WebP, narrower until all
    fit the budget.
    """
    packed: dict[Path, dict] = {}
    for widest in WIDTHS:
        packed = {file: _figure(file, widest) for file in files}
        if sum(len(figure["uri"]) for figure in packed.values()) <= budget:
            break
    return packed


def _figure(file: Path, widest: int) -> dict:
    """A figure's address, and its width and height in CSS pixels."""
    chart = file.with_suffix(".svg")
    with Image.open(file) as image:
        width, height = image.size
        size = dict(width=round(width * CSS_DPI / DPI), height=round(height * CSS_DPI / DPI))
        largest = SMALL_SVG * min(1.0, widest / CHART_WIDTH)
        if chart.is_file() and chart.stat().st_size <= largest:
            return size | dict(uri=uri(chart.read_bytes(), "image/svg+xml"))
        image = image.convert("RGB")
    if width > widest:
        image = image.resize((widest, round(height * widest / width)), Image.Resampling.LANCZOS)
    # Of a drawing the lossless file is the smaller one, of a photograph the other.
    drawn = min(webp(image, quality=80), webp(image, lossless=True), key=len)
    return size | dict(uri=uri(drawn, "image/webp"))
