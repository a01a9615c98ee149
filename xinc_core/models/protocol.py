"""What a family offers, as types, and the one place that asks what a model can do.

Three kinds of networks, each with more than the one before:

* :class:`TracedModel` can be traced and painted: a chain of layers from a code to the picture.
* :class:`Family` can also be fitted, saved and loaded by name; ``models.FAMILIES`` lists the
  families.
* Some families offer one of the abilities :class:`LearnsCodes`, :class:`Packs` and
  :class:`ReadsAuthors`. Nothing else in the package knows which family it is looking at: it asks
  the functions of this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from xinc_core.util.checks import frame_number, whole_number

from .layers import Layer
from .parts import Recipe

# What to do where several frames came.
SEVERAL = "several are traced by xc.trace_frames(model, frames)"


class PictureConfig(Protocol):
    """Shape of a network.

    size : (H, W) of the picture in pixels. A network for videos also has ``n_frames``, T.
    """

    @property
    def size(self) -> tuple[int, int]: ...


@runtime_checkable
class TracedModel(Protocol):
    """An ``nn.Module`` whose picture can be traced back to its neurons.

    Attributes
    ----------
    for_video : bool
        Whether it has one picture per frame, or one picture alone.
    """

    for_video: bool

    def encode(self, t: Tensor) -> Tensor:
        """What the network receives for frame positions t (B,) in [0, 1).

        It depends on no parameter that is to be fitted.
        """

    def stem(self, code: Tensor) -> Tensor:
        """A code → the input of the first traced layer, (B, c_in, h, w)."""

    def layers(self) -> Sequence[Layer]:
        """The chain of traced layers from there to the picture."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As ``nn.Module`` has it."""

    def __call__(self, t: Tensor) -> Tensor:
        """Frame positions t (B,) in [0, 1) → pictures (B, 3, H, W), unclamped."""


class Family(TracedModel, Protocol):
    """A class of networks that is known by name: it can be fitted, saved and loaded.

    Attributes
    ----------
    family : str
        Its name, under which ``models.FAMILIES`` lists the class.
    Config : type
        A dataclass of plain values, enough to build the network again, with ``for_clip(size,
        n_frames, **options)``, which makes the configuration for a clip.
    config : Config
        The network's own.
    recipes : dict of str to Recipe
        How it can be fitted, by name, the usual way first; optional, see :func:`recipes_of`.
    """

    family: ClassVar[str]
    Config: ClassVar[Any]
    config: PictureConfig

    def __init__(self, config: Any): ...

    def decode(self, code: Tensor) -> Tensor:
        """A code → pictures (B, 3, H, W)."""


@runtime_checkable
class LearnsCodes(Protocol):
    """A family whose codes are learned from the frames, together with the network."""

    def new_encoder(self) -> nn.Module:
        """A new module frames (B, 3, H, W) → codes, fitted along with the network."""

    def keep_codes(self, codes: Tensor) -> None:
        """Store the codes of all frames, (T, …), for ``encode``, once the fit is done."""


@runtime_checkable
class Packs(Protocol):
    """A family whose file can hold less than all parameters."""

    def packed(self) -> dict[str, Tensor]:
        """What a file must hold to paint all frames."""

    @staticmethod
    def unpacked(config: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parameters again, from what :meth:`packed` gave."""


@runtime_checkable
class ReadsAuthors(Protocol):
    """A family that reads the files which its authors publish."""

    @classmethod
    def from_authors(
        cls, state: dict[str, Tensor], size: tuple[int, int], n_frames: int | None
    ) -> tuple[Any, dict[str, Tensor]] | None:
        """Configuration and tensors of a published file's tensors; None for other files.

        Raises
        ------
        ValueError
            Saying why, where it is of this kind but cannot be read.
        """


def recipes_of(kind: type) -> dict[str, Recipe]:
    """How a family can be fitted, by name, the usual way first.

    A family that names none is fitted by Adam, as ``Recipe()`` says.
    """
    return getattr(kind, "recipes", {"paper": Recipe()})


def family_name(model: object) -> str | None:
    """The name of a model's family, or None where it says none."""
    return getattr(model, "family", None)


def frame_of(model: TracedModel, frame: int) -> int:
    """Which frame of its clip a model paints when ``frame`` is asked for.

    A network for videos paints that frame; an image network the one that it was fitted to.

    Raises
    ------
    TypeError
        For what is no whole number.
    """
    number = whole_number(frame, "a frame", instead=SEVERAL)
    if model.for_video:
        return number
    return getattr(model, "frame", 0)


def n_frames_of(model: Any) -> int:
    """How many pictures a model has: T of a video, 1 of an image network."""
    return model.config.n_frames if model.for_video else 1


def new_encoder(model: object) -> nn.Module | None:
    """A new encoder for a model whose codes are learned; None for the others."""
    return model.new_encoder() if isinstance(model, LearnsCodes) else None


def packed(model: nn.Module) -> dict[str, Tensor]:
    """What a file must hold of a model: what its family packs, or all its tensors."""
    return model.packed() if isinstance(model, Packs) else model.state_dict()


def unpacked(kind: type, config: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors again, from what :func:`packed` gave for a family and configuration."""
    return kind.unpacked(config, tensors) if isinstance(kind, Packs) else tensors


def readers(kinds: Mapping[str, type]) -> list[Any]:
    """The families, out of name → class, that read their authors' files."""
    return [kind for kind in kinds.values() if isinstance(kind, ReadsAuthors)]


def position(model: Any, frame: int) -> Tensor:
    """Frame index f → position f/T in [0, 1), shape (1,), float64.

    Images have one position, 0 (float32).

    Raises
    ------
    TypeError
        For what is no whole number.
    IndexError
        For a frame outside of the model's video.
    """
    number = whole_number(frame, "a frame", instead=SEVERAL)
    if not model.for_video:
        return torch.zeros(1)
    n_frames = model.config.n_frames
    number = frame_number(number, n_frames)
    return torch.tensor([number / n_frames], dtype=torch.float64)
