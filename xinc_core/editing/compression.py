"""``compress``: prune, quantise and write a network as a small file that ``load_model`` reads.

What is measured with it is in ``study/findings/pruning`` and ``study/findings/bits``.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from torch import nn

from xinc_core.clips import Clip
from xinc_core.fitting import check_clip, evaluate, psnr, refine
from xinc_core.models import render
from xinc_core.storage.compressed import LOSSY, write
from xinc_core.util.checks import whole_number

from .bits import encoded, equal_bits, guided_bits, quantised
from .importance import scores
from .pruning import least, pruned
from .sampling import frames_to_score


def compress(
    model: nn.Module,
    path: str | Path,
    clip: Clip | None = None,
    bits: int = 8,
    guided: bool = False,
    prune: float = 0.0,
    tune: int = 0,
    progress: bool = True,
    **facts,
) -> dict:
    """Write a network as a small file, ``.xinc``, that ``load_model`` reads.

    Parameters
    ----------
    model : nn.Module
    path : str or Path
        Ends in ``.xinc``.
    clip : Clip, optional
        What it paints: the stated PSNR is measured on it. Without one, PSNR is that against the
        network's own pictures.
    bits : int
        2 to 12 for each weight.
    guided : bool
        Spend as many bits in all, but where contributions say that they matter.
    prune : float
        Share of all neurons, 0 to under 1, that are set to zero: those of the smallest first-order
        totals on four frames.
    tune : int
        Epochs of training after pruning; takes a clip.
    progress : bool
        Show a progress bar while tuning.
    **facts
        What else the header should say.

    Returns
    -------
    dict
        The header's facts: psnr (dB), bytes, bits_per_pixel, …

    Raises
    ------
    ValueError
        For options out of range, for a clip that is not the network's, and where ``tune`` has no
        clip.
    """
    whole_number(bits, "bits", LOSSY[0], LOSSY[-1])
    whole_number(tune, "tune, a number of epochs,", 0)
    if not 0 <= prune < 1:
        raise ValueError(f"prune is a share of the neurons, from 0 to under 1, not {prune}")
    if tune and clip is None:
        raise ValueError("tuning takes the clip that the network paints")
    if clip is not None:
        check_clip(model, clip)
    original = model
    if prune:
        totals = scores(model, "first_order", frames_to_score(model))
        model = pruned(model, least(totals, prune))
    if tune:
        model = refine(model, clip, tune, progress=progress)
    plan = guided_bits(model, bits) if guided else equal_bits(model, bits)
    small = quantised(model, plan)
    header = _quality(small, original, clip) | facts
    header |= dict(bits=bits, guided=guided, pruned=prune)
    data = encoded(model, plan, **header)
    write(path, data)
    n_pixels = _n_frames(model) * prod(model.config.size)
    return header | dict(bytes=len(data), bits_per_pixel=round(8 * len(data) / n_pixels, 4))


def _quality(small: nn.Module, original: nn.Module, clip: Clip | None) -> dict:
    """PSNR in dB: on the clip, or against what the original paints."""
    if clip is not None:
        quality = round(evaluate(small, clip), 3)
        return dict(clip=clip.name, clip_checksum=clip.checksum, psnr=quality)
    n_frames = _n_frames(original)
    total = 0.0
    for frame in range(n_frames):
        total += psnr(render(small, frame), render(original, frame)).item()
    return dict(psnr_to_original=round(total / n_frames, 3))


def _n_frames(model: nn.Module) -> int:
    return model.config.n_frames if model.for_video else 1
