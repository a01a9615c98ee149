"""What the camera does and what moves beside it: a homography taken out of the optical flow.

A camera that turns or pans over a plane moves every pixel by a homography. It is fitted to the flow
between two frames by least squares whose weights fall where the flow departs from it, so that
things that move by themselves do not bend it as long as they fill less than about half of the
picture. What is left of the flow is what moves by itself (METHOD 5). Where nothing is to be seen,
on a plain wall, flow is what surrounds it, so both shares are upper bounds.

Trap: flow is (row, column) displacement, as everywhere here; homographies work on (x, y) =
(column, row).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xinc_core.clips import Clip

MOVED = 0.5  # pixels of flow from which a pixel counts as moved
LEAST = 0.05  # of the picture, that a camera's motion moves
FINEST = 0.25  # pixels: the scale of departures at which the fit's weights end
ROUNDS = 30  # of the weighted fit


@dataclass(frozen=True)
class Camera:
    """What a clip's camera does, as medians or means over its pairs of neighbouring frames.

    Attributes
    ----------
    share_before : float
        Mean share of the pixels whose flow exceeds ``MOVED`` pixels a frame.
    share_after : float
        The same once the homography is taken out: what moves by itself.
    shift : float
        Median over pairs of the median pixel's displacement by the homography, in pixels a frame.
    """

    share_before: float
    share_after: float
    shift: float

    @property
    def moves(self) -> bool:
        """Whether the camera moves.

        It does where the homography accounts for at least half of the pixels that move, and for at
        least ``LEAST`` of the picture.
        """
        by_camera = self.share_before - self.share_after
        return by_camera >= max(LEAST, self.share_before / 2)


def camera(clip: Clip, pairs: list[int] | None = None) -> Camera:
    """Measure a clip's camera (METHOD 5).

    Parameters
    ----------
    clip : Clip
        Of two frames or more.
    pairs : list of int, optional
        The later frame of each pair that is looked at; by default all.

    Returns
    -------
    Camera
    """
    before, after, shifts = [], [], []
    for frame in pairs or range(1, len(clip)):
        flow = flow_between(clip, frame)  # (2, H, W)
        by_camera = homography_of(flow)
        before.append(share_moved(flow))
        after.append(share_moved(flow - by_camera))
        shifts.append(np.median(np.hypot(*by_camera)))
    return Camera(float(np.mean(before)), float(np.mean(after)), float(np.median(shifts)))


def share_moved(flow: np.ndarray) -> float:
    """The share of pixels whose flow, (2, H, W), exceeds ``MOVED``."""
    return float((np.hypot(*flow) > MOVED).mean())


def flow_between(clip: Clip, frame: int) -> np.ndarray:
    """(2, H, W): where a pixel of a frame lies in the frame before, as (row, column) displacement.

    Exact where the clip knows it, else TV-L1 on grey pictures.
    """
    if clip.flow is not None:
        return -clip.flow[frame].double().numpy()
    from skimage.registration import optical_flow_tvl1

    now, before = clip.frames[[frame, frame - 1]].mean(1).numpy()  # (H, W) each
    return optical_flow_tvl1(now, before).astype(np.float64)


def homography_of(flow: np.ndarray) -> np.ndarray:
    """The part of a flow, (2, H, W), that a homography explains: (2, H, W).

    Weighted least squares; a pixel's weight is 1 / (1 + (d / s)²)², d what its flow departs from
    the homography so far. The scale s begins at the typical departure and falls to ``FINEST``.
    """
    height, width = flow.shape[1:]
    rows, cols = np.mgrid[:height, :width]
    unit = max(height, width) / 2  # pixels; coordinates are about −1 to 1, for the solver's sake
    x = (cols.ravel() - (width - 1) / 2) / unit
    y = (rows.ravel() - (height - 1) / 2) / unit
    to_x = x + flow[1].ravel() / unit
    to_y = y + flow[0].ravel() / unit

    weights = np.ones_like(x)
    scale = np.inf
    for _ in range(ROUNDS):
        at_x, at_y = _mapped(x, y, _fitted(x, y, to_x, to_y, weights))
        departure = unit * np.hypot(at_x - to_x, at_y - to_y)  # pixels
        scale = max(FINEST, min(0.8 * scale, 1.5 * np.median(departure)))
        weights = 1 / (1 + (departure / scale) ** 2) ** 2
    return unit * np.stack([at_y - y, at_x - x]).reshape(2, height, width)


def _fitted(x, y, to_x, to_y, weights) -> np.ndarray:
    """The eight numbers h of the homography that takes (x, y) to (to_x, to_y) best."""
    one, zero = np.ones_like(x), np.zeros_like(x)
    # to_x · (h6 x + h7 y + 1) = h0 x + h1 y + h2, and the same for to_y with h3, h4, h5
    for_x = np.stack([x, y, one, zero, zero, zero, -to_x * x, -to_x * y])  # (8, pixels)
    for_y = np.stack([zero, zero, zero, x, y, one, -to_y * x, -to_y * y])
    gram = (for_x * weights) @ for_x.T + (for_y * weights) @ for_y.T  # (8, 8)
    right = (for_x * weights) @ to_x + (for_y * weights) @ to_y
    return np.linalg.solve(gram, right)


def _mapped(x, y, h) -> tuple[np.ndarray, np.ndarray]:
    """Where a homography takes points."""
    depth = h[6] * x + h[7] * y + 1
    return (h[0] * x + h[1] * y + h[2]) / depth, (h[3] * x + h[4] * y + h[5]) / depth
