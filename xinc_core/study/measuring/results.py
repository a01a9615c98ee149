"""Measurements as data: what a finding measures on one unit is computed once, stored small, and
read afterwards.

A unit is (clip, network, rule, variant, frame). Its key holds the checksums of weights and clip,
the rule, every parameter and the finding's version: change one, and it is measured anew.

Variants: ``trained``; ``untrained``, the same network before its first step; ``no bias``, the
paper's maps without bias shares; ``untrained no bias``, where a claim compares with the untrained
network.
"""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from collections import Counter
from dataclasses import asdict
from functools import lru_cache, partial
from operator import itemgetter
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from torch import nn

from xinc_core.clips.clip import Clip
from xinc_core.editing.sampling import CHANNELS, channels_of, sample_layer
from xinc_core.fitting.training import untrained
from xinc_core.models import FAMILIES
from xinc_core.storage.plain import find_model, load_model, model_name, read_header
from xinc_core.study.answers.verdicts import KEYS
from xinc_core.study.findings.claims import PLANTED
from xinc_core.study.findings.planted import planted
from xinc_core.study.statistics.scene import Scene, View, at_some_pixels
from xinc_core.tracing.canvas import Canvas, trace
from xinc_core.util.files import hash_bytes, hash_file
from xinc_core.util.machine import free_bytes, return_unused_memory
from xinc_core.util.paths import environment
from xinc_core.util.progress import progress_bar

from .store import is_stored, leave_out, remembered
from .units import Unit, offsets_of, trials_of, units_of

MEMORY = 2e9  # bytes that a process of measuring may take
_SCENES: dict[str, Scene] = {}


def scene_of(clip: Clip) -> Scene:
    """The scene of a clip, made once."""
    return _SCENES.setdefault(clip.checksum, Scene(clip))


def measure(
    findings, clips, families, seeds, rules, most: int = 8, progress: bool = True
) -> pd.DataFrame:
    """Measure findings on clips, or read them where they are stored: a long table, a row per unit,
    layer and statistic.

    Parameters
    ----------
    findings : module or sequence of modules of ``xinc_core.findings``
        Each with NAME, VERSION, OFFSETS, ``measure(view)`` and ``plant(scene, frame, seed)``.
    clips : Clip or sequence of Clip
        Networks are those named after the clip; a seed without weights is left out.
    families, seeds, rules : sequences
    most : int
        The first seed is measured on so many frames, the others on a quarter of them, the variants
        on one. A network of more than 25,000 neurons is measured on one frame, and of all its
        layers a sample.
    """
    modules = [findings] if isinstance(findings, ModuleType) else findings
    clips, rows = [clips] if isinstance(clips, Clip) else clips, []
    asked = [
        (f, c)
        for c in clips
        for f in modules
        if c.labels is not None or not getattr(f, "NEEDS_MASKS", False)
    ]
    units = [[*units_of(f, c, families, seeds, rules, most), *trials_of(f, c)] for f, c in asked]
    _side_by_side(
        [(f, c, unit) for (f, c), own in zip(asked, units) for unit in own], "measure", progress
    )
    for (finding, clip), own in zip(asked, units):
        rows += _collected(finding, clip, own, progress)
    return pd.DataFrame(rows, columns=[*KEYS, "statistic", "value"])


def _collected(finding: ModuleType, clip: Clip, units: list[Unit], progress: bool) -> list[dict]:
    silent = not progress or all(is_stored(*_kept(finding, clip, unit)) for unit in units)
    bar = progress_bar(
        units,
        desc=f"{finding.NAME}, {clip.name}",
        unit="unit",
        delay=2,
        leave=False,
        disable=silent,
    )
    found = [(unit, _measured(finding, clip, unit)) for unit in bar]
    rows = [row for unit, values in found for row in _rows(asdict(unit), values)]
    return rows + (_across(finding, clip, found) if hasattr(finding, "across") else [])


def _side_by_side(
    asked: list[tuple[ModuleType, Clip, Unit]], what: str, progress: bool = True
) -> None:
    """Compute what is not stored in one process per thread of torch: most steps are too small for
    threads to share.

    Where little is missing, or a network's class is not the package's own, all is computed later,
    one by one.
    """
    jobs = _jobs(asked, what)
    own = all(
        FAMILIES[u.family].__module__.startswith("xinc_core.")
        for _, _, u in asked
        if u.family != PLANTED
    )
    workers = int(min(torch.get_num_threads(), len(jobs) / 2, free_bytes() / MEMORY))
    if own and workers > 1:
        settings = {k: v for k, v in os.environ.items() if k.startswith("XINC_")} | {
            "TQDM_DISABLE": "1"
        }
        processes = parallel_config("loky", n_jobs=workers, inner_max_num_threads=1)
        with warnings.catch_warnings(), processes:
            warnings.filterwarnings(
                "ignore", "A worker stopped"
            )  # a worker that has grown is replaced
            done = Parallel(return_as="generator_unordered")(
                delayed(_work)(*job, what, settings) for job in jobs
            )
            for _ in progress_bar(
                done, "measuring", len(jobs), leave=False, unit="job", disable=not progress
            ):
                pass


def _jobs(
    asked: list[tuple[ModuleType, Clip, Unit]], what: str
) -> list[tuple[Clip, list[tuple[str, Unit]]]]:
    """What is not stored, in parts that one process measures in one go, in the order in which they
    are best begun.

    The units of one network and frame stay together, because rules are compared with the same truth
    and findings share sums; so do all frames where a finding looks from one to another; pictures
    share nothing. The last families are the dearest and come first, planted maps last, lest a
    process wait long for another at the end; clips take turns, lest all wait for one clip's
    partitions.
    """
    frames = {(unit.model, unit.frame) for _, _, unit in asked}
    linked = {
        unit.model
        for f, _, unit in asked
        for o in f.OFFSETS
        if o and (unit.model, unit.frame + o) in frames
    }
    families, turns = (
        list(dict.fromkeys([PLANTED, *(unit.family for _, _, unit in asked)])),
        Counter(),
    )
    together: dict[tuple, tuple[tuple[int, int], Clip, list[tuple[str, Unit]]]] = {}
    for finding, clip, unit in asked:
        if not is_stored(*_kept(finding, clip, unit, what)):
            alone, at = (
                unit.rule * (what != "measure"),
                None if unit.model in linked else unit.frame,
            )
            if (key := (clip.name, unit.model, at, alone)) not in together:
                turns[clip.name, unit.family] += 1
                together[key] = (
                    (-families.index(unit.family), turns[clip.name, unit.family]),
                    clip,
                    [],
                )
            together[key][2].append((finding.__name__, unit))
    return [job[1:] for job in sorted(together.values(), key=itemgetter(0))]


def _work(clip: Clip, units: list[tuple[str, Unit]], what: str, settings: dict[str, str]) -> None:
    """In a process of its own: compute and store; then give back what was kept for it, since a
    process that grows is replaced.
    """
    with environment(**settings):
        for finding, unit in sorted(
            units, key=lambda one: (one[1].variant, one[1].frame, one[1].rule)
        ):
            _measured(importlib.import_module(finding), clip, unit, what)
    for kept in (_canvas, _traced, _truths):
        kept.cache_clear()
    return_unused_memory()


def drawn(
    finding: ModuleType, clip: Clip, families, seed: int, rules, frame: int, what: str = "pictures"
) -> dict[tuple[str, str], dict[str, dict]]:
    """What a finding stores to be drawn, its ``pictures(view)`` or another function of this name,
    or all of ``of_network``.

    Returns (family, rule) → layer → name → array or number.
    """
    what = "measure" if hasattr(finding, "of_network") else what
    units = []
    for family in families:
        model = load_model(model_name(family, clip.name, seed))
        shown = frame if model.for_video else model.frame
        units += [Unit(clip.name, family, seed, rule, "trained", shown) for rule in rules]
    _side_by_side([(finding, clip, unit) for unit in units], what)
    return {(unit.family, unit.rule): _measured(finding, clip, unit, what) for unit in units}


def profiles(
    finding: ModuleType, clip: Clip, families, seeds, rule: str
) -> dict[tuple[str, int, str], dict]:
    """The groups' stored profiles on one frame: (family, seed, layer) → numbers and profiles."""
    units = [u for u in units_of(finding, clip, families, seeds, [rule]) if u.variant == "trained"]
    found = ((u, _measured(finding, clip, u)) for u in units)
    return {
        (u.family, u.seed, layer): values for u, layers in found for layer, values in layers.items()
    }


def embedding(finding: ModuleType, clip: Clip, label: str, vectors: np.ndarray) -> np.ndarray:
    """The finding's ``embedded(vectors)``, stored: positions in the plane, (n, 2)."""
    key = dict(version=finding.VERSION, vectors=hash_bytes(vectors.tobytes()))
    compute = lambda: {"plane": {"places": finding.embedded(vectors.astype(np.float32))}}  # noqa: E731
    return remembered(f"{finding.NAME}_pictures", clip.name, label, key, compute)["plane"][
        "places"
    ].astype(float)


def canvases(finding: ModuleType, unit: Unit, what: str = "measure") -> tuple[Canvas, ...]:
    """The network's canvases at the unit's frame and the finding's offsets; then the twin's, or,
    to measure, the truth's.
    """
    model = _network(unit.model, "trained")
    offsets = offsets_of(finding, model.config.n_frames if model.for_video else 1)
    found = tuple(
        _canvas(unit.model, unit.variant, unit.rule, unit.frame + offset) for offset in offsets
    )
    if getattr(finding, "TRUTH", False) and what == "measure":
        return (at_some_pixels(found[0], found[0].image)[0], *_truths(unit.model, unit.frame))
    if getattr(finding, "TWIN", False):
        found += (trace(load_model(f"{unit.model}-flip"), unit.frame, unit.rule),)
    return found


def _measured(
    finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure"
) -> dict[str, dict]:
    return remembered(*_kept(finding, clip, unit, what), lambda: compute(finding, clip, unit, what))


def _kept(
    finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure"
) -> tuple[str, str, str, dict]:
    """Under which name, clip, label and key a unit is stored."""
    if unit.family == PLANTED:
        key = asdict(unit) | dict(checksum=clip.identity, version=finding.VERSION)
        return finding.NAME, clip.name, f"planted {unit.seed}", key
    label = f"{unit.model} {unit.rule} {unit.variant} {unit.frame}"
    weights = _checksum(unit.model) + (
        _checksum(f"{unit.model}-flip") if getattr(finding, "TWIN", False) else ""
    )
    key = asdict(unit) | dict(
        weights=weights, clip=clip.identity, version=finding.VERSION, channels=_channels(unit.model)
    )
    name = finding.NAME if what == "measure" else f"{finding.NAME}_{what}"
    return name, clip.name, label, key


def compute(finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure") -> dict[str, dict]:
    """Measure one unit: layer → statistic → number or array; with ``what="pictures"`` what is drawn
    of it.

    Of planted maps: case → statistic → number or array.
    """
    if unit.family == PLANTED:
        return _planted(finding, clip, unit)
    function = getattr(finding, "of_network", None) or getattr(finding, what)
    wanted = inspect.signature(function).parameters
    if "model" in wanted:  # it takes the network itself, not one layer's maps at a time
        about = {k: v for k, v in asdict(unit).items() if k in wanted}
        return function(_network(unit.model, unit.variant), scene_of(clip), **about)
    seen, scene = canvases(finding, unit, what), scene_of(clip)
    stride, found = seen[0][seen[0].layers[0]].traced.scale, {}
    sampled = (
        unit.rule == "first_order"
        or getattr(finding, "SAMPLED", False)
        or _channels(unit.model) < CHANNELS
    )
    few = not getattr(finding, "WHOLE", False) if what == "pictures" else sampled
    for name in seen[0].layers:
        layers = tuple(
            sample_layer(canvas[name], _channels(unit.model)) if few else canvas[name]
            for canvas in seen
        )
        found[name] = function(
            View(layers, tuple(c.image for c in seen), scene, unit.frame, stride)
        )
    return found


def _planted(finding: ModuleType, clip: Clip, unit: Unit) -> dict[str, dict]:
    """The finding on planted maps."""
    scene, frame = scene_of(clip), unit.frame
    pictures = tuple(clip.frames[frame + offset] for offset in offsets_of(finding, len(clip)))
    cases = finding.plant(scene, frame, unit.seed).items()
    return {
        case: finding.measure(View(tuple(map(planted, maps)), pictures, scene, frame))
        for case, maps in cases
    }


def _across(finding: ModuleType, clip: Clip, found: list[tuple[Unit, dict]]) -> list[dict]:
    """What a finding measures over all seeds of a layer together: rows per seed.

    The arrays it takes are kept of trained networks only, which are drawn; those of variants are
    computed again if need be.
    """
    alike: dict[tuple, dict[Unit, dict]] = {}
    for unit, values in found:
        for layer, value in values.items():
            alike.setdefault((unit.family, unit.rule, unit.variant, unit.frame, layer), {})[
                unit
            ] = value

    def whole(layer: str, unit: Unit, value: dict) -> dict:
        there = all(name in value for name in finding.PASSING)
        return value if there else compute(finding, clip, unit)[layer]

    def compared(layer: str, values: dict[Unit, dict]) -> dict:
        return finding.across(
            {unit.seed: whole(layer, unit, value) for unit, value in values.items()}
        )

    rows, passed = [], set()
    for (*about, layer), values in alike.items():
        kept = {unit.seed: _kept(finding, clip, unit)[2:] for unit in values}  # label and key
        label, key = (
            " ".join(map(str, ["across", *about, layer])),
            [finding.VERSION, {s: list(k) for s, k in kept.items()}],
        )
        told = remembered(
            finding.NAME, clip.name, label, dict(seeds=key), partial(compared, layer, values)
        )
        rows += [
            row for unit in values for row in _rows(asdict(unit), {layer: told[str(unit.seed)]})
        ]
        passed |= {kept[unit.seed][0] for unit in values if unit.variant != "trained"}
    leave_out(finding.NAME, clip.name, passed, finding.PASSING)
    return rows


@lru_cache(maxsize=2)
def _network(name: str, variant: str) -> nn.Module:
    model = load_model(name)
    if not variant.startswith("untrained"):
        return model
    seed = read_header(find_model(name)).get("seed", 1)
    fresh = untrained(model.family, model.config, seed).requires_grad_(False)
    if not model.for_video:
        fresh.frame = model.frame
    return fresh


@lru_cache(maxsize=4)
def _canvas(model: str, variant: str, rule: str, frame: int) -> Canvas:
    """Kept, because findings that are measured together share what they sum up; the rules share
    the picture itself.
    """
    canvas = _traced(model, variant.removesuffix("no bias").strip() or "trained", frame).with_rule(
        rule
    )
    return canvas.without_bias() if variant.endswith("no bias") else canvas


@lru_cache(maxsize=2)
def _traced(model: str, variant: str, frame: int) -> Canvas:
    return trace(_network(model, variant), frame)


@lru_cache
def _channels(model: str) -> int:
    """Of this network's large layers so many output channels are measured; of a huge network's
    layers fewer, and of all.
    """
    return channels_of(load_model(model))


@lru_cache(maxsize=2)
def _truths(model: str, frame: int) -> tuple[Canvas, Canvas]:
    """The ablation canvases of both baselines; kept, because every rule is compared with the
    same.
    """
    whole = _traced(model, "trained", frame)
    canvas, _ = at_some_pixels(whole, whole.image)
    return canvas.with_rule("ablation", "zero"), canvas.with_rule("ablation", "mean")


@lru_cache
def _checksum(name: str) -> str:
    return hash_file(find_model(name))[:16]


def _rows(about: dict, found: dict[str, dict]) -> list[dict]:
    scalars = (
        (layer, k, v)
        for layer, values in found.items()
        for k, v in values.items()
        if isinstance(v, float)
    )
    return [about | dict(layer=layer, statistic=k, value=v) for layer, k, v in scalars]
