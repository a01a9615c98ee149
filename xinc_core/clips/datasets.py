"""Cityscapes-VPS and VIPSeg, the data of the paper, as Clips: from the folders that their own
preparation scripts leave.

Neither may be passed on, so neither is shipped; both are free to download for research. What each
layout means was read from:

* Cityscapes-VPS: github.com/mcahny/vps, ``docs/DATASET.md`` and ``prepare_data/``
  (``create_panoptic_labels.py`` for the codes in
  ``panoptic_inst``, ``create_panoptic_video_labels.py`` for ``panoptic_video`` and its table,
  ``fetch_city_images.py`` for ``img_all``, ``city_default.py`` for the categories);
  ``tools/dataset/cityscapes_vps.py`` for which frames are annotated.
* VIPSeg: github.com/VIPSeg-Dataset/VIPSeg-Dataset, ``README.md`` for the codes in ``panomasks``,
  ``change2_720p.py`` for sizes
  and names, ``create_panoptic_video_labels.py`` for ``panomasksRGB`` and its table.
* Which of them the paper takes, and its crop of VIPSeg: the authors' ``vps_datasets.py``.

Both come in two encodings, which tell the same: *colours* (id = R + 256·G + 65536·B, black is void,
the table says what each id is), the default, and *codes* (category and instance in one number).
Segments keep their ids through a video in both; an instance that leaves and returns has its id
again.

Traps: in Cityscapes-VPS code 0 is road and 255 is void, so ids from codes are the codes plus one.
In VIPSeg code 0 is void, and category c of the table is c + 1 in a code.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .clip import Clip, as_tensor, check_range, list_clips, load_clip, said
from .geometry import Fit, Size, by
from .masks import VOID, Kinds, check_listed, name_segments, read_kinds, read_table, with_labels
from .sources import count_frames, read_ids, read_image

PAPER_SIZE, VIPSEG_CROP = (128, 256), (640, 1280)
CITYSCAPES_TABLE, VIPSEG_TABLE = "panoptic_gt_val_city_vps.json", "panoptic_gt_VIPSeg.json"
ANNOTATED_EVERY = 5  # Cityscapes-VPS: the 5th, 10th … 30th frame of each video
CITYSCAPES_FPS, VIPSEG_FPS = (
    17.0,
    5.0,
)  # 30 frames in 1.8 s; a third of VSPW's 15 frames/s are annotated


@dataclass(frozen=True)
class Frame:
    """One frame on disk: its picture, its mask (None where nothing is annotated), and what the
    table says of it.
    """

    image: Path
    mask: Path | None
    infos: list[dict]


def list_cityscapes_vps(root: str | Path) -> dict[str, int]:
    """Video ids and how many annotated frames each has."""
    path = Path(root) / CITYSCAPES_TABLE
    with _layout(path):
        entries = read_table(path, "annotations", "categories")["annotations"]
        return dict(sorted(Counter(entry["image_id"].split("_")[0] for entry in entries).items()))


def load_cityscapes_vps(
    root: str | Path,
    video: str,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: Size | None = PAPER_SIZE,
    crop: Size | None = None,
    every_frame: bool = False,
    codes: bool = False,
) -> Clip:
    """A video of Cityscapes-VPS.

    Parameters
    ----------
    root : str or Path
        The folder with ``panoptic_gt_val_city_vps.json`` and, in it or in its ``val``, ``img_all``
        (files named CITY_SEQUENCE_FRAME_leftImg8bit.png) and ``panoptic_video``, or
        ``panoptic_inst`` for the codes (files named
        VIDEO_NUMBER_CITY_SEQUENCE_FRAME_gtFine_color.png or …_final_mask.png).
    video : str
        Its id, four digits, such as "0005".
    start, stop, step, size, crop
        As for ``load_clip``, counted in the frames that are kept; size is the paper's unless said
        otherwise.
    every_frame : bool
        Every 5th image is annotated. False: the others are left out, as by the paper's authors.
        True: they are there, void.
    codes : bool
        Read ``panoptic_inst`` (stuff: its category; things: category·1000 + instance; things below
        1000: a crowd; 255: void) instead of ``panoptic_video``.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(root) / CITYSCAPES_TABLE
    place = path.parent / "val" if (path.parent / "val").is_dir() else path.parent
    table = read_table(path, "annotations", "categories")
    annotated = {}
    with _layout(path):
        for entry in sorted(table["annotations"], key=lambda a: a["image_id"]):
            number, _, *name = entry["image_id"].split("_")
            if number == video:
                image = place / "img_all" / f"{'_'.join(name)}_leftImg8bit.png"
                mask = (
                    place
                    / ("panoptic_inst" if codes else "panoptic_video")
                    / Path(entry["file_name"]).name
                )
                annotated[image] = Frame(image, mask, list(entry["segments_info"]))
        if not annotated:
            raise ValueError(_unknown(video, list_cityscapes_vps(root), path))
        images = _between(list(annotated)) if every_frame else annotated
    frames = [annotated.get(image, Frame(image, None, [])) for image in images]
    fps = CITYSCAPES_FPS / (1 if every_frame else ANNOTATED_EVERY)
    decoded = _cityscapes_codes if codes else None
    return _clip(
        f"cityscapes-{video}",
        frames,
        fps,
        slice(start, stop, step),
        size,
        crop,
        read_kinds(table, path),
        decoded,
    )


def list_vipseg(root: str | Path) -> dict[str, int]:
    """Video ids and how many frames each has."""
    path = Path(root) / VIPSEG_TABLE
    with _layout(path):
        return {
            v["video_id"]: len(v["images"])
            for v in read_table(path, "videos", "annotations")["videos"]
        }


def load_vipseg(
    root: str | Path,
    video: str,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: Size | None = PAPER_SIZE,
    crop: Size | None = VIPSEG_CROP,
    codes: bool = False,
) -> Clip:
    """A video of VIPSeg, at 720 lines as its scripts prepare it.

    Parameters
    ----------
    root : str or Path
        The folder ``VIPSeg_720P`` with ``panoptic_gt_VIPSeg.json``, ``images/VIDEO/FRAME.jpg`` and
        ``panomasksRGB/VIDEO/FRAME.png``, or ``panomasks`` for the codes.
    video : str
        Its id, such as "0_wHWc9lFM8bY".
    start, stop, step, size, crop
        As for ``load_clip``; size and crop are the paper's unless said otherwise. A video narrower
        than the crop needs another.
    codes : bool
        Read ``panomasks`` (below 125, stuff: category + 1; else things: (category + 1)·100 +
        instance; 0: void) instead of ``panomasksRGB``.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(root) / VIPSEG_TABLE
    place = path.parent
    table = read_table(path, "videos", "annotations", "categories")
    with _layout(path):
        images = [
            image["id"] for v in table["videos"] if v["video_id"] == video for image in v["images"]
        ]
        entries = [
            entry
            for v in table["annotations"]
            if v["video_id"] == video
            for entry in v["annotations"]
        ]
        infos = {entry["image_id"]: list(entry["segments_info"]) for entry in entries}
        if not images:
            raise ValueError(_unknown(video, list_vipseg(root), path))
        masks = place / ("panomasks" if codes else "panomasksRGB") / video
        found = {key: masks / f"{key}.png" for key in infos}
        files = {key: place / "images" / video / f"{key}.jpg" for key in sorted(images)}
    frames = [Frame(file, found.get(key), infos.get(key, [])) for key, file in files.items()]
    decoded = _vipseg_codes if codes else None
    return _clip(
        f"vipseg-{video}",
        frames,
        VIPSEG_FPS,
        slice(start, stop, step),
        size,
        crop,
        read_kinds(table, path),
        decoded,
    )


DATASETS = {
    "cityscapes-vps": (load_cityscapes_vps, list_cityscapes_vps),
    "vipseg": (load_vipseg, list_vipseg),
}


def video_of(source: str) -> tuple[str, str, str] | None:
    """``cityscapes-vps:ROOT:VIDEO`` → ("cityscapes-vps", ROOT, VIDEO); None for a source that
    names no dataset.
    """
    name, _, rest = str(source).partition(":")
    root, _, video = rest.rpartition(":")
    if name in DATASETS and not (root and video):
        raise ValueError(f"a video of a dataset is written {name}:FOLDER:VIDEO, not {source!r}")
    return (name, root, video) if name in DATASETS else None


def open_clip(
    source: str,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: Size | None = None,
    crop: Size | None = None,
) -> Clip:
    """Whatever ``load_clip`` reads, or a video of a dataset, written
    ``cityscapes-vps:ROOT:VIDEO`` or ``vipseg:ROOT:VIDEO``.
    """
    found, shape = (
        video_of(source),
        {k: v for k, v in dict(size=size, crop=crop).items() if v is not None},
    )
    if found is None:
        return load_clip(source, start, stop, step, **shape)
    name, root, video = found
    return DATASETS[name][0](root, video, start, stop, step, **shape)


def frames_of(source: str) -> tuple[int, float]:
    """How many frames ``open_clip`` would read, and how many of them are a second; nothing is
    decoded.
    """
    found = video_of(source)
    if found is None and source in list_clips():
        clip = load_clip(source)
        return len(clip), clip.fps
    if found is None:
        return count_frames(source)
    name, root, video = found
    videos, path = DATASETS[name][1](root), f"{root}: {name}"
    if video not in videos:
        raise ValueError(_unknown(video, videos, Path(path)))
    return videos[video], VIPSEG_FPS if name == "vipseg" else CITYSCAPES_FPS / ANNOTATED_EVERY


@contextmanager
def _layout(path: Path):
    """Turn what a table lacks into a sentence."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{str(path)!r} is not laid out as its dataset's scripts write it: {error!r}"
        ) from None


def _unknown(video: str, known: dict[str, int], path: Path) -> str:
    near = difflib.get_close_matches(str(video), list(known), 3) or list(known)[:3]
    return f"no video {video!r} among the {len(known)} of {str(path)!r}; there is, for example, {', '.join(near) or 'none'}"


def _between(annotated: list[Path]) -> list[Path]:
    """All images of a video: from the four before its first annotated one to its last annotated
    one.
    """
    stem, first, _ = annotated[0].name.rsplit("_", 2)
    last = annotated[-1].name.rsplit("_", 2)[1]
    if not first.isdecimal() or not last.isdecimal():
        raise KeyError(annotated[0].name)
    numbers = range(int(first) - ANNOTATED_EVERY + 1, int(last) + 1)
    images = (
        annotated[0].with_name(f"{stem}_{number:0{len(first)}d}_leftImg8bit.png")
        for number in numbers
    )
    return [image for image in images if image.is_file()]


def _clip(
    name: str, frames: list[Frame], fps: float, keep: slice, size, crop, kinds: Kinds, decoded
) -> Clip:
    """Read the kept frames, each through one geometry. decoded : what makes ids of codes; None
    for colours.
    """
    check_range(keep)
    if not frames[keep]:
        raise ValueError(
            f"{name!r} has {len(frames)} frames, and none of them lies in {said(keep)}"
        )
    pictures, labels, infos, fit = [], [], [], None
    for frame in frames[keep]:
        image = read_image(frame.image)
        shape = (image.height, image.width)
        fit = fit or Fit.plan(shape, size, crop)
        ids, told = _ids(frame, shape, kinds, decoded)
        if not shape == ids.shape == fit.source:
            raise ValueError(
                f"in {name!r}, {frame.image.name!r} is {by(shape)} and its mask {by(ids.shape)}, where {by(fit.source)} is wanted"
            )
        pictures.append(np.asarray(fit.picture(image)))
        labels.append(fit.labels(ids))
        infos.append(told)
    segments = name_segments(infos, kinds, repr(name))
    return with_labels(Clip(name, as_tensor(pictures), fps / keep.step), np.stack(labels), segments)


def _ids(
    frame: Frame, shape: Size, kinds: Kinds, decoded: Callable | None
) -> tuple[np.ndarray, list[dict]]:
    """Ids of one frame, and what the segments are; all void where nothing is annotated."""
    if frame.mask is None:
        return np.full(shape, VOID), []
    ids = read_ids(frame.mask)
    if decoded is None:
        check_listed(ids, frame.infos, frame.mask)
        return ids, frame.infos
    infos = [
        info
        for code in np.unique(ids).tolist()
        if (info := decoded(code, kinds))["category_id"] in kinds
    ]
    out = np.full(ids.shape, VOID)  # codes of categories that are not listed are void
    for info in infos:
        out[ids == info.pop("code")] = info["id"]
    return out, infos


def _cityscapes_codes(code: int, kinds: Kinds) -> dict:
    """Category, or category·1000 + instance; 255 is void. A thing without an instance is a
    crowd.
    """
    category = code if code < 1000 else code // 1000
    crowd = code < 1000 and kinds.get(category, ("", False))[1]
    return dict(code=code, id=code + 1, category_id=category, iscrowd=crowd)


def _vipseg_codes(code: int, kinds: Kinds) -> dict:
    """Category + 1, or (category + 1)·100 + instance; 0 is void."""
    return dict(
        code=code, id=code, category_id=(code if code < 125 else code // 100) - 1, iscrowd=0
    )
