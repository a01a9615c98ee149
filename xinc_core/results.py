"""Measurements as data: what a finding measures on one unit is computed once, stored small, and read afterwards.

A unit is (clip, network, rule, variant, frame). Its key holds the checksums of weights and clip, the rule, every parameter and
the finding's version: change one, and it is measured anew.

Variants: ``trained``; ``untrained``, the same network before its first step; ``no bias``, the paper's maps without bias shares;
``untrained no bias``, where a claim compares with the untrained network.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import warnings
from dataclasses import asdict
from functools import lru_cache
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed, parallel_config
from torch import nn
from tqdm.auto import tqdm

from .canvas import Canvas, trace
from .checkpoints import find_model, load_model, model_name, read_header
from .clips import Clip
from .findings.planted import planted
from .findings.scene import Scene, View
from .findings.verdicts import KEYS, PLANTED
from .maps import LayerMaps, free_bytes
from .models import FAMILIES, is_huge
from .paths import environment
from .store import is_stored, leave_out, remembered
from .training import untrained
from .units import Unit, available, trials_of, units_of

CHANNELS, LARGE = 64, 4000  # of a sampled layer with more neurons than LARGE, so many output channels are measured
MEMORY = 2e9  # bytes that a process of measuring may take
_SCENES: dict[str, Scene] = {}


def scene_of(clip: Clip) -> Scene:
    """The scene of a clip, made once."""
    return _SCENES.setdefault(clip.checksum, Scene(clip))


def measure(findings, clips, families, seeds, rules, most: int = 8, progress: bool = True) -> pd.DataFrame:
    """Measure findings on clips, or read them where they are stored: a long table, a row per unit, layer and statistic.

    Parameters
    ----------
    findings : module or sequence of modules of ``xinc_core.findings``
        Each with NAME, VERSION, OFFSETS, ``measure(view)`` and ``plant(scene, frame, seed)``.
    clips : Clip or sequence of Clip
        Networks are those named after the clip; a seed without weights is left out.
    families, seeds, rules : sequences
    most : int
        The first seed is measured on so many frames, the others on a quarter of them, the variants on one. A network of more
        than 25,000 neurons is measured on one frame, and of its large layers a sample.
    """
    modules = [findings] if isinstance(findings, ModuleType) else findings
    clips, rows = [clips] if isinstance(clips, Clip) else clips, []
    for clip in clips:
        for finding in modules:
            if clip.labels is not None or not getattr(finding, "NEEDS_MASKS", False):
                rows += _collected(finding, clip, list(units_of(finding, clip, families, seeds, rules, most)), progress)
    return pd.DataFrame(rows, columns=[*KEYS, "statistic", "value"])


def _collected(finding: ModuleType, clip: Clip, units: list[Unit], progress: bool) -> list[dict]:
    trials = trials_of(finding, clip)
    _side_by_side(finding, clip, units, trials, progress)
    bar = tqdm(units, desc=f"{finding.NAME}, {clip.name}", unit="unit", delay=2, leave=False, disable=not progress)
    found = [(asdict(unit), _measured(finding, clip, unit)) for unit in bar]
    found += [(about, _tried(finding, clip, about)) for about in trials]
    rows = [row for about, values in found for row in _rows(about, values)]
    return rows + (_across(finding, clip, found) if hasattr(finding, "across") else [])


def _side_by_side(finding: ModuleType, clip: Clip, units: list[Unit], trials: list[dict], progress: bool) -> None:
    """Measure what is not stored in one process per thread of torch: most steps are too small for threads to share.

    The units of one network and frame stay together, because the rules are compared with the same truth. Where little is
    missing, or a network's class is not the package's own, nothing is done here: it is measured one by one.
    """
    together: dict[tuple, list[Unit]] = {}
    for unit in units:
        if not is_stored(*_kept(finding, clip, unit)):
            together.setdefault((unit.model, unit.frame), []).append(unit)
    jobs = [*together.values(), *([t] for t in trials if not is_stored(*_kept_trial(finding, clip, t)))]
    own = all(FAMILIES[unit.family].__module__.startswith(__package__) for unit in units)
    workers = int(min(torch.get_num_threads(), len(jobs) / 2, free_bytes() / MEMORY))
    if own and workers > 1:
        settings = {k: v for k, v in os.environ.items() if k.startswith("XINC_")}
        warnings.filterwarnings("ignore", "A worker stopped")  # a worker that has grown is replaced
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1), environment(TQDM_DISABLE="1"):
            done = Parallel(return_as="generator_unordered")(
                delayed(_work)(finding.__name__, clip, job, settings) for job in jobs
            )
            bar = tqdm(done, f"{finding.NAME}, {clip.name}", len(jobs), leave=False, unit="job", disable=not progress)
            for _ in bar:
                pass


def _work(finding: str, clip: Clip, job: list, settings: dict[str, str]) -> None:
    """In a process of its own: measure and store; units as they are, planted trials as dicts."""
    module = importlib.import_module(finding)
    with environment(**settings):
        for item in job:
            (_measured if isinstance(item, Unit) else _tried)(module, clip, item)


def drawn(finding: ModuleType, clip: Clip, family: str, seed: int, rule: str, frame: int) -> dict[str, dict]:
    """What a finding stores of one unit to be drawn, its ``pictures(view)`` or all of ``of_network``: layer → name → array."""
    model = load_model(model_name(family, clip.name, seed))
    unit = Unit(clip.name, family, seed, rule, "trained", frame if model.for_video else model.frame)
    return _measured(finding, clip, unit, "measure" if hasattr(finding, "of_network") else "pictures")


def profiles(finding: ModuleType, clip: Clip, families, seeds, rule: str) -> dict[tuple[str, int, str], dict]:
    """The groups' stored profiles on one frame: (family, seed, layer) → numbers and profiles."""
    units = [u for u in units_of(finding, clip, families, seeds, [rule]) if u.variant == "trained"]
    found = ((u, _measured(finding, clip, u)) for u in units)
    return {(u.family, u.seed, layer): values for u, layers in found for layer, values in layers.items()}


def embedding(finding: ModuleType, clip: Clip, label: str, vectors: np.ndarray) -> np.ndarray:
    """The finding's ``embedded(vectors)``, stored: positions in the plane, (n, 2)."""
    key = dict(version=finding.VERSION, vectors=hashlib.sha256(vectors.tobytes()).hexdigest())
    compute = lambda: {"plane": {"places": finding.embedded(vectors.astype(np.float32))}}  # noqa: E731
    return remembered(f"{finding.NAME}_pictures", clip.name, label, key, compute)["plane"]["places"].astype(float)


def canvases(finding: ModuleType, unit: Unit) -> tuple[Canvas, ...]:
    """The network's canvases at the unit's frame and the finding's offsets from it; then the twin's, or the truth."""
    model = _network(unit.model, unit.variant)
    found = tuple(trace(model, unit.frame + offset, unit.rule) for offset in finding.OFFSETS)
    if getattr(finding, "TWIN", False):
        found += (trace(load_model(f"{unit.model}-flip"), unit.frame, unit.rule),)
    if unit.variant.endswith("no bias"):
        found = tuple(canvas.without_bias() for canvas in found)
    return found + (_truths(unit.model, unit.frame) if getattr(finding, "TRUTH", False) else ())


def sampled(layer: LayerMaps) -> LayerMaps:
    """A large layer's seeded sample of output channels; any other layer itself."""
    return layer.sample(CHANNELS) if len(layer) > LARGE else layer


def _measured(finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure") -> dict[str, dict]:
    return remembered(*_kept(finding, clip, unit, what), lambda: compute(finding, clip, unit, what))


def _kept(finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure") -> tuple[str, str, str, dict]:
    """Under which name, clip, label and key a unit is stored."""
    label = f"{unit.model} {unit.rule} {unit.variant} {unit.frame}"
    weights = _checksum(unit.model) + (_checksum(f"{unit.model}-flip") if getattr(finding, "TWIN", False) else "")
    key = asdict(unit) | dict(weights=weights, clip=_identity(clip), version=finding.VERSION, channels=CHANNELS)
    name = finding.NAME if what == "measure" else f"{finding.NAME}_{what}"
    return name, clip.name, label, key


def compute(finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure") -> dict[str, dict]:
    """Measure one unit: layer → statistic → number or array; with ``what="pictures"`` what is drawn of it."""
    if hasattr(finding, "of_network"):  # it takes the network itself, not one layer's maps at a time
        wanted = inspect.signature(finding.of_network).parameters
        about = {k: v for k, v in asdict(unit).items() if k in wanted}
        return finding.of_network(_network(unit.model, unit.variant), scene_of(clip), **about)
    seen, scene = canvases(finding, unit), scene_of(clip)
    stride, found = seen[0][seen[0].layers[0]].traced.scale, {}
    few = unit.rule == "first_order" or what == "pictures" or getattr(finding, "SAMPLED", False)
    few = few or is_huge(_network(unit.model, unit.variant))
    few = few and not (what == "pictures" and getattr(finding, "WHOLE", False))
    for name in seen[0].layers:
        layers = tuple(sampled(canvas[name]) if few else canvas[name] for canvas in seen)
        found[name] = getattr(finding, what)(View(layers, tuple(c.image for c in seen), scene, unit.frame, stride))
    return found


def _tried(finding: ModuleType, clip: Clip, about: dict) -> dict[str, dict]:
    """The finding on planted maps: case → statistic → value."""

    def compute() -> dict[str, dict]:
        scene, frame = scene_of(clip), about["frame"]
        pictures = tuple(clip.frames[frame + offset] for offset in finding.OFFSETS)
        cases = finding.plant(scene, frame, about["seed"]).items()
        return {c: finding.measure(View(tuple(map(planted, maps)), pictures, scene, frame)) for c, maps in cases}

    return remembered(*_kept_trial(finding, clip, about), compute)


def _kept_trial(finding: ModuleType, clip: Clip, about: dict) -> tuple[str, str, str, dict]:
    key = about | dict(checksum=_identity(clip), version=finding.VERSION)
    return finding.NAME, clip.name, f"planted {about['seed']}", key


def _across(finding: ModuleType, clip: Clip, found: list[tuple[dict, dict]]) -> list[dict]:
    """What a finding measures over all seeds of a layer together: rows per seed.

    The arrays it takes are kept of trained networks only, which are drawn; those of variants are computed again if need be.
    """
    alike: dict[tuple, dict[int, tuple[dict, dict]]] = {}
    for about, values in found:
        for layer, value in values.items():
            key = tuple(about[k] for k in ("clip", "family", "rule", "variant", "frame"))
            alike.setdefault((*key, layer), {})[about["seed"]] = (about, value)

    def whole(layer: str, about: dict, value: dict) -> dict:
        there = all(name in value for name in finding.PASSING)
        return value if there else compute(finding, clip, Unit(**about))[layer]

    rows, passed = [], set()
    for (name, family, rule, variant, frame, layer), seeds in alike.items():
        kept = {s: (_kept_trial if family == PLANTED else _kept)(finding, clip, about if family == PLANTED else Unit(**about))
                for s, (about, _) in seeds.items()}  # fmt: skip
        label = f"across {family} {rule} {variant} {frame} {layer}"
        key = [finding.VERSION, {s: [k[2], k[3]] for s, k in kept.items()}]
        of_seeds = lambda y=layer, seeds=seeds: finding.across({s: whole(y, *unit) for s, unit in seeds.items()})  # noqa: E731
        values = remembered(finding.NAME, name, label, dict(seeds=key), of_seeds)
        about = dict(clip=name, family=family, rule=rule, variant=variant, frame=frame)
        rows += [row | dict(layer=layer) for s in seeds for row in _rows(about | dict(seed=s), {layer: values[str(s)]})]
        passed |= {k[2] for k in kept.values()} if variant != "trained" else set()
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


@lru_cache(maxsize=2)
def _truths(model: str, frame: int) -> tuple[Canvas, Canvas]:
    """The ablation canvases of both baselines; kept, because every rule is compared with the same."""
    return tuple(trace(load_model(model), frame, "ablation", baseline) for baseline in ("zero", "mean"))


def _identity(clip: Clip) -> str:
    """What of a clip a measurement depends on: the checksum of frames and masks, and of names of segments and exact flow."""
    if not clip.segments and clip.flow is None:
        return clip.checksum
    more = hashlib.sha256(repr(sorted((i, asdict(s)) for i, s in clip.segments.items())).encode())
    more.update(b"" if clip.flow is None else clip.flow.numpy().tobytes())
    return f"{clip.checksum} {more.hexdigest()[:16]}"


@lru_cache
def _checksum(name: str) -> str:
    return hashlib.sha256(find_model(name).read_bytes()).hexdigest()[:16]


def _rows(about: dict, found: dict[str, dict]) -> list[dict]:
    scalars = ((layer, k, v) for layer, values in found.items() for k, v in values.items() if isinstance(v, float))
    return [about | dict(layer=layer, statistic=k, value=v) for layer, k, v in scalars]


__all__ = [
    "Unit", "available", "compute", "drawn", "embedding", "measure", "profiles", "sampled", "scene_of",
]  # fmt: skip
