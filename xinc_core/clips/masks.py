"""Masks for a clip of one's own: a folder of label PNGs, or PNGs with a table in COCO's panoptic
format.

Label PNGs as in DAVIS: number 0 (a palette's index, a grey value, or R + 256·G + 65536·B) is
background, every other number one object that keeps it through the clip. In COCO's format the table
says what each number is; 0 is void.

Masks go through the geometry of the frames that they belong to and are never blended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .clip import Clip, Segment
from .geometry import Fit, Size, by
from .sources import count_frames, image_files, natural, read_ids

VOID = 0
Kinds = dict[int, tuple[str, bool]]  # category id → its name, and whether it is a thing


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
        What ``load_clip`` was told. Only needed for a clip that does not know where its frames were
        taken from, such as one that ``save_clip`` wrote; any other goes by what it knows.
    names : dict of number to name, optional
        What the objects in label PNGs are, "person" or "car" for example; otherwise each is an
        "object".

    Raises
    ------
    FileNotFoundError, ValueError
        In one sentence: masks of another count or size, numbers that the table or ``names`` do not
        list, a damaged file.
    """
    files, infos, kinds, where = _found(Path(folder))
    chosen = _matched(files, clip, slice(start, stop, step), where)
    labels, fit = [], None
    for key in chosen:
        ids = read_ids(files[key])
        if infos is not None:
            check_listed(ids, infos[key], files[key])
        fit = fit or _geometry(ids.shape, clip, size, crop, where)
        if ids.shape != fit.source:
            raise ValueError(
                f"the masks in {where} differ in size: {by(ids.shape)} and {by(fit.source)}"
            )
        labels.append(fit.labels(ids))
    stack = np.stack(labels)
    segments = (
        _objects(stack, names, where)
        if infos is None
        else name_segments([infos[k] for k in chosen], kinds, where)
    )
    return with_labels(clip, stack, segments)


def with_labels(clip: Clip, labels: np.ndarray, segments: dict[int, Segment]) -> Clip:
    """The clip with (T, H, W) labels and those of the segments that are seen in it."""
    seen = set(np.unique(labels).tolist())
    return replace(
        clip,
        labels=torch.from_numpy(labels),
        segments={i: s for i, s in segments.items() if i in seen},
    )


def read_table(path: Path, *keys: str) -> dict:
    """A JSON table that holds the lists named."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if missing := [k for k in keys if not isinstance(table[k], list)]:
            raise KeyError(missing[0])
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no table {str(path)!r}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a panoptic table with {', '.join(keys)}: {error}"
        ) from None
    return table


def read_kinds(table: dict, path: Path) -> Kinds:
    """The categories of a panoptic table."""
    try:
        return {int(c["id"]): (str(c["name"]), bool(c["isthing"])) for c in table["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} has a category without id, name or isthing: {error}"
        ) from None


def check_listed(ids: np.ndarray, infos: list[dict], file: Path) -> None:
    """Refuse a mask with numbers that its table does not list."""
    try:
        unknown = set(np.unique(ids).tolist()) - {VOID} - {info["id"] for info in infos}
    except (KeyError, TypeError) as error:
        raise ValueError(f"the table's segments of {str(file)!r} have no id: {error}") from None
    if unknown:
        raise ValueError(
            f"{str(file)!r} holds segment {min(unknown)}, which its table does not list"
        )


def name_segments(frames: Iterable[list[dict]], kinds: Kinds, where: str) -> dict[int, Segment]:
    """Segments from the ``segments_info`` of all frames: things are numbered in the order in which
    they appear.

    A crowd (``iscrowd``) is many things that nobody told apart: it has its category, but it is no
    thing.
    """
    segments, count = {}, Counter()
    for info in (info for infos in frames for info in infos):
        try:
            ident, kind, crowd = (
                int(info["id"]),
                int(info["category_id"]),
                bool(info.get("iscrowd", 0)),
            )
            category, thing = kinds[kind]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{where} has a segment without id, or of a category that it does not list: {error}"
            ) from None
        before = segments.get(ident)
        if before is None:
            count[category] += thing and not crowd
            name = (
                f"{category} (crowd)"
                if crowd
                else f"{category} {count[category]}"
                if thing
                else category
            )
            segments[ident] = Segment(ident, name, category, thing and not crowd)
        elif before.category != category:
            raise ValueError(
                f"in {where}, segment {ident} is a {before.category} in one frame and a {category} in another; "
                f"a segment keeps its id and its category through the clip"
            )
    return segments


def _objects(labels: np.ndarray, names: dict[int, str] | None, where: str) -> dict[int, Segment]:
    """One thing for each number in label PNGs."""
    ids = sorted(set(np.unique(labels).tolist()) - {VOID})
    if names is not None and (unknown := [i for i in ids if i not in names]):
        raise ValueError(
            f"the masks in {where} hold number {unknown[0]}, which names does not list"
        )
    count, segments = Counter(), {}
    for ident in ids:
        category = (names or {}).get(ident, "object")
        count[category] += 1
        number = ident if names is None else count[category]
        segments[ident] = Segment(ident, f"{category} {number}", category, True)
    return segments


def _found(folder: Path) -> tuple[dict[str, Path], dict[str, list] | None, Kinds, str]:
    """PNGs by their key, in order; what the table says of each; the categories; where all this
    is. No table: None.
    """
    if not folder.exists():
        raise FileNotFoundError(f"there are no masks at {str(folder)!r}")
    table = _table(folder)
    if table is None:
        if not folder.is_dir():
            raise ValueError(f"{str(folder)!r} is neither a folder of masks nor a .json table")
        return {f.stem: f for f in image_files(folder, {".png"})}, None, {}, repr(str(folder))
    content = read_table(table, "annotations", "categories")
    places = [place for place in (table.with_suffix(""), folder, table.parent) if place.is_dir()]
    try:
        images = {i["id"]: Path(i["file_name"]).stem for i in content.get("images", [])}
        entries = [
            (a["file_name"], images.get(a["image_id"]), list(a["segments_info"]))
            for a in content["annotations"]
        ]
        entries.sort(key=lambda entry: natural(Path(entry[0])))
        files = {
            image or Path(name).stem: _beneath(places, Path(name).name)
            for name, image, _ in entries
        }
        infos = {image or Path(name).stem: found for name, image, found in entries}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{str(table)!r} is not in COCO's panoptic format: {error}") from None
    return files, infos, read_kinds(content, table), repr(str(table))


def _table(folder: Path) -> Path | None:
    """The table that is meant: the file itself, the only one in the folder, or one beside it of
    the same name.
    """
    if folder.is_file():
        return folder if folder.suffix == ".json" else None
    inside, beside = sorted(folder.glob("*.json")), folder.with_name(folder.name + ".json")
    if len(inside) > 1:
        raise ValueError(
            f"the folder {str(folder)!r} holds {len(inside)} tables; name the one that is meant"
        )
    return inside[0] if inside else beside if beside.is_file() else None


def _beneath(places: list[Path], name: str) -> Path:
    return next((file for place in places if (file := place / name).is_file()), places[0] / name)


def _matched(files: dict[str, Path], clip: Clip, keep: slice, where: str) -> list[str]:
    """The key of each frame's mask: by name where frames have names and masks share them, else
    by order.
    """
    keys, taken, n = list(files), clip.taken, len(clip)
    named = taken.names if taken and taken.names else ()
    if shared := [name for name in named if name in files]:
        if len(shared) < n:
            missing = next(name for name in named if name not in files)
            raise ValueError(
                f"the masks in {where} are named like the frames, but there is none for {missing!r}"
            )
        return list(named)
    if len(keys) == n:
        return keys
    total = count_frames(taken.path)[0] if taken and taken.path.exists() else None
    if taken and len(keys) == total:
        return [keys[i] for i in taken.frames]
    if not taken and len(keys[keep]) == n:
        return keys[keep]
    source = f", taken from {total}" if total and total != n else ""
    raise ValueError(
        f"{where} holds {len(keys)} masks, but the clip has {n} frames{source}; "
        f"give one mask for each frame of the clip or for each frame of its video"
    )


def _geometry(shape: Size, clip: Clip, size: Size | None, crop: Size | None, where: str) -> Fit:
    """How masks of this size become the clip's."""
    if clip.taken and shape == clip.taken.fit.source:
        return clip.taken.fit
    told = size is not None or crop is not None
    if shape == clip.size and (clip.taken or not told):
        return Fit.plan(shape, shape)
    if not clip.taken and (plan := Fit.plan(shape, size, crop)).size == clip.size:
        return plan
    video = "" if not clip.taken else f" and its video {by(clip.taken.fit.source)}"
    raise ValueError(
        f"the masks in {where} have {by(shape)} pixels, but the clip has {by(clip.size)}{video}; make them the same"
    )
