"""Masks for a clip of one's own: a folder of label PNGs, alone or with a panoptic table.

Label PNGs as in DAVIS: number 0 (a palette's index, a grey value, or R + 256·G + 65536·B) is
background, every other number one object that keeps it through the clip. With a table in COCO's
panoptic format, the table says what each number is; 0 is void.

Masks go through the geometry of the frames that they belong to and are never blended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from xinc_core.util.tensor_files import UNREADABLE, brief, is_count, one_line
from xinc_core.util.text import as_plain

from .clip import Clip, Segment
from .geometry import Fit, Size, distinct, size_text
from .sources import by_number, count_frames, image_files, read_ids

VOID = 0


@dataclass(frozen=True)
class Category:
    """What a segment can be, as a panoptic table lists it."""

    name: str
    is_thing: bool


Categories = dict[int, Category]  # by the table's category id


@dataclass(frozen=True)
class MaskFiles:
    """The masks that were found.

    Attributes
    ----------
    files : dict of key to Path
        The PNGs, in order; the key is the name of a frame where it has one.
    infos : dict of key to list, or None
        What the table says of the segments of each mask; None without a table.
    categories : Categories
    where : str
        The folder or the table, as sentences name it.
    """

    files: dict[str, Path]
    infos: dict[str, list] | None
    categories: Categories
    where: str


def load_masks(
    folder: str | Path,
    clip: Clip,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: Size | None = None,
    crop: Size | None = None,
    names: dict[int, str] | None = None,
) -> Clip:
    """The clip with labels and segments from a folder of masks.

    Parameters
    ----------
    folder : str or Path
        Label PNGs; or the table of a COCO-panoptic annotation (``.json``), a folder that holds it,
        or the folder of PNGs beside a table of the same name. There is one mask for each frame of
        the clip, or one for each frame of the video that it was taken from. Masks are matched by
        name if the frames came from files and share their names, else by order; they are as large
        as the video's frames, or as the clip's.
    clip : Clip
    start, stop, step, size, crop
        What ``load_clip`` was given. Only needed for a clip that does not say where its frames were
        taken from, such as one that ``save_clip`` wrote; any other goes by its ``taken``.
    names : dict of number to name, optional
        What the objects in label PNGs are, "person" or "car" for example; otherwise each is an
        "object".

    Returns
    -------
    Clip

    Raises
    ------
    FileNotFoundError, ValueError
        In one sentence: masks of another count or size, numbers that the table or ``names`` do not
        list, a damaged file.
    """
    masks = _find_masks(Path(folder))
    keys = _match_frames(masks, clip, slice(start, stop, step))
    labels, fit = [], None
    for key in keys:
        ids = read_ids(masks.files[key])
        if masks.infos is not None:
            check_listed(ids, masks.infos[key], masks.files[key])
        if fit is None:
            fit = _geometry(ids.shape, clip, size, crop, masks.where)
        if ids.shape != fit.source:
            raise ValueError(
                f"the masks in {masks.where} differ in size: "
                f"{size_text(ids.shape)} and {size_text(fit.source)}"
            )
        labels.append(fit.labels(ids))
    stack = np.stack(labels)  # (T, H, W)
    if masks.infos is None:
        segments = _name_objects(stack, names, masks.where)
    else:
        infos = [masks.infos[key] for key in keys]
        segments = name_segments(infos, masks.categories, masks.where)
    return with_labels(clip, stack, segments)


def with_labels(clip: Clip, labels: np.ndarray, segments: dict[int, Segment]) -> Clip:
    """The clip with (T, H, W) labels and those of the segments that are seen in it."""
    seen = set(distinct(labels).tolist())
    segments = {ident: segment for ident, segment in segments.items() if ident in seen}
    return replace(clip, labels=torch.from_numpy(labels), segments=segments)


def read_table(path: Path, *keys: str) -> dict:
    """A JSON table that holds the lists named.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            if not isinstance(table[key], list):
                raise KeyError(key)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no table {str(path)!r}") from None
    except UNREADABLE as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a panoptic table with {', '.join(keys)}: "
            f"{one_line(error)}"
        ) from None
    return table


def read_categories(table: dict, path: Path) -> Categories:
    """The categories of a panoptic table, which was read from ``path``.

    Raises
    ------
    ValueError
    """
    categories = {}
    try:
        for entry in table["categories"]:
            name, is_thing = entry["name"], entry["isthing"]
            if not isinstance(name, str) or is_thing not in (0, 1):
                raise ValueError(brief(entry))
            categories[_number(entry["id"])] = Category(name, bool(is_thing))
    except UNREADABLE as error:
        raise ValueError(
            f"{str(path)!r} has a category without id, name or isthing: {one_line(error)}"
        ) from None
    return categories


def _number(ident) -> int:
    """An id of a table: a whole number, 0 or more."""
    if not is_count(ident):
        raise ValueError(f"{brief(ident)} is no id")
    return ident


def check_listed(ids: np.ndarray, infos: list[dict], file: Path) -> None:
    """Refuse a mask, (H, W) ids, with numbers that its table does not list.

    Raises
    ------
    ValueError
    """
    try:
        listed = {_number(info["id"]) for info in infos}
    except UNREADABLE as error:
        raise ValueError(
            f"the table's segments of {str(file)!r} have no id: {one_line(error)}"
        ) from None
    unknown = set(distinct(ids).tolist()) - {VOID} - listed
    if unknown:
        raise ValueError(
            f"{str(file)!r} holds segment {min(unknown)}, which its table does not list"
        )


def name_segments(
    frames: Iterable[list[dict]], categories: Categories, where: str
) -> dict[int, Segment]:
    """Segments from the ``segments_info`` of all frames.

    Things are numbered in the order in which they appear. A crowd (``iscrowd``) is many things that
    were not told apart: it has its category, but it is no thing.

    Raises
    ------
    ValueError
        For a segment that is not described, or is of two categories.
    """
    segments: dict[int, Segment] = {}
    count: Counter[str] = Counter()  # things of each category so far
    for infos in frames:
        for info in infos:
            ident, category, is_crowd = _described(info, categories, where)
            before = segments.get(ident)
            if before is None:
                segments[ident] = _new_segment(ident, category, is_crowd, count)
            elif before.category != category.name:
                raise ValueError(
                    f"in {where}, segment {ident} is a {as_plain(before.category, most=60)} "
                    f"in one frame and a {as_plain(category.name, most=60)} in another; "
                    "a segment keeps its id and its category through the clip"
                )
    return segments


def _described(info: dict, categories: Categories, where: str) -> tuple[int, Category, bool]:
    """Id, category and whether it is a crowd, of one entry of ``segments_info``."""
    try:
        ident, number = _number(info["id"]), _number(info["category_id"])
        return ident, categories[number], bool(info.get("iscrowd", 0))
    except UNREADABLE as error:
        raise ValueError(
            f"{where} has a segment without id, or of a category that it does not list: "
            f"{one_line(error)}"
        ) from None


def _new_segment(ident: int, category: Category, is_crowd: bool, count: Counter[str]) -> Segment:
    """A segment with its name; ``count`` goes on by one for a thing."""
    is_thing = category.is_thing and not is_crowd
    if is_crowd:
        name = f"{category.name} (crowd)"
    elif is_thing:
        count[category.name] += 1
        name = f"{category.name} {count[category.name]}"
    else:
        name = category.name
    return Segment(ident, name, category.name, is_thing)


def _name_objects(
    labels: np.ndarray, names: dict[int, str] | None, where: str
) -> dict[int, Segment]:
    """One thing for each number in label PNGs, (T, H, W)."""
    idents = sorted(set(distinct(labels).tolist()) - {VOID})
    if names is None:
        return {ident: Segment(ident, f"object {ident}", "object", True) for ident in idents}
    segments: dict[int, Segment] = {}
    count: Counter[str] = Counter()
    for ident in idents:
        if ident not in names:
            raise ValueError(f"the masks in {where} hold number {ident}, which names does not list")
        category = names[ident]
        count[category] += 1
        segments[ident] = Segment(ident, f"{category} {count[category]}", category, True)
    return segments


def _find_masks(folder: Path) -> MaskFiles:
    """The masks at a path: PNGs alone, or those that a table lists."""
    if not folder.exists():
        raise FileNotFoundError(f"there are no masks at {str(folder)!r}")
    table = _find_table(folder)
    if table is not None:
        return _listed_masks(folder, table)
    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is neither a folder of masks nor a .json table")
    files = {file.stem: file for file in image_files(folder, {".png"})}
    return MaskFiles(files, None, {}, repr(str(folder)))


def _find_table(folder: Path) -> Path | None:
    """The table that is meant, or None.

    It is the file itself, the only one in the folder, or one beside it of the same name.
    """
    if folder.is_file():
        return folder if folder.suffix == ".json" else None
    inside = sorted(folder.glob("*.json"))
    if len(inside) > 1:
        raise ValueError(
            f"the folder {str(folder)!r} holds {len(inside)} tables; name the one that is meant"
        )
    if inside:
        return inside[0]
    beside = folder.with_name(folder.name + ".json")
    if beside.is_file():
        return beside
    return None


def _listed_masks(folder: Path, table: Path) -> MaskFiles:
    """The masks that a table in COCO's panoptic format lists, in the order of their numbers."""
    content = read_table(table, "annotations", "categories")
    places = [place for place in (table.with_suffix(""), folder, table.parent) if place.is_dir()]
    files, infos = {}, {}
    try:
        frame_of = {i["id"]: Path(i["file_name"]).stem for i in content.get("images", [])}
        entries = [
            (Path(entry["file_name"]), frame_of.get(entry["image_id"]), entry["segments_info"])
            for entry in content["annotations"]
        ]
        for file, frame, segments_info in sorted(entries, key=lambda entry: by_number(entry[0])):
            key = frame or file.stem
            files[key] = _first_that_holds(places, file.name)
            infos[key] = list(segments_info)
    except UNREADABLE as error:
        raise ValueError(
            f"{str(table)!r} is not in COCO's panoptic format: {one_line(error)}"
        ) from None
    return MaskFiles(files, infos, read_categories(content, table), repr(str(table)))


def _first_that_holds(places: list[Path], name: str) -> Path:
    """The file in the first folder that has it; where none has, what it would be in the first."""
    for place in places:
        if (place / name).is_file():
            return place / name
    return places[0] / name


def _match_frames(masks: MaskFiles, clip: Clip, keep: slice) -> list[str]:
    """The key of each frame's mask: by name where masks share the frames' names, else by order."""
    keys, taken, n_frames = list(masks.files), clip.taken, len(clip)
    by_name = _match_names(masks, taken.names if taken else None)
    if by_name is not None:
        return by_name
    if len(keys) == n_frames:
        return keys
    total = None  # frames of the video that the clip was taken from
    if taken and taken.path.exists():
        total = count_frames(taken.path)[0]
    if taken and len(keys) == total:
        return [keys[index] for index in taken.frames]
    if not taken and len(keys[keep]) == n_frames:
        return keys[keep]
    of_video = ""
    if total and total != n_frames:
        of_video = f", taken from {total}"
    raise ValueError(
        f"{masks.where} holds {len(keys)} masks, but the clip has {n_frames} frames{of_video}; "
        "give one mask for each frame of the clip or for each frame of its video"
    )


def _match_names(masks: MaskFiles, names: tuple[str, ...] | None) -> list[str] | None:
    """The frames' names where masks have them; None where no mask has one."""
    missing = [name for name in names or () if name not in masks.files]
    if not names or len(missing) == len(names):
        return None
    if missing:
        raise ValueError(
            f"the masks in {masks.where} are named like the frames, "
            f"but there is none for {missing[0]!r}"
        )
    return list(names)


def _geometry(shape: Size, clip: Clip, size: Size | None, crop: Size | None, where: str) -> Fit:
    """How masks of this size become the clip's."""
    of_video = ""
    if clip.taken:
        source = clip.taken.fit.source
        if shape == source:
            return clip.taken.fit
        if shape == clip.size:
            return Fit.plan(shape, shape)
        of_video = f" and its video {size_text(source)}"
    else:
        if shape == clip.size and size is None and crop is None:
            return Fit.plan(shape, shape)
        plan = Fit.plan(shape, size, crop)
        if plan.size == clip.size:
            return plan
    raise ValueError(
        f"the masks in {where} have {size_text(shape)} pixels, "
        f"but the clip has {size_text(clip.size)}{of_video}; make them the same"
    )
