"""Measurements as data: what a finding measures on one unit is computed once, stored small, and read afterwards.

A unit is (clip, network, rule, variant, frame). Its key holds the checksums of weights and clip, the rule, every parameter and
the finding's version: change one, and it is measured anew.

Variants: ``trained``; ``untrained``, the same network before its first step; ``no bias``, the paper's maps without bias shares;
``untrained no bias``, where a claim compares with the untrained network.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np
import pandas as pd
from torch import nn
from tqdm.auto import tqdm

from .canvas import Canvas, trace
from .checkpoints import find_model, load_model, model_name, read_header
from .clips import Clip
from .findings.planted import planted
from .findings.scene import Scene, View, pairs
from .findings.verdicts import KEYS, PLANTED
from .maps import LayerMaps
from .quality import check_clip
from .store import remembered
from .training import untrained

CHANNELS, LARGE = 64, 4000  # of a layer with more neurons than LARGE, so many output channels are measured
_SCENES: dict[str, Scene] = {}


@dataclass(frozen=True)
class Unit:
    """One measurement of a finding: which network, on which frame, under which rule, in which variant."""

    clip: str
    family: str
    seed: int
    rule: str
    variant: str
    frame: int

    @property
    def model(self) -> str:
        return model_name(self.family, self.clip, self.seed)


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
        The first seed is measured on so many frames, the others on a quarter of them, the variants on one.
    """
    modules = [findings] if isinstance(findings, ModuleType) else findings
    clips, rows = [clips] if isinstance(clips, Clip) else clips, []
    for clip in clips:
        for finding in modules:
            if clip.labels is not None or not getattr(finding, "NEEDS_MASKS", False):
                rows += _collected(finding, clip, list(_units(finding, clip, families, seeds, rules, most)), progress)
    return pd.DataFrame(rows, columns=[*KEYS, "statistic", "value"])


def _collected(finding: ModuleType, clip: Clip, units: list[Unit], progress: bool) -> list[dict]:
    bar = tqdm(units, desc=f"{finding.NAME}, {clip.name}", unit="unit", delay=2, leave=False, disable=not progress)
    found = [(asdict(unit), _measured(finding, clip, unit)) for unit in bar]
    found += [(about, _tried(finding, clip, about)) for about in _trials(finding, clip)]
    rows = [row for about, values in found for row in _rows(about, values)]
    return rows + (_across(finding, clip, found) if hasattr(finding, "across") else [])


def drawn(finding: ModuleType, clip: Clip, family: str, seed: int, rule: str, frame: int) -> dict[str, dict]:
    """What a finding stores of one unit to be drawn, its ``pictures(view)`` or all of ``of_network``: layer → name → array."""
    model = load_model(model_name(family, clip.name, seed))
    unit = Unit(clip.name, family, seed, rule, "trained", frame if model.for_video else model.frame)
    return _measured(finding, clip, unit, "measure" if hasattr(finding, "of_network") else "pictures")


def profiles(finding: ModuleType, clip: Clip, families, seeds, rule: str) -> dict[tuple[str, int, str], dict]:
    """The groups' stored profiles on one frame: (family, seed, layer) → numbers and profiles."""
    units = [u for u in _units(finding, clip, families, seeds, [rule]) if u.variant == "trained"]
    found = ((u, _measured(finding, clip, u)) for u in units)
    return {(u.family, u.seed, layer): values for u, layers in found for layer, values in layers.items()}


def embedding(finding: ModuleType, clip: Clip, label: str, vectors: np.ndarray) -> np.ndarray:
    """The finding's ``embedded(vectors)``, stored: positions in the plane, (n, 2)."""
    key = dict(version=finding.VERSION, vectors=hashlib.sha256(vectors.tobytes()).hexdigest())
    compute = lambda: {"plane": {"places": finding.embedded(vectors.astype(np.float32))}}  # noqa: E731
    return remembered(f"{finding.NAME}_pictures", clip.name, label, key, compute)["plane"]["places"].astype(float)


def available(clip: Clip, family: str, seeds) -> list[int]:
    """The seeds for which there are weights of this family and clip."""
    return [s for s in seeds if find_model(model_name(family, clip.name, s))]


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
    label = f"{unit.model} {unit.rule} {unit.variant} {unit.frame}"
    weights = _checksum(unit.model) + (_checksum(f"{unit.model}-flip") if getattr(finding, "TWIN", False) else "")
    key = asdict(unit) | dict(weights=weights, clip=_identity(clip), version=finding.VERSION, channels=CHANNELS)
    name = finding.NAME if what == "measure" else f"{finding.NAME}_{what}"
    return remembered(name, clip.name, label, key, lambda: compute(finding, clip, unit, what))


def compute(finding: ModuleType, clip: Clip, unit: Unit, what: str = "measure") -> dict[str, dict]:
    """Measure one unit: layer → statistic → number or array; with ``what="pictures"`` what is drawn of it."""
    if hasattr(finding, "of_network"):  # it takes the network itself, not one layer's maps at a time
        wanted = inspect.signature(finding.of_network).parameters
        about = {k: v for k, v in asdict(unit).items() if k in wanted}
        return finding.of_network(_network(unit.model, unit.variant), scene_of(clip), **about)
    seen, scene = canvases(finding, unit), scene_of(clip)
    stride, found = seen[0][seen[0].layers[0]].traced.scale, {}
    few = unit.rule == "first_order" or what == "pictures" or getattr(finding, "SAMPLED", False)
    few = few and not (what == "pictures" and getattr(finding, "WHOLE", False))
    for name in seen[0].layers:
        layers = tuple(sampled(canvas[name]) if few else canvas[name] for canvas in seen)
        found[name] = getattr(finding, what)(View(layers, tuple(c.image for c in seen), scene, unit.frame, stride))
    return found


def _trials(finding: ModuleType, clip: Clip) -> list[dict]:
    """The planted units: three seeds, on different frames where the finding has some."""
    frames = _frames(finding, clip, 8) if hasattr(finding, "plant") else []
    units = [(seed, frames[seed % len(frames)]) for seed in range(3)] if frames else []
    return [dict(clip=clip.name, family=PLANTED, seed=s, rule="all", variant="trained", frame=t) for s, t in units]


def _tried(finding: ModuleType, clip: Clip, about: dict) -> dict[str, dict]:
    """The finding on planted maps: case → statistic → value."""

    def compute() -> dict[str, dict]:
        scene, frame = scene_of(clip), about["frame"]
        pictures = tuple(clip.frames[frame + offset] for offset in finding.OFFSETS)
        cases = finding.plant(scene, frame, about["seed"]).items()
        return {c: finding.measure(View(tuple(map(planted, maps)), pictures, scene, frame)) for c, maps in cases}

    key = about | dict(checksum=_identity(clip), version=finding.VERSION)
    return remembered(finding.NAME, clip.name, f"planted {about['seed']}", key, compute)


def _across(finding: ModuleType, clip: Clip, found: list[tuple[dict, dict]]) -> list[dict]:
    """What a finding measures over all seeds of a layer together: rows per seed."""
    alike: dict[tuple, dict[int, dict]] = {}
    for about, values in found:
        for layer, value in values.items():
            key = tuple(about[k] for k in ("clip", "family", "rule", "variant", "frame"))
            alike.setdefault((*key, layer), {})[about["seed"]] = value
    rows = []
    for (name, family, rule, variant, frame, layer), seeds in alike.items():
        key = [finding.VERSION, {s: hashlib.sha256(v["profiles"].tobytes()).hexdigest()[:16] for s, v in seeds.items()}]
        label = f"across {family} {rule} {variant} {frame} {layer}"
        values = remembered(finding.NAME, name, label, dict(seeds=key), lambda s=seeds: finding.across(s))
        about = dict(clip=name, family=family, rule=rule, variant=variant, frame=frame)
        rows += [row | dict(layer=layer) for s in seeds for row in _rows(about | dict(seed=s), {layer: values[str(s)]})]
    return rows


def _units(finding: ModuleType, clip: Clip, families, seeds, rules, most: int = 8) -> Iterator[Unit]:
    for family in families:
        for number, seed in enumerate(available(clip, family, seeds)):
            model = load_model(model_name(family, clip.name, seed))
            check_clip(model, clip)
            if not model.for_video and (len(finding.OFFSETS) > 1):
                continue
            twin = getattr(finding, "TWIN", False)
            if twin and not find_model(f"{model_name(family, clip.name, seed)}-flip"):
                continue
            frames = _frames(finding, clip, most if number == 0 else max(1, most // 4)) if model.for_video else [model.frame]
            for rule in rules:
                for variant in _variants(finding, rule):
                    for frame in frames if variant == "trained" else frames[:1]:
                        yield Unit(clip.name, family, seed, rule, variant, frame)


def _variants(finding: ModuleType, rule: str) -> Iterator[str]:
    yield "trained"
    if hasattr(finding, "of_network"):
        return
    if not getattr(finding, "TWIN", False) and not getattr(finding, "TRUTH", False):
        yield "untrained"
        if rule == "paper":
            yield "no bias"
            if any(str(c.against).startswith("untrained_") for claim in getattr(finding, "CLAIMS", ()) for c in claim.conditions):
                yield "untrained no bias"


def _frames(finding: ModuleType, clip: Clip, most: int) -> list[int]:
    """Frames on which a finding can be measured; if they are too many, from the middle of the clip."""
    frames = getattr(finding, "FRAMES", None) or pairs(len(clip))
    frames = [t for t in frames if all(0 <= t + o < len(clip) for o in finding.OFFSETS)]
    return list(frames) if most >= len(frames) else list(frames[(len(frames) - most) // 2 :][:most])


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
