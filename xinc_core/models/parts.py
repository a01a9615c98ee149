"""What families share: how they are fitted, where pixels lie, and how wide a network of so many
parameters is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recipe:
    """How a family is fitted. warmup: share of the epochs over which the rate climbs from a tenth;
    seconds: of a frame and epoch at 128×256 on two CPU cores, for estimates."""

    epochs: int = 300
    lr: float = 1e-3
    batch: int = 2
    warmup: float = 0.0
    cosine: bool = False

    def instead(self, **asked) -> Recipe:
        """The recipe with what was asked for, where it is not None, instead of its own."""
        recipe = replace(self, **{k: v for k, v in asked.items() if v is not None})
        if recipe.epochs < 1 or recipe.lr <= 0:
            raise ValueError(
                f"a fit needs at least one epoch and a positive rate, not epochs={recipe.epochs}, lr={recipe.lr}"
            )
        return recipe


def coordinates(size: tuple[int, int], **at) -> Tensor:
    """(row, col) of every pixel, row first, the longer side spanning [−1, 1]: (2, H, W). at :
    device, dtype.
    """
    longer = max(*(n - 1 for n in size), 1)
    row, col = (2 * (torch.arange(n, **at) / longer - 0.5) for n in size)
    return torch.stack(torch.meshgrid(row, col, indexing="ij"))


def widest(config: Callable, parameters: int, what: str):
    """The widest configuration with at most so many ``n_parameters``; ``config(first)`` makes
    one from its first width.
    """
    first, best = 1, None
    while (wider := config(first)).n_parameters <= parameters:
        first, best = first + 1, wider
    if best is None:
        raise ValueError(f"no {what} has as few as {parameters:,} parameters")
    return best


def narrowing(first: int, least: int = 1) -> Iterator[int]:
    """Widths of a decoder: each 1.2 times less than the one before, as in the NeRV papers, but
    not below ``least``.
    """
    while True:
        yield first
        first = max(round(first / 1.2), min(least, first))
