"""Any plain chain of torch's own layers as a traceable network: its description is derived, not
written.

A chain is an ``nn.Sequential``, nested or not, of ``nn.Linear`` or ``nn.Conv2d`` layers, each with
a PixelShuffle and pointwise activations behind it. What else stands in it (a norm, attention, a
skip connection, a stride) is refused by name: its maps would not mean what they say.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Layer, check_chain, identity, run
from .parts import coordinates

_PLAIN = {nn.ReLU: F.relu, nn.SiLU: F.silu, nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid}


@dataclass(frozen=True)
class ChainConfig:
    """size: (H, W) in pixels; n_frames: T."""

    size: tuple[int, int]
    n_frames: int = 1


@dataclass
class _Part:
    """A layer in the making: the module with the weights and what follows it."""

    module: nn.Module
    stride: int = 1
    activations: list = field(default_factory=list)

    @property
    def activation(self):
        functions = tuple(self.activations) or (identity,)
        return (
            functions[0]
            if len(functions) == 1
            else lambda x: reduce(lambda value, then: then(value), functions, x)
        )


def chain(
    module: nn.Module,
    size: tuple[int, int] | None = None,
    codes: Tensor | None = None,
    frame: int = 0,
) -> Chain:
    """Wrap a network of your own for ``trace``, ``render`` and ``explore``; its weights are shared,
    not copied.

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
        one for an image.
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
    """
    if (size is None) == (codes is None):
        raise ValueError(
            "a chain takes either size=(H, W), to read coordinates, or codes=(T, c, h, w), what it reads instead"
        )
    codes = coordinates(size)[None] if codes is None else codes
    parts = _parts(module)
    weight = parts[0].module.weight
    if codes.ndim != 4 or codes.shape[1] != weight.shape[1]:
        raise ValueError(
            f"the first layer reads {weight.shape[1]} channels, the codes are {tuple(codes.shape)}"
        )
    model = Chain(module, parts, codes.to(weight), frame)
    check_chain(model.layers())
    model.check()
    return model


class Chain(nn.Module):
    """What ``chain`` returns: frame positions (B,) in [0, 1) → pictures (B, 3, H, W)."""

    family = "chain"

    def __init__(self, module: nn.Module, parts: list[_Part], codes: Tensor, frame: int):
        super().__init__()
        self.module, self._parts, self.frame = module, parts, frame
        self.register_buffer("codes", codes)
        self.for_video = len(codes) > 1
        scale = 1
        for part in parts:
            scale *= part.stride
        self.config = ChainConfig(tuple(n * scale for n in codes.shape[2:]), len(codes))

    def encode(self, t: Tensor) -> Tensor:
        """The codes of these frames: (B, c, h, w)."""
        return self.codes[(t.double() * len(self.codes)).round().long()]

    def stem(self, code: Tensor) -> Tensor:
        first = self._all()[0]
        return first(code) if self._has_stem else code

    def decode(self, code: Tensor) -> Tensor:
        return run(self._all(), code)

    def forward(self, t: Tensor) -> Tensor:
        return self.decode(self.encode(t))

    def layers(self) -> tuple[Layer, ...]:
        """The chain behind the stem."""
        return self._all()[1:] if self._has_stem else self._all()

    @property
    def _has_stem(self) -> bool:
        return len(self._parts) > 1 and self._parts[0].module.weight.shape[1] == 2

    def _all(self) -> tuple[Layer, ...]:
        linear = isinstance(self._parts[0].module, nn.Linear)
        kind, ahead, layers = "layer" if linear else "block", int(self._has_stem), []
        for n, part in enumerate(self._parts, 1 - ahead):
            last, weight = n == len(self._parts) - ahead, part.module.weight
            name = f"{kind}{n}" if n and not (last and not linear) else "head" if n else "stem"
            weight = weight[:, :, None, None] if linear else weight
            layers.append(
                Layer(
                    name,
                    weight,
                    part.module.bias,
                    part.stride,
                    part.activation,
                    "columns" if linear else "kernels",
                )
            )
        return tuple(layers)

    @torch.no_grad()
    def check(self) -> None:
        """The derived chain paints what the module itself paints."""
        code = self.codes[:1]
        linear = isinstance(self._parts[0].module, nn.Linear)
        own = self.module(code.movedim(1, -1)).movedim(-1, 1) if linear else self.module(code)
        if own.shape != (derived := self.decode(code)).shape or not torch.allclose(
            own, derived, rtol=1e-3, atol=1e-4
        ):
            raise ValueError(
                "layer by layer this network paints another picture than as a whole; has it hooks?"
            )


def _parts(module: nn.Module) -> list[_Part]:
    parts: list[_Part] = []
    for name, m in _flat(module):
        if isinstance(m, nn.Linear | nn.Conv2d):
            if parts and isinstance(m, nn.Linear) != isinstance(parts[0].module, nn.Linear):
                raise ValueError(
                    f"{name} is a {type(m).__name__} among others; a chain is of Linear or of Conv2d layers"
                )
            if any(m is part.module for part in parts):
                raise ValueError(
                    f"{name} was there before; neurons of shared weights paint in two places at once"
                )
            if "weight" not in m._parameters:
                raise ValueError(
                    f"the weights of {name} are computed from others; bake them in before tracing"
                )
            if isinstance(m, nn.Conv2d):
                _check_convolution(name, m)
            parts.append(_Part(m))
        elif (
            isinstance(m, nn.PixelShuffle)
            and parts
            and isinstance(parts[-1].module, nn.Conv2d)
            and parts[-1].stride == 1
        ):
            parts[-1].stride = m.upscale_factor
        elif isinstance(m, nn.Upsample):
            raise ValueError(
                f"{name} is an Upsample, which no rule here follows exactly: one kernel would paint several pixels alike; a "
                "convolution with a PixelShuffle behind it enlarges a picture in a way that can be traced"
            )
        elif parts and _is_pointwise(m):
            parts[-1].activations.append(_function(m))
        elif not isinstance(m, nn.Identity):
            raise ValueError(
                f"{name} is a {type(m).__name__}, which no rule here covers: a chain is made of Linear or Conv2d layers, each "
                "with a PixelShuffle and pointwise activations behind it"
            )
    if not parts:
        raise ValueError(f"there is no Linear or Conv2d layer in this {type(module).__name__}")
    return parts


def _flat(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The members of nested Sequentials in order, each with what to call it in a sentence."""
    if type(module).forward is not nn.Sequential.forward:
        yield f"layer {name!r}" if name else "the network", module
        return
    for (
        key,
        member,
    ) in module._modules.items():  # named_children() would skip a module that is used twice
        yield from _flat(member, f"{name}.{key}" if name else key)


def _check_convolution(name: str, m: nn.Conv2d) -> None:
    (k, other), half = m.kernel_size, m.kernel_size[0] // 2
    padding = (half, half) if m.padding == "same" else (0, 0) if m.padding == "valid" else m.padding
    plain = (
        m.padding_mode == "zeros" and m.groups == 1 and m.dilation == (1, 1) and m.stride == (1, 1)
    )
    if not (plain and k == other and k % 2 and padding == (half, half)):
        raise ValueError(
            f"{name}, {m}, is no convolution that the rules cover: these have square, odd kernels, stride 1, zero padding of "
            "half the kernel, one group and no dilation"
        )


def _function(m: nn.Module):
    """A pointwise module as a function that leaves its input alone."""
    if type(m) in _PLAIN:
        return _PLAIN[type(m)]
    if isinstance(m, nn.GELU) and m.approximate == "none":
        return F.gelu
    if getattr(m, "inplace", False):
        m = copy.copy(m)
        m.inplace = False
    return m


@torch.no_grad()
def _is_pointwise(m: nn.Module) -> bool:
    """By experiment: each output depends on its own input alone, wherever that stands, and
    nothing is drawn by lot.
    """
    if sum(p.numel() for p in m.parameters()) > 1:
        return False
    x = torch.linspace(-3, 3, 96)[
        torch.randperm(96, generator=torch.Generator().manual_seed(0))
    ].view(2, 3, 4, 4)
    other = torch.where(x > 0, x, -2 * x - 1)
    like = next(m.parameters(), x)
    try:
        with torch.random.fork_rng(devices=[]):
            y, turned, mixed = (m(v.to(like)).to(x) for v in (x.clone(), x.flip(0, 1, 2, 3), other))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return False
    same = y.shape == x.shape and turned.shape == x.shape and mixed.shape == x.shape
    return same and torch.equal(turned.flip(0, 1, 2, 3), y) and torch.equal(mixed[x > 0], y[x > 0])
