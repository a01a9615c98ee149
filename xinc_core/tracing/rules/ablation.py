"""Ablation, the truth: the picture minus the picture with one neuron's weights set to zero.

METHOD 3. Biases stay. With ``baseline="mean"`` the neuron's input is replaced by its mean over the
pixels of the whole picture instead of by zero. Slow: one pass of the later layers per neuron.

What goes through the layers is what is *lost*: the pre-activation output z loses W·lost, and the
activation loses ``act(z) − act(z − W·lost)``. No two pictures are subtracted: where nothing
changes, the map is exactly zero.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ..budget import DEFAULT_BUDGET, Budget
from .base import Box, Rule, Traced, crop, extent, magnitude, whole


class Ablation(Rule):
    """``I − I_{−n}``, signed, 3 channels; for columns and kernels alike."""

    def __init__(self, traced: Traced, budget: Budget = DEFAULT_BUDGET):
        super().__init__(traced, budget)
        self.removed = traced.removed

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        if self.traced.layer.neurons == "columns":
            return self._columns(neurons, box)
        if self.traced.is_last:
            shares = self.traced.shares(neurons, box, self.removed)
            return self.traced.in_own_channel(neurons, shares)
        batches = neurons.split(self._batch_size)
        return torch.cat([crop(self._kernels(batch), box) for batch in batches])

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return magnitude(self.color(neurons, box))

    def _columns(self, neurons: Tensor, box: Box) -> Tensor:
        """What the picture loses without each of these columns, (k, 3, h, w) of the box.

        Behind columns, pixels do not see each other: some neurons and some pixels at a time.
        """
        layers = self.traced.layers
        removed = crop(self.removed, box).flatten(1)  # (c_in, h·w)
        inputs = [crop(x, box).flatten(2) for x in self.traced.inputs]  # (1, c_in, h·w) each
        n_pixels = removed.shape[1]
        lost = removed.new_empty(len(neurons), layers[-1].c_out, n_pixels)
        at_once = self.budget.ablation_pixels
        for start in range(0, n_pixels, at_once):
            pixels = slice(start, start + at_once)
            some_inputs = [x[..., pixels] for x in inputs]
            self._columns_at(neurons, removed[:, pixels], some_inputs, lost[..., pixels])
        return lost.unflatten(-1, extent(box))

    def _columns_at(
        self, neurons: Tensor, removed: Tensor, inputs: list[Tensor], out: Tensor
    ) -> None:
        """The same at some pixels.

        removed : (c_in, P); inputs : (1, c_in, P) per layer; out : (k, 3, P), overwritten.
        """
        layers = self.traced.layers
        before = []  # activation, (c_out, P) per layer
        for layer, x in zip(layers, inputs):
            before.append(layer.linear(x[..., None])[0, ..., 0])
        after = [layer.activation(z) for layer, z in zip(layers, before)]
        floats_per_neuron = self.budget.ablation_pixels * max(layer.c_out for layer in layers)
        at_once = max(1, int(self.budget.ablation_pointwise_floats // floats_per_neuron))
        for batch, painted in zip(neurons.split(at_once), out.split(at_once)):
            weight = layers[0].weight[:, batch, 0, 0].T  # (k, c_out)
            lost = weight[:, :, None] * removed[batch, None]  # (k, c_out, P)
            for layer, z, h, following in zip(layers, before, after, layers[1:]):
                remaining = layer.activate_(torch.sub(z, lost, out=lost))
                lost = following.weight[:, :, 0, 0] @ torch.sub(h, remaining, out=remaining)
            painted[:] = lost

    def _kernels(self, neurons: Tensor) -> Tensor:
        """What the picture loses without each of these kernels, (k, 3, H, W)."""
        _, second, *later = self.traced.layers
        lost = self._lost_behind_second(neurons)
        # The loop carries what a layer's pre-activation output loses, (k, c_out, h, w).
        for layer, z, following in zip((second, *later), self.before[1:], later):
            lost = layer.activation(z) - layer.activate_(torch.sub(z, lost, out=lost))
            lost = F.conv2d(layer.shuffle(lost), following.weight, padding=following.pad)
        return lost

    def _lost_behind_second(self, neurons: Tensor) -> Tensor:
        """What the second layer's pre-activation output loses, (k, c_out, h, w).

        A kernel changes one channel of the second layer's input; only that channel is convolved.
        """
        first, second = self.traced.layers[:2]
        stride = first.stride
        _, outputs = self.traced.pairs(neurons)
        z = self.before[0][0, outputs]  # (k, h, w)
        share = self.traced.shares(neurons, whole(z.shape[-2:]), self.removed)
        changed = share.new_zeros(len(neurons), stride**2, *share.shape[1:])
        sub_pixels = outputs % stride**2
        changed[torch.arange(len(neurons)), sub_pixels] = first.activation(z) - first.activation(
            z - share
        )
        shuffled = first.shuffle(changed)  # (k, 1, h·s, w·s)
        around = F.unfold(shuffled, second.kernel, padding=second.pad)  # (k, kernel², h·s·w·s)
        weight = second.weight[:, outputs // stride**2]  # (c_out, k, kernel, kernel)
        weight = weight.permute(1, 2, 3, 0).flatten(1, 2)  # (k, kernel², c_out)
        lost = around.transpose(1, 2) @ weight  # channels last: convolutions take half the time
        return lost.unflatten(1, self.traced.inputs[1].shape[-2:]).permute(0, 3, 1, 2)

    @cached_property
    def before(self) -> list[Tensor]:
        """Every layer's pre-activation output with all neurons, (1, c_out, h, w) each."""
        per_layer = []
        for layer, x in zip(self.traced.layers, self.traced.inputs):
            per_layer.append(layer.linear(x).contiguous(memory_format=torch.channels_last))
        return per_layer

    @property
    def _batch_size(self) -> int:
        """Kernels per pass, for which the widest layer's output keeps within the budget."""
        sizes = []
        for layer, x in zip(self.traced.layers, self.traced.inputs):
            sizes.append(layer.c_out * x[0, 0].numel())
        return max(1, int(self.budget.ablation_batch_floats // max(sizes)))
