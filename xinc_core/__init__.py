"""XINC: which neuron of an implicit neural representation paints which pixel.

clip → model → canvas = trace(model, frame, rule) → finding → answer over clips → figure / explorer
→ notebook → report. This page follows that path; every name has a page of its own, as in
``help(xc.trace)``.

>>> import xinc_core as xc

**A clip** is frames, (T, 3, H, W) in [0, 1], and what is known of them. ``list_clips`` names those
that ship and those that are fetched on their first use; ``load_clip`` reads one of them, a video,
an image or a folder of frames, into a ``Clip``. ``load_masks`` adds masks from a folder;
``load_cityscapes_vps`` and ``load_vipseg`` read the paper's data sets.

>>> xc.list_clips()["cars"]
'40 frames: two cars cross a car park, seen from above (fetched on its first use)'
>>> clip = xc.load_clip("shapes", stop=4)
>>> clip
Clip 'shapes': 4 frames of 128×256 pixels, 10 frames/s, 5 segments

**A model** is a network overfitted to a clip: a plain ``torch.nn.Module``. ``fit`` trains one and
tells its ``History`` (a fit that falls apart raises ``DivergenceError``); ``save_model`` and
``load_model`` keep it; ``list_models`` and ``model_name`` know those that ship.

>>> image_network, history = xc.fit("ffn", clip, epochs=2, width=8, progress=False)
>>> len(history)
2
>>> xc.model_name("nerv", "courtyard", seed=10)
'nerv-courtyard-s10'
>>> model = xc.load_model(xc.model_name("nerv", "courtyard"))
>>> xc.list_models()["nerv-courtyard"]["clip"]
'courtyard'

``render`` gives its picture of a frame, ``psnr`` compares two pictures, ``evaluate`` a model with
its clip; both in dB.

>>> courtyard = xc.load_clip("courtyard")
>>> xc.render(model, frame=3).shape
torch.Size([3, 128, 256])
>>> round(float(xc.psnr(xc.render(model, frame=3), courtyard.frames[3])))
40
>>> round(xc.evaluate(model, courtyard, frames=[3]))
40

**A canvas** holds the contribution maps of one frame, layer by layer: ``trace`` makes the
``Canvas``, and each of its ``LayerMaps`` computes maps, and sums over them, when asked.

>>> canvas = xc.trace(model, frame=3, rule="first_order")
>>> canvas.layers
('block1', 'block2', 'block3', 'head')
>>> layer = canvas["block3"]
>>> layer[5].shape
torch.Size([128, 256])
>>> strongest = layer.totals().argmax()

``trace_frames`` gives the canvases of several frames, one after the other.

>>> [canvas["head"].totals().shape for frame, canvas in xc.trace_frames(model, range(2))]
[torch.Size([66]), torch.Size([66])]

**Neurons switched off.** ``render`` paints without some neurons; ``scale_neurons`` gives a copy of
the network in which they are turned up or down.

>>> without = xc.render(model, frame=3, without={"block3": [strongest]})
>>> quieter = xc.scale_neurons(model, {"block3": {int(strongest): 0.5}})
>>> layer.neuron(strongest).kernel.shape
torch.Size([3, 3])

**Uses.** ``compress`` writes a small file that ``load_model`` reads; ``diagnose`` says where a
network fails and through which neurons; ``explore`` opens sliders over all of this in JupyterLab.

>>> outcome = xc.compress(xc.load_model("ffn-cat"), "small.xinc")
>>> xc.load_model("small.xinc").config == xc.load_model("ffn-cat").config
True

**The study** asks what the maps say: ``study.finding`` is one question with its statistic, and a
``study.Session`` measures it and judges the answer; ``help(xc.study)`` goes on from here.

>>> xc.study.finding("edges").question
'Do contributions follow more than brightness?'

The rooms in the order in which they import each other: util, models, tracing (these two are the
core), clips, fitting, storage, editing, study, cli. Names are imported when they are first asked
for, so ``import xinc_core`` itself loads no torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xinc_core.util.lazy import lazy_names

# Threads that wait should sleep: beside another busy program, spinning ones make torch ten times
# slower. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:  # the same names, for type checkers and editors; a test holds the two equal
    from xinc_core.clips import Clip as Clip
    from xinc_core.clips import list_clips as list_clips
    from xinc_core.clips import load_cityscapes_vps as load_cityscapes_vps
    from xinc_core.clips import load_clip as load_clip
    from xinc_core.clips import load_masks as load_masks
    from xinc_core.clips import load_vipseg as load_vipseg
    from xinc_core.editing import compress as compress
    from xinc_core.editing import scale_neurons as scale_neurons
    from xinc_core.fitting import DivergenceError as DivergenceError
    from xinc_core.fitting import History as History
    from xinc_core.fitting import evaluate as evaluate
    from xinc_core.fitting import fit as fit
    from xinc_core.fitting import psnr as psnr
    from xinc_core.models import render as render
    from xinc_core.storage import list_models as list_models
    from xinc_core.storage import load_model as load_model
    from xinc_core.storage import model_name as model_name
    from xinc_core.storage import save_model as save_model
    from xinc_core.tracing import Canvas as Canvas
    from xinc_core.tracing import LayerMaps as LayerMaps
    from xinc_core.tracing import trace as trace
    from xinc_core.tracing import trace_frames as trace_frames

__version__ = "0.1.0"

# A public name → the room that it lives in. A new name takes a row here, an import above and a line
# in the tour at the top.
PLACES = {
    "Clip": "clips",
    "list_clips": "clips",
    "load_cityscapes_vps": "clips",
    "load_clip": "clips",
    "load_masks": "clips",
    "load_vipseg": "clips",
    "DivergenceError": "fitting",
    "History": "fitting",
    "evaluate": "fitting",
    "fit": "fitting",
    "psnr": "fitting",
    "list_models": "storage",
    "load_model": "storage",
    "model_name": "storage",
    "save_model": "storage",
    "render": "models",
    "Canvas": "tracing",
    "LayerMaps": "tracing",
    "trace": "tracing",
    "trace_frames": "tracing",
    "compress": "editing",
    "scale_neurons": "editing",
}
ROOMS = ("study", "util")  # attributes too, beside the rooms of the table

__all__ = [*PLACES, "diagnose", "explore"]
__getattr__, __dir__ = lazy_names(__name__, PLACES, ROOMS)


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
