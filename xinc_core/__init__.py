"""XINC: which neuron of an implicit neural representation paints which pixel.

clip → model → canvas → findings → plots / explorer → notebooks
"""

from .clips import Clip, list_clips, load_clip
from .models import render
from .checkpoints import list_models, load_model, save_model
from .training import evaluate, fit, psnr
from .canvas import Canvas, LayerMaps, trace

__version__ = "0.1.0"
