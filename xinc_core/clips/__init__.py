"""Clips: frames, and what is known about them.

What lives here: reading videos, pictures, folders and masks, how a frame is cut and resized, the
data sets, the drawn scene. What does not: networks, and anything that is computed from frames.
"""

from .clip import Clip, Segment, Taken
from .datasets import (
    frames_of,
    list_cityscapes_vps,
    list_vipseg,
    load_cityscapes_vps,
    load_vipseg,
    open_clip,
    video_of,
)
from .loading import load_clip
from .masks import load_masks
from .registry import list_clips
from .saved import CLIP_FILE, read_clip_header, save_clip
from .sources import count_frames

__all__ = [
    "CLIP_FILE",
    "Clip",
    "Segment",
    "Taken",
    "count_frames",
    "frames_of",
    "list_cityscapes_vps",
    "list_clips",
    "list_vipseg",
    "load_cityscapes_vps",
    "load_clip",
    "load_masks",
    "load_vipseg",
    "open_clip",
    "read_clip_header",
    "save_clip",
    "video_of",
]
