"""Clips in files of our own: a ``.safetensors`` file with frames, masks and what is known of them.

The frames are stored with 8 bits a channel, the labels as int32; the header's one entry, ``clip``,
is JSON with the clip's name, frame rate and segments, and what else the writer wanted to say.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import torch

from xinc_core.util.file_kinds import kind_of_file
from xinc_core.util.files import replace_file
from xinc_core.util.tensor_files import (
    UNREADABLE,
    Held,
    brief,
    is_count,
    one_line,
    read_tensor_header,
)

from .clip import Clip, Segment
from .geometry import MOST_BYTES

FASTEST = 1e6  # frames a second


def save_clip(clip: Clip, path: str | Path, **facts) -> None:
    """Write a clip, with its masks, to a ``.safetensors`` file that ``load_clip`` reads back.

    Parameters
    ----------
    clip : Clip
        Its frames are rounded to 8 bits a channel, and come back exactly so. Exact flow is not
        kept.
    path : str or Path
    **facts
        What else the header should say: source, checksum, …
    """
    from safetensors.torch import save_file

    tensors = {"frames": clip.frames_8bit.contiguous()}
    if clip.labels is not None:
        tensors["labels"] = clip.labels.to(torch.int32).contiguous()
    segments = [asdict(segment) for segment in clip.segments.values()]
    header = dict(name=clip.name, fps=clip.fps, segments=segments) | facts
    metadata = {"clip": json.dumps(header)}
    replace_file(path, lambda file: save_file(tensors, file, metadata=metadata))


def read_clip_header(path: str | Path) -> dict:
    """What a saved clip's header says: name, fps, segments and the facts it was saved with.

    Raises
    ------
    ValueError
        If it is no clip that ``save_clip`` wrote.
    """
    return _checked(path).facts


def count_saved(path: str | Path) -> tuple[int, float]:
    """Number of frames of a saved clip and frames per second, without reading the frames.

    Raises
    ------
    ValueError
        If it is no clip that ``save_clip`` wrote.
    """
    checked = _checked(path)
    return checked.n_frames, checked.fps


def read_saved(path: str | Path) -> Clip:
    """The clip in a file that ``save_clip`` wrote.

    Raises
    ------
    ValueError
        If it is none, or does not fit into memory.
    """
    from safetensors import SafetensorError, safe_open

    checked = _checked(path)
    labels = None
    try:
        with safe_open(path, "pt") as file:
            frames = file.get_tensor("frames")
            if checked.has_labels:
                labels = file.get_tensor("labels").long()
    except (SafetensorError, OSError) as error:
        raise _no_clip(path, error) from None
    if labels is not None and labels.min() < 0:
        raise _no_clip(path, ValueError("its labels are below 0"))
    return Clip(checked.name, frames.float().div(255), checked.fps, labels, checked.segments)


@dataclass(frozen=True)
class _Checked:
    """What a saved clip's header says, once nothing in it is wrong."""

    facts: dict
    name: str
    fps: float
    segments: dict[int, Segment]
    n_frames: int
    has_labels: bool


def _checked(path: str | Path) -> _Checked:
    """A saved clip's header, checked before anything behind it is read.

    Raises
    ------
    ValueError
    """
    try:
        texts, held = read_tensor_header(path)
        if "clip" not in texts:
            raise ValueError(f"it is {kind_of_file(path)}")
        facts = json.loads(texts["clip"])
        if not isinstance(facts, dict):
            raise ValueError("its header is no object")
        frames, labels = held.get("frames"), held.get("labels")
        _check_frames(frames)
        if labels is not None:
            _check_labels(labels, frames)
        segments = [_segment(entry) for entry in facts["segments"]]
        return _Checked(
            facts=facts,
            name=_text(facts["name"], "name"),
            fps=_rate(facts["fps"]),
            segments={segment.id: segment for segment in segments},
            n_frames=frames.shape[0],
            has_labels=labels is not None,
        )
    except KeyError as error:
        raise _no_clip(path, ValueError(f"it does not say its {error.args[0]}")) from None
    except UNREADABLE as error:
        raise _no_clip(path, error) from None


def _no_clip(path: str | Path, error: Exception) -> ValueError:
    return ValueError(
        f"{str(path)!r} cannot be read as a clip that save_clip wrote: {one_line(error)}"
    )


def _text(value, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its {what} is {brief(value)}, no text")
    return value


def _rate(fps) -> float:
    """Frames per second: a positive number."""
    is_number = isinstance(fps, int | float) and not isinstance(fps, bool)
    if not is_number or not 0 < fps < FASTEST:
        raise ValueError(f"its frame rate is {brief(fps)}")
    return float(fps)


def _segment(entry) -> Segment:
    """One entry of the header's list of segments."""
    if not isinstance(entry, dict) or entry.keys() != {"id", "name", "category", "is_thing"}:
        raise ValueError(f"it describes a segment by {brief(entry)}")
    ident, is_thing = entry["id"], entry["is_thing"]
    if not is_count(ident) or not isinstance(is_thing, bool):
        raise ValueError(f"it describes a segment by {brief(entry)}")
    name, category = _text(entry["name"], "segment"), _text(entry["category"], "category")
    return Segment(ident, name, category, is_thing)


def _check_frames(frames: Held | None) -> None:
    """Refuse frames that are not (T, 3, H, W) bytes, or would fill the memory as float32."""
    if frames is None:
        raise ValueError("it holds no frames")
    shape = frames.shape
    if frames.type != "U8" or len(shape) != 4 or shape[1] != 3 or not prod(shape):
        raise ValueError(f"its frames are {frames.type} {shape}, not (T, 3, H, W) bytes")
    if 4 * prod(shape) > MOST_BYTES:
        raise ValueError(f"its frames would fill over {MOST_BYTES / 2**30:.0f} GB")


def _check_labels(labels: Held, frames: Held) -> None:
    """Refuse labels that are not one whole number for each pixel."""
    n_frames, _, height, width = frames.shape
    if labels.type != "I32" or labels.shape != (n_frames, height, width):
        raise ValueError(
            f"its labels are {labels.type} {labels.shape}, not one whole number for each pixel"
        )
