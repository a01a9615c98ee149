"""The synthetic scene: drawn by code, so that masks and optical flow are exact. Ground truth for
the findings.

Everything moves by whole pixels per frame and carries its own texture, so a pixel of frame t that
is visible at t−1 has exactly the same colour there, ``flow[t]`` pixels back.
"""

from __future__ import annotations

import numpy as np

# id, name, category, thing?, colour, (top, left) at t = 0, (height, width), (rows, columns) per
# frame, round?
_THINGS = (
    (2001, "blue_block", "block", (0.20, 0.35, 0.85), (52, 84), (30, 26), (0, 0), False),
    (3001, "green_block", "block", (0.20, 0.65, 0.30), (90, 200), (20, 34), (0, -4), False),
    (4001, "chameleon", "block", None, (12, 20), (24, 30), (0, 3), False),
    (5001, "red_disc", "disc", (0.85, 0.20, 0.15), (50, 12), (32, 32), (0, 5), True),
)


def draw_shapes(n_frames: int = 24, size: tuple[int, int] = (128, 256), seed: int = 0):
    """Draw the scene.

    A textured background; a static blue block; a green block moving left; a *chameleon* of the
    background's own colour moving right; a red disc that passes in front of the blue block.

    Returns
    -------
    frames : (T, 3, H, W) float32 in [0, 1], multiples of 1/255
    labels : (T, H, W) int64, 1000 for the background
    flow : (T, 2, H, W) float32, (row, col) pixels from t−1 to t of what is seen at t; zero for t =
    0
    table : list of (id, name, category, is_thing)
    """
    rng = np.random.default_rng(seed)
    H, W = size
    frames = np.empty((n_frames, 3, H, W), np.float32)
    labels = np.full((n_frames, H, W), 1000, np.int64)
    flow = np.zeros((n_frames, 2, H, W), np.float32)
    ground = _texture(rng, H, W)
    background = np.array([0.52, 0.50, 0.44])[:, None, None] + 0.16 * ground
    frames[:] = background
    for ident, _, _, colour, start, extent, speed, is_round in _THINGS:
        patch = 0.16 * _texture(rng, *extent)
        colour = np.array(colour or (0.52, 0.50, 0.44))[:, None, None]
        for t in range(n_frames):
            _paint(frames[t], labels[t], flow[t], ident, colour + patch, start, speed, is_round, t)
    table = [(1000, "background", "ground", False)] + [(i, n, c, True) for i, n, c, *_ in _THINGS]
    return (
        np.round(frames.clip(0, 1) * 255).astype(np.float32) / np.float32(255),
        labels,
        flow,
        table,
    )


def _texture(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """Smooth noise of about unit range, (h, w): three octaves, enlarged by repetition and linear
    blending.
    """
    rows, cols = np.arange(h), np.arange(w)
    total = np.zeros((h, w))
    for cell, weight in ((24, 0.5), (8, 0.3), (3, 0.2)):
        knots = rng.uniform(-1, 1, (h // cell + 2, w // cell + 2))
        r, c = rows / cell, cols / cell
        i, j = r.astype(int), c.astype(int)
        u, v = (r - i)[:, None], (c - j)[None]
        top = knots[i][:, j] * (1 - v) + knots[i][:, j + 1] * v
        bottom = knots[i + 1][:, j] * (1 - v) + knots[i + 1][:, j + 1] * v
        total += weight * (top * (1 - u) + bottom * u)
    return total


def _paint(frame, labels, flow, ident, patch, start, speed, is_round, t):
    """Draw one thing at time t, in place, cut at the picture's edge."""
    h, w = patch.shape[1:]
    top, left = (s + v * t for s, v in zip(start, speed))
    rows, cols = np.arange(top, top + h), np.arange(left, left + w)
    inside = ((rows >= 0) & (rows < frame.shape[1]))[:, None] & (
        (cols >= 0) & (cols < frame.shape[2])
    )[None]
    if is_round:
        y, x = np.ogrid[:h, :w]
        inside &= ((y - (h - 1) / 2) / h) ** 2 + ((x - (w - 1) / 2) / w) ** 2 <= 0.25
    y, x = np.nonzero(inside)
    frame[:, y + top, x + left] = patch[:, y, x]
    labels[y + top, x + left] = ident
    if t:
        flow[:, y + top, x + left] = np.array(speed, np.float32)[:, None]
