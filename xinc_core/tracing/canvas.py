"""The implicit neural canvas: the contribution maps of all neurons of a network, for one frame.

``trace`` runs the model once and keeps each layer's input. Nothing is left on the model: no hooks,
no gradients, no changed weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from xinc_core.models import Layer, check_chain, position

from .maps import LayerMaps
from .rules import RULES, Traced, make_rule


@torch.no_grad()
def trace(model: nn.Module, frame: int = 0, rule: str = "paper", baseline: str = "zero") -> Canvas:
    """Run the model on one frame and return its canvas.

    Parameters
    ----------
    model : nn.Module
        Any family; on any device; float32 or float64.
    frame : int
        Frame index; image networks have one picture and ignore it.
    rule : {"paper", "first_order", "ablation"}
        How a contribution is defined, METHOD 2 and METHOD 3.
    baseline : {"zero", "mean"}
        For ``ablation``: what a removed neuron's input is replaced by.
    """
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")
    if baseline not in ("zero", "mean"):
        raise ValueError(f"baseline is 'zero' or 'mean', not {baseline!r}")
    if baseline != "zero" and rule != "ablation":
        raise ValueError(f"a baseline is for rule='ablation'; rule {rule!r} removes nothing")
    if not model.for_video:
        frame = getattr(model, "frame", 0)
    device = next(model.parameters()).device
    x = model.stem(model.encode(position(model, frame).to(device))).detach()
    layers = tuple(layer.detached() for layer in model.layers())
    check_chain(layers)
    return Canvas(layers, *_received(layers, x), frame, rule, baseline)


def _received(layers: tuple[Layer, ...], x: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """What each layer of a chain receives when the first is given x (1, c, h, w), and the
    picture (3, H, W).
    """
    *inputs, image = accumulate(layers, lambda received, layer: layer(received), initial=x)
    return tuple(inputs), image[0]


class Canvas:
    """All contribution maps of one frame under one rule: ``canvas["block3"]`` is a
    :class:`LayerMaps`.

    layers : the layers' names, input to output; image : (3, H, W), unclamped; frame, rule, baseline
    : as asked for.
    """

    def __init__(self, layers, inputs, image: Tensor, frame: int, rule: str, baseline: str):
        self._chain, self._inputs = layers, inputs
        self.layers = tuple(layer.name for layer in layers)
        self.image, self.frame, self.rule, self.baseline = image, frame, rule, baseline
        self._maps: dict[str, LayerMaps] = {}

    def __getitem__(self, name: str) -> LayerMaps:
        if name not in self.layers:
            raise KeyError(f"no layer {name!r}; there are {', '.join(self.layers)}")
        if name not in self._maps:
            n = self.layers.index(name)
            traced = Traced(self._chain[n:], self._inputs[n:], tuple(self.image.shape[-2:]))
            with torch.no_grad():
                self._maps[name] = LayerMaps(name, make_rule(self.rule, traced, self.baseline))
        return self._maps[name]

    def __iter__(self) -> Iterator[LayerMaps]:
        return (self[name] for name in self.layers)

    def with_rule(self, rule: str, baseline: str = "zero") -> Canvas:
        """The same frame under another rule, without running the model again."""
        return Canvas(self._chain, self._inputs, self.image, self.frame, rule, baseline)

    @torch.no_grad()
    def with_layer(self, layer: Layer) -> Canvas:
        """The same frame with the layer of this name exchanged: only what follows it is run
        again.
        """
        n = self.layers.index(layer.name)
        chain = (*self._chain[:n], layer, *self._chain[n + 1 :])
        inputs, image = _received(chain[n:], self._inputs[n])
        return Canvas(
            chain, (*self._inputs[:n], *inputs), image, self.frame, self.rule, self.baseline
        )

    def at(self, pixels: Tensor) -> Canvas:
        """The same frame at some pixels alone, as a picture one row high; for networks whose
        neurons are columns.

        pixels : (P,) row-major numbers. Raises ValueError where pixels see each other, as behind
        convolutions.
        """
        if any(layer.neurons != "columns" for layer in self._chain):
            raise ValueError(
                "pixels of a convolutional network cannot be looked at alone: they see their neighbours"
            )
        inputs = tuple(x.flatten(2)[:, :, None, pixels] for x in self._inputs)
        return Canvas(
            self._chain,
            inputs,
            self.image.flatten(1)[:, None, pixels],
            self.frame,
            self.rule,
            self.baseline,
        )

    def without_bias(self) -> Canvas:
        """The same canvas with the bias shares left out of the paper's maps: a convention, not a
        contribution.
        """
        layers = tuple(replace(layer, bias=None) for layer in self._chain)
        return Canvas(layers, self._inputs, self.image, self.frame, self.rule, self.baseline)

    def __repr__(self) -> str:
        counts = ", ".join(f"{layer.name} {layer.n_neurons:,}" for layer in self._chain)
        return f"Canvas of frame {self.frame}, rule {self.rule!r}; neurons per layer: {counts}"
