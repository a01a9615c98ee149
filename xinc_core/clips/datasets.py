"""Cityscapes-VPS and VIPSeg, the data of the paper, as Clips.

They are read from the folders that their own preparation scripts leave. Neither may be passed on,
so neither is shipped; both are free to download for research. What each layout means was read from:

* Cityscapes-VPS: github.com/mcahny/vps, ``docs/DATASET.md`` and ``prepare_data/``
  (``create_panoptic_labels.py`` for the codes in ``panoptic_inst``,
  ``create_panoptic_video_labels.py`` for ``panoptic_video`` and its table,
  ``fetch_city_images.py`` for ``img_all``, ``city_default.py`` for the categories);
  ``tools/dataset/cityscapes_vps.py`` for which frames are annotated.
* VIPSeg: github.com/VIPSeg-Dataset/VIPSeg-Dataset, ``README.md`` for the codes in ``panomasks``,
  ``change2_720p.py`` for sizes and names, ``create_panoptic_video_labels.py`` for ``panomasksRGB``
  and its table.
* Which of them the paper takes, and its crop of VIPSeg: the authors' ``vps_datasets.py``.

Both come in two encodings, which say the same: *colours* (id = R + 256·G + 65536·B, black is void,
the table says what each id is), the default, and *codes* (category and instance in one number).
Segments keep their ids through a video in both; an instance that leaves and returns has its id
again.

Traps: in Cityscapes-VPS code 0 is road and 255 is void, so ids from codes are the codes plus one.
In VIPSeg code 0 is void, and category c of the table is c + 1 in a code.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .clip import Clip, as_tensor
from .geometry import Fit, Size, size_text
from .loading import check_range, load_clip, range_text
from .masks import (
    VOID,
    Categories,
    check_listed,
    name_segments,
    read_categories,
    read_table,
    with_labels,
)
from .registry import known_clips
from .sources import count_frames, read_ids, read_image

PAPER_SIZE: Size = (128, 256)
VIPSEG_CROP: Size = (640, 1280)
CITYSCAPES_TABLE = "panoptic_gt_val_city_vps.json"
VIPSEG_TABLE = "panoptic_gt_VIPSeg.json"
ANNOTATED_EVERY = 5  # Cityscapes-VPS: the 5th, 10th … 30th frame of each video
CITYSCAPES_FPS = 17.0  # 30 frames in 1.8 s
VIPSEG_FPS = 5.0  # a third of VSPW's 15 frames/s are annotated
# Codes below these are categories alone; the others hold an instance too.
CITYSCAPES_INSTANCES = 1000
VIPSEG_INSTANCES = 125


@dataclass(frozen=True)
class Frame:
    """One frame on disk.

    Attributes
    ----------
    image : Path
        Its picture.
    mask : Path or None
        None where nothing is annotated.
    infos : list of dict
        What the table says of its segments.
    """

    image: Path
    mask: Path | None
    infos: list[dict]


@dataclass(frozen=True)
class Coded:
    """What a number in a mask of codes means.

    Attributes
    ----------
    id : int
        The segment id that it becomes.
    category_id : int
        Of the table's categories.
    is_crowd : bool
        A thing without an instance: many that were not told apart.
    """

    id: int
    category_id: int
    is_crowd: bool = False

    def info(self) -> dict:
        """The same as an entry of a table's ``segments_info``."""
        return dict(id=self.id, category_id=self.category_id, iscrowd=self.is_crowd)


Decoder = Callable[[int, Categories], Coded]


@dataclass(frozen=True)
class Video:
    """A video of a dataset before its frames are read.

    Attributes
    ----------
    name : str
        Of the clip.
    frames : list of Frame
    fps : float
    categories : Categories
    decode : Decoder or None
        What makes segments of codes; None where masks are colours.
    """

    name: str
    frames: list[Frame]
    fps: float
    categories: Categories
    decode: Decoder | None


def list_cityscapes_vps(root: str | Path) -> dict[str, int]:
    """Video ids of the Cityscapes-VPS in a folder, and how many annotated frames each has."""
    path = Path(root) / CITYSCAPES_TABLE
    with _explained(path):
        entries = read_table(path, "annotations", "categories")["annotations"]
        count = Counter(entry["image_id"].split("_")[0] for entry in entries)
        return dict(sorted(count.items()))


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

    Returns
    -------
    Clip

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(root) / CITYSCAPES_TABLE
    table = read_table(path, "annotations", "categories")
    with _explained(path):
        annotated = _annotated_cityscapes(path, table, video, codes)
        if not annotated:
            raise ValueError(_unknown_video(video, list_cityscapes_vps(root), path))
        images = list(annotated)
        if every_frame:
            images = _images_between(images)
    frames = [annotated.get(image, Frame(image, None, [])) for image in images]
    unread = Video(
        name=f"cityscapes-{video}",
        frames=frames,
        fps=CITYSCAPES_FPS if every_frame else CITYSCAPES_FPS / ANNOTATED_EVERY,
        categories=read_categories(table, path),
        decode=_cityscapes_code if codes else None,
    )
    return _read_video(unread, slice(start, stop, step), size, crop)


def _annotated_cityscapes(path: Path, table: dict, video: str, codes: bool) -> dict[Path, Frame]:
    """The annotated frames of a video, by their image, in order."""
    folder = path.parent
    if (folder / "val").is_dir():
        folder = folder / "val"
    masks = folder / ("panoptic_inst" if codes else "panoptic_video")
    annotated = {}
    for entry in sorted(table["annotations"], key=lambda entry: entry["image_id"]):
        number, _, *name = entry["image_id"].split("_")
        if number != video:
            continue
        image = folder / "img_all" / f"{'_'.join(name)}_leftImg8bit.png"
        mask = masks / Path(entry["file_name"]).name
        annotated[image] = Frame(image, mask, list(entry["segments_info"]))
    return annotated


def _images_between(annotated: list[Path]) -> list[Path]:
    """All images of a video: from the four before its first annotated one to its last."""
    stem, first, _ = annotated[0].name.rsplit("_", 2)
    last = annotated[-1].name.rsplit("_", 2)[1]
    if not first.isdecimal() or not last.isdecimal():
        raise KeyError(annotated[0].name)
    images = []
    for number in range(int(first) - ANNOTATED_EVERY + 1, int(last) + 1):
        image = annotated[0].with_name(f"{stem}_{number:0{len(first)}d}_leftImg8bit.png")
        if image.is_file():
            images.append(image)
    return images


def list_vipseg(root: str | Path) -> dict[str, int]:
    """Video ids of the VIPSeg in a folder, and how many frames each has."""
    path = Path(root) / VIPSEG_TABLE
    with _explained(path):
        videos = read_table(path, "videos", "annotations")["videos"]
        return {video["video_id"]: len(video["images"]) for video in videos}


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

    Returns
    -------
    Clip

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(root) / VIPSEG_TABLE
    table = read_table(path, "videos", "annotations", "categories")
    with _explained(path):
        frames = _vipseg_frames(path, table, video, codes)
        if not frames:
            raise ValueError(_unknown_video(video, list_vipseg(root), path))
    unread = Video(
        name=f"vipseg-{video}",
        frames=frames,
        fps=VIPSEG_FPS,
        categories=read_categories(table, path),
        decode=_vipseg_code if codes else None,
    )
    return _read_video(unread, slice(start, stop, step), size, crop)


def _vipseg_frames(path: Path, table: dict, video: str, codes: bool) -> list[Frame]:
    """The frames of a video in the order of their names; some may have no mask."""
    masks = path.parent / ("panomasks" if codes else "panomasksRGB") / video
    images = path.parent / "images" / video
    infos = {}
    for listed in table["annotations"]:
        if listed["video_id"] == video:
            for entry in listed["annotations"]:
                infos[entry["image_id"]] = list(entry["segments_info"])
    keys = []
    for listed in table["videos"]:
        if listed["video_id"] == video:
            keys += [image["id"] for image in listed["images"]]
    frames = []
    for key in sorted(set(keys)):
        mask = masks / f"{key}.png" if key in infos else None
        frames.append(Frame(images / f"{key}.jpg", mask, infos.get(key, [])))
    return frames


@dataclass(frozen=True)
class Dataset:
    """How a dataset's videos are loaded and listed, and how many frames a second they have."""

    load: Callable[..., Clip]
    list_videos: Callable[[str | Path], dict[str, int]]
    fps: float


DATASETS = {
    "cityscapes-vps": Dataset(
        load_cityscapes_vps, list_cityscapes_vps, CITYSCAPES_FPS / ANNOTATED_EVERY
    ),
    "vipseg": Dataset(load_vipseg, list_vipseg, VIPSEG_FPS),
}


def video_of(source: str) -> tuple[str, str, str] | None:
    """``cityscapes-vps:FOLDER:VIDEO`` → ("cityscapes-vps", FOLDER, VIDEO).

    None for a source that names no dataset.

    Raises
    ------
    ValueError
        For a dataset without a folder or a video.
    """
    name, _, rest = str(source).partition(":")
    root, _, video = rest.rpartition(":")
    if name not in DATASETS:
        return None
    if not (root and video):
        raise ValueError(f"a video of a dataset is written {name}:FOLDER:VIDEO, not {source!r}")
    return name, root, video


def open_clip(
    source: str,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: Size | None = None,
    crop: Size | None = None,
) -> Clip:
    """Whatever ``load_clip`` reads, or a video of a dataset.

    The latter is written ``cityscapes-vps:FOLDER:VIDEO`` or ``vipseg:FOLDER:VIDEO``. Parameters are
    those of ``load_clip``; a size or a crop that is None is the dataset's own.
    """
    shape = {}
    if size is not None:
        shape["size"] = size
    if crop is not None:
        shape["crop"] = crop
    of_dataset = video_of(source)
    if of_dataset is None:
        return load_clip(source, start, stop, step, **shape)
    name, root, video = of_dataset
    return DATASETS[name].load(root, video, start, stop, step, **shape)


def frames_of(source: str) -> tuple[int, float]:
    """How many frames ``open_clip`` would read, and frames per second; nothing is decoded."""
    of_dataset = video_of(source)
    if of_dataset is None:
        known = known_clips().get(source)
        if known is not None and known.video is not None:  # the table says it; nothing is fetched
            return known.video.frames, known.video.fps
        if known is not None:
            clip = load_clip(source)
            return len(clip), clip.fps
        return count_frames(source)
    name, root, video = of_dataset
    videos = DATASETS[name].list_videos(root)
    if video not in videos:
        raise ValueError(_unknown_video(video, videos, Path(f"{root}: {name}")))
    return videos[video], DATASETS[name].fps


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what a table lacks into a sentence."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{str(path)!r} is not laid out as its dataset's scripts write it: {error!r}"
        ) from None


def _unknown_video(video: str, known: dict[str, int], path: Path) -> str:
    """The sentence for a video that a dataset does not have, with three that it has."""
    nearest = difflib.get_close_matches(str(video), list(known), 3)
    examples = nearest or list(known)[:3] or ["none"]
    return (
        f"no video {video!r} among the {len(known)} of {str(path)!r}; "
        f"there is, for example, {', '.join(examples)}"
    )


def _read_video(video: Video, keep: slice, size: Size | None, crop: Size | None) -> Clip:
    """Read the kept frames, each through one geometry."""
    check_range(keep)
    frames = video.frames[keep]
    if not frames:
        raise ValueError(
            f"{video.name!r} has {len(video.frames)} frames, "
            f"and none of them lies in {range_text(keep)}"
        )
    pictures, labels, infos, fit = [], [], [], None
    for frame in frames:
        image = read_image(frame.image)
        shape = (image.height, image.width)
        if fit is None:
            fit = Fit.plan(shape, size, crop)
        ids, infos_of_frame = _read_mask(frame, shape, video)
        if not shape == ids.shape == fit.source:
            raise ValueError(
                f"in {video.name!r}, {frame.image.name!r} is {size_text(shape)} "
                f"and its mask {size_text(ids.shape)}, where {size_text(fit.source)} is wanted"
            )
        pictures.append(np.asarray(fit.picture(image)))
        labels.append(fit.labels(ids))
        infos.append(infos_of_frame)
    segments = name_segments(infos, video.categories, repr(video.name))
    clip = Clip(video.name, as_tensor(pictures), video.fps / keep.step)
    return with_labels(clip, np.stack(labels), segments)


def _read_mask(frame: Frame, shape: Size, video: Video) -> tuple[np.ndarray, list[dict]]:
    """Ids of one frame, (H, W), and what the segments are; all void where nothing is annotated."""
    if frame.mask is None:
        return np.full(shape, VOID), []
    values = read_ids(frame.mask)
    if video.decode is None:
        check_listed(values, frame.infos, frame.mask)
        return values, frame.infos
    ids, infos = np.full(values.shape, VOID), []
    for code in np.unique(values).tolist():
        meaning = video.decode(code, video.categories)
        if meaning.category_id in video.categories:  # codes of other categories are void
            ids[values == code] = meaning.id
            infos.append(meaning.info())
    return ids, infos


def _cityscapes_code(code: int, categories: Categories) -> Coded:
    """Category, or category·1000 + instance; 255 is void.

    A thing without an instance is a crowd.
    """
    ident = code + 1
    if code >= CITYSCAPES_INSTANCES:
        return Coded(ident, code // CITYSCAPES_INSTANCES)
    is_crowd = code in categories and categories[code].is_thing
    return Coded(ident, code, is_crowd)


def _vipseg_code(code: int, categories: Categories) -> Coded:
    """Category + 1, or (category + 1)·100 + instance; 0 is void."""
    number = code if code < VIPSEG_INSTANCES else code // 100
    return Coded(code, number - 1)
