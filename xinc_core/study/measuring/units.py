"""Which units a finding is measured on: networks, rules, variants and frames, and planted maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from xinc_core.clips import Clip
from xinc_core.editing.sampling import is_huge
from xinc_core.fitting import check_clip
from xinc_core.storage import TWIN_ENDING, find_model, load_model, model_name
from xinc_core.study.findings.base import Finding
from xinc_core.study.findings.claims import PLANTED
from xinc_core.study.statistics.scene import measured_frames

MOST_FRAMES = 8  # of the first seed; of the others a quarter
TRIALS = 3  # planted maps are drawn with so many seeds


class Variant(StrEnum):
    """In which state a network is measured."""

    TRAINED = "trained"
    UNTRAINED = "untrained"  # the same network before its first step
    NO_BIAS = "no bias"  # the paper's maps without the shares of biases
    UNTRAINED_NO_BIAS = "untrained no bias"

    @property
    def is_untrained(self) -> bool:
        """Whether the network's weights are those before its first step."""
        return self in (Variant.UNTRAINED, Variant.UNTRAINED_NO_BIAS)

    @property
    def is_without_bias(self) -> bool:
        """Whether biases are left out of the paper's maps."""
        return self in (Variant.NO_BIAS, Variant.UNTRAINED_NO_BIAS)


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
        """The name of the network."""
        return model_name(self.family, self.clip, self.seed)

    @property
    def is_planted(self) -> bool:
        """Whether it is a trial on planted maps."""
        return self.family == PLANTED


def twin_of(model: str) -> str:
    """The name of the network that was fitted to the mirrored frame."""
    return model + TWIN_ENDING


def available(clip: Clip, family: str, seeds: Sequence[int]) -> list[int]:
    """The seeds for which there are weights of this family and clip."""
    return [seed for seed in seeds if find_model(model_name(family, clip.name, seed))]


def units_of(
    finding: Finding,
    clip: Clip,
    families: Sequence[str],
    seeds: Sequence[int],
    rules: Sequence[str],
    most: int = MOST_FRAMES,
) -> Iterator[Unit]:
    """A finding's units on one clip; parameters as in :meth:`.session.Session.measure`."""
    for family in families:
        for place, seed in enumerate(available(clip, family, seeds)):
            name = model_name(family, clip.name, seed)
            model = load_model(name)
            check_clip(model, clip)
            if not model.for_video and len(finding.offsets_for(1)) > 1:
                continue
            if finding.compares_twin and not find_model(twin_of(name)):
                continue
            if model.for_video:
                frames = _frames(finding, clip, _most_frames(is_huge(model), place == 0, most))
            else:
                frames = [model.frame]
            for rule in rules:
                for variant in _variants(finding, rule):
                    shown = frames if variant is Variant.TRAINED else frames[:1]
                    for frame in shown:
                        yield Unit(clip.name, family, seed, rule, variant.value, frame)


def _most_frames(huge: bool, first_seed: bool, most: int) -> int:
    """On how many frames a video network is measured."""
    if huge:
        return 1
    return most if first_seed else max(1, most // 4)


def _variants(finding: Finding, rule: str) -> list[Variant]:
    """What is measured beside the trained network, so that a claim can be compared with it."""
    alone = finding.measure_network or finding.compares_twin or finding.compares_truth
    if alone:
        return [Variant.TRAINED]
    variants = [Variant.TRAINED, Variant.UNTRAINED]
    if rule == "paper":
        variants.append(Variant.NO_BIAS)
        if any(claim.compares_untrained for claim in finding.claims):
            variants.append(Variant.UNTRAINED_NO_BIAS)
    return variants


def _frames(finding: Finding, clip: Clip, most: int) -> list[int]:
    """Frames on which a finding can be measured; if they are too many, from the middle."""
    offsets = finding.offsets_for(len(clip))
    frames = []
    for frame in finding.frames or measured_frames(clip):
        if all(0 <= frame + offset < len(clip) for offset in offsets):
            frames.append(frame)
    if most >= len(frames):
        return frames
    start = (len(frames) - most) // 2
    return frames[start : start + most]


def trials_of(finding: Finding, clip: Clip) -> list[Unit]:
    """The planted units: three seeds, on different frames where the finding has some."""
    if finding.plant is None:
        return []
    frames = _frames(finding, clip, MOST_FRAMES)
    if not frames:
        return []
    units = []
    for seed in range(TRIALS):
        frame = frames[seed % len(frames)]
        units.append(Unit(clip.name, PLANTED, seed, "all", Variant.TRAINED.value, frame))
    return units
