"""A neuron by its number: what it reads and paints, its weights, and back.

METHOD 1 numbers them: kernel (i, o') is ``n = i · c_out + o'``, input channel first; a column is
numbered by the input unit that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xinc_core.util.checks import brief

# What is read as several numbers of neurons.
Numbers = Tensor | np.ndarray | Sequence[int]


@dataclass(frozen=True, repr=False)
class Neuron:
    """One neuron of a layer: where its number leads to.

    Attributes
    ----------
    layer : str
        The layer's name.
    number : int
        Its number n in the layer.
    input : int
        The input channel i that it reads; of a coordinate network, the unit.
    output : int or None
        The pre-shuffle output channel o' that a kernel writes to; None for a column, which writes
        to all.
    channel : int or None
        The channel behind the pixel shuffle, o = o' div s²; None for a column.
    sub_pixel : (int, int) or None
        (row, column) of the shuffle, inside each cell of s×s, that a kernel paints; None for a
        column.
    kernel : Tensor, (k, k), or (c_out,) for a column
        A copy of its weights, in the model's dtype and on its device.
    """

    layer: str
    number: int
    input: int
    output: int | None
    channel: int | None
    sub_pixel: tuple[int, int] | None
    kernel: Tensor = field(compare=False)

    def __repr__(self) -> str:
        if self.output is None:
            paints = f"unit {self.input} → all {len(self.kernel)} outputs"
        else:
            side = len(self.kernel)
            paints = (
                f"input channel {self.input} → output channel {self.output} "
                f"(channel {self.channel}, sub-pixel {self.sub_pixel}), kernel {side}×{side}"
            )
        return f"Neuron {self.number:,} of {self.layer}: {paints}"


def neuron_numbers(neurons: Numbers, n_neurons: int, of: str) -> Tensor:
    """Several numbers of neurons as (k,) int64 on the CPU, each 0..n_neurons−1.

    Parameters
    ----------
    neurons : Tensor, ndarray or sequence of int, (k,)
        Repeated ones stay; negative ones count from the end, as in numpy.
    n_neurons : int
        How many there are.
    of : str
        The layer's name, for the sentence.

    Raises
    ------
    TypeError
        For fractions, masks, and what is no sequence of numbers.
    ValueError
        For another shape than (k,).
    IndexError
        For a neuron that does not exist.
    """
    numbers = _as_tensor(neurons)
    if numbers.ndim != 1:
        hint = "; a single one is [n]" if numbers.ndim == 0 else "; .flatten() makes them so"
        raise ValueError(
            f"neurons are numbers (k,), one after the other, not {tuple(numbers.shape)}{hint}"
        )
    if numbers.dtype == torch.bool:
        raise TypeError(
            "neurons are whole numbers, not a mask of bools; mask.nonzero()[:, 0] numbers them"
        )
    if len(numbers) == 0:
        return torch.zeros(0, dtype=torch.int64)
    if numbers.is_floating_point() or numbers.is_complex():
        raise TypeError(f"neurons are whole numbers, not {numbers.dtype}; .long() makes them so")
    numbers = numbers.detach().cpu().long()
    lowest, highest = (int(bound) for bound in numbers.aminmax())
    if lowest < -n_neurons or highest >= n_neurons:
        outside = lowest if lowest < -n_neurons else highest
        raise IndexError(f"neuron {outside} is outside the {n_neurons:,} neurons of {of}")
    return torch.where(numbers < 0, numbers + n_neurons, numbers)


def _as_tensor(neurons: Any) -> Tensor:
    """What came as a tensor of any shape and dtype."""
    if isinstance(neurons, Tensor):
        return neurons
    if isinstance(neurons, set | frozenset | dict | slice | str):
        raise TypeError(f"neurons are a sequence of whole numbers, not {brief(neurons)}")
    try:
        return torch.from_numpy(np.array(neurons))  # a copy: torch reads no negative strides
    except (TypeError, ValueError):
        raise TypeError(f"neurons are a sequence of whole numbers, not {brief(neurons)}") from None
