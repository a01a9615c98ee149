"""Clips: frames, and what is known about them. Reads the shipped clips, videos, images and folders of frames.

Frames are (T, 3, H, W) float32 in [0, 1]; labels are (T, H, W) int64 segment ids, 0 where nothing is annotated.

Trap: flow is (row, column) displacement on the *later* frame's grid: where a pixel of frame t came from is p − flow[t].
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .paths import DATA, replace_file, shelves
from .shapes import draw_shapes

VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"}
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
MULTIPLE = 16
CLIP_FILE = ".safetensors"


@dataclass(frozen=True)
class Segment:
    """A thing or a piece of stuff that keeps its id through the clip."""

    id: int
    name: str
    category: str
    is_thing: bool


@dataclass(frozen=True)
class Clip:
    """A short video, or one image.

    Attributes
    ----------
    name : str
    frames : Tensor, (T, 3, H, W), float32 in [0, 1]
    fps : float
    labels : Tensor, (T, H, W), int64 segment ids, 0 = void; or None
    segments : dict of id to Segment
    flow : Tensor, (T, 2, H, W), exact (row, col) displacement from t−1 to t of what is seen at t; or None
    """

    name: str
    frames: Tensor
    fps: float = 25.0
    labels: Tensor | None = None
    segments: dict[int, Segment] = field(default_factory=dict)
    flow: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return tuple(self.frames.shape[-2:])

    @property
    def checksum(self) -> str:
        """SHA-256 of the 8-bit frames and the labels, shortened to 16 digits."""
        digest = hashlib.sha256((self.frames * 255).round().byte().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()[:16]

    def __getitem__(self, index: slice) -> Clip:
        """A part of the clip: ``clip[10:20:2]``."""
        if not isinstance(index, slice):
            raise TypeError(f"a clip is cut with a slice, e.g. clip[3:4]; for one picture take clip.frames[{index!r}]")
        labels, flow = (x if x is None else x[index] for x in (self.labels, self.flow))
        return replace(self, frames=self.frames[index], labels=labels, flow=flow)

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
    """Read a clip by its shipped name, or from a video file, an image file or a folder of frames.

    Parameters
    ----------
    source : str or Path
    start, stop, step : int
        Which frames to keep; only these are converted and held.
    size : (H, W), optional
        Size in pixels. By default, for files, the short side becomes 128 (never enlarged) with the aspect kept, then
        both sides are centre-cropped to multiples of 16.
    crop : (h, w), optional
        Centre crop of the source in pixels, taken first.

    Raises
    ------
    FileNotFoundError, ValueError
        With one sentence that says what was found and what is expected.
    """
    if step < 1 or start < 0:
        raise ValueError(f"frames are taken from start ≥ 0 in steps ≥ 1, not start={start}, step={step}")
    keep = slice(start, stop, step)
    if str(source) in list_clips():
        if size is not None or crop is not None:
            raise ValueError(f"the shipped clip {str(source)!r} has one size; size and crop are for your own files")
        clip = _shipped(str(source))[keep]
        if not len(clip):
            raise ValueError(f"no frames of {str(source)!r} lie in {start}:{stop}:{step}")
        return clip
    path = next((f for s in shelves("clips") if (f := s / f"{source}{CLIP_FILE}").is_file()), Path(source))
    if path.suffix == CLIP_FILE and path.is_file():
        return _saved(path)[keep]
    if not path.exists():
        raise FileNotFoundError(f"no clip {str(source)!r}: neither a file or folder nor one of {', '.join(list_clips())}")
    images, fps = _images(path, keep)
    shape: Callable = lambda image: _fit(image, size, crop)  # noqa: E731
    frames = [np.asarray(shape(image)) for image in images]
    if not frames:
        raise ValueError(f"no frames of {str(source)!r} lie in {start}:{stop}:{step}")
    if len({f.shape for f in frames}) > 1:
        raise ValueError(f"the frames of {str(source)!r} differ in size: {sorted({f.shape[:2] for f in frames})}")
    return Clip(path.stem, _tensor(np.stack(frames)), fps)


def save_clip(clip: Clip, path: str | Path, **facts) -> None:
    """Write a clip, with its masks, to a ``.safetensors`` file that ``load_clip`` reads back exactly (8 bits a channel).

    facts : what else the header should say (source, checksum, …). Exact flow is not kept.
    """
    from safetensors.torch import save_file

    tensors = {"frames": (clip.frames * 255).round().byte()}
    if clip.labels is not None:
        tensors["labels"] = clip.labels.to(torch.int32)
    about = dict(name=clip.name, fps=clip.fps, segments=[asdict(s) for s in clip.segments.values()]) | facts
    replace_file(path, lambda f: save_file(tensors, f, metadata={"clip": json.dumps(about)}))


def _saved(path: Path) -> Clip:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["clip"])
            frames = file.get_tensor("frames").float().div(255)
            labels = file.get_tensor("labels").long() if "labels" in file.keys() else None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a clip that save_clip wrote: {error}") from None
    return Clip(about["name"], frames, about["fps"], labels, {s["id"]: Segment(**s) for s in about["segments"]})


def _tensor(frames: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 → (T, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255).contiguous()


def _images(path: Path, keep: slice) -> tuple[Iterator, float]:
    """The kept frames as PIL images, one at a time, and the frame rate."""
    from PIL import Image, UnidentifiedImageError

    def opened(file):
        try:
            image = Image.open(file)
            if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip instead of scale
                image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
            return image.convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"{str(file)!r} cannot be read as an image: {error}") from None

    if path.is_dir():
        files = sorted((f for f in path.iterdir() if f.suffix.lower() in IMAGES), key=_natural)
        if not files:
            raise ValueError(f"the folder {str(path)!r} holds no images ({', '.join(sorted(IMAGES))})")
        return map(opened, files[keep]), 25.0
    if path.suffix.lower() in IMAGES:
        return map(opened, [path][keep]), 25.0
    if path.suffix.lower() in VIDEOS:
        return _video(path, keep)
    raise ValueError(f"{str(path)!r} is neither a video ({', '.join(sorted(VIDEOS))}) nor an image nor a folder")


def _natural(path: Path) -> list:
    """Sorting key: numbers in a name by their value, so that frame10 follows frame9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _video(path: Path, keep: slice) -> tuple[Iterator, float]:
    """Decode with PyAV; stops after the last kept frame and converts none but the kept."""
    import av

    try:
        container = av.open(str(path))
        stream = container.streams.video[0]
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a video: {error}") from None
    stream.thread_type = "AUTO"

    def frames():
        with container:
            try:
                for index, frame in enumerate(container.decode(stream)):
                    if keep.stop is not None and index >= keep.stop:
                        return
                    if index >= keep.start and (index - keep.start) % keep.step == 0:
                        yield frame.to_image()
            except av.FFmpegError as error:
                raise ValueError(f"{str(path)!r} breaks off while decoding: {error}") from None

    return frames(), float(stream.average_rate or 25)


def _fit(image, size, crop):
    """Centre crop, then area resize, then (default size) centre crop to multiples of 16. PIL image in, PIL image out."""
    from PIL import Image

    def centre(image, h, w):
        if h > image.height or w > image.width:
            raise ValueError(f"a crop of {h}×{w} does not fit a frame of {image.height}×{image.width}")
        top, left = (image.height - h) // 2, (image.width - w) // 2
        return image.crop((left, top, left + w, top + h))

    if crop is not None:
        image = centre(image, *crop)
    h, w = size or _default_size(image.height, image.width)
    if (h, w) != (image.height, image.width):
        smaller = h <= image.height and w <= image.width
        image = image.resize((w, h), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    if size is None:
        h, w = (n // MULTIPLE * MULTIPLE for n in (h, w))
        if not h * w:
            raise ValueError(f"a frame of {image.height}×{image.width} is too small: each side needs {MULTIPLE} pixels")
        image = centre(image, h, w)
    return image


def _default_size(h: int, w: int, short: int = 128) -> tuple[int, int]:
    scale = min(1.0, short / min(h, w))
    return round(h * scale), round(w * scale)


def _shipped(name: str) -> Clip:
    if name == "shapes":
        frames, labels, flow, table = draw_shapes()
        segments = {i: Segment(i, n, c, thing) for i, n, c, thing in table}
        return Clip(name, torch.from_numpy(frames), 10.0, torch.from_numpy(labels), segments, torch.from_numpy(flow))
    folder = DATA / "clips" / name
    if not folder.exists():
        raise FileNotFoundError(f"the shipped clip {name!r} should lie in {folder}; is the checkout complete?")
    if name == "courtyard":
        return _courtyard(folder)
    images, fps = _images(folder, slice(None))
    return Clip(name, _tensor(np.stack([np.asarray(i) for i in images])), 6.0 if name == "bunny" else fps)


def _courtyard(folder: Path) -> Clip:
    """Frames and panoptic labels in the COCO-panoptic layout; id = R + 256·G + 65536·B."""
    from PIL import Image

    table = json.loads((folder / "panoptic_128x256.json").read_text())
    categories = {c["id"]: c for c in table["categories"]}
    segments = {}
    for name, i in table["info"]["instance_ids"].items():
        category = categories[i // 1000]
        segments[i] = Segment(i, name, category["name"], bool(category["isthing"]))
    names = [image["file_name"] for image in table["images"]]
    rgb = np.stack([np.asarray(Image.open(folder / "panoptic_128x256" / n)) for n in names]).astype(np.int64)
    frames = np.stack([np.asarray(Image.open(folder / "frames_128x256" / n)) for n in names])
    labels = torch.from_numpy(rgb @ np.array([1, 256, 65536]))
    return Clip("courtyard", _tensor(frames), float(table["info"]["fps"]), labels, segments)
