"""Clips: frames, and what is known about them. Reads the shipped clips, videos, images, folders of
frames, and clips of its own.

Frames are (T, 3, H, W) float32 in [0, 1]; labels are (T, H, W) int64 segment ids, 0 where nothing
is annotated.

Trap: flow is (row, column) displacement on the *later* frame's grid: where a pixel of frame t came
from is p − flow[t].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xinc_core.util.paths import DATA, replace_file, shelves

from .drawn import draw_shapes
from .geometry import MOST_BYTES, Fit, by
from .sources import CLIP_FILE, image_files, pictures, read_ids, read_image


@dataclass(frozen=True)
class Segment:
    """A thing or a piece of stuff that keeps its id through the clip."""

    id: int
    name: str
    category: str
    is_thing: bool


@dataclass(frozen=True)
class Taken:
    """Where a clip's frames were taken from, so that masks find the same ones.

    path : the video, image or folder; frames : index of each frame in it; names : of its file,
    without suffix, where frames are files; fit : the geometry that each frame went through.
    """

    path: Path
    frames: tuple[int, ...]
    names: tuple[str, ...] | None
    fit: Fit


@dataclass(frozen=True)
class Clip:
    """A short video, or one image.

    Attributes
    ----------
    name : str
    frames : Tensor, (T, 3, H, W), float32 in [0, 1]
    fps : float, of the frames that were kept
    labels : Tensor, (T, H, W), int64 segment ids, 0 = void; or None
    segments : dict of id to Segment
    flow : Tensor, (T, 2, H, W), exact (row, col) displacement from t−1 to t of what is seen at t;
    or None
    taken : Taken, for clips read from a video, an image or a folder of frames; or None
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

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the 8-bit frames and the labels, shortened to 16 digits."""
        digest = hashlib.sha256((self.frames * 255).round().byte().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def identity(self) -> str:
        """All that a measurement may depend on: the checksum of frames and masks, and of names
        of segments and exact flow.
        """
        if not self.segments and self.flow is None:
            return self.checksum
        more = hashlib.sha256(
            repr(sorted((i, asdict(s)) for i, s in self.segments.items())).encode()
        )
        more.update(b"" if self.flow is None else self.flow.numpy().tobytes())
        return f"{self.checksum} {more.hexdigest()[:16]}"

    def __getitem__(self, index: slice) -> Clip:
        """A part of the clip: ``clip[10:20:2]``."""
        if not isinstance(index, slice):
            raise TypeError(
                f"a clip is cut with a slice, e.g. clip[3:4]; for one picture take clip.frames[{index!r}]"
            )
        labels, flow = (x if x is None else x[index] for x in (self.labels, self.flow))
        taken = self.taken
        if taken is not None:
            taken = replace(
                taken, frames=taken.frames[index], names=taken.names and taken.names[index]
            )
        fps = self.fps / (index.step or 1)
        return replace(
            self, frames=self.frames[index], fps=fps, labels=labels, flow=flow, taken=taken
        )

    def __repr__(self) -> str:
        seen = f"{len(self)} frames of " if len(self) > 1 else ""
        marks = f", {len(self.segments)} segments" if self.segments else ""
        return f"Clip {self.name!r}: {seen}{self.size[0]}×{self.size[1]} pixels, {self.fps:g} frames/s{marks}"


def list_clips() -> dict[str, str]:
    """Names of the shipped clips and what each shows."""
    return {
        "courtyard": "40 frames of a real courtyard: nine pedestrians, 43 annotated segments",
        "bunny": "30 frames of Big Buck Bunny, as the NeRV papers use it",
        "shapes": "24 frames drawn by code, with exact masks and exact optical flow",
        "astronaut": "a photograph: Eileen Collins, NASA",
        "cat": "a photograph: Chelsea the cat",
    }


def load_clip(
    source: str | Path,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: tuple[int, int] | None = None,
    crop: tuple[int, int] | None = None,
) -> Clip:
    """Read a clip by its name (shipped, or in the run's folder), or from a video, an image, a
    folder of frames or a saved clip.

    Parameters
    ----------
    source : str or Path
    start, stop, step : int
        Which frames to keep, as in ``frames[start:stop:step]``; only these are converted and held.
    size : (H, W), optional
        Size in pixels. By default, for files, the short side becomes 128 (never enlarged) with the
        aspect kept, then both sides are centre-cropped to multiples of 16.
    crop : (h, w), optional
        Centre crop of the source in pixels, taken first.

    Raises
    ------
    FileNotFoundError, ValueError
        With one sentence that says what was found and what is expected. A video that breaks off is
        refused unless ``stop`` lies before the break; the sentence says where that is.
    """
    keep = slice(start, stop, step)
    check_range(keep)
    clip = _of_fixed_size(source)
    if clip is None:
        return _from_outside(Path(source), keep, size, crop)
    if size is not None or crop is not None:
        raise ValueError(
            f"the clip {str(source)!r} has one size; size and crop are for videos, images and folders"
        )
    if not len(clip := clip[keep]):
        raise ValueError(f"no frames of {str(source)!r} lie in {said(keep)}")
    return clip


def _of_fixed_size(source: str | Path) -> Clip | None:
    """A clip that is shipped, or was written by ``save_clip``."""
    if str(source) in list_clips():
        return _shipped(str(source))
    path = next(
        (f for s in shelves("clips") if (f := s / f"{source}{CLIP_FILE}").is_file()), Path(source)
    )
    return _saved(path) if path.suffix == CLIP_FILE and path.is_file() else None


def _from_outside(path: Path, keep: slice, size, crop) -> Clip:
    if not path.exists():
        raise FileNotFoundError(
            f"no clip {str(path)!r}: neither a file or folder nor one of {', '.join(list_clips())}"
        )
    images, fps = pictures(path, keep)
    frames, fit = [], None
    for image in images:
        shape = (image.height, image.width)
        fit = fit or Fit.plan(shape, size, crop)
        if shape != fit.source:
            raise ValueError(
                f"the frames of {str(path)!r} differ in size: one is {by(shape)}, the first {by(fit.source)}"
            )
        if (
            12 * (len(frames) + 1) * fit.size[0] * fit.size[1] > MOST_BYTES
        ):  # float32, three channels
            raise ValueError(
                f"{str(path)!r} would fill over {MOST_BYTES / 2**30:.0f} GB; keep fewer frames, with stop or step"
            )
        frames.append(np.asarray(fit.picture(image)))
    if not frames:
        raise ValueError(f"no frames of {str(path)!r} lie in {said(keep)}")
    indices = tuple(range(keep.start, keep.start + len(frames) * keep.step, keep.step))
    names = tuple(f.stem for f in image_files(path)[keep]) if path.is_dir() else None
    return Clip(
        path.stem, as_tensor(frames), fps / keep.step, taken=Taken(path, indices, names, fit)
    )


def check_range(keep: slice) -> None:
    """Refuse a start, stop or step with which no frames can be counted."""
    numbers = (keep.start, keep.step, 0 if keep.stop is None else keep.stop)
    if not all(isinstance(n, int) for n in numbers) or keep.step < 1 or min(numbers) < 0:
        raise ValueError(
            f"frames are taken from start ≥ 0 to stop ≥ 0 in steps ≥ 1, not {said(keep)}"
        )


def said(keep: slice) -> str:
    """A range as it is written: 2:10:1."""
    return f"{keep.start}:{'' if keep.stop is None else keep.stop}:{keep.step}"


def save_clip(clip: Clip, path: str | Path, **facts) -> None:
    """Write a clip, with its masks, to a ``.safetensors`` file that ``load_clip`` reads back
    exactly (8 bits a channel).

    facts : what else the header should say (source, checksum, …). Exact flow is not kept.
    """
    from safetensors.torch import save_file

    tensors = {"frames": (clip.frames * 255).round().byte().contiguous()}
    if clip.labels is not None:
        tensors["labels"] = clip.labels.to(torch.int32).contiguous()
    about = (
        dict(name=clip.name, fps=clip.fps, segments=[asdict(s) for s in clip.segments.values()])
        | facts
    )
    replace_file(path, lambda f: save_file(tensors, f, metadata={"clip": json.dumps(about)}))


def _saved(path: Path) -> Clip:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["clip"])
            tensors = {k: file.get_tensor(k) for k in file.keys() if k in ("frames", "labels")}
        frames, labels = tensors["frames"], tensors.get("labels")
        segments = {s["id"]: Segment(**s) for s in about["segments"]}
        name, fps = str(about["name"]), float(about["fps"])
        if (
            frames.dtype != torch.uint8
            or frames.ndim != 4
            or frames.shape[1] != 3
            or not frames.numel()
        ):
            raise ValueError(
                f"its frames are {frames.dtype} {tuple(frames.shape)}, not (T, 3, H, W) bytes"
            )
        if 4 * frames.numel() > MOST_BYTES:
            raise ValueError(f"its frames would fill over {MOST_BYTES / 2**30:.0f} GB")
        if labels is not None and (
            labels.dtype != torch.int32 or labels.shape != frames[:, 0].shape
        ):
            raise ValueError(
                f"its labels are {labels.dtype} {tuple(labels.shape)}, not one whole number for each pixel"
            )
    except (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a clip that save_clip wrote: {error}"
        ) from None
    return Clip(
        name, frames.float().div(255), fps, labels if labels is None else labels.long(), segments
    )


def as_tensor(pictures: Iterable) -> Tensor:
    """RGB pictures, PIL or (H, W, 3) uint8 → (T, 3, H, W) float32 in [0, 1]."""
    frames = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255).contiguous()


def _shipped(name: str) -> Clip:
    if name == "shapes":
        frames, labels, flow, table = draw_shapes()
        segments = {i: Segment(i, n, c, thing) for i, n, c, thing in table}
        return Clip(
            name,
            torch.from_numpy(frames),
            10.0,
            torch.from_numpy(labels),
            segments,
            torch.from_numpy(flow),
        )
    folder = DATA / "clips" / name
    if not folder.exists():
        raise FileNotFoundError(
            f"the shipped clip {name!r} should lie in {folder}; is the checkout complete?"
        )
    if name == "courtyard":
        return _courtyard(folder)
    images, fps = pictures(folder, slice(None))
    return Clip(name, as_tensor(images), 6.0 if name == "bunny" else fps)


def _courtyard(folder: Path) -> Clip:
    """Frames and panoptic labels in the COCO-panoptic layout."""
    table = json.loads((folder / "panoptic_128x256.json").read_text())
    categories = {c["id"]: c for c in table["categories"]}
    segments = {}
    for name, i in table["info"]["instance_ids"].items():
        category = categories[i // 1000]
        segments[i] = Segment(i, name, category["name"], bool(category["isthing"]))
    names = [image["file_name"] for image in table["images"]]
    labels = torch.from_numpy(np.stack([read_ids(folder / "panoptic_128x256" / n) for n in names]))
    frames = as_tensor(read_image(folder / "frames_128x256" / n) for n in names)
    return Clip("courtyard", frames, float(table["info"]["fps"]), labels, segments)
