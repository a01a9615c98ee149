"""What is wrong with this network? A short table and a figure."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from torch import nn

from xinc_core.clips import Clip
from xinc_core.study.findings.diagnosis import IdleNeurons, Weaknesses, find_weaknesses

from .pictures import magnitude
from .saving import show_text_as_it_is
from .theme import VERDICT_COLORS, set_theme


class Diagnosis(NamedTuple):
    """table : columns what, where, value, unit; figure : error per frame and region, neurons per
    layer.
    """

    table: pd.DataFrame
    figure: plt.Figure


def diagnose(model: nn.Module, clip: Clip, frame: int | None = None, worst: int = 3) -> Diagnosis:
    """Say in a short table and a figure where a network fails its clip, and through which neurons.

    Parameters
    ----------
    frame : int, optional
        The frame that is looked at closely; by default the one with the lowest PSNR.
    worst : int
        How many regions, and how many harmful neurons of the whole network, are named.

    Returns
    -------
    Diagnosis
        PSNR per frame (its mean and the worst); the worst regions: cells of a 4×8 grid, and
        instances where the clip has masks, by their error over the picture's; per layer the neurons
        without effect (first-order map zero) and those with a duplicate (profiles with a cosine
        above 0.999; of large layers a seeded sample of 64 output channels); the neurons whose
        removal improves the frame most, found by first-order maps, confirmed by ablation.

    Raises
    ------
    ValueError
        If the model does not fit the clip.
    """
    weaknesses = find_weaknesses(model, clip, frame, worst)
    return Diagnosis(diagnosis_table(weaknesses), diagnosis_figure(weaknesses))


def diagnosis_table(weaknesses: Weaknesses) -> pd.DataFrame:
    """What was found, a line each: what, where, value, unit."""
    quality, frame = weaknesses.quality, weaknesses.frame
    mean = np.mean(list(quality.values()))
    several = len(quality) > 1
    rows = [("PSNR", "mean over frames" if several else f"frame {frame}", mean, "dB")]
    if several:
        rows.append(("PSNR", f"worst: frame {frame}", quality[frame], "dB"))
    for name, ratio in weaknesses.regions:
        rows.append(("error over the picture's", name, ratio, "×"))
    for layer, (n, without_effect, with_duplicate) in weaknesses.idle.items():
        rows.append(("neurons without effect", layer, 100 * without_effect / n, f"% of {n}"))
        rows.append(("neurons with a duplicate", layer, 100 * with_duplicate / n, f"% of {n}"))
    for layer, neuron, gain in weaknesses.harmful:
        rows.append(("removal improves the frame", f"{layer}, neuron {neuron}", gain, "dB"))
    return pd.DataFrame(rows, columns=["what", "where", "value", "unit"])


def diagnosis_figure(weaknesses: Weaknesses) -> plt.Figure:
    """PSNR per frame, the error of the frame that is looked at, and idle neurons per layer."""
    set_theme()
    fig, axes = plt.subplots(1, 3, figsize=(13, 2.9), width_ratios=(1, 1.4, 1))
    _draw_quality(axes[0], weaknesses.quality, weaknesses.frame)
    brightest = float(weaknesses.error.max().sqrt())
    title = f"error of frame {weaknesses.frame}, brightest = {brightest:.2f}"
    magnitude(weaknesses.error.sqrt(), axes[1], title)
    _draw_idle(axes[2], weaknesses.idle)
    return show_text_as_it_is(fig)


def _draw_quality(ax: plt.Axes, quality: dict[int, float], frame: int) -> None:
    ax.plot(list(quality), list(quality.values()), "o-", ms=3, color="0.3")
    color = VERDICT_COLORS["not reproduced"]
    ax.plot(frame, quality[frame], "o", color=color, label=f"frame {frame}")
    ax.set(xlabel="frame", ylabel="PSNR (dB)", title="quality per frame")
    ax.legend(frameon=False)


def _draw_idle(ax: plt.Axes, idle: dict[str, IdleNeurons]) -> None:
    """Two bars per layer, in percent of the examined neurons."""
    without = [100 * layer.without_effect / layer.examined for layer in idle.values()]
    duplicate = [100 * layer.with_duplicate / layer.examined for layer in idle.values()]
    x = np.arange(len(idle))
    ax.bar(x - 0.18, without, 0.34, color="0.3", label="without effect")
    ax.bar(x + 0.18, duplicate, 0.34, color="0.65", label="with a duplicate")
    ax.set_xticks(range(len(idle)), idle)
    highest = max(1.0, 1.25 * max([*without, *duplicate]))
    ax.set(ylabel="neurons (%)", title="idle neurons", ylim=(0, highest))
    ax.legend(frameon=False)
