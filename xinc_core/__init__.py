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
from xinc_core.fitting import DivergenceError, History, evaluate, fit, psnr
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

    Parameters
    ----------
    model : nn.Module
    clip : Clip
        What the model was fitted to.
    view : str, optional
        A finding's own browser instead, by the title in ``study.explorer.VIEWS``, for example
        "selectivity".
    **start
        Where it opens: layer, frame, neuron, rule ("paper" or "first_order"), row, col; share,
        partition or group where the view has them.

    Returns
    -------
    A widget for JupyterLab.

    Raises
    ------
    ValueError, IndexError
        In one sentence: for a clip that is not the model's, or a place that does not exist.
    """
    from xinc_core.study import explorer  # ipywidgets and matplotlib, which nothing else needs

    if view is not None:
        return explorer.browse(model, clip, view, **start)
    return explorer.explore(model, clip, **start)


def diagnose(model, clip, frame=None, worst=3):
    """Where a network fails its clip and through which neurons, as a short table and a figure.

    See :func:`xinc_core.study.figures.diagnosis.diagnose`.
    """
    from xinc_core.study import figures  # matplotlib and pandas, which nothing else needs

    return figures.diagnose(model, clip, frame=frame, worst=worst)
