"""Figures: one theme, and one file per kind of picture.

What lives here: functions that take numbers and axes and draw. What does not: measuring, and
anything that decides a verdict.

A notebook says ``from xinc_core.study import figures`` and then, for example,
``figures.save(figures.judged(rows, claim, clip), "03_distributed", photo=False)``.
"""

from xinc_core.tracing import RULE_NAMES

from .claims import judged
from .curves import (
    fits,
    pixels_per_neuron,
    selectivity_curves,
    sorted_curves,
    totals,
    totals_of_families,
    training,
)
from .diagnosis import Diagnosis, diagnose
from .maps import canvas_sheet, fluctuation, heatmaps, neurons_per_pixel
from .neurons import (
    agreement,
    groups_of,
    instances_over_time,
    neurons_over_time,
    one_space,
    per_instance,
)
from .partitions import partition_sheet, shapley
from .pictures import grid, image, magnitude, panels, regions
from .saving import save, saved_figures
from .theme import (
    PARTITION_COLORS,
    RULE_COLORS,
    VERDICT_COLORS,
    family_color,
    layer_colors,
    palette,
    set_theme,
)
from .uses import bits, deletion, faults, pruning, rates
from .verdict_map import across_videos, verdicts

__all__ = [
    "PARTITION_COLORS",
    "RULE_COLORS",
    "RULE_NAMES",
    "VERDICT_COLORS",
    "Diagnosis",
    "across_videos",
    "agreement",
    "bits",
    "canvas_sheet",
    "deletion",
    "diagnose",
    "family_color",
    "faults",
    "fits",
    "fluctuation",
    "grid",
    "groups_of",
    "heatmaps",
    "image",
    "instances_over_time",
    "judged",
    "layer_colors",
    "magnitude",
    "neurons_over_time",
    "neurons_per_pixel",
    "one_space",
    "palette",
    "panels",
    "partition_sheet",
    "per_instance",
    "pixels_per_neuron",
    "pruning",
    "rates",
    "regions",
    "save",
    "saved_figures",
    "selectivity_curves",
    "set_theme",
    "shapley",
    "sorted_curves",
    "totals",
    "totals_of_families",
    "training",
    "verdicts",
]
