"""A clip with all that is known about its frames: partitions, edges, optical flow, what moves.

Also which of its frames are measured, and the seeded sample of pixels at which pointwise networks
are audited.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xinc_core.clips import Clip
from xinc_core.tracing import Canvas, LayerMaps
from xinc_core.util.memo import cached_per_object

from .explained import SAMPLED_NEURONS, Regions, Sums, sums_of
from .partitions import Partition, clusters, grid_cells, instances, lattice
from .ranks import normalised

MOVING = 0.5  # pixels per frame from which an instance counts as moving
PEOPLE_AND_VEHICLES = frozenset(
    ["person", "rider", "bicycle", "motorcycle", "car", "van", "truck", "bus", "train", "tram"]
)
THINGS_OF_THE_DRAWN_SCENE = frozenset({"block", "disc"})
MOVERS = PEOPLE_AND_VEHICLES | THINGS_OF_THE_DRAWN_SCENE

# Frames on which thresholds were set, by the clip's checksum: they are not measured there.
CALIBRATION_FRAMES = {"74df55dde5b910c6": (20,)}  # the courtyard

AUDITED_PIXELS = 8192


class Scene:
    """A clip with its partitions, edges and optical flow, each computed once when asked for.

    Parameters
    ----------
    clip : Clip
    folder : path, optional
        Where colour and Gabor clusters are stored; by default the folder of stored measurements.
    """

    def __init__(self, clip: Clip, folder: Path | None = None):
        self.clip = clip
        self.folder = folder

    @property
    def has_masks(self) -> bool:
        """Whether the clip's instances are annotated."""
        return self.clip.labels is not None

    @cached_property
    def partitions(self) -> dict[str, Partition]:
        """The partitions by name; "instances" only where the clip has masks."""
        parts: list[Partition] = []
        if self.has_masks:
            parts.append(instances(self.clip))
        parts.append(grid_cells(self.clip))
        parts.extend(clusters(self.clip, self.folder))
        parts.append(lattice(self.clip))
        return {part.name: part for part in parts}

    def labels(self, name: str, frame: int) -> Tensor:
        """(H, W) labels of one partition, numbered without gaps in this frame."""
        labels = self.partitions[name].labels[frame]
        return labels.unique(return_inverse=True)[1]

    @cached_per_object
    def regions(self, frame: int) -> Regions:
        """All partitions of one frame side by side."""
        return Regions.of({name: self.labels(name, frame) for name in self.partitions})

    def light(self, frame: int) -> Tensor:
        """RGB intensity: sum of the colour channels, min-max normalised, (H, W)."""
        return normalised(self.clip.frames[frame].sum(0))

    def edges(self, frame: int) -> Tensor:
        """Sobel magnitude of the intensity, min-max normalised, (H, W)."""
        from skimage.filters import sobel

        return normalised(torch.from_numpy(sobel(self.light(frame).double().numpy())))

    @cached_per_object
    def flow(self, frame: int) -> Tensor:
        """Magnitude of the optical flow from the frame before, in pixels, (H, W).

        Exact where the clip knows it, else TV-L1.
        """
        if self.clip.flow is not None:
            return self.clip.flow[frame].float().norm(dim=0)
        from skimage.registration import optical_flow_tvl1

        now, before = self.clip.frames[[frame, frame - 1]].mean(1).numpy()  # grey, (H, W) each
        return torch.from_numpy(optical_flow_tvl1(now, before)).float().norm(dim=0)

    def moving(self, frame: int) -> Tensor | None:
        """(H, W) mask of people and vehicles that move by at least ``MOVING`` pixels a frame.

        None for a clip without masks.
        """
        if not self.has_masks:
            return None
        movers = []
        for number, segment in self.clip.segments.items():
            if segment.category in MOVERS and self.speed(number, frame) >= MOVING:
                movers.append(number)
        return torch.isin(self.clip.labels[frame], torch.tensor(movers, dtype=torch.long))

    def speed(self, segment: int, frame: int) -> float:
        """Pixels per frame by which an instance's mask centroid moves, around this frame.

        The median over the steps from two frames before to two frames after; 0 where the instance
        is not seen in two frames in a row.
        """
        around = range(max(frame - 2, 0), min(frame + 3, len(self.clip)))
        centroids = [self.centroid(segment, t) for t in around]
        steps = []
        for before, after in zip(centroids, centroids[1:]):
            if before is not None and after is not None:
                steps.append(np.hypot(*(after - before)))
        return float(np.median(steps)) if steps else 0.0

    @cached_per_object
    def centroid(self, segment: int, frame: int) -> np.ndarray | None:
        """(row, column) of an instance's mask in one frame; None where it is absent."""
        pixels = (self.clip.labels[frame] == segment).nonzero()  # (area, 2)
        return pixels.double().mean(0).numpy() if len(pixels) else None


@cached_per_object
def sums_at(layer: LayerMaps, scene: Scene, frame: int) -> Sums:
    """``sums_of`` all partitions of a frame, with a sample of the maps.

    Remembered as long as the layer, because several findings ask for the same.
    """
    return sums_of(layer, scene.regions(frame), sample_size=SAMPLED_NEURONS)


def audited_pixels(n_pixels: int, most: int = AUDITED_PIXELS) -> Tensor:
    """A seeded sample of the numbers of ``n_pixels`` pixels, in no order; all if not more."""
    return torch.randperm(n_pixels, generator=torch.Generator().manual_seed(0))[:most]


def at_audited_pixels(canvas: Canvas, picture: Tensor) -> tuple[Canvas, Tensor]:
    """A canvas and a picture (3, H, W) at ``audited_pixels``, one row high.

    As they are where pixels see their neighbours, as behind convolutions.
    """
    pixels = audited_pixels(picture[0].numel())
    try:
        return canvas.at(pixels), picture.flatten(1)[:, None, pixels]
    except ValueError:
        return canvas, picture


def measured_frames(clip: Clip, most: int = 8) -> list[int]:
    """The frames that are measured, each with the one before it: evenly spread, frame 3 first.

    A frame on which thresholds were set (``CALIBRATION_FRAMES``) is neither measured nor the frame
    before one that is.
    """
    n_frames = len(clip)
    if n_frames < 5:
        return list(range(1, n_frames)) or [0]
    left_out = CALIBRATION_FRAMES.get(clip.checksum, ())
    step = max(1, (n_frames - 4) // 7)
    frames = []
    for frame in range(3, n_frames, step):
        if frame not in left_out and frame - 1 not in left_out:
            frames.append(frame)
    return frames[:most]
