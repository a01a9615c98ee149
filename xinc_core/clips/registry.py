"""The clips that are known by a name.

Names only, from the standard library alone: what is behind a name is read in ``shipped``.
"""

from __future__ import annotations

from pathlib import Path

from xinc_core.util.paths import shelves

CLIP_FILE = ".safetensors"  # ending of a clip that save_clip wrote


def list_clips() -> dict[str, str]:
    """Names of the shipped clips and what each shows."""
    return {
        "courtyard": "40 frames of a real courtyard: nine pedestrians, 43 annotated segments",
        "bunny": "30 frames of Big Buck Bunny, as the NeRV papers use it",
        "shapes": "24 frames drawn by code, with exact masks and exact optical flow",
        "astronaut": "a photograph: Eileen Collins, NASA",
        "cat": "a photograph: Chelsea the cat",
    }


def find_clip(name: str) -> Path | None:
    """The file of a saved clip that is known by its name, in the run's folder first; else None."""
    for shelf in shelves("clips"):
        file = shelf / f"{name}{CLIP_FILE}"
        if file.is_file():
            return file
    return None
