"""Ablation, the truth: the picture minus the picture with one neuron's weights set to zero. METHOD section 9.

Biases stay. With ``baseline="mean"`` the neuron's input is replaced by its mean over pixels instead of by zero. Slow: one
pass of the later layers per neuron.
"""

from __future__ import annotations

import torch
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

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        pictures = []
        for few in neurons.split(self._batch):
            z = self.before.repeat(len(few), 1, 1, 1)
            if self.traced.layer.neurons == "columns":
                z -= self.traced.layer.weight[:, few].transpose(0, 1) * self.removed[few][:, None]
            else:
                _, o = self.traced.pairs(few)
                z[torch.arange(len(few)), o] -= self.traced.shares(few, whole(z.shape[-2:]), self.removed)
            pictures.append(crop(self.picture - self._tail(z), box))
        return torch.cat(pictures)

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
