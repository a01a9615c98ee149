"""What families share: how they are fitted, where pixels lie, how wide a decoder is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """How a family is fitted to the mean squared error; METHOD 5.

    Attributes
    ----------
    epochs : int
        Passes over all frames, at least 1.
    lr : float
        Highest learning rate, above 0: of Adam for all parameters, or, where ``adam_lr`` is given,
        of Muon for the weights of all traced layers but the last.
    adam_lr : float, optional
        Then Adam's highest rate, for everything else.
    batch : int
        Frames per step.
    warmup : float
        Share of the epochs over which the rate climbs from a tenth of ``lr``, 0..1.
    cosine : bool
        Whether the rate then falls along half a cosine.
    decay : float
        Share of the epochs, at the end, over which it falls to zero along a line; 0..1.
    """

    epochs: int = 300
    lr: float = 1e-3
    batch: int = 2
    warmup: float = 0.0
    cosine: bool = False
    decay: float = 0.0
    adam_lr: float | None = None

    def instead(self, **options: Any) -> Recipe:
        """The recipe with these options instead of its own, where they are not None.

        Raises
        ------
        ValueError
            For less than one epoch, or a rate that is not positive.
        """
        given = {name: value for name, value in options.items() if value is not None}
        recipe = replace(self, **given)
        if recipe.epochs < 1 or not recipe.lr > 0:
            raise ValueError(
                "a fit needs at least one epoch and a positive rate, "
                f"not epochs={recipe.epochs}, lr={recipe.lr}"
            )
        return recipe


def coordinates(
    size: tuple[int, int],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """(row, col) of every pixel, row first, the longer side spanning [−1, 1]: (2, H, W).

    Pixel i of a side has the coordinate ``2·(i/(max(H, W) − 1) − 0.5)``, METHOD 1.
    """
    height, width = size
    longest = max(height - 1, width - 1, 1)
    rows = 2 * (torch.arange(height, device=device, dtype=dtype) / longest - 0.5)
    columns = 2 * (torch.arange(width, device=device, dtype=dtype) / longest - 0.5)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def one_line(model: Any) -> str:
    """A network in one line: kind, size, length, parameters and, if it was fitted, to what."""
    config = model.config
    height, width = config.size
    facts = [f"{height}×{width}"]
    if model.for_video:
        facts.append(f"{config.n_frames} frames")
    n_parameters = getattr(config, "n_parameters", None)
    if n_parameters is None:
        n_parameters = sum(p.numel() for p in model.parameters())
    facts.append(f"{n_parameters:,} parameters")
    fitted_to = getattr(model, "fitted_to", None)
    if fitted_to is not None:
        frame = "" if model.for_video else f"frame {model.frame} of "
        facts.append(f"fitted to {frame}clip {fitted_to}")
    return f"{type(model).__name__}({', '.join(facts)})"


class Sized(Protocol):
    """A configuration that counts its parameters."""

    @property
    def n_parameters(self) -> int: ...


Config = TypeVar("Config", bound=Sized)


def widest(config: Callable[[int], Config], parameters: int, what: str) -> Config:
    """The widest configuration with at most ``parameters`` parameters.

    config : first width (1, 2, …) → configuration, with more parameters the wider it is; what : the
    kind of network, for the error's sentence.

    Raises
    ------
    ValueError
        Where even the narrowest has more.
    """
    best = None
    first_width = 1
    candidate = config(first_width)
    while candidate.n_parameters <= parameters:
        best = candidate
        first_width += 1
        candidate = config(first_width)
    if best is None:
        raise ValueError(f"no {what} has as few as {parameters:,} parameters")
    return best


def narrowing(first: int, least: int = 1) -> Iterator[int]:
    """Widths of a decoder, without end: each 1.2 times less than the one before, as for NeRV.

    None is below ``least`` (or below ``first`` where that is less).
    """
    width = first
    while True:
        yield width
        width = max(round(width / 1.2), min(least, width))
