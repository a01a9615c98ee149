"""Any plain chain of torch's own layers as a traceable network, with a derived description.

A chain is an ``nn.Sequential``, nested or not, of ``nn.Linear`` or ``nn.Conv2d`` layers, each with
a PixelShuffle and pointwise activations behind it. What else stands in it (a norm, attention, a
skip connection, a stride) is refused by name: its maps would not mean what they say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, check_chain, column_layer, identity, run
from .parts import coordinates, one_line

Activation = Callable[[Tensor], Tensor]

# Modules whose function is one of torch's, of which rules know more than of a module.
_FUNCTIONS: dict[type, Activation] = {
    nn.ReLU: F.relu,
    nn.SiLU: F.silu,
    nn.Tanh: torch.tanh,
    nn.Sigmoid: torch.sigmoid,
}


@dataclass(frozen=True)
class ChainConfig:
    """size: (H, W) in pixels; n_frames: T."""

    size: tuple[int, int]
    n_frames: int = 1


@dataclass(frozen=True)
class InTurn:
    """Activations one after the other."""

    activations: tuple[Activation, ...]

    def __call__(self, x: Tensor) -> Tensor:
        for activation in self.activations:
            x = activation(x)
        return x


@dataclass
class Part:
    """A layer in the making: the module with the weights and what follows it."""

    module: Any  # nn.Linear or nn.Conv2d
    stride: int = 1
    activations: list[Activation] = field(default_factory=list)
    # Those of the activations that do something else in training, as Dropout does.
    unsteady: list[nn.Module] = field(default_factory=list)

    @property
    def is_linear(self) -> bool:
        """Whether it is applied to every pixel, not to a grid."""
        return isinstance(self.module, nn.Linear)

    @property
    def activation(self) -> Activation:
        """All activations as one function."""
        if not self.activations:
            return identity
        if len(self.activations) == 1:
            return self.activations[0]
        return InTurn(tuple(self.activations))

    def layer(self, name: str) -> Layer:
        """The layer that it describes, over the module's own weights."""
        module = self.module
        if self.is_linear:
            return column_layer(name, module, self.activation)
        return Layer(name, module.weight, module.bias, self.stride, self.activation)


def chain(
    module: nn.Module,
    size: tuple[int, int] | None = None,
    codes: Tensor | None = None,
    frame: int = 0,
) -> Chain:
    """Wrap a network of your own for ``trace``, ``render`` and ``explore``.

    Its weights are shared, not copied.

    Parameters
    ----------
    module : nn.Module
        A chain as described above; of Linear layers it is applied to every pixel, of Conv2d layers
        to a whole grid.
    size : (int, int), optional
        (H, W) in pixels of the picture of a network that reads coordinates: (row, col), the longer
        side spanning [−1, 1].
    codes : Tensor, optional
        What the network reads instead: (T, c, h, w), one entry per frame of a video, or a single
        one for an image. Taken to the dtype and device of the weights.
    frame : int
        Which frame of its clip an image network paints.

    Returns
    -------
    Chain
        Layers are ``layer1``, … (neurons are columns) or ``block1``, …, ``head`` (neurons are
        kernels). A first layer that reads two numbers is the stem: it turns coordinates into
        features and is not traced.

    Raises
    ------
    ValueError
        Naming the module that the rules do not cover, and why.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 3))
    >>> canvas = xc.trace(xc.models.chain(network, size=(64, 96)))
    """
    if (size is None) == (codes is None):
        raise ValueError(
            "a chain takes either size=(H, W), to read coordinates, "
            "or codes=(T, c, h, w), what it reads instead"
        )
    parts = _parts_of(module)
    weight = parts[0].module.weight
    if codes is None:
        assert size is not None
        # In the weights' own precision, whatever torch's default is.
        codes = coordinates(size, weight.device, weight.dtype)[None]  # (1, 2, H, W)
    if codes.ndim != 4 or codes.shape[1] != weight.shape[1]:
        raise ValueError(
            f"the first layer reads {weight.shape[1]} channels, the codes are {tuple(codes.shape)}"
        )
    model = Chain(module, parts, codes.to(weight), frame)
    check_chain(model.layers())
    model.check()
    return model


class Chain(nn.Module):
    """What :func:`chain` returns: frame positions (B,) in [0, 1) → pictures (B, 3, H, W).

    Parameters
    ----------
    module : nn.Module
        The wrapped network.
    parts : list of Part
        Its description.
    codes : Tensor, (T, c, h, w)
        What it reads.
    frame : int
        Which frame of its clip an image network paints.
    """

    family = "chain"

    codes: Tensor

    def __init__(self, module: nn.Module, parts: list[Part], codes: Tensor, frame: int):
        super().__init__()
        self.module = module
        self.frame = frame
        self._parts = parts
        self.register_buffer("codes", codes)
        self.for_video = len(codes) > 1
        self._unsteady = [member for part in parts for member in part.unsteady]
        scale = 1  # pixels per cell of the codes, along each side
        for part in parts:
            scale *= part.stride
        n_frames, _, height, width = codes.shape
        self.config = ChainConfig((height * scale, width * scale), n_frames)

    def __repr__(self) -> str:
        return one_line(self)

    def encode(self, t: Tensor) -> Tensor:
        """The codes of these frames: (B,) → (B, c, h, w)."""
        frames = (t.double() * len(self.codes)).round().long()
        return self.codes[frames]

    def stem(self, code: Tensor) -> Tensor:
        """The first layer where it is the stem, else the code itself."""
        if not self._has_stem:
            return code
        return self._all_layers()[0](code)

    def decode(self, code: Tensor) -> Tensor:
        """(B, c, h, w) → (B, 3, H, W)."""
        return run(self._all_layers(), code)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) → (B, 3, H, W)."""
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """The chain behind the stem."""
        layers = self._all_layers()
        return layers[1:] if self._has_stem else layers

    @property
    def _has_stem(self) -> bool:
        """Whether the first layer reads two coordinates."""
        return len(self._parts) > 1 and self._parts[0].module.weight.shape[1] == 2

    def _all_layers(self) -> tuple[Layer, ...]:
        """The stem, if there is one, and the traced layers."""
        for member in self._unsteady:
            if member.training:
                raise ValueError(
                    f"{member} does something else while the network trains; "
                    "call model.eval() first"
                )
        return tuple(part.layer(name) for part, name in zip(self._parts, self._names()))

    def _names(self) -> list[str]:
        """stem; then layer1, layer2, …, or block1, block2, …, head."""
        stem = ["stem"] if self._has_stem else []
        n_traced = len(self._parts) - len(stem)
        if self._parts[0].is_linear:
            return stem + [f"layer{number}" for number in range(1, n_traced + 1)]
        return stem + [f"block{number}" for number in range(1, n_traced)] + ["head"]

    @torch.no_grad()
    def check(self) -> None:
        """Raise ValueError unless the derived chain paints what the module itself paints."""
        code = self.codes[:1]
        if self._parts[0].is_linear:
            own = self.module(code.movedim(1, -1)).movedim(-1, 1)  # channels last, and back
        else:
            own = self.module(code)
        derived = self.decode(code)
        alike = own.shape == derived.shape and torch.allclose(own, derived, rtol=1e-3, atol=1e-4)
        if not alike:
            raise ValueError(
                "layer by layer this network paints another picture than as a whole; has it hooks?"
            )


def _parts_of(module: nn.Module) -> list[Part]:
    """The layers of a chain, each with what follows it."""
    parts: list[Part] = []
    for name, member in _flat(module):
        if isinstance(member, nn.Linear | nn.Conv2d):
            _check_layer(name, member, parts)
            parts.append(Part(member))
        elif _is_shuffle_behind(member, parts):
            parts[-1].stride = member.upscale_factor
        elif isinstance(member, nn.Upsample):
            raise ValueError(
                f"{name} is an Upsample, which no rule here follows exactly: one kernel would "
                "paint several pixels alike; a convolution with a PixelShuffle behind it enlarges "
                "a picture in a way that can be traced"
            )
        elif parts and _is_pointwise(member):
            parts[-1].activations.append(_as_function(member))
            if not _is_pointwise(copy.deepcopy(member).train()):
                parts[-1].unsteady.append(member)
        elif not isinstance(member, nn.Identity):
            raise ValueError(
                f"{name} is a {type(member).__name__}, which no rule here covers: a chain is made "
                "of Linear or Conv2d layers, each with a PixelShuffle and pointwise activations "
                "behind it"
            )
    if not parts:
        raise ValueError(f"there is no Linear or Conv2d layer in this {type(module).__name__}")
    return parts


def _flat(module: nn.Module, name: str = "") -> Iterator[tuple[str, Any]]:
    """The members of nested Sequentials in order, each with what to call it in a sentence."""
    if type(module).forward is not nn.Sequential.forward:
        yield f"layer {name!r}" if name else "the network", module
        return
    # named_children() would skip a module that is used twice.
    for key, member in module._modules.items():
        assert member is not None
        yield from _flat(member, f"{name}.{key}" if name else key)


def _is_shuffle_behind(member: nn.Module, parts: list[Part]) -> bool:
    """Whether a member is the one PixelShuffle that a convolution may have behind it."""
    if not isinstance(member, nn.PixelShuffle) or not parts:
        return False
    return not parts[-1].is_linear and parts[-1].stride == 1


def _check_layer(name: str, member: nn.Linear | nn.Conv2d, before: list[Part]) -> None:
    """Refuse a layer that would not be one linear map with weights of its own."""
    if before and isinstance(member, nn.Linear) != before[0].is_linear:
        raise ValueError(
            f"{name} is a {type(member).__name__} among others; "
            "a chain is of Linear or of Conv2d layers"
        )
    if any(member is part.module for part in before):
        raise ValueError(
            f"{name} was there before; neurons of shared weights paint in two places at once"
        )
    if "weight" not in member._parameters:
        raise ValueError(
            f"the weights of {name} are computed from others; bake them in before tracing"
        )
    if isinstance(member, nn.Conv2d):
        _check_convolution(name, member)


def _check_convolution(name: str, convolution: nn.Conv2d) -> None:
    height, width = convolution.kernel_size
    half = height // 2
    padding: Any = convolution.padding
    if padding == "same":
        padding = half, half
    elif padding == "valid":
        padding = 0, 0
    plain = (
        convolution.padding_mode == "zeros"
        and convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.stride == (1, 1)
    )
    square_and_odd = height == width and height % 2 == 1
    if not (plain and square_and_odd and padding == (half, half)):
        raise ValueError(
            f"{name}, {convolution}, is no convolution that the rules cover: these have square, "
            "odd kernels, stride 1, zero padding of half the kernel, one group and no dilation"
        )


def _as_function(module: Any) -> Activation:
    """A pointwise module as a function that leaves its input alone."""
    if type(module) in _FUNCTIONS:
        return _FUNCTIONS[type(module)]
    if isinstance(module, nn.GELU) and module.approximate == "none":
        return F.gelu
    if getattr(module, "inplace", False):
        module = copy.copy(module)
        module.inplace = False
    return module


@torch.no_grad()
def _is_pointwise(module: nn.Module) -> bool:
    """Whether each output depends on its own input alone and nothing is random: by experiment."""
    if sum(p.numel() for p in module.parameters()) > 1:
        return False
    shuffled = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(-3, 3, 96)[shuffled].view(2, 3, 4, 4)
    positive = x > 0
    # The same picture turned upside down in every dimension, and one with other negative values.
    turned, changed = x.flip(0, 1, 2, 3), torch.where(positive, x, -2 * x - 1)
    outputs = _try_outputs(module, [x.clone(), turned, changed])
    if outputs is None or any(y.shape != x.shape for y in outputs):
        return False
    y, of_turned, of_changed = outputs
    same_anywhere = torch.equal(of_turned.flip(0, 1, 2, 3), y)
    return same_anywhere and torch.equal(of_changed[positive], y[positive])


def _try_outputs(module: nn.Module, inputs: list[Tensor]) -> list[Tensor] | None:
    """What a module makes of some inputs, in their dtype; None where it refuses them.

    torch's random state is left alone.
    """
    like = next(module.parameters(), inputs[0])
    try:
        with torch.random.fork_rng(devices=[]):
            return [module(x.to(like)).to(x) for x in inputs]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return None
