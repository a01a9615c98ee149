"""What a finding sees: a layer at one frame or several, and everything that is known about the
frame itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from xinc_core.clips.clip import Clip
from xinc_core.tracing.canvas import Canvas
from xinc_core.tracing.maps import LayerMaps
from xinc_core.util.memo import cached_per_object

from .partitions import Partition, clusters, grid_cells, instances, lattice
from .ranks import normalised

MOVING = 0.5  # pixels per frame from which an instance counts as moving
PEOPLE_AND_VEHICLES = {
    "person",
    "rider",
    "bicycle",
    "motorcycle",
    "car",
    "van",
    "truck",
    "bus",
    "train",
    "tram",
}
MOVERS = PEOPLE_AND_VEHICLES | {"block", "disc"}  # and the things of the drawn scene


@dataclass(frozen=True)
class View:
    """One layer of one network, as a finding measures it.

    layers : the layer at ``frame`` + each of the finding's offsets; pictures : (3, H, W), what the
    network painted at each; stride : picture pixels per cell of the network's coarsest grid.
    """

    layers: tuple[LayerMaps, ...]
    pictures: tuple[Tensor, ...]
    scene: Scene
    frame: int
    stride: int = 1

    @property
    def layer(self) -> LayerMaps:
        return self.layers[0]

    @property
    def step(self) -> int:
        """Pixels by which nulls shift the maps, so that the lattice of the network's sub-pixels
        stays in place; 0 where the picture cannot be cut into such steps, and there is no null."""
        step, size = -(-16 // self.stride) * self.stride, self.layer.shape[1:]
        return step if all(n % step == 0 for n in size) and max(size) > step else 0


class Scene:
    """A clip with its partitions, edges and optical flow, each computed once when asked for."""

    def __init__(self, clip: Clip):
        self.clip = clip

    @property
    def has_masks(self) -> bool:
        return self.clip.labels is not None

    @cached_property
    def partitions(self) -> dict[str, Partition]:
        """The partitions of METHOD section 5 by name; "instances" only where the clip has masks."""
        clip = self.clip
        found = [instances(clip)] if self.has_masks else []
        return {
            part.name: part for part in (*found, grid_cells(clip), *clusters(clip), lattice(clip))
        }

    def labels(self, name: str, frame: int) -> Tensor:
        """(H, W) labels of one partition, numbered without gaps in this frame."""
        return self.partitions[name].labels[frame].unique(return_inverse=True)[1]

    def light(self, frame: int) -> Tensor:
        """RGB intensity: sum of the colour channels, min-max normalised, (H, W)."""
        return normalised(self.clip.frames[frame].sum(0))

    def edges(self, frame: int) -> Tensor:
        """Sobel magnitude of the intensity, min-max normalised, (H, W)."""
        from skimage.filters import sobel

        return normalised(torch.from_numpy(sobel(self.light(frame).double().numpy())))

    @cached_per_object
    def flow(self, frame: int) -> Tensor:
        """Magnitude of the optical flow from the frame before, in pixels, (H, W): exact if the
        clip knows it, else TV-L1.
        """
        if self.clip.flow is not None:
            return self.clip.flow[frame].float().norm(dim=0)
        from skimage.registration import optical_flow_tvl1

        now, before = self.clip.frames[[frame, frame - 1]].mean(1).numpy()
        return torch.from_numpy(optical_flow_tvl1(now, before)).float().norm(dim=0)

    def moving(self, frame: int) -> Tensor | None:
        """(H, W) mask of people and vehicles that move by at least half a pixel per frame; None
        without masks.
        """
        if not self.has_masks:
            return None
        movers = [
            i
            for i, s in self.clip.segments.items()
            if s.category in MOVERS and self.speed(i, frame) >= MOVING
        ]
        return torch.isin(self.clip.labels[frame], torch.tensor(movers, dtype=torch.long))

    def speed(self, segment: int, frame: int) -> float:
        """Pixels per frame by which an instance's mask centroid moves, around this frame; 0
        where it is not seen twice.
        """
        near = [
            self.centroid(segment, t)
            for t in range(max(frame - 2, 0), min(frame + 3, len(self.clip)))
        ]
        steps = [
            np.hypot(*(b - a)) for a, b in zip(near, near[1:]) if a is not None and b is not None
        ]
        return float(np.median(steps)) if steps else 0.0

    @cached_per_object
    def centroid(self, segment: int, frame: int) -> np.ndarray | None:
        """(row, column) of an instance's mask in one frame; None where it is absent."""
        pixels = (self.clip.labels[frame] == segment).nonzero()
        return pixels.double().mean(0).numpy() if len(pixels) else None


def some_pixels(n: int, most: int = 8192) -> Tensor:
    """A seeded sample of the numbers of n pixels, in no order; all of them where they are not
    more.
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most]


def at_some_pixels(canvas: Canvas, picture: Tensor) -> tuple[Canvas, Tensor]:
    """A canvas and a picture at a seeded sample of pixels, where these can be looked at alone;
    else as they are.
    """
    pixels = some_pixels(picture[0].numel())
    try:
        return canvas.at(pixels), picture.flatten(1)[:, None, pixels]
    except ValueError:  # they see their neighbours
        return canvas, picture


def pairs(n_frames: int, most: int = 8) -> list[int]:
    """The frames that are measured, each with the one before it: evenly spread, frame 3 first,
    frame 20 left out.

    Frame 20 of the courtyard served to set the thresholds; it is neither measured nor the frame
    before one that is.
    """
    if n_frames < 5:
        return list(range(1, n_frames)) or [0]
    step = max(1, (n_frames - 4) // 7)
    return [t for t in range(3, n_frames, step) if not {t, t - 1} & {20}][:most]
