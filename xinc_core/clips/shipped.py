"""What is behind the names of ``registry``: shipped pictures, and the scene that code draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from xinc_core.util.paths import no_data, shipped_folder, table_of_data

from .catalogue import videos
from .clip import Clip, Segment, as_tensor
from .drawn import draw_shapes
from .masks import VOID, load_masks, with_labels
from .sources import pictures, read_ids, read_image

BUNNY_FPS = 6.0  # every fourth frame of 24 frames/s
SHAPES_FPS = 10.0
CATEGORY_STEP = 1_000  # courtyard: segment id = category · 1000 + instance


def shipped_clip(name: str) -> Clip:
    """A clip of :func:`~xinc_core.clips.registry.list_clips`.

    "shapes" is drawn; the others are read from the shipped data.

    Raises
    ------
    FileNotFoundError
        If the shipped data are not here, in a sentence that names ``XINC_DATA``.
    """
    if name == "shapes":
        return _shapes()
    clips = shipped_folder("clips")
    if clips is None or not (clips / name).is_dir():
        raise FileNotFoundError(no_data(f"the shipped clip {name!r} is"))
    folder = clips / name
    if name == "courtyard":
        return _courtyard(folder)
    images, fps = pictures(folder, slice(None))
    registered = videos()
    if name == "bunny":
        fps = BUNNY_FPS
    elif name in registered:
        fps = registered[name].fps
    return Clip(name, as_tensor(images), fps)


def with_shipped_masks(clip: Clip) -> Clip:
    """A registered clip with the masks that were made for it, where there are any.

    They are cut like its frames. ``segments.json`` says what each number is, and from which frame
    on one is left out because its outline is not good enough.

    Parameters
    ----------
    clip : Clip
        Whole, as ``data/videos.json`` cuts it.
    """
    folder = table_of_data("masks")
    if folder is None or not (folder / clip.name).is_dir():
        return clip
    table = json.loads((folder / "segments.json").read_text(encoding="utf-8"))
    labels = load_masks(folder / clip.name, clip).labels.clone()  # (T, H, W)
    segments = {}
    for number, facts in table[clip.name].items():
        ident = int(number)
        segments[ident] = Segment(ident, facts["name"], facts["category"], is_thing=True)
        if "until" in facts:
            left_out = labels[facts["until"] :]
            left_out[left_out == ident] = VOID
    return with_labels(clip, labels.numpy(), segments)


def _shapes() -> Clip:
    scene = draw_shapes()
    segments = {}
    for ident, name, category, is_thing in scene.table:
        segments[ident] = Segment(ident, name, category, is_thing)
    return Clip(
        "shapes",
        torch.from_numpy(scene.frames),
        SHAPES_FPS,
        torch.from_numpy(scene.labels),
        segments,
        torch.from_numpy(scene.flow),
    )


def _courtyard(folder: Path) -> Clip:
    """Frames and panoptic labels in the COCO-panoptic layout."""
    table = json.loads((folder / "panoptic_128x256.json").read_text())
    categories = {category["id"]: category for category in table["categories"]}
    segments = {}
    for name, ident in table["info"]["instance_ids"].items():
        category = categories[ident // CATEGORY_STEP]
        segments[ident] = Segment(ident, name, category["name"], bool(category["isthing"]))
    files = [image["file_name"] for image in table["images"]]
    labels = [read_ids(folder / "panoptic_128x256" / file) for file in files]
    images = [read_image(folder / "frames_128x256" / file) for file in files]
    fps = float(table["info"]["fps"])
    return Clip("courtyard", as_tensor(images), fps, torch.from_numpy(np.stack(labels)), segments)
