"""How a source's pictures, and masks with them, become a clip's: centre crop, resize, centre crop.

Pictures are averaged over areas. Labels are never blended: a pixel takes the label that covers most
of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MULTIPLE, SHORT = 16, 128
MOST_PIXELS = (
    100_000_000  # of one picture; a file that claims more is refused before any of it is decoded
)
MOST_BYTES = 4 * 2**30  # of a clip's frames, float32
MOST_LABELS = 1_000  # different ids in one mask; a photograph taken for a mask has more

Size = tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """source, cropped, resized, size : (H, W) in pixels, one after the other."""

    source: Size
    cropped: Size
    resized: Size
    size: Size

    @classmethod
    def plan(cls, source: Size, size: Size | None = None, crop: Size | None = None) -> Fit:
        """The geometry for ``load_clip``'s options: without a size, short side 128 and multiples of
        16.

        Raises
        ------
        ValueError
            If the crop does not fit, or nothing would be left.
        """
        size, crop = _pair("size", size), _pair("crop", crop)
        if source[0] * source[1] > MOST_PIXELS:
            raise ValueError(
                f"a frame of {by(source)} is too large: at most {MOST_PIXELS // 10**6} million pixels are read"
            )
        if crop and (crop[0] > source[0] or crop[1] > source[1]):
            raise ValueError(f"a crop of {by(crop)} does not fit a frame of {by(source)}")
        cropped = crop or source
        if size:
            return cls(source, cropped, size, size)
        scale = min(1.0, SHORT / min(cropped))
        resized = (round(cropped[0] * scale), round(cropped[1] * scale))
        fitted = tuple(n // MULTIPLE * MULTIPLE for n in resized)
        if 0 in fitted:
            raise ValueError(
                f"a frame of {by(cropped)} is too small: each side needs {MULTIPLE} pixels"
            )
        return cls(source, cropped, resized, fitted)

    def picture(self, image):
        """A PIL picture of the source's size → one of the clip's."""
        from PIL import Image

        image = _centred(image, self.cropped)
        if self.resized != self.cropped:
            smaller = self.resized[0] <= self.cropped[0] and self.resized[1] <= self.cropped[1]
            image = image.resize(
                self.resized[::-1], Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
            )
        return _centred(image, self.size)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """(H, W) ids of the source's size → the clip's; see ``majority``."""
        ids = _middle(ids, self.cropped)
        if self.resized != self.cropped:
            ids = majority(ids, self.resized)
        return _middle(ids, self.size)


def majority(ids: np.ndarray, size: Size) -> np.ndarray:
    """(H, W) ids → (h, w): the id that covers the largest share of each new pixel.

    Of equals, the one that comes first in the whole mask, row by row: what the ids are called does
    not matter.
    """
    from PIL import Image

    if ids.size == 0:
        raise ValueError("a mask without pixels has no labels")
    best, share = np.zeros(size, ids.dtype), np.full(size, -1.0, np.float32)
    found, first = np.unique(ids, return_index=True)
    for ident in found[first.argsort()]:
        covered = Image.fromarray((ids == ident).astype(np.float32)).resize(
            size[::-1], Image.Resampling.BOX
        )
        larger = np.asarray(covered) > share + 1e-6  # rounding must not decide between equals
        best[larger], share[larger] = ident, np.asarray(covered)[larger]
    return best


def _pair(name: str, value) -> Size | None:
    if value is None:
        return None
    whole = (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(n, int) and n > 0 for n in value)
    )
    if not whole or value[0] * value[1] > MOST_PIXELS:
        raise ValueError(
            f"{name} is (height, width), two whole numbers of pixels, at most 100 million in all, not {value!r}"
        )
    return tuple(value)


def by(size: Size) -> str:
    """A size as it is said: 128×256."""
    return f"{size[0]}×{size[1]}"


def _corner(outer: Size, inner: Size) -> Size:
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2


def _centred(image, size: Size):
    if (image.height, image.width) == size:
        return image
    top, left = _corner((image.height, image.width), size)
    return image.crop((left, top, left + size[1], top + size[0]))


def _middle(ids: np.ndarray, size: Size) -> np.ndarray:
    top, left = _corner(ids.shape, size)
    return ids[top : top + size[0], left : left + size[1]]
