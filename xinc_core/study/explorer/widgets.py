"""What the explorer and the browsers share: controls of one look, and captions."""

from __future__ import annotations

import re

import ipywidgets

from xinc_core.tracing import RULE_NAMES, RULE_ORDER
from xinc_core.util.text import as_html

WIDTH = 512  # pictures are shown at the whole multiple of their size that is nearest below this


def enlargement(clip_width: int) -> int:
    """How often a picture's pixels are repeated, so that it is at most ``WIDTH`` pixels wide."""
    return max(1, WIDTH // clip_width)


def wide(label_width: int) -> dict:
    """Layout and style of a slider whose label is so many pixels wide."""
    return dict(
        layout=ipywidgets.Layout(width="420px"), style={"description_width": f"{label_width}px"}
    )


def rule_buttons(rule: str) -> ipywidgets.ToggleButtons:
    """The choice between the rules that are cheap enough for every neuron."""
    options = [(RULE_NAMES[name], name) for name in RULE_ORDER]
    return ipywidgets.ToggleButtons(options=options, value=rule, description="rule")


def caption_html(text: str) -> str:
    """A caption as the page's HTML: every caption of an explorer or browser passes here.

    What begins a caption may stand in ``<b>…</b>``. Nothing else in it is markup: names in it come
    from files and callers.
    """
    return re.sub("^&lt;b&gt;(.*?)&lt;/b&gt;", r"<b>\1</b>", as_html(text))
