"""The clips that are known by a name.

Names only, from the standard library alone: what is behind a name is read in ``shipped``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xinc_core.util.paths import shelves

from .catalogue import RegisteredVideo, photographs, videos

CLIP_FILE = ".safetensors"  # ending of a clip that save_clip wrote


@dataclass(frozen=True)
class Known:
    """A clip that is known by its name.

    Attributes
    ----------
    name, shows : str
    frames : int
    licence, credit : str
    video : RegisteredVideo or None
        For a registered clip, the video that it is cut from.
    """

    name: str
    shows: str
    frames: int
    licence: str
    credit: str
    video: RegisteredVideo | None = None

    @property
    def is_fetched(self) -> bool:
        """Whether its frames come from a file that is not shipped."""
        return self.video is not None and not self.video.shipped


FIRST_CLIPS = (
    Known(
        "courtyard",
        "a real courtyard: nine pedestrians, 43 annotated segments",
        40,
        "Apache-2.0 and BSD-3-Clause (the package's terms; the footage's own were not checked)",
        "OpenCV's samples; by inspection PETS 2009 S2.L1. Annotation: this project, MIT",
    ),
    Known(
        "bunny",
        "Big Buck Bunny, as the NeRV papers use it",
        30,
        "CC BY 3.0",
        "© Blender Foundation, peach.blender.org",
    ),
    Known(
        "shapes",
        "drawn by code, with exact masks and exact optical flow",
        24,
        "MIT",
        "this project",
    ),
)


def known_clips() -> dict[str, Known]:
    """All clips that are known by a name.

    The first three, the registered ones (METHOD 5) and the photographs; the two latter only where
    the tables are here that list them.
    """
    clips = list(FIRST_CLIPS)
    for video in videos().values():
        clips.append(
            Known(video.name, video.shows, video.frames, video.licence, video.credit, video)
        )
    for picture in photographs().values():
        shows = f"a photograph: {picture.shows}"
        clips.append(Known(picture.name, shows, 1, picture.licence, picture.credit))
    return {clip.name: clip for clip in clips}


def list_clips() -> dict[str, str]:
    """Names of the clips that ship or are fetched on their first use, and what each shows."""
    return {name: _described(clip) for name, clip in known_clips().items()}


def _described(clip: Known) -> str:
    """What a clip shows, in a line."""
    text = clip.shows
    if clip.frames > 1:
        text = f"{clip.frames} frames: {text}"
    if clip.is_fetched:
        text = f"{text} (fetched on its first use)"
    return text


def find_clip(name: str) -> Path | None:
    """The file of a saved clip that is known by its name, in the run's folder first; else None."""
    for shelf in shelves("clips"):
        file = shelf / f"{name}{CLIP_FILE}"
        if file.is_file():
            return file
    return None
