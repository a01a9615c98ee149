"""The browsers of the uses: what a picture loses with its least neurons, and who is behind an
error.
"""

from __future__ import annotations

from functools import lru_cache

import ipywidgets as widgets
import torch

from xinc_core.editing.compression import ORDERS, score
from xinc_core.fitting.quality import psnr
from xinc_core.models import run
from xinc_core.study.explorer.explorer import sheet
from xinc_core.study.findings.faults import suspicion

from .base import Browser, Opened


def pruning(o: Opened, **start) -> Browser:
    """The picture without the share of a layer's neurons that matters least, by a score of your
    choice.
    """
    share = widgets.IntSlider(start.get("share", 20), 0, 100, 5, description="removed (%)")
    order = widgets.SelectionSlider(
        options=ORDERS, value=start.get("order", "first_order"), description="order"
    )
    controls = o.controls(start, order=order, share=share)
    del controls["rule"]

    @lru_cache(32)
    def sorted_out(frame, layer, order):
        rule = order if order in ("first_order", "paper") else "paper"
        random = torch.Generator().manual_seed(0)
        return score(o.canvas(frame, rule)[layer], order, random).cpu().argsort()

    def show(layer, frame, share, order):
        traced, truth = o.canvas(frame, "paper")[layer].traced, o.truth(frame)
        first, *later = traced.layers
        gone = sorted_out(frame, layer, order)[: round(share / 100 * first.n_neurons)]
        picture = run([first.without(gone), *later], traced.inputs[0])[0].clamp(0, 1)
        whole = o.canvas(frame, "paper").image.clamp(0, 1)
        return {
            f"frame {frame}": o.photo(truth),
            f"all neurons: {float(psnr(whole, truth)):.1f} dB": o.photo(whole),
            f"<b>{layer}</b> without {len(gone):,} of {first.n_neurons:,} neurons: {float(psnr(picture, truth)):.1f} dB": o.photo(
                picture
            ),
            "what is lost": o.picture((picture - whole).abs().sum(0)),
        }

    return o.browser(controls, show)


def region(o: Opened, **start) -> Browser:
    """The error inside a window of the picture, and the neurons whose maps explain it best."""
    H, W = o.clip.size
    row = widgets.IntSlider(start.get("row", H // 2), 0, H - 1, description="row")
    col = widgets.IntSlider(start.get("col", W // 2), 0, W - 1, description="column")
    side = widgets.IntSlider(
        start.get("side", min(32, H)), 4, min(H, W), 4, description="side (px)"
    )
    controls = o.controls(start, row=row, col=col, side=side)

    def show(layer, frame, rule, row, col, side):
        canvas, truth = o.canvas(frame, rule), o.truth(frame)
        maps, n = o.sampled(frame, rule, layer)
        window = torch.zeros(H, W, dtype=torch.bool)
        window[
            max(0, row - side // 2) : row + side // 2, max(0, col - side // 2) : col + side // 2
        ] = True
        error = canvas.image.clamp(0, 1) - truth
        order = suspicion(maps, canvas.image, truth, window).argsort(descending=True)[:4]
        ratio = float(
            error.square().mean(0)[window].mean() / error.square().mean().clamp_min(1e-30)
        )
        names = ", ".join(str(int(maps.neurons[i])) for i in order)
        return {
            f"frame {frame}, the window": o.photo(torch.where(window, truth, 0.35 * truth)),
            f"error; in the window {ratio:.1f}× the picture's": o.picture(error.abs().sum(0)),
            f"<b>{layer}</b>: the neurons ({len(maps):,} of {n:,} asked) that explain it best: {names}": o.picture(
                sheet([maps[int(i)].abs()[::2, ::2] for i in order], gap=0)
            ),
        }

    return o.browser(controls, show)
