"""Clips: frames, and what is known about them.

Frames are (T, 3, H, W) float32 in [0, 1]; labels are (T, H, W) int64 segment ids, 0 where nothing
is annotated.

Trap: flow is (row, column) displacement on the *later* frame's grid: where a pixel of frame t came
from is p − flow[t].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xinc_core.util.files import hash_bytes

from .geometry import Fit


@dataclass(frozen=True)
class Segment:
    """A thing or a piece of stuff that keeps its id through the clip.

    Attributes
    ----------
    id : int
        Its number in the clip's labels, 1 or more.
    name : str
        What it is called in this clip, such as "person 3".
    category : str
        What kind it is of, such as "person".
    is_thing : bool
        Whether it can be counted (a car), or is stuff (the sky).
    """

    id: int
    name: str
    category: str
    is_thing: bool


@dataclass(frozen=True)
class Taken:
    """Where a clip's frames were taken from, so that masks find the same ones.

    Attributes
    ----------
    path : Path
        The video, image or folder.
    frames : tuple of int
        The index in it of each frame of the clip.
    names : tuple of str or None
        The file name of each frame, without suffix, where frames are files.
    fit : Fit
        The geometry that each frame went through.
    """

    path: Path
    frames: tuple[int, ...]
    names: tuple[str, ...] | None
    fit: Fit

    def __getitem__(self, index: slice) -> Taken:
        """The same of a part of the frames."""
        names = self.names
        if names is not None:
            names = names[index]
        return replace(self, frames=self.frames[index], names=names)


@dataclass(frozen=True)
class Clip:
    """A short video, or one image.

    Attributes
    ----------
    name : str
    frames : Tensor, (T, 3, H, W)
        float32 in [0, 1].
    fps : float
        Frames per second, of the frames that were kept.
    labels : Tensor, (T, H, W), or None
        int64 segment ids; 0 is void.
    segments : dict of int to Segment
        What each id in ``labels`` is.
    flow : Tensor, (T, 2, H, W), or None
        Exact (row, column) displacement in pixels from frame t − 1 to t of what is seen at t.
    taken : Taken or None
        Where the frames were taken from, for clips read from a video, an image or a folder.
    """

    name: str
    frames: Tensor
    fps: float = 25.0
    labels: Tensor | None = None
    segments: dict[int, Segment] = field(default_factory=dict)
    flow: Tensor | None = None
    taken: Taken | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return tuple(self.frames.shape[-2:])

    @property
    def frames_8bit(self) -> Tensor:
        """The frames with 8 bits a channel, (T, 3, H, W) uint8."""
        return (self.frames * 255).round().byte()

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the 8-bit frames and the labels, shortened to 16 digits."""
        parts = [self.frames_8bit.numpy().tobytes()]
        if self.labels is not None:
            parts.append(self.labels.numpy().tobytes())
        return hash_bytes(*parts)[:16]

    @cached_property
    def identity(self) -> str:
        """All that a measurement may depend on.

        The checksum of frames and masks and, where the clip has segments or exact flow, another 16
        digits of theirs.
        """
        if not self.segments and self.flow is None:
            return self.checksum
        segments = sorted((ident, asdict(segment)) for ident, segment in self.segments.items())
        parts = [repr(segments).encode()]
        if self.flow is not None:
            parts.append(self.flow.numpy().tobytes())
        return f"{self.checksum} {hash_bytes(*parts)[:16]}"

    def __getitem__(self, index: slice) -> Clip:
        """A part of the clip: ``clip[10:20:2]``.

        Raises
        ------
        TypeError
            For an index that is no slice: one picture is ``clip.frames[index]``.
        """
        if not isinstance(index, slice):
            raise TypeError(
                f"a clip is cut with a slice, e.g. clip[3:4]; "
                f"for one picture take clip.frames[{index!r}]"
            )

        def part(of_frames):
            """What belongs to the kept frames of something that has an entry per frame, or None."""
            if of_frames is None:
                return None
            return of_frames[index]

        return replace(
            self,
            frames=self.frames[index],
            fps=self.fps / (index.step or 1),
            labels=part(self.labels),
            flow=part(self.flow),
            taken=part(self.taken),
        )

    def __repr__(self) -> str:
        count, segments = "", ""
        if len(self) > 1:
            count = f"{len(self)} frames of "
        if self.segments:
            segments = f", {len(self.segments)} segments"
        H, W = self.size
        return f"Clip {self.name!r}: {count}{H}×{W} pixels, {self.fps:g} frames/s{segments}"


def as_tensor(pictures: Iterable) -> Tensor:
    """RGB pictures, PIL or (H, W, 3) uint8 → (T, 3, H, W) float32 in [0, 1]."""
    frames = np.stack([np.asarray(picture) for picture in pictures])  # (T, H, W, 3)
    channels_first = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, 3, H, W)
    return channels_first.float().div(255).contiguous()
