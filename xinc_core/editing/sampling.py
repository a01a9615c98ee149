"""How much of a large network is looked at: which output channels of a layer, which frames.

This is policy, not mathematics: the core traces whatever it is asked for. What has to stay
within minutes (a measurement, a report, a file's bits) takes its samples from here, so that all
take the same ones.
"""

from __future__ import annotations

from torch import nn

from xinc_core.tracing import LayerMaps

HUGE_NEURONS = 25_000  # a network of more is measured in samples; the paper's NeRV has 23,930
LARGE_NEURONS = 4_000  # a layer of more neurons is represented by some of its output channels
CHANNELS = 64  # output channels that represent a large layer
CHANNELS_OF_HUGE = 24  # output channels that represent every layer of a huge network


def is_huge(model: nn.Module, huge_neurons: int = HUGE_NEURONS) -> bool:
    """Whether a network has more than so many neurons, so that it is measured in samples."""
    return sum(layer.n_neurons for layer in model.layers()) > huge_neurons


def channels_of(model: nn.Module, huge_neurons: int = HUGE_NEURONS) -> int:
    """How many output channels represent a layer of this network that is sampled."""
    return CHANNELS_OF_HUGE if is_huge(model, huge_neurons) else CHANNELS


def sample_layer(layer: LayerMaps, channels: int = CHANNELS) -> LayerMaps:
    """A seeded sample of so many output channels, or the layer itself.

    A layer of at most ``LARGE_NEURONS`` neurons is taken whole, unless fewer than the usual
    ``CHANNELS`` output channels are asked for.
    """
    if len(layer) > LARGE_NEURONS or channels < CHANNELS:
        return layer.sample(channels)
    return layer


def spread_frames(n_frames: int, most: int, offset: float = 0.5) -> list[int]:
    """Evenly spread frames: the middles (or another place) of ``most`` equal parts of a clip."""
    most = min(most, n_frames)
    return [int((part + offset) * n_frames / most) for part in range(most)]


def frames_to_score(model: nn.Module) -> list[int]:
    """The frames whose totals say which neurons matter: four, spread over the clip.

    One frame for a network of more than ``HUGE_NEURONS`` neurons, and for an image.
    """
    n_frames = model.config.n_frames if model.for_video else 1
    return spread_frames(n_frames, 1 if is_huge(model) else 4)
