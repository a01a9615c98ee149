"""Tensors as PNG, fast enough to follow a slider: about 1 ms a picture.

Maps are palette pictures, one byte a pixel. Pictures are enlarged by repeating pixels.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xinc_core.study.figures.theme import palette

GREYS, STRENGTHS = 32, 8  # of an overlay: together 256 colours, the most a palette holds
DIMMED = 0.55  # brightness of the picture under an overlay, of 1
ORANGE = (1.0, 0.62, 0.0)


def palette_png(values: Tensor, scale: int = 1, vmax: float | None = None) -> bytes:
    """A map's magnitude as PNG: dark = 0, bright = ``vmax`` or its largest value.

    Parameters
    ----------
    values : Tensor
        (H, W); signs are dropped.
    scale : int
        How often each pixel is repeated in both directions.
    vmax : float, optional
        The value drawn brightest.
    """
    values = values.abs().float()
    brightest = vmax or float(values.max()) or 1.0
    levels = (values * (255 / brightest)).clamp(0, 255).byte()
    return _indexed_png(levels, _MAGNITUDES, scale)


def overlay_png(picture: Tensor, values: Tensor, scale: int = 1) -> bytes:
    """The picture (3, H, W) in dim grey with the strong places of the map (H, W) in orange."""
    strongest = float(values.abs().max()) or 1.0
    weight = values.abs().float() / strongest
    grey = (picture.mean(0) * (GREYS - 0.01)).byte()
    strength = (weight.cpu() * (STRENGTHS - 0.01)).byte()
    return _indexed_png(grey * STRENGTHS + strength, _OVERLAY, scale)


def rgb_png(picture: Tensor, scale: int = 1) -> bytes:
    """A picture (3, H, W) in [0, 1] as PNG."""
    levels = (picture.clamp(0, 1) * 255).round().byte()
    pixels = levels.permute(1, 2, 0).cpu().numpy()  # (H, W, 3)
    return _encoded(Image.fromarray(_enlarged(pixels, scale)), compress_level=6)


def crosshair(picture: Tensor, row: int, col: int) -> Tensor:
    """The picture (3, H, W) with an orange ring, and a black one inside it, around one pixel."""
    _, H, W = picture.shape
    rows = (torch.arange(H) - row).abs()
    columns = (torch.arange(W) - col).abs()
    distance = torch.maximum(rows[:, None], columns)  # (H, W), of the square rings
    marked = picture.clone()
    marked[:, distance == 3] = torch.tensor(ORANGE)[:, None]
    marked[:, distance == 2] = 0.0
    return marked


def _overlay_palette() -> list[int]:
    """The overlay's 256 colours as a flat RGB list; index = grey · STRENGTHS + strength."""
    grey = np.arange(GREYS)[:, None, None] / (GREYS - 1) * DIMMED
    weight = np.arange(STRENGTHS)[None, :, None] / (STRENGTHS - 1)
    colors = grey * (1 - weight) + np.array(ORANGE) * weight  # (GREYS, STRENGTHS, 3)
    return (colors * 255).astype(int).flatten().tolist()


_MAGNITUDES = palette()
_OVERLAY = _overlay_palette()


def _enlarged(pixels: np.ndarray, scale: int) -> np.ndarray:
    return pixels.repeat(scale, 0).repeat(scale, 1)


def _indexed_png(levels: Tensor, colors: list[int], scale: int) -> bytes:
    """Byte levels (H, W) as a palette PNG."""
    picture = Image.fromarray(_enlarged(levels.cpu().numpy(), scale))
    picture.putpalette(colors)
    return _encoded(picture, compress_level=1)


def _encoded(picture: Image.Image, compress_level: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()
