"""Pictures from outside: a video, an image or a folder of images, one PIL picture at a time.

Also the ids in a mask's PNG. As in a viewer: a photograph's EXIF orientation is applied,
transparent pixels lie on black, grey becomes colour, 16 bits become 8 by scaling, and of an image
file with several pages the first is taken.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

import numpy as np

from .geometry import MOST_LABELS, MOST_PIXELS, distinct
from .registry import CLIP_FILE
from .saved import count_saved
from .videos import VIDEOS, count, decode

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
STILLS_FPS = 25.0  # frames/s of images, which have none
RGB_ID = np.array([1, 256, 65536])  # id = R + 256·G + 65536·B, as in COCO's panoptic format
FEW_BITS = ("1", "L", "P")  # kinds of pixels of which one may take a single bit
# How many bytes of pixels a byte of a file may stand for, at most, by the way it is packed
MOST_UNFOLDED = {"PNG": 1_040, "BMP": 260, "GIF": 3_000, "WEBP": inf}
USUALLY_UNFOLDED = 20_000
# Names of folders that say nothing of what is in them: a clip is named by the folder around them.
NAMELESS = {"frames", "images", "imgs", "pictures", "rgb", "png", "jpg", "jpeg", "jpegimages"}
TRANSPARENT_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


def pictures(path: Path, keep: slice) -> tuple[Iterator, float]:
    """The kept frames as RGB PIL pictures, one at a time, and the frame rate.

    Raises
    ------
    ValueError
        In one sentence; for what is inside a file, when its picture is taken.
    """
    if _is_video(path):
        return decode(path, keep)
    return map(read_image, image_files(path)[keep]), STILLS_FPS


def count_frames(path: str | Path) -> tuple[int, float]:
    """Number of frames and frames/s of a video, an image, a folder of images or a saved clip.

    Nothing is decoded. A video's packets are counted: exact for a sound file; a broken one decodes
    to fewer.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    if path.suffix == CLIP_FILE and path.is_file():
        return count_saved(path)
    if _is_video(path):
        return count(path)
    return len(image_files(path)), STILLS_FPS


def clip_name(path: Path) -> str:
    """What a clip from a path is called: a file without its suffix; of a folder its own name.

    A folder that is called "frames" or the like goes by the name of the one that holds it.
    """
    path = Path(os.path.abspath(path))  # a link keeps its own name
    if not path.is_dir():
        return path.stem
    for folder in (path, *path.parents):
        if folder.name and folder.name.lower() not in NAMELESS:
            return folder.name
    return path.name or "clip"


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS and path.is_file()


def image_files(path: Path, kinds: set[str] = IMAGES) -> list[Path]:
    """The images of a folder in the order of their numbers, or the one that is named.

    Raises
    ------
    ValueError
        If there are none.
    """
    if path.is_dir():
        files = []
        for file in path.iterdir():
            if file.suffix.lower() in kinds and not file.name.startswith("."):
                files.append(file)
        if not files:
            raise ValueError(
                f"the folder {str(path)!r} holds no images ({', '.join(sorted(kinds))})"
            )
        return sorted(files, key=by_number)
    if path.suffix.lower() in kinds:
        return [path]
    raise ValueError(
        f"{str(path)!r} is neither a video ({', '.join(sorted(VIDEOS))}) nor an image nor a folder"
    )


def by_number(path: Path) -> list[tuple[int, str]]:
    """Sorting key: numbers in a name by their value, so that frame10 follows frame9."""
    key = []
    for part in re.split(r"(\d+)", path.name):
        if part.isdecimal():
            key.append((int(part), ""))
        else:
            key.append((-1, part))
    return key


def read_image(file: Path):
    """An RGB PIL picture, the right way up.

    Raises
    ------
    ValueError
        In one sentence, for a file that is no image, damaged, or too large.
    """
    from PIL import ImageOps

    def upright_rgb(image):
        return _on_black(_eight_bits(ImageOps.exif_transpose(image)))

    return _opened(file, upright_rgb)


def read_ids(file: Path) -> np.ndarray:
    """(H, W) int64 ids of a mask.

    An id is the index into a palette, a grey value of any depth, or R + 256·G + 65536·B.

    Raises
    ------
    ValueError
        If it is no PNG, is damaged, or holds more ids than a mask has.
    """
    if file.suffix.lower() != ".png":
        raise ValueError(
            f"{str(file)!r} is no mask: masks are .png files, whose numbers are kept exactly"
        )
    values = _opened(file, np.asarray)
    if values.ndim == 3 and values.shape[2] >= 3:
        values = values[..., :3].astype(np.int64) @ RGB_ID  # (H, W)
    elif values.ndim == 3:
        values = values[..., 0]  # grey and opacity
    n_ids = len(distinct(values))
    if values.min() < 0 or n_ids > MOST_LABELS:
        raise ValueError(
            f"{str(file)!r} holds {n_ids:,} different ids, so it is a picture, not a mask"
        )
    return values.astype(np.int64)


def _opened(file: Path, use: Callable):
    """What ``use`` makes of an opened image; whatever a decoder may raise becomes one sentence."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the check below is stricter than PIL's warnings
            with Image.open(file) as image:
                height, width = image.height, image.width
                if height * width <= MOST_PIXELS:
                    _check_bytes(image, file)
                    image.load()
                    return use(image)
    except Exception as error:  # noqa: BLE001 - decoders raise many kinds; the file is unusable
        raise ValueError(
            f"{str(file)!r} cannot be read as an image: {_reason(error, file)}"
        ) from None
    raise ValueError(
        f"{str(file)!r} has {height}×{width} pixels; "
        f"at most {MOST_PIXELS // 10**6} million are read: make it smaller first"
    )


def _check_bytes(image, file: Path) -> None:
    """Refuse a picture of more pixels than its file can hold, before there is room for them."""
    bits = 1 if image.mode in FEW_BITS else 8 * len(image.getbands())
    n_bytes = image.height * image.width * bits / 8
    if n_bytes > MOST_UNFOLDED.get(image.format, USUALLY_UNFOLDED) * file.stat().st_size:
        raise ValueError(
            f"it claims {image.height}×{image.width} pixels, more than its bytes can hold"
        )


def _reason(error: Exception, file: Path) -> str:
    """The decoder's words in one line, without the path, which the sentence has said."""
    words = str(error).replace(f" {str(file)!r}", "")
    return " ".join(words.split()) or "its data are damaged"


def _eight_bits(image):
    """16 bits a channel scaled to 8, which PIL would clip instead."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("it holds fractions; save it with 8 or 16 bits a channel")
    if not image.mode.startswith("I"):
        return image
    values = (np.asarray(image) / 257).round().clip(0, 255)  # 65535 / 257 = 255
    return Image.fromarray(values.astype(np.uint8))


def _on_black(image):
    """Any mode → RGB; where it is transparent, black shows."""
    from PIL import Image

    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")
