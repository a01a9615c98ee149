"""A network is a chain of layers, and each layer is one linear map with an activation behind it.

:class:`Layer` is what a family tells the tracer; ``protocol.py`` lists what else a family offers.
``notebooks/13_your_own_network.ipynb`` adds one, and a plain chain of torch's own layers needs no
description: see ``models.chain``.

Trap: a linear layer is a 1×1 convolution here, so that a coordinate network and a convolutional
decoder read the same way; pixels are never flattened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from xinc_core.util.checks import brief, whole_number

from .neurons import Neuron, Numbers, neuron_numbers


def identity(x: Tensor) -> Tensor:
    """The activation of a last layer."""
    return x


@runtime_checkable
class ActivatesInPlace(Protocol):
    """An activation that can overwrite its input."""

    def in_place_(self, x: Tensor) -> Tensor:
        """The activation of x, into x."""


@runtime_checkable
class GivesSlope(Protocol):
    """An activation that knows its derivative."""

    def slope_(self, x: Tensor) -> Tensor:
        """The activation's derivative at x, into x."""


# torch's own functions that have a form which overwrites its input
_IN_PLACE: dict[Callable, Callable[[Tensor], Tensor]] = {
    F.gelu: torch.ops.aten.gelu_,
    F.relu: torch.relu_,
    torch.sin: torch.sin_,
    F.silu: torch.ops.aten.silu_,
}


@dataclass(frozen=True, repr=False)
class Layer:
    """One linear map, what follows it, and how its weights are grouped into neurons.

    The layer computes ``activation(shuffle(conv(x, weight) + bias))`` with stride 1 and zero
    padding ``k // 2``: (B, c_in, h, w) → (B, c_out / s², h·s, w·s).

    Attributes
    ----------
    name : str
        The layer's public name, e.g. ``"block3"``.
    weight : Tensor, (c_out, c_in, k, k), k odd
        float32 or float64, on any device. A linear layer is the case k = 1.
    bias : Tensor, (c_out,), or None
    stride : int
        PixelShuffle factor s: pre-shuffle channel ``o·s² + q`` becomes sub-pixel ``(q div s, q mod
        s)`` of channel ``o``.
    activation : callable
        Pointwise; may also be :class:`ActivatesInPlace` or :class:`GivesSlope`.
    neurons : {"kernels", "columns"}
        ``"kernels"``: neuron ``(i, o')`` is the k×k kernel from input channel i to pre-shuffle
        channel o', ordered row-major, ``neuron = i * c_out + o'``. ``"columns"``: neuron j is the
        column ``weight[:, j]``, all output units together (k = s = 1).
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    stride: int = 1
    activation: Callable[[Tensor], Tensor] = identity
    neurons: str = "kernels"

    @property
    def c_out(self) -> int:
        """Output channels before the shuffle."""
        return self.weight.shape[0]

    @property
    def c_in(self) -> int:
        """Input channels."""
        return self.weight.shape[1]

    @property
    def kernel(self) -> int:
        """Side of the kernels in cells of the layer's input grid."""
        return self.weight.shape[-1]

    @property
    def pad(self) -> int:
        """Zero padding along each side that keeps the grid's size."""
        return self.kernel // 2

    @property
    def n_neurons(self) -> int:
        """How many columns or kernels the layer has."""
        return self.c_in if self.neurons == "columns" else self.c_in * self.c_out

    def detached(self) -> Layer:
        """The same layer over weights that carry no gradient."""
        bias = None if self.bias is None else self.bias.detach()
        return replace(self, weight=self.weight.detach(), bias=bias)

    def neuron(self, number: int) -> Neuron:
        """What the neuron of this number reads and paints, and a copy of its weights.

        Parameters
        ----------
        number : int
            0..n_neurons−1, or negative, counted from the end.

        Raises
        ------
        IndexError
            For a neuron that does not exist.

        Examples
        --------
        >>> neuron = layer.neuron(1701)  # input channel 19 → output channel 29
        >>> neuron.channel, neuron.sub_pixel  # behind the shuffle
        (7, (0, 1))
        """
        number = self._number(number, self.n_neurons, "neuron")
        if self.neurons == "columns":
            column = self.weight.detach()[:, number, 0, 0].clone()  # (c_out,)
            return Neuron(self.name, number, number, None, None, None, column)
        i, output = divmod(number, self.c_out)  # number = i * c_out + o'
        channel, q = divmod(output, self.stride**2)  # o' = channel * s² + q
        kernel = self.weight.detach()[output, i].clone()  # (k, k)
        return Neuron(self.name, number, i, output, channel, divmod(q, self.stride), kernel)

    def index(
        self, i: int | Neuron, o: int | None = None, sub_pixel: tuple[int, int] | None = None
    ) -> int:
        """The number of a neuron, from where it reads and paints; the inverse of :meth:`neuron`.

        Parameters
        ----------
        i : int or Neuron
            The input channel, or the unit of a column; or what :meth:`neuron` returned, alone.
        o : int
            For kernels: the pre-shuffle output channel o', or with ``sub_pixel`` the channel behind
            the pixel shuffle.
        sub_pixel : (int, int), optional
            (row, column) of the shuffle, each 0..s−1.

        Raises
        ------
        IndexError
            For a channel or a sub-pixel that does not exist.
        ValueError
            Where an output channel is missing, or a column is given one.
        """
        if isinstance(i, Neuron):
            neuron = i
            if neuron.layer != self.name:
                raise ValueError(f"a neuron of {neuron.layer} is none of {self.name}")
            i, o, sub_pixel = neuron.input, neuron.output, None
        i = self._number(i, self.c_in, "input channel")
        if self.neurons == "columns":
            if o is not None or sub_pixel is not None:
                raise ValueError(
                    f"a neuron of {self.name} is a column, which paints all outputs: "
                    "it has an input unit alone, index(i)"
                )
            return i
        if o is None:
            raise ValueError(
                f"a neuron of {self.name} is a kernel: index(i, o), with the output channel"
            )
        if sub_pixel is None:
            return i * self.c_out + self._number(o, self.c_out, "output channel")
        row, column = sub_pixel
        row = self._number(row, self.stride, "row of the sub-pixel")
        column = self._number(column, self.stride, "column of the sub-pixel")
        channel = self._number(o, self.c_out // self.stride**2, "channel")
        return i * self.c_out + (channel * self.stride + row) * self.stride + column

    def _number(self, value: int, count: int, what: str) -> int:
        """A number 0..count−1, counted from the end where it is negative."""
        number = whole_number(value, f"a {what}")
        if not -count <= number < count:
            raise IndexError(f"{what} {number} is outside the {count:,} of {self.name}")
        return number % count

    def without(self, neurons: Numbers) -> Layer:
        """A copy with the weights of these neurons (k,) set to zero; biases stay."""
        copied = replace(self, weight=self.weight.detach().clone())
        return copied.silence_(neurons)

    def silence_(self, neurons: Numbers) -> Layer:
        """Set the weights of these neurons (k,) to zero, on the network itself; biases stay."""
        numbers = neuron_numbers(neurons, self.n_neurons, self.name)
        weight = self.weight.detach()
        if self.neurons == "columns":
            weight[:, numbers] = 0
        else:
            weight[numbers % self.c_out, numbers // self.c_out] = 0
        return self

    def scale_(self, gains: Tensor) -> Layer:
        """Multiply each neuron's weights by its gain, (n_neurons,), on the network itself."""
        weight = self.weight.detach()
        gains = gains.to(weight)
        if self.neurons == "columns":
            weight *= gains[:, None, None]  # (c_out, c_in, 1, 1)
        else:
            by_pair = gains.view(self.c_in, self.c_out).T  # neuron = i * c_out + o
            weight *= by_pair[:, :, None, None]
        return self

    def linear(self, x: Tensor) -> Tensor:
        """Pre-activation output before the shuffle: (B, c_in, h, w) → (B, c_out, h, w)."""
        return F.conv2d(x, self.weight, self.bias, padding=self.pad)

    def shuffle(self, z: Tensor) -> Tensor:
        """(B, o·s², h, w) → (B, o, h·s, w·s)."""
        return F.pixel_shuffle(z, self.stride) if self.stride > 1 else z

    def __call__(self, x: Tensor) -> Tensor:
        """(B, c_in, h, w) → (B, c_out / s², h·s, w·s)."""
        return self.activation(self.shuffle(self.linear(x)))

    def activate_(self, z: Tensor) -> Tensor:
        """The activation, in place where torch or the activation itself can."""
        in_place = _IN_PLACE.get(self.activation)
        if in_place is not None:
            return in_place(z)
        if isinstance(self.activation, ActivatesInPlace):
            return self.activation.in_place_(z)
        return self.activation(z)

    def __repr__(self) -> str:
        what = f"{self.n_neurons:,} {self.neurons}"
        if self.neurons == "kernels":
            what += f" of {self.kernel}×{self.kernel}, stride {self.stride}"
        activation = getattr(self.activation, "__name__", None) or repr(self.activation)
        return f"Layer {self.name!r}: {self.c_in} → {self.c_out} channels, {what}, {activation}"

    def slope(self, x: Tensor, output: Tensor) -> Tensor:
        """Derivative of the activation where input x led to ``output``, shaped like the output.

        x : (B, c_in, h, w); output : (B, c_out / s², h·s, w·s).
        """
        if self.activation is F.relu:
            return (output > 0).to(x.dtype)
        z = self.shuffle(self.linear(x))
        if isinstance(self.activation, GivesSlope):
            return self.activation.slope_(z)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            return torch.autograd.grad(self.activation(z).sum(), z)[0]


def column_layer(name: str, linear: Any, activation: Callable[[Tensor], Tensor]) -> Layer:
    """An ``nn.Linear`` that is applied to every pixel, as a layer whose columns are neurons."""
    weight = linear.weight[:, :, None, None]  # (c_out, c_in) → (c_out, c_in, 1, 1)
    return Layer(name, weight, linear.bias, 1, activation, "columns")


def run(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Send x (B, c_in, h, w) through the chain.

    For the whole chain the result is the picture, (B, 3, H, W).
    """
    if any(layer.kernel > 1 for layer in layers):
        # Convolutions with wide kernels take less time in this memory format.
        x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers:
        x = layer(x)
    return x


def check_layer_names(names: Mapping[str, Any], layers: Sequence[Layer]) -> None:
    """Refuse what is said of layers that a network does not have.

    names : a mapping whose keys are layers' names.

    Raises
    ------
    TypeError, KeyError
    """
    if not isinstance(names, Mapping):
        raise TypeError(
            f"neurons are said by layer, such as {{'{layers[0].name}': [0, 5]}}, not {brief(names)}"
        )
    known = [layer.name for layer in layers]
    for name in names:
        if name not in known:
            raise KeyError(f"no layer {name!r}; there are {', '.join(known)}")


def layers_without(layers: Sequence[Layer], without: Mapping[str, Numbers]) -> tuple[Layer, ...]:
    """The chain with the weights of some neurons set to zero; biases stay, and so does the network.

    Parameters
    ----------
    layers : sequence of Layer
    without : mapping of layer's name to numbers of neurons, (k,)

    Raises
    ------
    TypeError, KeyError, IndexError, ValueError
        For layers and neurons that do not exist.
    """
    check_layer_names(without, layers)
    changed = []
    for layer in layers:
        if layer.name in without:
            layer = layer.without(without[layer.name])
        changed.append(layer.detached())
    return tuple(changed)


def check_chain(layers: Sequence[Layer]) -> None:
    """Refuse chains whose maps would not mean what they say.

    Raises
    ------
    ValueError
        Naming the layer: the last one is not linear, not of stride 1 or has no three channels; a
        kernel is not square and odd; columns are followed by something that mixes pixels; weights
        are of another dtype than float32 or float64, or of several.
    """
    last = layers[-1]
    _check_precision(layers)
    if last.stride != 1 or last.activation is not identity:
        raise ValueError(
            f"the last layer, {last.name}, must be linear and of stride 1: "
            "add an identity layer behind it"
        )
    for number, layer in enumerate(layers):
        _check_kernel(layer)
        if layer.neurons == "columns":
            _check_pointwise(layer, layers[number:])
    if last.c_out != 3:
        raise ValueError(
            f"the last layer, {last.name}, paints {last.c_out} channels; a picture has 3"
        )


def _check_precision(layers: Sequence[Layer]) -> None:
    """Half precision would lose the small maps, and sums of them would overflow."""
    for layer in layers:
        dtype, device = layer.weight.dtype, layer.weight.device
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the weights of {layer.name} are {dtype}; maps take float32 or float64: "
                "model.float()"
            )
        if dtype != layers[0].weight.dtype or device != layers[0].weight.device:
            raise ValueError(
                f"the weights of {layers[0].name} are {layers[0].weight.dtype} on "
                f"{layers[0].weight.device}, those of {layer.name} {dtype} on {device}; "
                "a network is of one dtype and on one device: model.float().to(device)"
            )


def _check_kernel(layer: Layer) -> None:
    height, width = layer.weight.shape[2:]
    if height != width or height % 2 == 0:
        raise ValueError(
            f"{layer.name} has kernels of {height}×{width}; a traced kernel is square and odd"
        )


def _check_pointwise(layer: Layer, from_there_on: Sequence[Layer]) -> None:
    """Columns are neurons only where no pixel sees another from there on."""
    for later in from_there_on:
        if later.kernel != 1 or later.stride != 1:
            raise ValueError(
                f"{layer.name} has columns as neurons, which needs kernel 1 and stride 1 "
                f"from there on ({later.name})"
            )
