"""XINC: which neuron of an implicit neural representation paints which pixel.

clip → model → canvas = trace(model, frame, rule) → finding → answer over clips → figure / explorer
→ notebook → report. The rooms in the order in which they import each other: util, models, tracing
(these two are the core), clips, fitting, storage, editing, study, cli.
"""

import os

# Threads that wait should sleep: beside another busy program, spinning ones make torch ten times
# slower. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from xinc_core.clips import (
    Clip,
    list_clips,
    load_cityscapes_vps,
    load_clip,
    load_masks,
    load_vipseg,
)
from xinc_core.models import render
from xinc_core.storage import list_models, load_model, model_name, save_model
from xinc_core.fitting import evaluate, psnr
from xinc_core.fitting import DivergenceError, History, fit
from xinc_core.tracing import Canvas, LayerMaps, trace
from xinc_core.editing import compress

__version__ = "0.1.0"
__all__ = [
    "Canvas",
    "Clip",
    "DivergenceError",
    "History",
    "LayerMaps",
    "compress",
    "diagnose",
    "evaluate",
    "explore",
    "fit",
    "list_clips",
    "list_models",
    "load_cityscapes_vps",
    "load_clip",
    "load_masks",
    "load_model",
    "load_vipseg",
    "model_name",
    "psnr",
    "render",
    "save_model",
    "trace",
]


def explore(model, clip, view=None, **start):
    """Open the explorer: sliders over layers, frames and neurons, and the neurons that paint a
    chosen pixel.

    ``view`` opens a finding's own browser instead: "neurons per pixel", "intensity and edges",
    "selectivity", "objects", "fluctuation", "groups", "faithfulness", "pruning" or "region".
    ``start`` may name where it opens: layer, frame, neuron, rule ("paper" or "first_order"), row,
    col; share, partition or group where the view has them.
    """
    if view is not None:
        from xinc_core.study.explorer.browsers import browse

        return browse(model, clip, view, **start)
    from xinc_core.study.explorer.explorer import (
        explore,
    )  # needs ipywidgets and matplotlib, which the rest does not

    return explore(model, clip, **start)


def diagnose(model, clip, **options):
    """A short table and a figure of where a network fails and through which neurons:
    ``diagnosis.diagnose``.
    """
    from xinc_core.study.figures.diagnosis import (
        diagnose,
    )  # needs matplotlib and pandas, which the rest does not

    return diagnose(model, clip, **options)
