"""Pictures from outside: a video, an image or a folder of images, one PIL picture at a time; and
the ids in a mask's PNG.

As in a viewer: a photograph's EXIF orientation is applied, transparent pixels lie on black, grey
becomes colour, 16 bits become 8 by scaling, and of an image file with several pages the first is
taken.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .geometry import MOST_LABELS, MOST_PIXELS
from .videos import VIDEOS, count, decode

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
CLIP_FILE, STILLS_FPS = ".safetensors", 25.0
RGB_ID = np.array([1, 256, 65536])  # id = R + 256·G + 65536·B, as in COCO's panoptic format


def pictures(path: Path, keep: slice) -> tuple[Iterator, float]:
    """The kept frames as RGB PIL pictures, one at a time, and the frame rate (25 where a source has
    none).

    Raises
    ------
    ValueError
        In one sentence; for what is inside a file, when its picture is taken.
    """
    if path.suffix.lower() in VIDEOS and path.is_file():
        return decode(path, keep)
    return map(read_image, image_files(path)[keep]), STILLS_FPS


def count_frames(path: str | Path) -> tuple[int, float]:
    """Number of frames and frames/s of a video, an image, a folder of images or a saved clip,
    without decoding them.

    A video's packets are counted: exact for a sound file; a broken one decodes to fewer.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    if path.suffix == CLIP_FILE and path.is_file():
        return _count_saved(path)
    if path.suffix.lower() in VIDEOS and path.is_file():
        return count(path)
    return len(image_files(path)), STILLS_FPS


def _count_saved(path: Path) -> tuple[int, float]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return file.get_slice("frames").get_shape()[0], float(
                json.loads(file.metadata()["clip"])["fps"]
            )
    except (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a clip that save_clip wrote: {error}"
        ) from None


def image_files(path: Path, kinds: set[str] = IMAGES) -> list[Path]:
    """The images of a folder in the order of their numbers, or the one that is named."""
    if path.is_dir():
        files = [
            f for f in path.iterdir() if f.suffix.lower() in kinds and not f.name.startswith(".")
        ]
        if not files:
            raise ValueError(
                f"the folder {str(path)!r} holds no images ({', '.join(sorted(kinds))})"
            )
        return sorted(files, key=natural)
    if path.suffix.lower() in kinds:
        return [path]
    raise ValueError(
        f"{str(path)!r} is neither a video ({', '.join(sorted(VIDEOS))}) nor an image nor a folder"
    )


def natural(path: Path) -> list:
    """Sorting key: numbers in a name by their value, so that frame10 follows frame9."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", path.name)
    ]


def read_image(file: Path):
    """An RGB PIL picture, the right way up."""
    from PIL import ImageOps

    return _read(file, lambda image: _on_black(_eight_bits(ImageOps.exif_transpose(image))))


def read_ids(file: Path) -> np.ndarray:
    """(H, W) int64 ids of a mask: the index into a palette, a grey value of any depth, or R +
    256·G + 65536·B.
    """
    if file.suffix.lower() != ".png":
        raise ValueError(
            f"{str(file)!r} is no mask: masks are .png files, whose numbers are kept exactly"
        )
    values = _read(file, np.asarray)
    if values.ndim == 3:
        values = (
            values[..., :3].astype(np.int64) @ RGB_ID if values.shape[2] >= 3 else values[..., 0]
        )
    ids = values.astype(np.int64)
    if ids.min() < 0 or (found := len(np.unique(ids))) > MOST_LABELS:
        raise ValueError(
            f"{str(file)!r} holds {found:,} different ids, so it is a picture, not a mask"
        )
    return ids


def _read(file: Path, use: Callable):
    """What ``use`` makes of an opened image; whatever a decoder may raise becomes one sentence."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the check below is stricter than PIL's warnings
            with Image.open(file) as image:
                large = image.width * image.height > MOST_PIXELS
                shape = f"{image.height}×{image.width}"
                if not large:
                    image.load()
                    return use(image)
    except Exception as error:  # noqa: BLE001 - decoders raise many kinds; each means that the file is unusable
        raise ValueError(
            f"{str(file)!r} cannot be read as an image: {_said(error, file)}"
        ) from None
    raise ValueError(
        f"{str(file)!r} has {shape} pixels; at most {MOST_PIXELS // 10**6} million are read: make it smaller first"
    )


def _said(error: Exception, file: Path) -> str:
    """The decoder's words in one line, without the path, which the sentence has said."""
    text = " ".join(str(error).replace(f" {str(file)!r}", "").split())
    return text or "its data are damaged"


def _eight_bits(image):
    """16 bits a pixel scaled to 8, which PIL would clip instead."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("it holds fractions; save it with 8 or 16 bits a channel")
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))


def _on_black(image):
    """Any mode → RGB; where it is transparent, black shows."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert(
            "RGB"
        )
    return image.convert("RGB")
