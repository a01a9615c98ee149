"""What one unit of a finding comes to: a function of networks and clips, without a store."""

from __future__ import annotations

from collections.abc import Callable

from xinc_core.clips import Clip
from xinc_core.editing.sampling import CHANNELS, sample_layer
from xinc_core.study.findings.base import Finding, NetworkView, View
from xinc_core.study.findings.planted import planted
from xinc_core.study.statistics.scene import at_audited_pixels
from xinc_core.tracing import Canvas, trace

from .memory import Memory
from .store import Found
from .units import Unit, Variant, twin_of

MEASURE = "measure"  # what is asked of a finding unless its pictures are


def compute(memory: Memory, finding: Finding, clip: Clip, unit: Unit, what: str = MEASURE) -> Found:
    """Measure one unit: layer → statistic → number or array.

    Of planted maps: case → statistic → number or array. With the name of one of the finding's
    pictures as ``what``: what is drawn of it.
    """
    if unit.is_planted:
        return _of_planted_maps(memory, finding, clip, unit)
    of_network = _of_whole_network(finding, what)
    if of_network is not None:
        model = memory.network(unit.model, Variant(unit.variant).is_untrained)
        return of_network(NetworkView(model, memory.scene(clip), unit.rule, unit.seed, unit.frame))
    function = finding.measure if what == MEASURE else finding.pictures[what]
    return _of_layers(memory, finding, clip, unit, what, function)


def _of_whole_network(finding: Finding, what: str) -> Callable[[NetworkView], Found] | None:
    """The function that takes the network itself, where it is not one layer at a time."""
    if finding.measure_network is not None:
        return finding.measure_network
    return finding.network_pictures.get(what)


def _of_layers(
    memory: Memory, finding: Finding, clip: Clip, unit: Unit, what: str, function: Callable
) -> Found:
    """One layer's maps at a time."""
    canvases = canvases_of(memory, finding, unit, what)
    pictures = tuple(canvas.image for canvas in canvases)
    channels = memory.channels(unit.model)
    sampled = _samples_layers(finding, unit, what, channels)
    names = canvases[0].layers
    stride = canvases[0][names[0]].traced.scale
    found: Found = {}
    for name in names:
        layers = []
        for canvas in canvases:
            layer = canvas[name]
            layers.append(sample_layer(layer, channels) if sampled else layer)
        view = View(tuple(layers), pictures, memory.scene(clip), unit.frame, stride)
        found[name] = function(view)
    return found


def _samples_layers(finding: Finding, unit: Unit, what: str, channels: int) -> bool:
    """Whether large layers are represented by some of their output channels."""
    if what != MEASURE:
        return not finding.draws_whole_layers
    is_dear = unit.rule == "first_order" or channels < CHANNELS
    return is_dear or finding.samples_layers


def canvases_of(
    memory: Memory, finding: Finding, unit: Unit, what: str = MEASURE
) -> tuple[Canvas, ...]:
    """The network's canvases at the unit's frame and the finding's offsets; behind them the twin's,
    or, to measure, the truth's.
    """
    model = memory.network(unit.model)
    variant = Variant(unit.variant)
    n_frames = model.config.n_frames if model.for_video else 1
    canvases = []
    for offset in finding.offsets_for(n_frames):
        canvases.append(memory.canvas(unit.model, variant, unit.rule, unit.frame + offset))
    if finding.compares_truth and what == MEASURE:
        audited, _ = at_audited_pixels(canvases[0], canvases[0].image)
        return (audited, *memory.truths(unit.model, unit.frame))
    if finding.compares_twin:
        twin = memory.network(twin_of(unit.model))
        canvases.append(trace(twin, unit.frame, unit.rule))
    return tuple(canvases)


def _of_planted_maps(memory: Memory, finding: Finding, clip: Clip, unit: Unit) -> Found:
    """The finding on maps whose answer is known."""
    scene, frame = memory.scene(clip), unit.frame
    offsets = finding.offsets_for(len(clip))
    pictures = tuple(clip.frames[frame + offset] for offset in offsets)
    found: Found = {}
    for case, maps in finding.plant(scene, frame, unit.seed).items():
        layers = tuple(planted(each) for each in maps)
        found[case] = finding.measure(View(layers, pictures, scene, frame))
    return found
