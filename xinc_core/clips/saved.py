"""Clips in files of our own: a ``.safetensors`` file with frames, masks and what is known of them.

The frames are stored with 8 bits a channel, the labels as int32; the header's one entry, ``clip``,
is JSON with the clip's name, frame rate and segments, and what else the writer wanted to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from xinc_core.util.files import replace_file

from .clip import Clip, Segment
from .geometry import MOST_BYTES


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
    with _opened(path, "np") as file:
        return _header(file)


def count_saved(path: str | Path) -> tuple[int, float]:
    """Number of frames of a saved clip and frames per second, without reading the frames.

    Raises
    ------
    ValueError
        If it is no clip that ``save_clip`` wrote.
    """
    with _opened(path, "np") as file:
        n_frames = file.get_slice("frames").get_shape()[0]
        return n_frames, float(_header(file)["fps"])


def read_saved(path: str | Path) -> Clip:
    """The clip in a file that ``save_clip`` wrote.

    Raises
    ------
    ValueError
        If it is none, or does not fit into memory.
    """
    with _opened(path, "pt") as file:
        header = _header(file)
        name, fps = str(header["name"]), float(header["fps"])
        segments = {entry["id"]: Segment(**entry) for entry in header["segments"]}
        frames, labels = file.get_tensor("frames"), None
        _check_frames(frames)
        if "labels" in file.keys():
            labels = file.get_tensor("labels")
            _check_labels(labels, frames)
            labels = labels.long()
    return Clip(name, frames.float().div(255), fps, labels, segments)


@contextmanager
def _opened(path: str | Path, framework: str) -> Iterator:
    """The open file; whatever is wrong with it, or with what is read, becomes one sentence."""
    from safetensors import SafetensorError, safe_open

    unusable = (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
    )
    try:
        with safe_open(path, framework) as file:
            yield file
    except unusable as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a clip that save_clip wrote: {error}"
        ) from None


def _header(file) -> dict:
    return json.loads((file.metadata() or {})["clip"])


def _check_frames(frames: Tensor) -> None:
    """Refuse frames that are not (T, 3, H, W) bytes, or would fill the memory as float32."""
    bytes_of_colour = frames.dtype == torch.uint8 and frames.ndim == 4 and frames.shape[1] == 3
    if not bytes_of_colour or not frames.numel():
        raise ValueError(
            f"its frames are {frames.dtype} {tuple(frames.shape)}, not (T, 3, H, W) bytes"
        )
    if 4 * frames.numel() > MOST_BYTES:
        raise ValueError(f"its frames would fill over {MOST_BYTES / 2**30:.0f} GB")


def _check_labels(labels: Tensor, frames: Tensor) -> None:
    """Refuse labels that are not one whole number for each pixel."""
    if labels.dtype != torch.int32 or labels.shape != frames[:, 0].shape:
        raise ValueError(
            f"its labels are {labels.dtype} {tuple(labels.shape)}, "
            "not one whole number for each pixel"
        )
