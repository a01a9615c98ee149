"""Video files, decoded with PyAV one picture at a time.

As in a player: a rotation flag turns the picture (by quarters; mirrored flags are not followed),
transparent pixels lie on black. Not as in a player: every coded frame counts once, however long it
is shown, so a video of variable frame rate keeps all its frames and its rate is the average one;
interlaced frames stay woven; pixels are taken as square.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".gif"}
MOST_PIXELS = 40_000_000  # of one frame, 8K and some more
LIMIT = {
    "max_pixels": str(MOST_PIXELS)
}  # the decoder's own guard, which refuses more before it allocates
SLACK = 0.1  # seconds that a container may promise beyond its last packet


def decode(path: Path, keep: slice) -> tuple[Iterator, float]:
    """The kept frames as PIL pictures, and the average frame rate. Stops after the last kept frame.

    Raises
    ------
    ValueError
        At once if it is no video; when the pictures are taken, if it breaks off before the last
        kept frame: the sentence says how many frames there are.
    """
    with _opened(path) as (_, stream):
        rate = _rate(stream)
    return _kept(path, keep), rate


def count(path: Path) -> tuple[int, float]:
    """Number of coded frames, without decoding any, and the average frame rate; a broken file
    may decode to fewer.
    """
    with _opened(path) as (container, stream):
        own = (
            p
            for p in _packets(container, stream)
            if p is not None and p.stream.index == stream.index
        )
        return sum(1 for packet in own if packet.size and not packet.is_discard), _rate(stream)


def _rate(stream) -> float:
    return float(stream.average_rate or 25)


def _kept(path: Path, keep: slice) -> Iterator:
    for index, frame in enumerate(_frames(path)):
        if keep.stop is not None and index >= keep.stop:
            return
        if index >= keep.start and (index - keep.start) % keep.step == 0:
            yield _picture(path, frame)
        if keep.stop is not None and index == keep.stop - 1:
            return  # what lies behind may be broken and is not looked at


def _frames(path: Path) -> Iterator:
    """All frames that decode; then a sentence if the file promised more."""
    seen, end, broken = 0, 0.0, False
    with _opened(path) as (container, stream):
        for packet in _packets(container, stream):
            frames, failed = _decoded(packet, stream)
            broken = failed or packet is None or packet.is_corrupt
            for frame in frames:
                yield frame
                seen += 1
            if broken:
                break
            end = max(end, _end(packet))
        if broken or _falls_short(path, container, stream, end):
            raise ValueError(_broken(path, seen))


def _packets(container, stream) -> Iterator:
    """All packets, of all streams if only they tell where the file ends; None where it cannot be
    read on.
    """
    try:
        yield from container.demux(stream) if stream.duration else container.demux()
    except Exception:  # noqa: BLE001 - demuxers raise many kinds
        yield None


def _decoded(packet, stream) -> tuple[list, bool]:
    """The frames that a packet completes, and whether decoding failed. One that was cut gives
    way to those that wait.
    """
    try:
        if packet is None or packet.is_corrupt:
            return stream.codec_context.decode(None), False
        return (packet.decode() if packet.stream.index == stream.index else []), False
    except Exception:  # noqa: BLE001 - decoders raise many kinds; each means that the file ends here
        return [], True


def _end(packet) -> float:
    """Seconds at which what a packet holds is over."""
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _falls_short(path: Path, container, stream, end: float) -> bool:
    """Whether the last packet ended long before the time that the header promises: a file that
    was cut between packets.
    """
    if path.suffix.lower() == ".gif":
        return path.read_bytes().rstrip(b"\0")[-1:] != b";"
    if stream.duration:
        promised = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    else:
        promised = ((container.duration or 0) + (container.start_time or 0)) / 1e6
    return end < promised - SLACK - 1.5 / _rate(stream)


def _broken(path: Path, seen: int) -> str:
    if not seen:
        return f"{str(path)!r} breaks off before its first frame"
    return f"{str(path)!r} breaks off after {seen} frame{'s' * (seen > 1)}; to take only those, say stop={seen}"


@contextmanager
def _opened(path: Path):
    """The container and its first video stream; leaves no file open."""
    import av

    try:
        container = av.open(str(path), options=LIMIT)
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"{str(path)!r} cannot be read as a video: {_said(error)}") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{str(path)!r} cannot be read as a video: it holds no pictures")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise ValueError(
                f"{str(path)!r} cannot be read as a video: its kind of compression is not known here"
            )
        if getattr(context, "width", 0) * getattr(context, "height", 0) > MOST_PIXELS:
            raise ValueError(
                f"{str(path)!r} claims frames of {context.height}×{context.width} pixels, which is too large"
            )
        context.options = dict(LIMIT)
        context.thread_type = "AUTO"
        yield container, stream


def _said(error: Exception) -> str:
    """The library's words, without numbers and names of its functions."""
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _picture(path: Path, frame):
    """An RGB PIL picture: transparency on black, the rotation flag applied."""
    from PIL import Image

    if frame.width * frame.height > MOST_PIXELS:
        raise ValueError(
            f"{str(path)!r} holds a frame of {frame.height}×{frame.width} pixels, which is too large"
        )
    clear = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    try:
        pixels = frame.to_ndarray(format="rgba" if clear else "rgb24")
    except Exception as error:  # noqa: BLE001
        raise ValueError(
            f"{str(path)!r} holds a frame that cannot be turned into colours: {_said(error)}"
        ) from None
    if clear:
        pixels = (pixels[..., :3] * (pixels[..., 3:] / 255.0) + 0.5).astype(np.uint8)
    return Image.fromarray(np.rot90(pixels, round(frame.rotation / 90) % 4).copy())
