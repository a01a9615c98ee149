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

from xinc_core.util.checks import brief, check_pictures
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

    Made by hand, it takes numpy arrays too, and floats and integers of any width; what is not in
    [0, 1], not finite or of another shape is refused, and the sentence says how to mend it.

    Attributes
    ----------
    name : str
    frames : Tensor, (T, 3, H, W)
        float32 in [0, 1], on the CPU.
    fps : float
        Frames per second, of the frames that were kept.
    labels : Tensor, (T, H, W), or None
        int64 segment ids, 0 or more, on the CPU; 0 is void.
    segments : dict of int to Segment
        What each id in ``labels`` is.
    flow : Tensor, (T, 2, H, W), or None
        Exact (row, column) displacement in pixels from frame t − 1 to t of what is seen at t.
    taken : Taken or None
        Where the frames were taken from, for clips read from a video, an image or a folder.

    Raises
    ------
    TypeError, ValueError
        For frames, labels or flow that are not as above.

    Examples
    --------
    >>> xc.Clip("mine", frames_uint8.movedim(-1, 1).float() / 255)  # from (T, H, W, 3) bytes
    """

    name: str
    frames: Tensor
    fps: float = 25.0
    labels: Tensor | None = None
    segments: dict[int, Segment] = field(default_factory=dict)
    flow: Tensor | None = None
    taken: Taken | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(
                f"a clip begins with its name, a text, not {brief(self.name)}: "
                "xc.Clip(name, frames)"
            )
        frames = _tensor(self.frames)
        check_pictures(frames, "frames")
        # Their own tensors where nothing has to be changed.
        self._set("frames", frames.detach().to("cpu", torch.float32))
        if not self.fps > 0:  # NaN too
            raise ValueError(f"fps is a positive number of frames per second, not {self.fps!r}")
        T, _, H, W = frames.shape
        if self.labels is not None:
            self._set("labels", _checked_labels(_tensor(self.labels), (T, H, W)))
        if self.flow is not None:
            flow = _tensor(self.flow)
            if getattr(flow, "shape", None) != (T, 2, H, W):
                raise ValueError(f"flow is {(T, 2, H, W)}, as the frames are, not {brief(flow)}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

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
        first, stop, step = index.indices(len(self))
        if step < 0:
            raise ValueError("a clip is cut forwards, in steps of at least 1")
        if first >= stop:
            raise ValueError(f"no frames lie in {first}:{stop}:{step}; this clip has 0:{len(self)}")

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


def _tensor(values: object) -> object:
    """An array as a tensor; anything else as it is."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values.copy())  # torch reads no negative strides
    return values


def _checked_labels(labels: object, shape: tuple[int, int, int]) -> Tensor:
    """Labels as int64 on the CPU."""
    if not isinstance(labels, Tensor) or tuple(labels.shape) != shape:
        raise ValueError(f"labels are {shape}, as the frames are, not {brief(labels)}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels are whole numbers, not {labels.dtype}; labels.long() makes them")
    whole = labels.detach().to("cpu", torch.int64)
    if whole.min() < 0:
        raise ValueError(f"labels are 0 (void) or more, not {int(whole.min())}")
    return whole


def as_tensor(pictures: Iterable) -> Tensor:
    """RGB pictures, PIL or (H, W, 3) uint8 → (T, 3, H, W) float32 in [0, 1]."""
    frames = np.stack([np.asarray(picture) for picture in pictures])  # (T, H, W, 3)
    channels_first = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, 3, H, W)
    return channels_first.float().div(255).contiguous()
