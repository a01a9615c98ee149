"""What a family tells the tracer: a network is a chain of layers, and each layer is one linear map.

A family is a plain ``nn.Module`` in one file. To the tracer it offers, besides ``forward(t)`` → (B,
3, H, W),

* ``encode(t)``  — what the network receives for frame positions ``t`` (B,) in [0, 1): free of
  parameters to be fitted;
* ``stem(code)`` — the input of the first layer whose neurons are traced, (B, c_in, h, w);
* ``layers()``   — the chain of :class:`Layer` from there to the picture;
* ``for_video``, ``config.size`` (H, W) and ``config.n_frames`` for a video; ``frame`` for an image:
  which one of its clip.

To be fitted, saved and loaded by name it also has ``family`` (its name, under which
``models.FAMILIES`` lists the class), ``Config`` (a dataclass of plain values with ``for_clip(size,
n_frames, **options)``), ``decode(code)`` and a ``recipe``. Optional:

* ``new_encoder()`` and ``keep_codes(codes)``, where codes are learned: a new module frames (B, 3,
  H, W) → codes that is
  fitted along with the network, and what stores the codes of all frames, (T, …), for ``encode``
  once the fit is done;
* ``packed()`` and ``unpacked(config, tensors)``, where a file can hold less than all parameters;
* ``from_authors(state, size, n_frames)``, which makes (config, tensors) of a published file's
  tensors, or None.

Nothing else in the package knows which family it is looking at.
``notebooks/13_your_own_network.ipynb`` adds one, and a plain chain of torch's own layers needs no
description: see ``models.chain``.

Trap: a linear layer is a 1×1 convolution here, so that a coordinate network and a convolutional
decoder read the same way; pixels are never flattened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


def identity(x: Tensor) -> Tensor:
    """The activation of a last layer."""
    return x


_IN_PLACE = {
    F.gelu: torch.ops.aten.gelu_,
    F.relu: torch.relu_,
    torch.sin: torch.sin_,
    F.silu: torch.ops.aten.silu_,
}


@dataclass(frozen=True)
class Layer:
    """One linear map, what follows it, and how its weights are grouped into neurons.

    The layer computes ``activation(shuffle(conv(x, weight) + bias))`` with stride 1 and zero
    padding ``k // 2``.

    Attributes
    ----------
    name : str
        The layer's public name, e.g. ``"block3"``.
    weight : Tensor, (c_out, c_in, k, k), k odd
        A linear layer is the case k = 1.
    bias : Tensor, (c_out,), or None
    stride : int
        PixelShuffle factor s: pre-shuffle channel ``o·s² + q`` becomes sub-pixel ``(q div s, q mod
        s)`` of channel ``o``.
    activation : callable
        Pointwise; may also offer ``in_place_(x)``, and ``slope_(x)``, its derivative in place.
    neurons : {"kernels", "columns"}
        ``"kernels"``: neuron ``(i, o')`` is the k×k kernel from input channel i to pre-shuffle
        channel o', ordered row-major. ``"columns"``: neuron j is the column ``weight[:, j]``, all
        output units together (k = s = 1).
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    activation: Callable[[Tensor], Tensor] = identity
    neurons: str = "kernels"

    @property
    def c_out(self) -> int:
        return self.weight.shape[0]

    @property
    def c_in(self) -> int:
        return self.weight.shape[1]

    @property
    def kernel(self) -> int:
        return self.weight.shape[-1]

    @property
    def pad(self) -> int:
        return self.kernel // 2

    @property
    def n_neurons(self) -> int:
        return self.c_in if self.neurons == "columns" else self.c_in * self.c_out

    def detached(self) -> Layer:
        """The same layer over weights that carry no gradient."""
        return replace(
            self,
            weight=self.weight.detach(),
            bias=None if self.bias is None else self.bias.detach(),
        )

    def without(self, neurons: Tensor) -> Layer:
        """A copy with the weights of these neurons set to zero; biases stay."""
        return replace(self, weight=self.weight.detach().clone()).silence_(neurons)

    def silence_(self, neurons: Tensor) -> Layer:
        """The same in place, on the network itself."""
        weight = self.weight.detach()
        if self.neurons == "columns":
            weight[:, neurons] = 0
        else:
            weight[neurons % self.c_out, neurons // self.c_out] = 0
        return self

    def linear(self, x: Tensor) -> Tensor:
        """Pre-activation output before the shuffle: (B, c_in, h, w) → (B, c_out, h, w)."""
        return F.conv2d(x, self.weight, self.bias, padding=self.pad)

    def shuffle(self, z: Tensor) -> Tensor:
        """(B, o·s², h, w) → (B, o, h·s, w·s)."""
        return F.pixel_shuffle(z, self.stride) if self.stride > 1 else z

    def __call__(self, x: Tensor) -> Tensor:
        return self.activation(self.shuffle(self.linear(x)))

    def activate_(self, z: Tensor) -> Tensor:
        """The activation, in place where torch or the activation itself can."""
        return (
            _IN_PLACE.get(self.activation) or getattr(self.activation, "in_place_", self.activation)
        )(z)

    def slope(self, x: Tensor, output: Tensor) -> Tensor:
        """Derivative of the activation where input ``x`` led to ``output``, shaped like the
        output.
        """
        if self.activation is F.relu:
            return (output > 0).to(x.dtype)
        z = self.shuffle(self.linear(x))
        if hasattr(self.activation, "slope_"):
            return self.activation.slope_(z)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            return torch.autograd.grad(self.activation(z).sum(), z)[0]


def run(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Send ``x`` (B, c_in, h, w) through the chain; the image for the whole chain, (B, 3, H, W)."""
    wide = any(layer.kernel > 1 for layer in layers)
    x = (
        x.contiguous(memory_format=torch.channels_last) if wide else x
    )  # in which wide kernels take less time
    for layer in layers:
        x = layer(x)
    return x


def check_chain(layers: Sequence[Layer]) -> None:
    """Refuse chains whose maps would not mean what they say."""
    last = layers[-1]
    if last.stride != 1 or last.activation is not identity:
        raise ValueError(
            f"the last layer, {last.name}, must be linear and of stride 1: add an identity layer behind it"
        )
    for number, layer in enumerate(layers):
        h, w = layer.weight.shape[2:]
        if h != w or h % 2 == 0:
            raise ValueError(
                f"{layer.name} has kernels of {h}×{w}; a traced kernel is square and odd"
            )
        wide = next((x for x in layers[number:] if (x.kernel, x.stride) != (1, 1)), None)
        if layer.neurons == "columns" and wide:
            raise ValueError(
                f"{layer.name} has columns as neurons, which needs kernel 1 and stride 1 from there on ({wide.name})"
            )
    if last.c_out != 3:
        raise ValueError(
            f"the last layer, {last.name}, paints {last.c_out} channels; a picture has 3"
        )
