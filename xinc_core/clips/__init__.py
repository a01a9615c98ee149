"""Clips: frames, and what is known about them.

What lives here: reading videos, pictures, folders and masks, how a frame is cut and resized, the
clips that are known by a name and the fetching of their files, the data sets, the drawn scene.
What does not: networks, and anything that is computed from frames.

Each name is imported when it is first asked for: listing clips loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xinc_core.util.lazy import lazy_names

if TYPE_CHECKING:  # the same names, for type checkers and editors; a test holds the two equal
    from .clip import Clip as Clip
    from .clip import Segment as Segment
    from .clip import Taken as Taken
    from .datasets import frames_of as frames_of
    from .datasets import list_cityscapes_vps as list_cityscapes_vps
    from .datasets import list_vipseg as list_vipseg
    from .datasets import load_cityscapes_vps as load_cityscapes_vps
    from .datasets import load_vipseg as load_vipseg
    from .datasets import open_clip as open_clip
    from .datasets import video_of as video_of
    from .loading import load_clip as load_clip
    from .masks import load_masks as load_masks
    from .registry import CLIP_FILE as CLIP_FILE
    from .registry import known_clips as known_clips
    from .registry import list_clips as list_clips
    from .saved import read_clip_header as read_clip_header
    from .saved import save_clip as save_clip
    from .sources import clip_name as clip_name
    from .sources import count_frames as count_frames

PLACES = {
    "CLIP_FILE": "registry",
    "Clip": "clip",
    "Segment": "clip",
    "Taken": "clip",
    "clip_name": "sources",
    "count_frames": "sources",
    "frames_of": "datasets",
    "list_cityscapes_vps": "datasets",
    "known_clips": "registry",
    "list_clips": "registry",
    "list_vipseg": "datasets",
    "load_cityscapes_vps": "datasets",
    "load_clip": "loading",
    "load_masks": "masks",
    "load_vipseg": "datasets",
    "open_clip": "datasets",
    "read_clip_header": "saved",
    "save_clip": "saved",
    "video_of": "datasets",
}
__all__ = [*PLACES]
__getattr__, __dir__ = lazy_names(__name__, PLACES)
