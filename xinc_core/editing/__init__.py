"""Networks changed through their canvas.

What lives here: which neurons can go, fewer bits, and the smaller file that results. What does
not: the curves and tables that a study draws of it.
"""

from .bits import encoded, equal_bits, guided_bits, quantised, sensitivities
from .compression import compress
from .importance import ORDERS, score, scores, weights_of_neurons
from .pruning import deletion, least, pruned
from .sampling import (
    CHANNELS,
    CHANNELS_OF_HUGE,
    LARGE_NEURONS,
    channels_of,
    frames_to_score,
    is_huge,
    sample_layer,
    spread_frames,
)
from .steering import scale_neurons

__all__ = [
    "CHANNELS",
    "CHANNELS_OF_HUGE",
    "LARGE_NEURONS",
    "ORDERS",
    "channels_of",
    "compress",
    "deletion",
    "encoded",
    "equal_bits",
    "frames_to_score",
    "guided_bits",
    "is_huge",
    "least",
    "pruned",
    "quantised",
    "sample_layer",
    "scale_neurons",
    "score",
    "scores",
    "sensitivities",
    "spread_frames",
    "weights_of_neurons",
]
