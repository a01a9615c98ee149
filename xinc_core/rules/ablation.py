"""Ablation, the truth: the picture minus the picture with one neuron's weights set to zero. METHOD section 9.

Biases stay. With ``baseline="mean"`` the neuron's input is replaced by its mean over pixels instead of by zero. Slow: one
pass of the later layers per neuron. Of a kernel, the first of them is cheap: one channel of its input changes, so what it
computes changes by a convolution of that channel alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import run
from .base import Box, Rule, crop, whole
from .first_order import magnitude


class Ablation(Rule):
    """I − I_{−n}, signed, 3 channels; for columns and kernels alike."""

    def __init__(self, traced, baseline: str = "zero"):
        super().__init__(traced)
        if baseline not in ("zero", "mean"):
            raise ValueError(f"baseline is 'zero' or 'mean', not {baseline!r}")
        self.removed = traced.x if baseline == "zero" else traced.x - traced.x.mean((-2, -1), keepdim=True)
        self.before = traced.layer.linear(traced.inputs[0])  # (1, c_out, h, w)
        self.picture = self._tail(self.before)
        if traced.layer.neurons == "kernels" and not traced.is_last:
            self.following = traced.layers[1].linear(traced.inputs[1])

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        pictures = []
        for few in neurons.split(self._batch):
            without = self._columns_gone(few) if self.traced.layer.neurons == "columns" else self._kernels_gone(few)
            pictures.append(crop(self.picture - without, box))
        return torch.cat(pictures)

    def _columns_gone(self, neurons: Tensor) -> Tensor:
        """The pictures without each of these columns: (k, 3, H, W)."""
        gone = self.traced.layer.weight[:, neurons].transpose(0, 1) * self.removed[neurons][:, None]
        return self._tail(self.before - gone)

    def _kernels_gone(self, neurons: Tensor) -> Tensor:
        """The pictures without each of these kernels: (k, 3, H, W)."""
        layer, (_, o) = self.traced.layer, self.traced.pairs(neurons)
        shares = self.traced.shares(neurons, whole(self.before.shape[-2:]), self.removed)
        if self.traced.is_last:
            return self.before - self.traced.in_own_channel(neurons, shares)
        area = layer.stride**2
        group = o[:, None] // area * area + torch.arange(area)  # the pre-shuffle channels of the one that changes
        old = self.before[0, group]  # (k, s², h, w)
        new = old.clone()
        new[torch.arange(len(o)), o % area] -= shares
        changed = layer.activation(layer.shuffle(new)) - layer.activation(layer.shuffle(old))  # (k, 1, h·s, w·s)
        following, *later = self.traced.layers[1:]
        weight = following.weight[:, o // area].transpose(0, 1).flatten(0, 1)[:, None]  # (k·c_out, 1, n, n)
        change = F.conv2d(changed.transpose(0, 1), weight, padding=following.pad, groups=len(o))
        z = self.following + change.view(len(o), -1, *change.shape[-2:])
        return run(later, following.activation(following.shuffle(z)))

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return magnitude(self.color(neurons, box))

    def _tail(self, z: Tensor) -> Tensor:
        first, *later = self.traced.layers
        return run(later, first.activation(first.shuffle(z)))

    @property
    def _batch(self) -> int:
        """Neurons per pass, so that the widest layer's output stays near 64 MB."""
        scales = [self.traced.size[0] * self.traced.size[1] // x[0, 0].numel() for x in self.traced.inputs]
        widest = max(layer.c_out / s for layer, s in zip(self.traced.layers, scales))
        return max(1, int(16e6 / (widest * self.traced.size[0] * self.traced.size[1])))
