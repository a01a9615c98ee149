"""``load_clip``: a clip from its name, a video, an image, a folder of frames, or a saved clip."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from xinc_core.util.paths import no_data

from .catalogue import RegisteredVideo, photographs
from .clip import Clip, Taken, as_tensor
from .fetching import video_file
from .geometry import MOST_BYTES, Fit, Size, size_text
from .registry import CLIP_FILE, find_clip, known_clips
from .saved import read_saved
from .shipped import shipped_clip, with_shipped_masks
from .sources import clip_name, image_files, pictures

BYTES_PER_PIXEL = 3 * 4  # three channels of float32


def load_clip(
    source: str | Path,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: Size | None = None,
    crop: Size | None = None,
    most_bytes: int = MOST_BYTES,
) -> Clip:
    """Read a clip by its name, or from a video, an image, a folder of frames or a saved clip.

    Parameters
    ----------
    source : str or Path
        The name of a clip of ``list_clips`` or of one in the run's folder, or a path. A clip that
        is not shipped is fetched on its first use and kept in a cache; ``XINC_CLIPS`` names a
        folder that is looked into before. A name goes before a file or folder of that name here:
        write ``"./dog"`` for the latter.
    start, stop, step : int
        Which frames to keep, as in ``frames[start:stop:step]``; only these are converted and held.
    size : (H, W), optional
        Size in pixels. By default, for files, the short side becomes 128 (never enlarged) with the
        aspect kept, then both sides are centre-cropped to multiples of 16.
    crop : (h, w), optional
        Centre crop of the source in pixels, taken first.
    most_bytes : int
        Frames that would fill more memory than this are refused on the way; by default 4 GB.

    Returns
    -------
    Clip

    Raises
    ------
    OSError, ValueError
        With one sentence that says what was found and what is expected. A video that breaks off is
        refused unless ``stop`` lies before the break; the sentence says where that is. A clip that
        cannot be fetched says why.

    Examples
    --------
    >>> load_clip("shapes", stop=4)
    Clip 'shapes': 4 frames of 128×256 pixels, 10 frames/s, 5 segments
    """
    keep = slice(start, stop, step)
    check_range(keep)
    clip = _of_fixed_size(source)
    if clip is None:
        return _from_outside(Path(source), keep, size, crop, most_bytes)
    if size is not None or crop is not None:
        raise ValueError(
            f"the clip {str(source)!r} has one size; "
            "size and crop are for videos, images and folders"
        )
    clip = clip[keep]
    if len(clip) == 0:
        raise ValueError(f"no frames of {str(source)!r} lie in {range_text(keep)}")
    return clip


def check_range(keep: slice) -> None:
    """Refuse a start, stop or step with which no frames can be counted.

    Raises
    ------
    ValueError
    """
    stop = 0 if keep.stop is None else keep.stop
    numbers = (keep.start, keep.step, stop)
    whole = all(isinstance(number, int) for number in numbers)
    if not whole or keep.step < 1 or min(numbers) < 0:
        raise ValueError(
            f"frames are taken from start ≥ 0 to stop ≥ 0 in steps ≥ 1, not {range_text(keep)}"
        )


def range_text(keep: slice) -> str:
    """A range as it is written: 2:10:1."""
    stop = "" if keep.stop is None else keep.stop
    return f"{keep.start}:{stop}:{keep.step}"


def _of_fixed_size(source: str | Path) -> Clip | None:
    """A clip that is known by its name, or was written by ``save_clip``; None for anything else."""
    known = known_clips().get(str(source))
    if known is not None and known.is_fetched:
        return registered_clip(known.video)
    if known is not None:
        return shipped_clip(known.name)
    path = find_clip(str(source)) or Path(source)
    if path.suffix == CLIP_FILE and path.is_file():
        return read_saved(path)
    return None


def registered_clip(video: RegisteredVideo, progress: bool = True) -> Clip:
    """A registered clip, cut from its video (METHOD 5), with its masks.

    Parameters
    ----------
    video : RegisteredVideo
    progress : bool
        Show a bar where the file has to be fetched.
    """
    path = video_file(video, progress)
    clip = _from_outside(path, video.keep, None, None, MOST_BYTES)
    return with_shipped_masks(replace(clip, name=video.name))


def _from_outside(
    path: Path, keep: slice, size: Size | None, crop: Size | None, most_bytes: int
) -> Clip:
    """A clip from a video, an image or a folder of frames."""
    if not path.exists():
        raise FileNotFoundError(_no_clip(path))
    images, fps = pictures(path, keep)
    frames = _Frames(path, size, crop, most_bytes)
    for image in images:
        frames.add(image)
    if not frames.arrays:
        raise ValueError(f"no frames of {str(path)!r} lie in {range_text(keep)}")
    stop = keep.start + len(frames.arrays) * keep.step
    indices = tuple(range(keep.start, stop, keep.step))
    names = None
    if path.is_dir():
        names = tuple(file.stem for file in image_files(path)[keep])
    taken = Taken(path, indices, names, frames.fit)
    return Clip(clip_name(path), as_tensor(frames.arrays), fps / keep.step, taken=taken)


def _no_clip(path: Path) -> str:
    """The sentence for a source that does not exist."""
    name = str(path)
    if not photographs():
        return no_data(f"{name!r} is no file or folder, and the clips known by name are")
    known = list(known_clips())
    nearest = get_close_matches(name, known, 1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "`xinc clips` lists them"
    return f"no clip {name!r}: neither a file or folder nor one of the {len(known)} clips; {hint}"


@dataclass
class _Frames:
    """Frames on their way into a clip: all of one size, each through one geometry."""

    path: Path
    size: Size | None
    crop: Size | None
    most_bytes: int
    fit: Fit | None = None
    arrays: list[np.ndarray] = field(default_factory=list)  # (H, W, 3) uint8 each

    def add(self, image) -> None:
        """Take one more picture; refuse one of another size, or too many."""
        shape = (image.height, image.width)
        if self.fit is None:
            self.fit = Fit.plan(shape, self.size, self.crop)
        if shape != self.fit.source:
            raise ValueError(
                f"the frames of {str(self.path)!r} differ in size: "
                f"one is {size_text(shape)}, the first {size_text(self.fit.source)}"
            )
        H, W = self.fit.size
        if BYTES_PER_PIXEL * (len(self.arrays) + 1) * H * W > self.most_bytes:
            raise ValueError(
                f"{str(self.path)!r} would fill over {self.most_bytes / 2**30:.0f} GB; "
                "keep fewer frames, with stop or step"
            )
        self.arrays.append(np.asarray(self.fit.picture(image)))
