"""How seconds and memory grow with the picture and with the network.

A seeded 5 % of a layer's channels stands for the layer: its seconds are scaled to all, its memory
is as measured.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import product

from xinc_core.models import NeRV

from .measuring import Job, measured
from .tracing import RULES, Say

SIZES = ((128, 256), (256, 512), (544, 960), (1088, 1920))
PARAMETERS = (250_000, 1_000_000, 4_000_000)
LAYERS = ("block1", "block3")
SHARE = 0.05


def rows_by_size(
    say: Say, sizes=SIZES, layers=LAYERS, share: float = SHARE, **options
) -> list[dict]:
    """A row per size, layer and rule of a NeRV with strides 4, 2, 2."""
    shapes = [dict(size=size, n_frames=40) | options for size in sizes]
    return [row for shape in shapes for row in _rows(shape, layers, share, say)]


def rows_by_parameters(
    say: Say, parameters=PARAMETERS, size=(128, 256), layers=LAYERS, share: float = SHARE
) -> list[dict]:
    """A row per count of parameters, layer and rule."""
    shapes = [asdict(NeRV.Config.for_clip(size, 40, parameters=n)) for n in parameters]
    return [row for shape in shapes for row in _rows(shape, layers, share, say)]


def _rows(shape: dict, layers, share: float, say: Say) -> list[dict]:
    height, width = shape["size"]
    parameters = NeRV.Config(**shape).n_parameters
    rows = []
    for layer, rule in product(layers, RULES):
        row = dict(size=f"{height}x{width}", parameters=parameters, layer=layer, rule=rule)
        row |= measured(Job("nerv", shape, layer, rule, share=share), most=3, budget=1.0)
        row["seconds"] *= row["of"] / row["neurons"]
        rows.append(row)
        say(row)
    return rows
