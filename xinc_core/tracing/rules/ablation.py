"""Ablation, the truth: the picture minus the picture with one neuron's weights set to zero.
METHOD 3.

Biases stay. With ``baseline="mean"`` the neuron's input is replaced by its mean over pixels instead
of by zero. Slow: one pass of the later layers per neuron. What goes through them is what is lost,
layer by layer: z loses W·lost, and the activation loses act(z) − act(z − W·lost). No two pictures
are subtracted: where nothing changes, the map is exactly zero.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

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
        self.removed = (
            traced.x if baseline == "zero" else traced.x - traced.x.mean((-2, -1), keepdim=True)
        )

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.layer.neurons == "columns":
            lost = self._columns(neurons, box)
            # two pictures after all: what is stored of the last layer under "mean" ranks the
            # roundings of equal values
            return (z := crop(self.before[0], box)) - (z - lost) if self.traced.is_last else lost
        if self.traced.is_last:
            return self.traced.in_own_channel(
                neurons, self.traced.shares(neurons, box, self.removed)
            )
        return torch.cat([crop(self._kernels(few), box) for few in neurons.split(self._batch)])

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return magnitude(self.color(neurons, box))

    def _columns(self, neurons: Tensor, box: Box) -> Tensor:
        """Behind columns pixels know nothing of each other: some neurons and some pixels at a
        time, in place.
        """
        layers, removed = self.traced.layers, crop(self.removed, box).flatten(1)
        inputs = [crop(x, box).flatten(2) for x in self.traced.inputs]
        out = removed.new_empty(len(neurons), layers[-1].c_out, removed.shape[1])
        at_once = max(1, int(CACHED_FLOATS // (PIXELS * max(layer.c_out for layer in layers))))
        for start in range(0, removed.shape[1], PIXELS):
            some = slice(start, start + PIXELS)
            before = [
                layer.linear(x[..., some, None])[0, ..., 0] for layer, x in zip(layers, inputs)
            ]  # (n, pixels) each
            after = [layer.activation(z) for layer, z in zip(layers, before)]
            for few, into in zip(neurons.split(at_once), out.split(at_once)):
                lost = layers[0].weight[:, few, 0, 0].T[:, :, None] * removed[few, None, some]
                for layer, z, h, then in zip(layers, before, after, layers[1:]):
                    left = layer.activate_(torch.sub(z, lost, out=lost))
                    lost = then.weight[:, :, 0, 0] @ torch.sub(h, left, out=left)
                into[..., some] = lost
        return out.unflatten(-1, extent(box))

    def _kernels(self, neurons: Tensor) -> Tensor:
        """What the picture loses without each of these kernels, (k, 3, H, W)."""
        first, second, *later = self.traced.layers
        s, o = first.stride, self.traced.pairs(neurons)[1]
        z = self.before[0][0, o]
        share = self.traced.shares(neurons, whole(z.shape[-2:]), self.removed)
        spread = share.new_zeros(len(neurons), s**2, *share.shape[1:])
        spread[torch.arange(len(neurons)), o % s**2] = first.activation(z) - first.activation(
            z - share
        )
        around = F.unfold(
            first.shuffle(spread), second.kernel, padding=second.pad
        )  # (k, kernel², h·w)
        weight = (
            second.weight[:, o // s**2].permute(1, 2, 3, 0).flatten(1, 2)
        )  # (k, kernel², c_out)
        lost = around.transpose(1, 2) @ weight  # channels last: convolutions take half the time
        lost = lost.unflatten(1, self.traced.inputs[1].shape[-2:]).permute(0, 3, 1, 2)
        for layer, z, then in zip((second, *later), self.before[1:], later):
            lost = layer.activation(z) - layer.activate_(torch.sub(z, lost, out=lost))
            lost = F.conv2d(layer.shuffle(lost), then.weight, padding=then.pad)
        return lost

    @cached_property
    def before(self) -> list[Tensor]:
        """Every layer's pre-activation output with all neurons, (1, c_out, h, w) each."""
        found = (layer.linear(x) for layer, x in zip(self.traced.layers, self.traced.inputs))
        return [z.contiguous(memory_format=torch.channels_last) for z in found]

    @property
    def _batch(self) -> int:
        """Neurons per pass, for which the widest layer's output keeps within BATCH_FLOATS."""
        widest = max(
            layer.c_out * x[0, 0].numel()
            for layer, x in zip(self.traced.layers, self.traced.inputs)
        )
        return max(1, int(BATCH_FLOATS // widest))
