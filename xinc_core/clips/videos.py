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
# The decoder's own guard: it refuses more before it allocates.
DECODER_LIMIT = {"max_pixels": str(MOST_PIXELS)}
SLACK = 0.1  # seconds that a container may promise beyond its last packet
USUAL_FPS = 25  # where a stream does not say


def decode(path: Path, keep: slice) -> tuple[Iterator, float]:
    """The kept frames as RGB PIL pictures, and the average frame rate.

    Stops after the last kept frame.

    Raises
    ------
    ValueError
        At once if it is no video; when the pictures are taken, if it breaks off before the last
        kept frame: the sentence says how many frames there are.
    """
    with _opened(path) as (_, stream):
        rate = _rate(stream)
    return _kept_frames(path, keep), rate


def count(path: Path) -> tuple[int, float]:
    """Number of coded frames, without decoding any, and the average frame rate.

    A broken file may decode to fewer.
    """
    n_frames = 0
    with _opened(path) as (container, stream):
        for packet in _packets(container, stream):
            if packet is None or packet.stream.index != stream.index:
                continue
            if packet.size and not packet.is_discard:
                n_frames += 1
        return n_frames, _rate(stream)


def _rate(stream) -> float:
    return float(stream.average_rate or USUAL_FPS)


def _kept_frames(path: Path, keep: slice) -> Iterator:
    for index, frame in enumerate(_frames(path)):
        if keep.stop is not None and index >= keep.stop:
            return
        if index >= keep.start and (index - keep.start) % keep.step == 0:
            yield _picture(path, frame)
        if keep.stop is not None and index == keep.stop - 1:
            return  # what lies behind may be broken and is not looked at


def _frames(path: Path) -> Iterator:
    """All frames that decode; then a sentence if the file promised more."""
    n_frames, end, broken = 0, 0.0, False
    with _opened(path) as (container, stream):
        for packet in _packets(container, stream):
            frames, failed = _decoded(packet, stream)
            broken = failed or packet is None or packet.is_corrupt
            for frame in frames:
                yield frame
                n_frames += 1
            if broken:
                break
            end = max(end, _end_of(packet))
        if broken or _falls_short(path, container, stream, end):
            raise ValueError(_breaks_off(path, n_frames))


def _packets(container, stream) -> Iterator:
    """All packets, ending with None where the file cannot be read on.

    They are those of all streams where only together they tell where the file ends.
    """
    try:
        if stream.duration:
            yield from container.demux(stream)
        else:
            yield from container.demux()
    except Exception:  # noqa: BLE001 - demuxers raise many kinds
        yield None


def _decoded(packet, stream) -> tuple[list, bool]:
    """The frames that a packet completes, and whether decoding failed.

    A packet that was cut is not decoded; the frames that still wait in the decoder are.
    """
    try:
        if packet is None or packet.is_corrupt:
            return stream.codec_context.decode(None), False
        if packet.stream.index != stream.index:
            return [], False
        return packet.decode(), False
    except Exception:  # noqa: BLE001 - decoders raise many kinds; each means that the file ends here
        return [], True


def _end_of(packet) -> float:
    """Seconds at which what a packet holds is over."""
    if packet.pts is None or packet.time_base is None:
        return 0.0
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)


def _falls_short(path: Path, container, stream, end: float) -> bool:
    """Whether the file was cut between packets.

    Its last packet then ends long before the time that the header promises.
    """
    if path.suffix.lower() == ".gif":
        return path.read_bytes().rstrip(b"\0")[-1:] != b";"
    if stream.duration:
        promised = float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    else:
        promised = ((container.duration or 0) + (container.start_time or 0)) / 1e6
    return end < promised - SLACK - 1.5 / _rate(stream)


def _breaks_off(path: Path, n_frames: int) -> str:
    """The sentence for a file that holds fewer frames than it promises."""
    if n_frames == 0:
        return f"{str(path)!r} breaks off before its first frame"
    frames = "frame" if n_frames == 1 else "frames"
    return (
        f"{str(path)!r} breaks off after {n_frames} {frames}; "
        f"to take only those, say stop={n_frames}"
    )


@contextmanager
def _opened(path: Path):
    """The container and its first video stream; leaves no file open."""
    import av

    refused = f"{str(path)!r} cannot be read as a video"
    try:
        container = av.open(str(path), options=DECODER_LIMIT)
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"{refused}: {_reason(error)}") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{refused}: it holds no pictures")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise ValueError(f"{refused}: its kind of compression is not known here")
        if getattr(context, "width", 0) * getattr(context, "height", 0) > MOST_PIXELS:
            raise ValueError(
                f"{str(path)!r} claims frames of {context.height}×{context.width} pixels, "
                "which is too large"
            )
        context.options = dict(DECODER_LIMIT)
        context.thread_type = "AUTO"
        yield container, stream


def _reason(error: Exception) -> str:
    """The library's words, without numbers and names of its functions."""
    words = getattr(error, "strerror", None) or error
    return str(words).splitlines()[0]


def _picture(path: Path, frame):
    """An RGB PIL picture: transparency on black, the rotation flag applied."""
    from PIL import Image

    if frame.width * frame.height > MOST_PIXELS:
        raise ValueError(
            f"{str(path)!r} holds a frame of {frame.height}×{frame.width} pixels, "
            "which is too large"
        )
    transparent = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    try:
        pixels = frame.to_ndarray(format="rgba" if transparent else "rgb24")  # (H, W, 4 or 3)
    except Exception as error:  # noqa: BLE001
        raise ValueError(
            f"{str(path)!r} holds a frame that cannot be turned into colours: {_reason(error)}"
        ) from None
    if transparent:
        opacity = pixels[..., 3:] / 255.0
        pixels = (pixels[..., :3] * opacity + 0.5).astype(np.uint8)
    quarter_turns = round(frame.rotation / 90) % 4
    return Image.fromarray(np.rot90(pixels, quarter_turns).copy())
