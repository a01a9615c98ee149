"""What a finding's browser is, as plain values: its controls, and a function from their values to
pictures.

A finding says in a :class:`BrowserSpec` which controls it adds to layer, frame and rule, and which
captioned pictures it shows for their values. Nothing here knows a widget: the explorer turns the
specification into sliders and images, and a test calls ``show`` with plain numbers.

What would take seconds for all neurons of a layer is shown for a seeded sample of them, and the
caption says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from xinc_core.clips import Clip
from xinc_core.fitting import check_clip
from xinc_core.study.statistics.scene import Scene
from xinc_core.tracing import Canvas, LayerMaps, trace

SAMPLE = 128  # neurons of a layer whose maps a browser adds up
ANY_NEURON = 10**6  # a neuron slider's upper end until ``BrowserSpec.limits`` says the layer's


@dataclass(frozen=True)
class Slider:
    """A whole number between ``low`` and ``high``, in steps of ``step``; it opens at ``start``."""

    name: str
    label: str
    low: int
    high: int
    step: int = 1
    start: int = 0


@dataclass(frozen=True)
class Choice:
    """One of several words; it opens at ``start``. ``buttons`` shows all of them side by side."""

    name: str
    label: str
    options: tuple[str, ...]
    start: str
    buttons: bool = False


Control = Slider | Choice


class Kind(Enum):
    """How the values of a :class:`Picture` are drawn."""

    PHOTO = "a picture in its own colours"
    MAGNITUDE = "a map, dark = nothing, bright = much"
    OVERLAY = "a map in orange over a dim picture"


@dataclass(frozen=True)
class Picture:
    """One picture that a browser shows.

    Attributes
    ----------
    kind : Kind
    values : Tensor
        (3, H, W) in [0, 1] for a photo; (H, W) for a map, whose absolute values are drawn.
    vmax : float, optional
        Of a magnitude: the value drawn brightest; by default the largest one.
    under : Tensor, optional
        Of an overlay: the picture (3, H, W) that lies under the map.
    """

    kind: Kind
    values: Tensor
    vmax: float | None = None
    under: Tensor | None = None

    @classmethod
    def photo(cls, values: Tensor) -> Picture:
        """A picture (3, H, W) in [0, 1]."""
        return cls(Kind.PHOTO, values)

    @classmethod
    def magnitude(cls, values: Tensor, vmax: float | None = None) -> Picture:
        """A map's magnitude, (H, W), from zero to ``vmax`` or its largest value."""
        return cls(Kind.MAGNITUDE, values, vmax)

    @classmethod
    def overlay(cls, values: Tensor, under: Tensor) -> Picture:
        """A map (H, W) over a picture (3, H, W)."""
        return cls(Kind.OVERLAY, values, under=under)


class SampledMaps(NamedTuple):
    """Magnitudes of a few neurons of a layer.

    neurons : (k,) their numbers in the layer; maps : (k, H, W) |C|; n_neurons : how many the layer
    has.
    """

    neurons: Tensor
    maps: Tensor
    n_neurons: int


class Opened:
    """A model and its clip, with what every browser needs: canvases, the clip's frames, and maps of
    a sample of a layer's neurons. Recent results are remembered.

    Raises
    ------
    ValueError
        If the model does not fit the clip.
    """

    def __init__(self, model: nn.Module, clip: Clip):
        check_clip(model, clip)
        self.model, self.clip, self.scene = model, clip, Scene(clip)
        self._memory: dict[Callable, Callable] = {}

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, input to output."""
        return self.canvas(0, "paper").layers

    def canvas(self, frame: int, rule: str) -> Canvas:
        """The canvas of a frame; image networks have one picture, whatever the frame."""
        return self.remembered(_traced, frame, rule)

    def truth(self, frame: int) -> Tensor:
        """The clip's frame that the canvas stands for, (3, H, W)."""
        return self.clip.frames[self.canvas(frame, "paper").frame]

    def sampled_layer(
        self, frame: int, rule: str, layer: str, n: int = 2 * SAMPLE
    ) -> tuple[LayerMaps, int]:
        """The maps of a seeded sample of about ``n`` neurons, and how many neurons the layer has.

        The sample takes whole output channels, so it may hold a few more neurons than ``n``.
        """
        whole = self.canvas(frame, rule)[layer]
        channels = max(1, -(-n // whole.traced.layer.c_in))
        return whole.sample(channels), len(whole)

    def sampled_maps(self, frame: int, rule: str, layer: str) -> SampledMaps:
        """The magnitudes of at most ``SAMPLE`` neurons of a layer."""
        return self.remembered(_sampled_maps, frame, rule, layer, most=16)

    def remembered(self, function: Callable, *arguments: Hashable, most: int = 8) -> Any:
        """``function(self, *arguments)``, computed once as long as it is among the function's last
        ``most`` results.
        """
        if function not in self._memory:
            self._memory[function] = lru_cache(most)(partial(function, self))
        return self._memory[function](*arguments)


def _traced(opened: Opened, frame: int, rule: str) -> Canvas:
    return trace(opened.model, frame, rule)


def _sampled_maps(opened: Opened, frame: int, rule: str, layer: str) -> SampledMaps:
    sample, n_neurons = opened.sampled_layer(frame, rule, layer, SAMPLE)
    return SampledMaps(sample.neurons[:SAMPLE], sample.tensor()[:SAMPLE].abs(), n_neurons)


def no_controls(opened: Opened) -> tuple[Control, ...]:
    """Nothing beside layer, frame and rule."""
    return ()


def no_limits(opened: Opened, **values) -> dict[str, int]:
    """Sliders whose ends stay where they are."""
    return {}


def neuron_control(opened: Opened) -> tuple[Control, ...]:
    """A slider over the neurons of a layer; its end comes from :func:`neuron_limit`."""
    return (Slider("neuron", "neuron", 0, ANY_NEURON),)


def neuron_limit(
    opened: Opened, layer: str, frame: int, rule: str = "paper", **others
) -> dict[str, int]:
    """The last neuron of the chosen layer."""
    return {"neuron": len(opened.canvas(frame, rule)[layer]) - 1}


@dataclass(frozen=True)
class BrowserSpec:
    """A finding's browser.

    Attributes
    ----------
    title : str
        Its name in ``xc.explore(model, clip, view=title)``.
    show : callable
        ``show(opened, layer=…, frame=…, rule=…, …)`` → caption → :class:`Picture`. The captions may
        begin with ``<b>…</b>``.
    controls : callable
        ``controls(opened)`` → the controls beside layer, frame and rule, in order.
    limits : callable
        ``limits(opened, layer=…, …)`` → name of a slider → its highest value for the present values
        of the controls.
    first_frame : int
        The first frame that can be shown: 1 where a picture is compared with the one before it.
    rules : bool
        Whether the rule is chosen; without it, ``show`` gets no ``rule``.
    needs_video : bool
        Whether it shows video networks only.
    """

    title: str
    show: Callable[..., dict[str, Picture]]
    controls: Callable[[Opened], tuple[Control, ...]] = no_controls
    limits: Callable[..., dict[str, int]] = no_limits
    first_frame: int = 0
    rules: bool = True
    needs_video: bool = False


def sheet(maps: list[Tensor], columns: int = 2, gap: int = 2) -> Tensor:
    """Maps (H, W) side by side, each on its own scale, with bright lines of ``gap`` pixels between
    them.
    """
    H, W = maps[0].shape
    rows = -(-len(maps) // columns)
    size = (rows * (H + gap) - gap, columns * (W + gap) - gap)
    sheet = maps[0].new_full(size, 0.5)
    for i, values in enumerate(maps):
        row, column = divmod(i, columns)
        top, left = row * (H + gap), column * (W + gap)
        sheet[top : top + H, left : left + W] = values / (values.max() + 1e-30)
    return sheet
