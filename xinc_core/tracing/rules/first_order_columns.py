"""The first-order rule for the columns of a pointwise network. METHOD 3.

Let d_n be the neuron's share of its layer's pre-activation output (weights only, no bias). Its map
is J·d_n, with J the Jacobian of the picture with respect to that pre-activation output: weight ×
gradient, summed over the neuron's weights.

Here J is pixelwise: one backward pass per colour gives ``x_j(p)·∂I_c(p)/∂x_j(p)`` for every neuron
at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..budget import DEFAULT_BUDGET, Budget
from .base import Box, Rule, Traced, crop, extent


class FirstOrderColumns(Rule):
    """``x_j(p)·∂I_c(p)/∂x_j(p)`` for the columns of a pointwise network."""

    max_tile_pixels = 2**11

    def __init__(self, traced: Traced, budget: Budget = DEFAULT_BUDGET):
        super().__init__(traced, budget)
        self._jacobians: dict[Box, Tensor] = {}

    def color(self, neurons: Tensor, box: Box) -> Tensor:
        return self.color_pixels(neurons, box).transpose(0, 1)

    def maps(self, neurons: Tensor, box: Box) -> Tensor:
        return self.color_pixels(neurons, box).abs_().sum(0)

    def color_pixels(self, neurons: Tensor, box: Box) -> Tensor:
        if len(neurons) == 1 and box not in self._jacobians:
            return self._forward(neurons, box)
        weight = self.traced.layer.weight[:, neurons, 0, 0]  # (n_out, k)
        gradient = weight.T @ self.jacobian(box)  # (3, k, h·w)
        gradient = gradient.unflatten(-1, extent(box))  # (3, k, h, w)
        return gradient.mul_(crop(self.traced.removed, box)[neurons])

    def _forward(self, neurons: Tensor, box: Box) -> Tensor:
        """One neuron alone, (3, 1, h, w), by sending its share forward.

        That takes less time than the gradients of all neurons.
        """
        first, *later = self.traced.layers
        x = crop(self.traced.removed, box)[neurons].flatten(1)  # (1, h·w)
        share = first.weight[:, neurons, 0, 0] * x  # (n_out, h·w)
        for layer, slope in zip(later, self._slopes(box)):
            share = layer.weight[:, :, 0, 0] @ (share * slope)
        return share.unflatten(-1, extent(box))[:, None]

    def _slopes(self, box: Box) -> list[Tensor]:
        """The activations' derivatives of every layer but the last, (n_out, h·w) each."""
        inputs = [crop(x, box) for x in self.traced.inputs]
        per_layer = []
        for layer, x, output in zip(self.traced.layers, inputs, inputs[1:]):
            per_layer.append(layer.slope(x, output)[0].flatten(1))
        return per_layer

    def jacobian(self, box: Box) -> Tensor:
        """∂I_c(p)/∂z_k(p) in a box of the picture, (3, n_out, h·w).

        Those of the last boxes are stored, see ``Budget.stored_jacobian_floats``.
        """
        if box not in self._jacobians:
            jacobian = self._backward(box)
            stored = sum(other.numel() for other in self._jacobians.values())
            if stored + jacobian.numel() > self.budget.stored_jacobian_floats:
                self._jacobians = {}
            self._jacobians[box] = jacobian
        return self._jacobians[box]

    def _backward(self, box: Box) -> Tensor:
        """The colours' gradients, from the picture back to this layer's pre-activation output."""
        later = self.traced.layers[1:]
        x, n_colors = self.traced.x, self.traced.layers[-1].c_out
        gradient = torch.eye(n_colors, dtype=x.dtype, device=x.device)[:, :, None]  # (3, 3, 1)
        for layer, slope in zip(reversed(later), reversed(self._slopes(box))):
            gradient = layer.weight[:, :, 0, 0].T @ gradient * slope  # (3, n_out, h·w)
        return gradient.expand(-1, -1, math.prod(extent(box)))

    def floats_per_pixel(self) -> int:
        # The Jacobian, the one that it is computed from, and the gradients of a group.
        return 12 * max(layer.c_out for layer in self.traced.layers)
