"""How a source's pictures, and masks with them, become a clip's: centre crop, resize, centre crop.

Pictures are averaged over areas. Labels are never blended: a pixel takes the label that covers most
of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MULTIPLE = 16  # each side of a clip of no given size is a multiple of so many pixels
SHORT = 128  # pixels of such a clip's short side, at most
MOST_PIXELS = 100_000_000  # of one picture; a file that claims more is refused undecoded
MOST_BYTES = 4 * 2**30  # of a clip's frames, float32
MOST_LABELS = 1_000  # different ids in one mask; a photograph taken for a mask has more
COUNTED = 1 << 20  # ids below this are counted, to find the different ones

Size = tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True)
class Fit:
    """The way from a source's picture to a clip's; (H, W) in pixels after each step.

    Attributes
    ----------
    source : the picture as it is read
    cropped : after the first centre crop
    resized : after resizing
    size : after the last centre crop, as in the clip
    """

    source: Size
    cropped: Size
    resized: Size
    size: Size

    @classmethod
    def plan(cls, source: Size, size: Size | None = None, crop: Size | None = None) -> Fit:
        """The geometry for ``load_clip``'s options.

        Parameters
        ----------
        source : (H, W)
            Of the picture as it is read.
        size : (H, W), optional
            Of the clip. Without one the short side becomes 128, at most, and both sides are cropped
            to multiples of 16.
        crop : (H, W), optional
            Centre crop of the source, taken first.

        Raises
        ------
        ValueError
            If the crop does not fit, or nothing would be left.
        """
        size, crop = _checked("size", size), _checked("crop", crop)
        if source[0] * source[1] > MOST_PIXELS:
            raise ValueError(
                f"a frame of {size_text(source)} is too large: "
                f"at most {MOST_PIXELS // 10**6} million pixels are read"
            )
        if crop and (crop[0] > source[0] or crop[1] > source[1]):
            raise ValueError(
                f"a crop of {size_text(crop)} does not fit a frame of {size_text(source)}"
            )
        cropped = crop or source
        if size:
            return cls(source, cropped, size, size)
        scale = min(1.0, SHORT / min(cropped))
        resized = (round(cropped[0] * scale), round(cropped[1] * scale))
        fitted = (resized[0] // MULTIPLE * MULTIPLE, resized[1] // MULTIPLE * MULTIPLE)
        if 0 in fitted:
            raise ValueError(
                f"a frame of {size_text(cropped)} is too small: each side needs {MULTIPLE} pixels"
            )
        return cls(source, cropped, resized, fitted)

    def picture(self, image):
        """A PIL picture of the source's size → one of the clip's."""
        from PIL import Image

        image = _crop_picture(image, self.cropped)
        if self.resized != self.cropped:
            smaller = self.resized[0] <= self.cropped[0] and self.resized[1] <= self.cropped[1]
            kernel = Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC
            height, width = self.resized
            image = image.resize((width, height), kernel)
        return _crop_picture(image, self.size)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """(H, W) ids of the source's size → the clip's; see :func:`majority`."""
        ids = _crop_array(ids, self.cropped)
        if self.resized != self.cropped:
            ids = majority(ids, self.resized)
        return _crop_array(ids, self.size)


def majority(ids: np.ndarray, size: Size) -> np.ndarray:
    """(H, W) ids → (h, w): the id that covers the largest share of each new pixel.

    Of equals, the one that comes first in the whole mask, row by row: what the ids are called does
    not matter.

    Raises
    ------
    ValueError
        For a mask without pixels.
    """
    from PIL import Image

    if ids.size == 0:
        raise ValueError("a mask without pixels has no labels")
    height, width = size
    best = np.zeros(size, ids.dtype)
    best_share = np.full(size, -1.0, np.float32)
    first_seen = {(ids == ident).argmax(): ident for ident in distinct(ids)}
    for _, ident in sorted(first_seen.items()):
        mask = Image.fromarray((ids == ident).astype(np.float32))
        share = np.asarray(mask.resize((width, height), Image.Resampling.BOX))  # (h, w)
        larger = share > best_share + 1e-6  # rounding must not decide between equals
        best[larger] = ident
        best_share[larger] = share[larger]
    return best


def distinct(ids: np.ndarray) -> np.ndarray:
    """The different ids in an array of whole numbers, rising; counting is faster than sorting."""
    countable = ids.size and np.can_cast(ids.dtype, np.intp)
    if countable and ids.min() >= 0 and ids.max() < COUNTED:
        return np.flatnonzero(np.bincount(ids.ravel()))
    return np.unique(ids)


def size_text(size: Size) -> str:
    """A size as it is said: 128×256."""
    return f"{size[0]}×{size[1]}"


def _checked(name: str, value) -> Size | None:
    """An option that is a size, or None; anything else is refused."""
    if value is None:
        return None
    if not _is_size(value) or value[0] * value[1] > MOST_PIXELS:
        raise ValueError(
            f"{name} is (height, width), two whole numbers of pixels, "
            f"at most 100 million in all, not {value!r}"
        )
    return tuple(value)


def _is_size(value) -> bool:
    """Whether a value is two whole positive numbers."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return all(isinstance(number, int) and number > 0 for number in value)


def _corner(outer: Size, inner: Size) -> Size:
    """(top, left) of a size centred in another."""
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2


def _crop_picture(image, size: Size):
    """The middle of a PIL picture."""
    if (image.height, image.width) == size:
        return image
    top, left = _corner((image.height, image.width), size)
    return image.crop((left, top, left + size[1], top + size[0]))


def _crop_array(ids: np.ndarray, size: Size) -> np.ndarray:
    """The middle of an (H, W) array."""
    top, left = _corner(ids.shape, size)
    return ids[top : top + size[0], left : left + size[1]]
