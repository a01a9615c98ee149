"""Ablation, the truth: the picture minus the picture with one neuron's weights set to zero. METHOD section 9.

Biases stay. With ``baseline="mean"`` the neuron's input is replaced by its mean over pixels instead of by zero. Slow: one
pass of the later layers per neuron. A kernel changes one channel of its layer's output, so of the next layer only what it makes
of that channel is computed anew.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import run
from .base import Box, Rule, crop, extent, whole
from .first_order import magnitude

BATCH_FLOATS = 4e6  # of the widest layer's output, for a batch of neurons
CACHED_FLOATS = 4e5  # the same where a few pixels can be taken at a time: small enough to stay in the processor's cache
PIXELS = 1024


class Ablation(Rule):
    """I − I_{−n}, signed, 3 channels; for columns and kernels alike."""

    def __init__(self, traced, baseline: str = "zero"):
        super().__init__(traced)
        if baseline not in ("zero", "mean"):
            raise ValueError(f"baseline is 'zero' or 'mean', not {baseline!r}")
        self.removed = traced.x if baseline == "zero" else traced.x - traced.x.mean((-2, -1), keepdim=True)
        self.before = traced.layer.linear(traced.inputs[0])[0]  # (c_out, h, w)
        self.picture = run(traced.layers, traced.inputs[0])[0]
        if not traced.is_last:
            self.second = traced.layers[1].linear(traced.inputs[1])[0]  # the next layer's

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.layer.neurons == "columns":
            return self._columns(neurons, box)
        if self.traced.is_last:
            return self.traced.in_own_channel(neurons, self.traced.shares(neurons, box, self.removed))
        return torch.cat([crop(self.picture - self._without(few), box) for few in neurons.split(self._batch)])

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return magnitude(self.color(neurons, box))

    def _columns(self, neurons: Tensor, box: Box) -> Tensor:
        """Behind columns pixels know nothing of each other: some neurons and some pixels at a time, in place."""
        first, *later = self.traced.layers
        before, removed, picture = (crop(x, box).flatten(1) for x in (self.before, self.removed, self.picture))
        out = picture.new_empty(len(neurons), *picture.shape)
        at_once = max(1, int(CACHED_FLOATS // (PIXELS * max(layer.c_out for layer in self.traced.layers))))
        for start in range(0, picture.shape[1], PIXELS):
            some = slice(start, start + PIXELS)
            for few, into in zip(neurons.split(at_once), out.split(at_once)):
                z = first.weight[:, few, 0, 0].T[:, :, None] * removed[few, None, some]
                z = first.activate_(torch.sub(before[:, some], z, out=z))
                for layer in later:
                    z = layer.weight[:, :, 0, 0] @ z
                    z = layer.activate_(z if layer.bias is None else z.add_(layer.bias[:, None]))
                torch.sub(picture[:, some], z, out=into[..., some])
        return out.unflatten(-1, extent(box))

    def _without(self, neurons: Tensor) -> Tensor:
        """Pictures without kernels, (k, 3, H, W)."""
        first, second, *later = self.traced.layers
        s, o = first.stride, self.traced.pairs(neurons)[1]
        z = self.before[o]
        change = first.activation(z - self.traced.shares(neurons, whole(z.shape[-2:]), self.removed)) - first.activation(z)
        spread = change.new_zeros(len(neurons), s**2, *change.shape[1:])
        spread[torch.arange(len(neurons)), o % s**2] = change
        around = F.unfold(first.shuffle(spread), second.kernel, padding=second.pad)  # (k, kernel², h·w)
        weight = second.weight[:, o // s**2].permute(1, 2, 3, 0).flatten(1, 2)  # (k, kernel², c_out)
        before = self.second.flatten(1).T.expand(len(neurons), -1, -1)
        z = torch.baddbmm(before, around.transpose(1, 2), weight)  # channels last: convolutions take half the time
        z = z.unflatten(1, self.second.shape[-2:]).permute(0, 3, 1, 2)
        for layer, after in zip((second, *later), later):
            z = after.linear(layer.shuffle(layer.activate_(z)))
        return z

    @property
    def _batch(self) -> int:
        """Neurons per pass, for which the widest layer's output keeps within BATCH_FLOATS."""
        widest = max(layer.c_out * x[0, 0].numel() for layer, x in zip(self.traced.layers, self.traced.inputs))
        return max(1, int(BATCH_FLOATS // widest))
