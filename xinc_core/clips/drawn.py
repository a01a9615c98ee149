"""The synthetic scene: drawn by code, so that masks and optical flow are exact.

It is the ground truth that the findings are tried on. Everything moves by whole pixels per frame
and carries its own texture, so a pixel of frame t that is visible at t − 1 has exactly the same
colour there, ``flow[t]`` pixels back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue in [0, 1]

GROUND_ID = 1000
GROUND_COLOUR: Colour = (0.52, 0.50, 0.44)
CONTRAST = 0.16  # how far the texture goes from a colour, either way
OCTAVES = ((24, 0.5), (8, 0.3), (3, 0.2))  # cell size in pixels, and weight, of the texture's noise


@dataclass(frozen=True)
class Thing:
    """One thing of the scene, and how it moves.

    Attributes
    ----------
    id : int
        Its segment id.
    name, category : str
    colour : (red, green, blue) in [0, 1]
    start : (top, left) in pixels at frame 0
    extent : (height, width) in pixels
    speed : (rows, columns) in pixels per frame
    is_round : bool
        An ellipse that fills the extent, instead of the whole rectangle.
    """

    id: int
    name: str
    category: str
    colour: Colour
    start: tuple[int, int]
    extent: tuple[int, int]
    speed: tuple[int, int]
    is_round: bool = False


# From back to front: a later thing covers an earlier one.
THINGS = (
    Thing(2001, "blue_block", "block", (0.20, 0.35, 0.85), (52, 84), (30, 26), (0, 0)),
    Thing(3001, "green_block", "block", (0.20, 0.65, 0.30), (90, 200), (20, 34), (0, -4)),
    Thing(4001, "chameleon", "block", GROUND_COLOUR, (12, 20), (24, 30), (0, 3)),
    Thing(5001, "red_disc", "disc", (0.85, 0.20, 0.15), (50, 12), (32, 32), (0, 5), is_round=True),
)


@dataclass(frozen=True)
class Drawing:
    """The drawn scene.

    Attributes
    ----------
    frames : ndarray, (T, 3, H, W)
        float32 in [0, 1], multiples of 1/255.
    labels : ndarray, (T, H, W)
        int64 segment ids, ``GROUND_ID`` for the background.
    flow : ndarray, (T, 2, H, W)
        float32 (row, column) pixels from t − 1 to t of what is seen at t; zero for t = 0.
    table : list of (id, name, category, is_thing)
    """

    frames: np.ndarray
    labels: np.ndarray
    flow: np.ndarray
    table: list[tuple[int, str, str, bool]]


def draw_shapes(n_frames: int = 24, size: tuple[int, int] = (128, 256), seed: int = 0) -> Drawing:
    """Draw the scene.

    A textured background; a static blue block; a green block moving left; a *chameleon* of the
    background's own colour moving right; a red disc that passes in front of the blue block.

    Parameters
    ----------
    n_frames : int
    size : (H, W) in pixels
    seed : int
        Fixes the textures.

    Returns
    -------
    Drawing
    """
    rng = np.random.default_rng(seed)
    H, W = size
    frames = np.empty((n_frames, 3, H, W), np.float32)
    labels = np.full((n_frames, H, W), GROUND_ID, np.int64)
    flow = np.zeros((n_frames, 2, H, W), np.float32)
    frames[:] = _patch(rng, GROUND_COLOUR, size)
    for thing in THINGS:
        patch = _patch(rng, thing.colour, thing.extent)
        for t in range(n_frames):
            _paint(frames[t], labels[t], flow[t], thing, patch, t)
    table = [(GROUND_ID, "background", "ground", False)]
    table += [(thing.id, thing.name, thing.category, True) for thing in THINGS]
    steps = np.round(frames.clip(0, 1) * 255).astype(np.float32)  # whole numbers, 0 to 255
    return Drawing(steps / np.float32(255), labels, flow, table)


def _patch(rng: np.random.Generator, colour: Colour, size: tuple[int, int]) -> np.ndarray:
    """A textured surface of a colour, (3, h, w)."""
    texture = CONTRAST * _texture(rng, *size)  # (h, w)
    return np.array(colour)[:, None, None] + texture


def _texture(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Smooth noise of about unit range, (h, w): random knots, blended linearly, at three scales."""
    total = np.zeros((h, w))
    for cell, weight in OCTAVES:
        knots = rng.uniform(-1, 1, (h // cell + 2, w // cell + 2))
        row, col = np.arange(h) / cell, np.arange(w) / cell
        i, j = row.astype(int), col.astype(int)  # the knot above, and the knot to the left
        down, right = (row - i)[:, None], (col - j)[None]  # how far on from it, 0 to 1
        top = knots[i][:, j] * (1 - right) + knots[i][:, j + 1] * right
        bottom = knots[i + 1][:, j] * (1 - right) + knots[i + 1][:, j + 1] * right
        total += weight * (top * (1 - down) + bottom * down)
    return total


def _paint(
    frame: np.ndarray, labels: np.ndarray, flow: np.ndarray, thing: Thing, patch: np.ndarray, t: int
) -> None:
    """Draw one thing at time t, in place, cut at the picture's edge.

    frame : (3, H, W); labels : (H, W); flow : (2, H, W); patch : (3, h, w), what it looks like.
    """
    h, w = thing.extent
    H, W = labels.shape
    top = thing.start[0] + thing.speed[0] * t
    left = thing.start[1] + thing.speed[1] * t
    rows, cols = np.arange(top, top + h), np.arange(left, left + w)
    row_inside = (rows >= 0) & (rows < H)
    col_inside = (cols >= 0) & (cols < W)
    seen = row_inside[:, None] & col_inside[None]  # (h, w)
    if thing.is_round:
        y, x = np.ogrid[:h, :w]
        seen &= ((y - (h - 1) / 2) / h) ** 2 + ((x - (w - 1) / 2) / w) ** 2 <= 0.25
    y, x = np.nonzero(seen)  # of the patch
    frame[:, y + top, x + left] = patch[:, y, x]
    labels[y + top, x + left] = thing.id
    if t > 0:
        flow[:, y + top, x + left] = np.array(thing.speed, np.float32)[:, None]
