"""Which units a finding is measured on: networks, rules, variants and frames, and its planted
maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from xinc_core.clips.clip import Clip
from xinc_core.editing.sampling import is_huge
from xinc_core.fitting.quality import check_clip
from xinc_core.storage.plain import find_model, load_model, model_name
from xinc_core.study.findings.claims import PLANTED
from xinc_core.study.statistics.scene import pairs


@dataclass(frozen=True)
class Unit:
    """One measurement of a finding: which network, on which frame, under which rule, in which
    variant.

    The family of planted maps is ``PLANTED``, and their rule ``all``.
    """

    clip: str
    family: str
    seed: int
    rule: str
    variant: str
    frame: int

    @property
    def model(self) -> str:
        return model_name(self.family, self.clip, self.seed)


def available(clip: Clip, family: str, seeds) -> list[int]:
    """The seeds for which there are weights of this family and clip."""
    return [s for s in seeds if find_model(model_name(family, clip.name, s))]


def units_of(
    finding: ModuleType, clip: Clip, families, seeds, rules, most: int = 8
) -> Iterator[Unit]:
    """A finding's units on one clip; parameters as in :func:`xinc_core.results.measure`."""
    for family in families:
        for number, seed in enumerate(available(clip, family, seeds)):
            model = load_model(model_name(family, clip.name, seed))
            check_clip(model, clip)
            if not model.for_video and len(offsets_of(finding, 1)) > 1:
                continue
            twin = getattr(finding, "TWIN", False)
            if twin and not find_model(f"{model_name(family, clip.name, seed)}-flip"):
                continue
            many = 1 if is_huge(model) else most if number == 0 else max(1, most // 4)
            frames = _frames(finding, clip, many) if model.for_video else [model.frame]
            for rule in rules:
                for variant in _variants(finding, rule):
                    for frame in frames if variant == "trained" else frames[:1]:
                        yield Unit(clip.name, family, seed, rule, variant, frame)


def offsets_of(finding: ModuleType, n_frames: int) -> tuple[int, ...]:
    """At which frames around its own a finding looks; one that takes STILLS does with its own
    where there are too few.
    """
    return (
        (0,)
        if n_frames <= max(finding.OFFSETS) and getattr(finding, "STILLS", False)
        else finding.OFFSETS
    )


def _variants(finding: ModuleType, rule: str) -> Iterator[str]:
    yield "trained"
    if hasattr(finding, "of_network"):
        return
    if not getattr(finding, "TWIN", False) and not getattr(finding, "TRUTH", False):
        yield "untrained"
        if rule == "paper":
            yield "no bias"
            if any(
                str(c.against).startswith("untrained_")
                for claim in getattr(finding, "CLAIMS", ())
                for c in claim.conditions
            ):
                yield "untrained no bias"


def _frames(finding: ModuleType, clip: Clip, most: int) -> list[int]:
    """Frames on which a finding can be measured; if they are too many, from the middle of the
    clip.
    """
    frames = getattr(finding, "FRAMES", None) or pairs(len(clip))
    frames = [
        t for t in frames if all(0 <= t + o < len(clip) for o in offsets_of(finding, len(clip)))
    ]
    return list(frames) if most >= len(frames) else list(frames[(len(frames) - most) // 2 :][:most])


def trials_of(finding: ModuleType, clip: Clip) -> list[Unit]:
    """The planted units: three seeds, on different frames where the finding has some."""
    frames = _frames(finding, clip, 8) if hasattr(finding, "plant") else []
    units = [(seed, frames[seed % len(frames)]) for seed in range(3)] if frames else []
    return [Unit(clip.name, PLANTED, s, "all", "trained", t) for s, t in units]
